-- So that no look at a few rows reads all: what was seen of a room that ended.
CREATE INDEX chat_seen_by_room ON chat_seen (room) WHERE room <> 0;
-- What rooms say of an account that is deleted, and whether another owner is there then.
CREATE INDEX room_standings_by_account ON room_standings (account) WHERE role = -1;
CREATE INDEX accounts_owners ON accounts (id) WHERE role = 4;
