-- Comments are read by repo since a time: people steer runs by them.

CREATE INDEX issue_comments_since ON issue_comments (repo, at, id);
