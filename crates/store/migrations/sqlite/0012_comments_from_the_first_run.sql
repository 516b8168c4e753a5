-- Comments of a repo matter from its first run on: admission notes where reading them begins,
-- so that no tick has to search the runs of each repo. A day earlier here, because a release
-- is older than its admission.

INSERT INTO comments_heard (repo, until)
    SELECT repo, min(admitted_at) - 86400000000 FROM runs WHERE TRUE GROUP BY repo
    ON CONFLICT (repo) DO NOTHING;
