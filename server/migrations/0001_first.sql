-- Accounts, rooms and chat. Keys are case-folded names; names are as typed.
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    owner INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
);
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    creator INTEGER NOT NULL,
    created_ms INTEGER NOT NULL
);
-- A client's own id is unique for its account for 24 hours; the store looks at time_ms.
CREATE TABLE chat_lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    room INTEGER NOT NULL,
    account INTEGER NOT NULL,
    client_id TEXT NOT NULL,
    content TEXT NOT NULL,
    time_ms INTEGER NOT NULL
);
CREATE INDEX chat_by_room ON chat_lines (room, id);
CREATE INDEX chat_by_client_id ON chat_lines (account, client_id) WHERE client_id <> '';
-- The one-time code that makes an account the owner: SHA-256 of it, and who used it.
CREATE TABLE claim (
    code_hash TEXT NOT NULL,
    used_by INTEGER
);
