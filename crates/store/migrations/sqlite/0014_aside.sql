-- A run whose pull request waits for people lets others work in its repo. It stays live, because it
-- is followed: `locks` says which run has the repo to itself, and `waits` which one wants it back.
-- Two runs are never live on one issue.

ALTER TABLE runs ADD COLUMN locks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET locks = 1 WHERE live = 1;
DROP INDEX runs_one_live_per_repo;
CREATE UNIQUE INDEX runs_one_lock_per_repo ON runs (repo) WHERE locks = 1;
CREATE UNIQUE INDEX runs_one_live_per_issue ON runs (repo, issue_number) WHERE live = 1;
