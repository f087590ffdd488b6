-- So that no look at a few rows reads all: what was seen of a room that ended.
CREATE INDEX chat_seen_by_room ON chat_seen (room) WHERE room <> 0;
