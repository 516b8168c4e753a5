//! The journal's rows as a hash chain, and what is wrong with one that was changed.
//!
//! A row's hash covers the row and the previous hash. Whoever knows the last hash can detect any
//! change; without it, the chain can still be checked for consistency, which detects everything but
//! a chain that was rewritten as a whole.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// A row of a run's journal, as it is hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its place in the run, from 1.
    pub seq: u64,
    /// When it was written, in microseconds since 1970.
    pub at: i64,
    /// The kind of its transition.
    pub kind: String,
    /// Transition and context as JSON, byte for byte.
    pub body: String,
    /// The hash of the row before, empty for the first.
    pub prev_hash: String,
    /// SHA-256 over this row and `prev_hash`, in hex.
    pub hash: String,
}

/// The hash of a row of `run`. Each part is hashed with its length, so that no two rows give the
/// same bytes.
pub fn hash(run: &str, seq: u64, at: i64, kind: &str, body: &str, prev_hash: &str) -> String {
    let mut digest = Sha256::new();
    for part in [prev_hash, run, &seq.to_string(), &at.to_string(), kind, body] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    Digest::of_hash(digest).into()
}

/// A row that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowFault {
    /// The row's place in the run, from 1.
    pub row: u64,
    /// What is wrong with it.
    #[serde(flatten)]
    pub what: RowFaultKind,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum RowFaultKind {
    /// It is missing, with all rows up to `to`.
    Missing {
        /// The last missing row; the row itself if only one is missing.
        to: u64,
    },
    /// It occurs more than once.
    Twice,
    /// Another row belongs in its place.
    OutOfPlace {
        /// The row that belongs there.
        belongs: u64,
    },
    /// Its time, kind or body was edited: they do not match its hash.
    Edited,
    /// Its `hash` was edited: the row and its successor give a different one.
    Hash,
    /// Its `prev_hash` was edited: its own hash covers the right one.
    PrevHash,
    /// It is consistent, but does not follow the row before it.
    Unchained,
    /// There are more rows than the journal states.
    Surplus,
    /// The last hash is not the stated one.
    Head {
        /// The stated hash.
        stated: String,
    },
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.row;
        match &self.what {
            RowFaultKind::Missing { to } if *to > row => {
                write!(f, "rows {row} to {to} are missing")
            }
            RowFaultKind::Missing { .. } => write!(f, "row {row} is missing"),
            RowFaultKind::Twice => write!(f, "row {row} occurs more than once"),
            RowFaultKind::OutOfPlace { belongs } => {
                write!(f, "row {row} is in the place of row {belongs}")
            }
            RowFaultKind::Edited => {
                write!(f, "row {row} was edited: its at, kind or body does not match its hash")
            }
            RowFaultKind::Hash => write!(f, "row {row}: its hash was edited"),
            RowFaultKind::PrevHash => write!(f, "row {row}: its prev_hash was edited"),
            RowFaultKind::Unchained => write!(f, "row {row} does not follow the row before it"),
            RowFaultKind::Surplus => write!(f, "row {row} is beyond the stated number of rows"),
            RowFaultKind::Head { stated } => {
                write!(f, "the last hash, of row {row}, is not the stated head: {stated:?}")
            }
        }
    }
}

