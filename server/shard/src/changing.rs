//! Settings that the operator changes while the server runs.
//!
//! Not which may change, which is what [`ShardSettings`] has, and not where they come from.
//! Each shard is told by an input of its own, so for some milliseconds two of them differ, as they would in what they
//! do just before and after. Nobody who is there is sent away: bounds are for who comes, rates for what is asked next.
//! Cost: one look at each room whose home is here.

use echomesh_proto::ids::RoomNumber;

use crate::Shard;
use crate::config::ShardSettings;

impl Shard {
    pub(crate) fn settings_changed(&mut self, settings: ShardSettings) {
        let ShardSettings { server_name, motd, registration, guests, speakers_max, retention_days, limits } = settings;
        let config = &mut self.config;
        config.server_name = server_name;
        config.motd = motd;
        config.registration = registration;
        config.guests = guests;
        config.retention_days = retention_days;
        config.limits = limits;
        let before = std::mem::replace(&mut config.speakers_max, speakers_max);
        if before != speakers_max {
            let rooms: Vec<RoomNumber> = self.homes.keys().copied().collect();
            for number in rooms {
                self.count_speakers(number);
            }
        }
    }
}
