-- What people claim: words with an end, which gate nothing. Runs are not in here.
CREATE TABLE presence (
    resource TEXT    NOT NULL,
    holder   TEXT    NOT NULL,
    purpose  TEXT    NOT NULL,
    since    INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    PRIMARY KEY (resource, holder)
) STRICT, WITHOUT ROWID;
