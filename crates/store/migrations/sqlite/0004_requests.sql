-- What people ask of runs. A row is asked once and answered once.

CREATE TABLE requests (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    run         TEXT    NOT NULL REFERENCES runs (id),
    body_json   TEXT    NOT NULL CHECK (json_valid(body_json)),
    answered_at INTEGER,
    answer      TEXT,
    CHECK ((answered_at IS NULL) = (answer IS NULL))
) STRICT;
CREATE INDEX requests_of ON requests (run, seq);

CREATE TRIGGER requests_stay_as_answered BEFORE UPDATE ON requests
WHEN OLD.answer IS NOT NULL OR NEW.id <> OLD.id OR NEW.run <> OLD.run OR NEW.body_json <> OLD.body_json
BEGIN SELECT RAISE(ABORT, 'requests are append-only'); END;
CREATE TRIGGER requests_are_not_deleted BEFORE DELETE ON requests
BEGIN SELECT RAISE(ABORT, 'requests are append-only'); END;
