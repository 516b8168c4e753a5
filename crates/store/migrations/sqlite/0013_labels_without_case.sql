-- Labels are told apart without regard to case, as forges do; the spelling stays. Where an issue
-- has one in two spellings, the first one stays.

DELETE FROM issue_labels WHERE EXISTS (
    SELECT 1 FROM issue_labels AS other
    WHERE other.repo = issue_labels.repo AND other.number = issue_labels.number
      AND other.label = issue_labels.label COLLATE NOCASE
      AND (other.at, other.label) < (issue_labels.at, issue_labels.label)
);
DROP INDEX issue_labels_by_label;
CREATE UNIQUE INDEX issue_labels_by_label ON issue_labels (label COLLATE NOCASE, repo, number);
