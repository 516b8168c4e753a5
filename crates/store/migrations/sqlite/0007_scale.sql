-- What is asked twice a second or by every tick, found without a walk over all that ever was.

-- The live runs, oldest first.
CREATE INDEX runs_live ON runs (admitted_at, id) WHERE live = 1;
-- The runs of one repo, newest first.
CREATE INDEX runs_by_repo ON runs (repo, admitted_at, id);
-- Switches that are on; the rows of lifted freezes stay.
CREATE INDEX switches_on ON switches (name) WHERE is_on <> 0;
