-- Roles, what rooms say of roles and accounts, bans, and the log of what moderators did.
-- role: 0 guest, 1 member, 2 moderator, 3 admin, 4 owner. accounts.owner is no longer used.
ALTER TABLE accounts ADD COLUMN role BIGINT NOT NULL DEFAULT 1;
UPDATE accounts SET role = 4 WHERE owner = 1;
-- Of a role (account 0), or of an account (role -1). allow and deny are bits of Right in message.proto.
CREATE TABLE room_standings (
    room BIGINT NOT NULL REFERENCES rooms (id),
    role BIGINT NOT NULL,
    account BIGINT NOT NULL,
    allow BIGINT NOT NULL DEFAULT 0,
    deny BIGINT NOT NULL DEFAULT 0,
    muted BIGINT NOT NULL DEFAULT 0,
    deafened BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (room, role, account)
);
-- room 0: of the server. account 0: by address; then network is as in 192.0.2.0/24. expires_ms 0: never.
CREATE TABLE bans (
    id {NUMBERED},
    room BIGINT NOT NULL,
    account BIGINT NOT NULL,
    username TEXT NOT NULL,
    network TEXT NOT NULL,
    reason TEXT NOT NULL,
    by_name TEXT NOT NULL,
    by_role BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
-- Names as they were then. action is a ModerationAction of message.proto.
CREATE TABLE audit (
    id {NUMBERED},
    time_ms BIGINT NOT NULL,
    action BIGINT NOT NULL,
    actor BIGINT NOT NULL,
    actor_name TEXT NOT NULL,
    target BIGINT NOT NULL,
    target_name TEXT NOT NULL,
    room_name TEXT NOT NULL,
    detail TEXT NOT NULL,
    reason TEXT NOT NULL
);
