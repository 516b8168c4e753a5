-- What dispatch is held for rings without a run, too: once a cause, which is remembered.

CREATE TABLE outbox_new (
    id           TEXT    NOT NULL PRIMARY KEY,
    run          TEXT    REFERENCES runs (id),
    kind         TEXT    NOT NULL,
    body_json    TEXT    NOT NULL CHECK (json_valid(body_json)),
    not_before   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    lease_owner  TEXT,
    lease_until  INTEGER,
    delivered_at INTEGER,
    abandoned_at INTEGER,
    last_error   TEXT,
    name         TEXT
) STRICT;
INSERT INTO outbox_new
    SELECT id, run, kind, body_json, not_before, attempts, lease_owner, lease_until,
           delivered_at, abandoned_at, last_error, name FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_new RENAME TO outbox;
CREATE INDEX outbox_due ON outbox (not_before, id)
    WHERE delivered_at IS NULL AND abandoned_at IS NULL;
-- What was given up, and whether that doorbell has rung since.
CREATE INDEX outbox_given_up ON outbox (name, abandoned_at) WHERE abandoned_at IS NOT NULL;
CREATE INDEX outbox_rung ON outbox (name, delivered_at) WHERE delivered_at IS NOT NULL;

-- A row that is mended stays: a look from before that tells nothing.
CREATE TABLE holds (
    cause     TEXT    NOT NULL PRIMARY KEY,
    since     INTEGER NOT NULL,
    mended_at INTEGER
) STRICT;
