-- Accounts, rooms and chat, for SQLite and PostgreSQL. Keys are case-folded names and unique; names are as
-- typed (NFC). Times are Unix milliseconds. {NUMBERED} is the database's own number of the row, ascending,
-- and never used again, whatever is deleted.
CREATE TABLE accounts (
    id {NUMBERED},
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    owner BIGINT NOT NULL DEFAULT 0,
    created_ms BIGINT NOT NULL
);
-- capacity 0 is the server's default.
CREATE TABLE rooms (
    id {NUMBERED},
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    capacity BIGINT NOT NULL,
    creator BIGINT NOT NULL REFERENCES accounts (id),
    created_ms BIGINT NOT NULL
);
CREATE TABLE chat_lines (
    id {NUMBERED},
    room BIGINT NOT NULL REFERENCES rooms (id),
    account BIGINT NOT NULL REFERENCES accounts (id),
    client_id TEXT NOT NULL,
    content TEXT NOT NULL,
    time_ms BIGINT NOT NULL
);
CREATE INDEX chat_by_room ON chat_lines (room, id);
-- A client's own id names one line. After 24 hours the store empties it, so that it may be used again.
CREATE UNIQUE INDEX chat_by_client_id ON chat_lines (account, client_id) WHERE client_id <> '';
-- The one-time code that makes an account the owner: SHA-256 of it in hex, and who used it.
CREATE TABLE claim (
    code_hash TEXT NOT NULL,
    used_by BIGINT REFERENCES accounts (id)
);
