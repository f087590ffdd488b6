//! The operator's commands as they are typed.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use echomesh_shard::rights::Role;

/// `echomesh-server user`.
#[derive(Clone, Debug, Subcommand)]
pub enum User {
    /// List the accounts
    List,
    /// Show an account and its device tokens
    Show {
        /// Account
        name: String,
    },
    /// Make an account
    Create {
        /// Its name
        name: String,
        /// Its role
        #[arg(long, value_enum, default_value_t = RoleName::Member)]
        role: RoleName,
        /// File whose first line is the password, - for standard input [default: one is made and printed]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Set an account's password, and end its sessions
    Password {
        /// Account
        name: String,
        /// File whose first line is the password, - for standard input [default: one is made and printed]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Give an account a role
    Role {
        /// Account
        name: String,
        /// Its role from now on
        #[arg(value_enum)]
        role: RoleName,
    },
    /// Delete an account: its name is free again, its lines stay without a name
    Delete {
        /// Account
        name: String,
    },
}

/// `echomesh-server invite`.
#[derive(Clone, Debug, Subcommand)]
pub enum Invite {
    /// Make an invitation, and print its code: the only time that it is shown
    Create {
        /// Accounts that it makes
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        uses: u32,
        /// How long it counts: 30m, 12h, 7d; at most a year
        #[arg(long = "for", value_name = "TIME", value_parser = invitation_seconds, default_value = "7d")]
        seconds: u64,
    },
    /// List the invitations that count
    List,
    /// Take an invitation back
    Revoke {
        /// Its number in the list
        invitation: u64,
    },
}

/// `echomesh-server ban`.
#[derive(Clone, Debug, Subcommand)]
pub enum Ban {
    /// List the bans, of the server and of rooms
    List,
    /// Keep an account or addresses out of the server, and end their sessions
    Add {
        /// Account
        #[arg(required_unless_present = "address")]
        name: Option<String>,
        /// 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48 instead of an account
        #[arg(long, conflicts_with = "name")]
        address: Option<String>,
        /// How long: 30m, 12h, 7d [default: until it is lifted]
        #[arg(long = "for", value_name = "TIME", value_parser = seconds, default_value = "0", hide_default_value = true)]
        seconds: u64,
        /// Told to who is meant, and kept in the audit log
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Lift a ban
    Remove {
        /// Its number in the list
        ban: u64,
    },
}

/// A role as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Hears, speaks, writes.
    Guest,
    /// Every new account.
    Member,
    /// Mutes, kicks, bans, invites.
    Moderator,
    /// Everything but making owners.
    Admin,
    /// Everything.
    Owner,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Guest => Role::Guest,
            RoleName::Member => Role::Member,
            RoleName::Moderator => Role::Moderator,
            RoleName::Admin => Role::Admin,
            RoleName::Owner => Role::Owner,
        }
    }
}

fn invitation_seconds(typed: &str) -> Result<u64, String> {
    let seconds = seconds(typed)?;
    let bounds = 1..=366 * 86_400;
    bounds.contains(&seconds).then_some(seconds).ok_or_else(|| "give 1s to 366d".to_owned())
}

/// A length of time as people write it.
fn seconds(typed: &str) -> Result<u64, String> {
    let wrong = || "write a number with s, m, h or d: 12h".to_owned();
    let digits = typed.trim_end_matches(|last: char| !last.is_ascii_digit());
    let factor = match &typed[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: lengths of time are read as people write them, and nonsense is refused.
    #[test]
    fn lengths_of_time() {
        assert_eq!(["90", "2m", "12h", "7d"].map(|typed| seconds(typed).unwrap()), [90, 120, 43_200, 604_800]);
        for wrong in ["", "d", "2w", "7dd", "-1d", "99999999999999999999s", "9999999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert!(invitation_seconds("0").is_err() && invitation_seconds("367d").is_err());
    }
}
