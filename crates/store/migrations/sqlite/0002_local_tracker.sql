-- The local tracker: issues of one machine, by the same rules as a forge's.

CREATE TABLE issues (
    repo         TEXT    NOT NULL,
    number       INTEGER NOT NULL CHECK (number > 0),
    title        TEXT    NOT NULL,
    body         TEXT    NOT NULL,
    is_open      INTEGER NOT NULL CHECK (is_open IN (0, 1)),
    author_id    TEXT    NOT NULL,
    author_login TEXT    NOT NULL,
    author_bot   INTEGER NOT NULL CHECK (author_bot IN (0, 1)),
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (repo, number)
) STRICT, WITHOUT ROWID;

-- Labels keep the order they were put on in.
CREATE TABLE issue_labels (
    repo   TEXT    NOT NULL,
    number INTEGER NOT NULL,
    label  TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (repo, number, label),
    FOREIGN KEY (repo, number) REFERENCES issues (repo, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX issue_labels_by_label ON issue_labels (label, repo, number);

CREATE TABLE issue_events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    repo        TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    actor_id    TEXT    NOT NULL,
    actor_login TEXT    NOT NULL,
    actor_bot   INTEGER NOT NULL CHECK (actor_bot IN (0, 1)),
    change_json TEXT    NOT NULL CHECK (json_valid(change_json)),
    FOREIGN KEY (repo, number) REFERENCES issues (repo, number)
) STRICT;
CREATE INDEX issue_events_of ON issue_events (repo, number, id);

CREATE TABLE issue_comments (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    repo         TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    edited_at    INTEGER,
    author_id    TEXT    NOT NULL,
    author_login TEXT    NOT NULL,
    author_bot   INTEGER NOT NULL CHECK (author_bot IN (0, 1)),
    body         TEXT    NOT NULL,
    FOREIGN KEY (repo, number) REFERENCES issues (repo, number)
) STRICT;
CREATE INDEX issue_comments_of ON issue_comments (repo, number, id);
