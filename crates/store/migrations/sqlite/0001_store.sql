-- Times are microseconds since 1970 in UTC; money is micro-dollars; JSON is text.
-- One run is one row; `version` counts its journal rows, and `journal_hash` is
-- the hash of the newest, so that a journal cut short does not match its run.

CREATE TABLE runs (
    id                 TEXT    NOT NULL PRIMARY KEY,
    repo               TEXT    NOT NULL,
    issue_number       INTEGER NOT NULL CHECK (issue_number > 0),
    live               INTEGER NOT NULL CHECK (live IN (0, 1)),
    version            INTEGER NOT NULL CHECK (version > 0),
    state_json         TEXT    NOT NULL CHECK (json_valid(state_json)),
    reserved_micro_usd INTEGER NOT NULL CHECK (reserved_micro_usd >= 0),
    journal_hash       TEXT    NOT NULL,
    admitted_at        INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL
) STRICT;

-- The lock of a repo: whatever the code believes, two live runs cannot be there.
CREATE UNIQUE INDEX runs_one_live_per_repo ON runs (repo) WHERE live = 1;
CREATE INDEX runs_by_time ON runs (admitted_at, id);
CREATE INDEX runs_by_issue ON runs (repo, issue_number, admitted_at);

CREATE TABLE journal (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    run       TEXT    NOT NULL REFERENCES runs (id),
    run_seq   INTEGER NOT NULL CHECK (run_seq > 0),
    at        INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    body_json TEXT    NOT NULL CHECK (json_valid(body_json)),
    prev_hash TEXT    NOT NULL,
    hash      TEXT    NOT NULL,
    UNIQUE (run, run_seq)
) STRICT;

CREATE TRIGGER journal_is_not_edited BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_is_not_cut BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
-- INSERT OR REPLACE deletes without the trigger above.
CREATE TRIGGER journal_is_not_replaced BEFORE INSERT ON journal
WHEN EXISTS (SELECT 1 FROM journal WHERE seq = NEW.seq)
  OR EXISTS (SELECT 1 FROM journal WHERE run = NEW.run AND run_seq = NEW.run_seq)
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TABLE outbox (
    id           TEXT    NOT NULL PRIMARY KEY,
    run          TEXT    NOT NULL REFERENCES runs (id),
    kind         TEXT    NOT NULL,
    body_json    TEXT    NOT NULL CHECK (json_valid(body_json)),
    not_before   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    lease_owner  TEXT,
    lease_until  INTEGER,
    delivered_at INTEGER,
    abandoned_at INTEGER,
    last_error   TEXT
) STRICT;
CREATE INDEX outbox_due ON outbox (not_before, id)
    WHERE delivered_at IS NULL AND abandoned_at IS NULL;

-- A row outlives its holder: the generation never goes back.
CREATE TABLE leases (
    key        TEXT    NOT NULL PRIMARY KEY,
    owner      TEXT    NOT NULL,
    generation INTEGER NOT NULL CHECK (generation > 0),
    until      INTEGER NOT NULL
) STRICT;

-- A row that is off stays, with the name of whoever turned it off.
CREATE TABLE switches (
    name       TEXT    NOT NULL PRIMARY KEY,
    is_on      INTEGER NOT NULL,
    value_json TEXT    NOT NULL,
    by         TEXT    NOT NULL,
    at         INTEGER NOT NULL
) STRICT;

CREATE TABLE ledger (
    session   TEXT    NOT NULL,
    process   TEXT    NOT NULL,
    turn      TEXT    NOT NULL,
    run       TEXT    NOT NULL REFERENCES runs (id),
    repo      TEXT    NOT NULL,
    day       TEXT    NOT NULL,
    micro_usd INTEGER NOT NULL CHECK (micro_usd >= 0),
    estimated INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    body_json TEXT    NOT NULL CHECK (json_valid(body_json)),
    PRIMARY KEY (session, process, turn)
) STRICT, WITHOUT ROWID;
CREATE INDEX ledger_by_day ON ledger (day, repo, micro_usd);
CREATE INDEX ledger_by_run ON ledger (run, micro_usd);

CREATE TABLE results (
    kind           TEXT    NOT NULL,
    tree           TEXT    NOT NULL,
    command_digest TEXT    NOT NULL,
    body_json      TEXT    NOT NULL CHECK (json_valid(body_json)),
    at             INTEGER NOT NULL,
    PRIMARY KEY (kind, tree, command_digest)
) STRICT, WITHOUT ROWID;

-- When a control plane last noted that it runs.
CREATE TABLE heartbeat (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
