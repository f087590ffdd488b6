//! Noticing that this machine has another address now: the connection of before is of no use then, though nothing
//! says so for half a minute.
//!
//! Not the way back, which is `link`'s. The system is asked which address it would send from: a datagram socket is
//! connected, which sends nothing. Bounds: a question in `LOOK_EVERY`. Cost: three system calls.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::Instant;

/// How often to look: with connecting and resuming, voice is back within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Any port will do: nothing is sent.
const PORT: u16 = 9;

/// The way to a peer, as it was when the connection was made.
#[derive(Debug)]
pub struct Way {
    peer: IpAddr,
    source: Option<IpAddr>,
    looked: Instant,
}

impl Way {
    /// The way as it is now.
    pub fn to(peer: IpAddr) -> Self {
        Self { peer, source: source_towards(peer), looked: Instant::now() }
    }

    /// The address that datagrams leave from now, if it is another than before. A network that is gone is no other
    /// address: it may come back as it was.
    pub fn moved(&mut self) -> Option<IpAddr> {
        if self.looked.elapsed() < LOOK_EVERY {
            return None;
        }
        self.looked = Instant::now();
        let now = source_towards(self.peer)?;
        let before = self.source.replace(now)?;
        (before != now).then_some(now)
    }
}

fn source_towards(peer: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = if peer.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((peer, PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the way to this machine is from this machine, and an address that stays is no move; one that is another
    /// than it was is told once.
    #[test]
    fn a_way_that_stays_is_no_move() {
        let peer = IpAddr::from([127, 0, 0, 1]);
        let mut way = Way::to(peer);
        assert_eq!((way.source, way.moved()), (Some(peer), None), "too early to look");
        way.looked -= LOOK_EVERY;
        assert_eq!(way.moved(), None);
        way.source = Some(IpAddr::from([192, 0, 2, 1]));
        way.looked -= LOOK_EVERY;
        assert_eq!(way.moved(), Some(peer));
        way.looked -= LOOK_EVERY;
        assert_eq!(way.moved(), None);
    }
}
