//! The named workloads: their figures, fixed so that results compare with those of other servers.
//!
//! Source of w1 to w5big: the measurements of other voice servers in docs/BENCHMARKS.md, done the same way.

use crate::args::{Args, Name};
use crate::load::{Load, Talk, Times};
use crate::payload::Payload;
use crate::ramp::Search;

/// Parts of a stretch of steady voice, and of a ramp's step, seconds.
const STEADY: Times = Times { warm_s: 1.0, measured_s: 5.0, drain_s: 0.5 };
const STEP: Times = Times { warm_s: 0.7, measured_s: 1.5, drain_s: 0.4 };

/// Share of listeners that decrypt: at saturation it would be the generator that is measured.
const OPENED: f64 = 1.0;
const OPENED_RAMP: f64 = 1.0 / 16.0;

/// No step of a ramp begins later, seconds; and how near its end comes, as a share.
const RAMP_LIMIT_S: f64 = 34.0;
const RAMP_FINE: f64 = 0.04;

/// How long idle members are measured, seconds.
const IDLE_S: f64 = 4.0;

/// Members of a room of `voice` and `ramp`.
const MEMBERS: u32 = 10;

/// One workload with all its figures.
#[derive(Clone, Debug)]
pub enum Workload {
    /// Steady voice.
    Voice(&'static str, Load, Times),
    /// More and more.
    Ramp(&'static str, Load, Search),
    /// Members that do nothing.
    Idle {
        /// How many.
        clients: u32,
        /// Measured.
        seconds: f64,
    },
    /// Logins by password.
    Passwords {
        /// A share of the usual count: 1 for all.
        share: f64,
    },
    /// Handshakes and resumes.
    Handshakes {
        /// A share of the usual counts: 1 for all.
        share: f64,
    },
    /// Chat.
    Chat {
        /// Members of the room.
        members: u32,
        /// Lines under way; `None`: a fixed rate.
        window: Option<u32>,
        /// Measured.
        seconds: f64,
    },
    /// Voice while others come and go.
    Churn {
        /// Those that stay.
        load: Load,
        /// Measured.
        seconds: f64,
    },
}

fn load(rooms: u32, members: u32, speakers: u32, args: &Args, opened: f64) -> Load {
    let opened = args.opened.unwrap_or(opened);
    Load { rooms, members, speakers, payload: args.payload, talk: args.talk, opened }
}

/// The workloads of this name; the user's own figures go into those that have no fixed ones.
#[must_use]
pub fn named(name: Name, args: &Args) -> Vec<Workload> {
    match name {
        // Two servers: only one of them hashes passwords by its defaults.
        Name::Logins => logins(1.0).to_vec(),
        _ => vec![single(name, args)],
    }
}

fn logins(share: f64) -> [Workload; 2] {
    [Workload::Passwords { share }, Workload::Handshakes { share }]
}

fn single(name: Name, args: &Args) -> Workload {
    // Named voice workloads compare with others' only as they are.
    let fixed = |rooms, members, speakers, opened| Load {
        talk: Talk::Continuous,
        ..load(rooms, members, speakers, args, opened)
    };
    let ramp = |from| Search { from, fine: RAMP_FINE, limit_s: RAMP_LIMIT_S, times: STEP };
    let members = args.members.unwrap_or(MEMBERS);
    match name {
        Name::W1 => Workload::Voice("w1", fixed(10, 10, 1, OPENED), STEADY),
        Name::W2 => Workload::Voice("w2", fixed(20, 10, 3, OPENED), STEADY),
        Name::W3 => Workload::Voice("w3", fixed(1, 100, 3, OPENED), STEADY),
        Name::W4 => Workload::Voice("w4", fixed(1, 500, 2, OPENED), STEADY),
        Name::W5 => Workload::Ramp("w5", fixed(100, 10, 2, OPENED_RAMP), ramp(110)),
        Name::W5big => Workload::Ramp("w5big", fixed(4, 100, 4, OPENED_RAMP), ramp(15)),
        Name::Idle => Workload::Idle { clients: args.clients, seconds: args.seconds.unwrap_or(IDLE_S) },
        Name::Logins => Workload::Passwords { share: 1.0 },
        Name::Chat | Name::ChatOpen => Workload::Chat {
            members: args.members.unwrap_or(100),
            window: (name == Name::Chat).then_some(args.window),
            seconds: args.seconds.unwrap_or(3.0),
        },
        Name::Churn => Workload::Churn { load: fixed(20, 10, 3, OPENED), seconds: args.seconds.unwrap_or(10.0) },
        Name::Voice => {
            let times = Times { measured_s: args.seconds.unwrap_or(STEADY.measured_s), ..STEADY };
            Workload::Voice("voice", load(args.rooms, members, args.speakers.min(members), args, OPENED), times)
        }
        Name::Ramp => {
            let load = load(args.rooms, members, args.speakers.min(members), args, OPENED_RAMP);
            Workload::Ramp("ramp", load, ramp((load.rooms * load.speakers) as usize))
        }
    }
}

/// What the user asked for; by default the tour.
#[must_use]
pub fn all(args: &Args) -> Vec<Workload> {
    if args.smoke {
        return smoke();
    }
    if !args.workloads.is_empty() {
        return args.workloads.iter().flat_map(|name| named(*name, args)).collect();
    }
    let of = |name| single(name, args);
    let short_ramp = match of(Name::W5) {
        Workload::Ramp(name, load, search) => Workload::Ramp(name, load, Search { limit_s: 20.0, ..search }),
        other => other,
    };
    let idle = of(Name::Idle);
    let [passwords, handshakes] = logins(0.5);
    vec![of(Name::W1), of(Name::W2), of(Name::W3), short_ramp, passwords, handshakes, idle, of(Name::Chat)]
}

/// A little of each, for tests: about ten seconds.
fn smoke() -> Vec<Workload> {
    let load =
        Load { rooms: 4, members: 5, speakers: 1, payload: Payload::OpusVbr, talk: Talk::Continuous, opened: OPENED };
    let times = Times { warm_s: 0.2, measured_s: 1.0, drain_s: 0.3 };
    let search =
        Search { from: 4, fine: 0.5, limit_s: 2.0, times: Times { warm_s: 0.1, measured_s: 0.4, drain_s: 0.2 } };
    vec![
        Workload::Voice("smoke", load, times),
        Workload::Ramp("smoke-ramp", load, search),
        Workload::Idle { clients: 40, seconds: 0.5 },
        Workload::Chat { members: 10, window: Some(4), seconds: 0.5 },
    ]
}
