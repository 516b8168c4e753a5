-- Old results are forgotten, and are found by when they were remembered.

CREATE INDEX results_by_time ON results (at);
