-- Accounts, rooms and chat. Keys are case-folded names and unique; names are as typed (NFC).
-- Times are Unix milliseconds.
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    owner INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
);
-- capacity 0 is the server's default.
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    creator INTEGER NOT NULL REFERENCES accounts (id),
    created_ms INTEGER NOT NULL
);
-- AUTOINCREMENT: the number of a line is never used again, whatever is deleted.
CREATE TABLE chat_lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    room INTEGER NOT NULL REFERENCES rooms (id),
    account INTEGER NOT NULL REFERENCES accounts (id),
    client_id TEXT NOT NULL,
    content TEXT NOT NULL,
    time_ms INTEGER NOT NULL
);
CREATE INDEX chat_by_room ON chat_lines (room, id);
-- A client's own id names one line. After 24 hours the store empties it, so that it may be used again.
CREATE UNIQUE INDEX chat_by_client_id ON chat_lines (account, client_id) WHERE client_id <> '';
-- The one-time code that makes an account the owner: SHA-256 of it in hex, and who used it.
CREATE TABLE claim (
    code_hash TEXT NOT NULL,
    used_by INTEGER REFERENCES accounts (id)
);
