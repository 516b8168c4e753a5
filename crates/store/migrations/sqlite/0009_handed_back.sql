-- Which runs handed their issue to a person, found without reading the records of all.

ALTER TABLE runs ADD COLUMN handed_back INTEGER NOT NULL DEFAULT 0 CHECK (handed_back IN (0, 1));
UPDATE runs SET handed_back = 1
    WHERE json_extract(state_json, '$.conclusion.end') IN ('needs-human', 'frozen');
CREATE INDEX runs_handed_back ON runs (admitted_at, id) WHERE handed_back = 1;
