-- Invitations, device tokens, and what commands on the machine did. Of secrets only the SHA-256 is kept, in hex.
-- A deleted account keeps its row, for lines and rooms are its: without a name, under a key that no name has.
ALTER TABLE accounts ADD COLUMN deleted_ms BIGINT NOT NULL DEFAULT 0;
-- The invitation that made it; 0: none.
ALTER TABLE accounts ADD COLUMN invitation BIGINT NOT NULL DEFAULT 0;
-- creator 0: the operator.
CREATE TABLE invitations (
    id {NUMBERED},
    code_hash TEXT NOT NULL UNIQUE,
    creator BIGINT NOT NULL,
    by_name TEXT NOT NULL,
    uses_left BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
-- last_used_ms 0: never. Kept to about an hour.
CREATE TABLE device_tokens (
    id {NUMBERED},
    account BIGINT NOT NULL REFERENCES accounts (id),
    token_hash TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    last_used_ms BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX device_tokens_by_account ON device_tokens (account);
-- For a running server, which looks every second; emptied at each start. act: role, ban, unban, sign_out.
-- subject: an account's id, or a ban's.
CREATE TABLE operator_acts (
    id {NUMBERED},
    act TEXT NOT NULL,
    subject BIGINT NOT NULL,
    role BIGINT NOT NULL DEFAULT 0
);
