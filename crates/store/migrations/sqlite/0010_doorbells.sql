-- A row for each doorbell, by its name in the configuration. A row without a name is older
-- than that, and for all of them.

ALTER TABLE outbox ADD COLUMN name TEXT;
