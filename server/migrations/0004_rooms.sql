-- Properties of rooms, and sessions that outlive the server. 0 is the server's default, none, or for ever.
-- gone 1: the room ended; its key is freed, its lines are deleted bit by bit, and then the row.
ALTER TABLE rooms ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE rooms ADD COLUMN password_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE rooms ADD COLUMN invite_only BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN hidden BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN temporary BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN speakers BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN slow_mode_seconds BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN retention_days BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN gone BIGINT NOT NULL DEFAULT 0;
-- Raised to make all stored sessions of an account worthless: sign-out, new password.
ALTER TABLE accounts ADD COLUMN session_epoch BIGINT NOT NULL DEFAULT 0;
-- Sessions as they were a moment ago. epoch is the account's when the session was first written; a row whose account
-- is gone, or has another epoch, counts no more, nor one whose device token (0: none) is gone. secret_hash is SHA-256 in
-- hex; rooms are numbers with commas.
CREATE TABLE sessions (
    id BIGINT PRIMARY KEY,
    account BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    secret_hash TEXT NOT NULL,
    token BIGINT NOT NULL,
    rooms TEXT NOT NULL
);