/// Everything that is wrong with the chain of `run`, which should have `count` rows and end with
/// the hash `head`.
pub fn faults(run: &str, count: u64, head: &str, rows: &[Link]) -> Vec<RowFault> {
    let mut out = Vec::new();
    let mut tell = |row, what| out.push(RowFault { row, what });
    let mut ordered: Vec<&Link> = rows.iter().collect();
    ordered.sort_by_key(|row| row.seq);
    for (stands, belongs) in rows.iter().zip(&ordered).filter(|(one, other)| one.seq != other.seq) {
        tell(stands.seq, RowFaultKind::OutOfPlace { belongs: belongs.seq });
    }
    // The previous row, and the hash that the next one must refer to.
    let (mut before, mut prev) = (0_u64, String::new());
    for (n, row) in ordered.iter().enumerate() {
        let gap = row.seq > before.saturating_add(1);
        if gap {
            tell(before + 1, RowFaultKind::Missing { to: row.seq - 1 });
        }
        if row.seq == before && n > 0 {
            tell(row.seq, RowFaultKind::Twice);
        }
        if row.seq > count || row.seq == 0 {
            tell(row.seq, RowFaultKind::Surplus);
        }
        let of = |prev: &str| hash(run, row.seq, row.at, &row.kind, &row.body, prev);
        let whole = of(&row.prev_hash);
        let next = ordered.get(n + 1).map_or(head, |next| next.prev_hash.as_str());
        let follows = row.prev_hash == prev;
        if whole == row.hash {
            // After a gap, what the row must follow is unknown.
            if !follows && !gap {
                tell(row.seq, RowFaultKind::Unchained);
            }
            prev = whole;
        } else if !follows && of(&prev) == row.hash {
            tell(row.seq, RowFaultKind::PrevHash);
            prev.clone_from(&row.hash);
        } else if follows && next == whole {
            tell(row.seq, RowFaultKind::Hash);
            prev = whole;
        } else {
            tell(row.seq, RowFaultKind::Edited);
            prev.clone_from(&row.hash);
        }
        before = row.seq;
    }
    if before < count {
        tell(before + 1, RowFaultKind::Missing { to: count });
    } else if prev != head {
        tell(before, RowFaultKind::Head { stated: head.to_owned() });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "01900000-0000-7000-8000-000000000001";

    fn chain(count: u64) -> Vec<Link> {
        let mut prev_hash = String::new();
        let row = |seq: u64| {
            let (at, kind, body) =
                (1_000 + seq.cast_signed(), format!("k{seq}"), format!("[{seq}]"));
            let hash = hash(RUN, seq, at, &kind, &body, &prev_hash);
            let link = Link { seq, at, kind, body, prev_hash: prev_hash.clone(), hash };
            prev_hash.clone_from(&link.hash);
            link
        };
        (1..=count).map(row).collect()
    }

    /// The faults of a chain of six rows after `change`.
    fn told(change: impl FnOnce(&mut Vec<Link>)) -> Vec<String> {
        let mut rows = chain(6);
        let head = rows[5].hash.clone();
        change(&mut rows);
        faults(RUN, 6, &head, &rows).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_hash_is_of_these_bytes() {
        // A chain written by any version must stay readable.
        assert_eq!(
            hash(RUN, 1, 1_772_359_200_000_000, "admitted", "{}", ""),
            "5d057f885f61efb3d8b08a5b8426939774f62d5845d633ca695403277eeab70d"
        );
        // Rows that agree only when their parts are joined are different rows.
        assert_ne!(hash(RUN, 1, 1, "ab", "c", ""), hash(RUN, 1, 1, "a", "bc", ""));
    }

    #[test]
    fn each_change_is_named_with_its_row() {
        assert_eq!(told(|_| {}), [""; 0]);
        let edited = "row 3 was edited: its at, kind or body does not match its hash";
        assert_eq!(told(|rows| rows[2].at += 1), [edited]);
        assert_eq!(told(|rows| rows[2].kind.push('x')), [edited]);
        assert_eq!(told(|rows| rows[2].body.push(' ')), [edited]);
        assert_eq!(told(|rows| rows[2].hash.push('x')), ["row 3: its hash was edited"]);
        assert_eq!(told(|rows| rows[5].hash.push('x')), ["row 6: its hash was edited"]);
        assert_eq!(told(|rows| rows[2].prev_hash.clear()), ["row 3: its prev_hash was edited"]);
        assert_eq!(told(|rows| drop(rows.remove(0))), ["row 1 is missing"]);
        assert_eq!(told(|rows| drop(rows.drain(2..4))), ["rows 3 to 4 are missing"]);
        assert_eq!(told(|rows| rows.truncate(4)), ["rows 5 to 6 are missing"]);
        assert_eq!(told(Vec::clear), ["rows 1 to 6 are missing"]);
        let swapped = ["row 5 is in the place of row 2", "row 2 is in the place of row 5"];
        assert_eq!(told(|rows| rows.swap(1, 4)), swapped);
        let twice = ["row 2 occurs more than once", "row 2 does not follow the row before it"];
        assert_eq!(told(|rows| rows.insert(1, rows[1].clone())), twice);
        let nought = "row 0 is beyond the stated number of rows";
        let before = |rows: &mut Vec<Link>| {
            let zero = Link { seq: 0, prev_hash: String::new(), ..rows[0].clone() };
            let hash = hash(RUN, 0, zero.at, &zero.kind, &zero.body, "");
            rows.insert(0, Link { hash, ..zero });
        };
        assert_eq!(told(before), [nought, "row 1 does not follow the row before it"]);
        let both = |rows: &mut Vec<Link>| {
            rows[2].body.push(' ');
            rows[2].prev_hash.clear();
        };
        assert_eq!(told(both), [edited]);
        // Whoever edits a row and its hash must rewrite all later rows, and the head.
        let again = |row: &mut Link| {
            row.hash = hash(RUN, row.seq, row.at, &row.kind, &row.body, &row.prev_hash);
        };
        let one = |rows: &mut Vec<Link>| {
            rows[2].at += 1;
            again(&mut rows[2]);
        };
        assert_eq!(told(one), ["row 4 does not follow the row before it"]);
        let all = |rows: &mut Vec<Link>| {
            rows[2].at += 1;
            for n in 2..6 {
                rows[n].prev_hash = rows[n - 1].hash.clone();
                again(&mut rows[n]);
            }
        };
        let head = chain(6)[5].hash.clone();
        let other = format!("the last hash, of row 6, is not the stated head: {head:?}");
        assert_eq!(told(all), [other]);
    }

    #[test]
    fn what_was_put_behind_the_last_row_is_named() {
        let rows = chain(6);
        let head = &rows[4].hash;
        let told: Vec<String> =
            faults(RUN, 5, head, &rows).iter().map(ToString::to_string).collect();
        assert_eq!(told[0], "row 6 is beyond the stated number of rows");
        assert!(told[1].starts_with("the last hash, of row 6, is not the stated head"), "{told:?}");
        // An absurd row number must not make the check run for ever.
        let mut rows = chain(2);
        rows[1].seq = u64::MAX;
        assert!(!faults(RUN, u64::MAX, "", &rows).is_empty());
    }
}
