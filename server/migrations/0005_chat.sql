-- Lines that were changed, whom they mention, direct lines, and what each account has seen.
-- mentions: numbers of accounts as in ',7,12,'. Of a deleted line the content is gone.
ALTER TABLE chat_lines ADD COLUMN edited_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE chat_lines ADD COLUMN deleted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE chat_lines ADD COLUMN mentions TEXT NOT NULL DEFAULT '';
-- Of the two accounts of a conversation the smaller number is low. account is the author's.
CREATE TABLE direct_lines (
    id {NUMBERED},
    low BIGINT NOT NULL,
    high BIGINT NOT NULL,
    account BIGINT NOT NULL,
    client_id TEXT NOT NULL,
    content TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    edited_ms BIGINT NOT NULL DEFAULT 0,
    deleted BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX direct_by_conversation ON direct_lines (low, high, id);
CREATE INDEX direct_by_low ON direct_lines (low, id);
CREATE INDEX direct_by_high ON direct_lines (high, id);
CREATE UNIQUE INDEX direct_by_client_id ON direct_lines (account, client_id) WHERE client_id <> '';
-- Up to which line an account has seen a room (peer 0) or a conversation (room 0).
CREATE TABLE chat_seen (
    account BIGINT NOT NULL,
    room BIGINT NOT NULL,
    peer BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (account, room, peer)
);
