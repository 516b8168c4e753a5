-- How far the comments of each repo were heard, by its tracker's clock, so that no process
-- reads old ones again; and requests that wait for an answer, found without a scan.

CREATE TABLE comments_heard (
    repo  TEXT    NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_open ON requests (seq) WHERE answer IS NULL;
