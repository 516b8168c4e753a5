//! When the doorbell rings for a freeze that a run caused: once when the run ends, and again until
//! somebody acknowledges it.
//!
//! A freeze by a person does not ring: they know of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::elapsed::elapsed;
use crate::ids::{At, RunId};

/// The pages about one freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paging {
    /// The run that froze its repo.
    pub run: RunId,
    /// The number of the last page, from 0: the doorbell of the outcome itself.
    pub nth: u32,
    /// When the last page rang.
    pub last: At,
    /// Who acknowledged the freeze, which ends the pages.
    pub acknowledged: Option<Acknowledgement>,
}

/// A person's acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who acknowledged.
    pub by: String,
    /// When they did.
    pub at: At,
}

impl Paging {
    /// The pages of a freeze that `run` causes now.
    pub fn begun(run: RunId, now: At) -> Self {
        Self { run, nth: 0, last: now, acknowledged: None }
    }

    /// These pages after `by` has acknowledged them. The first acknowledgement stays.
    #[must_use]
    pub fn acknowledged_by(self, by: Acknowledgement) -> Self {
        Self { acknowledged: self.acknowledged.or(Some(by)), ..self }
    }

    /// These pages with the one that is due `now`; none if none is due. One is due each `every`; if
    /// that is zero, none after the first. However long nobody checked, only one page is due.
    pub fn due(&self, every: Duration, now: At) -> Option<Self> {
        if self.acknowledged.is_some() || every.is_zero() || elapsed(self.last, now, &[]) < every {
            return None;
        }
        Some(Self { nth: self.nth.checked_add(1)?, last: now, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> At {
        At::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn a_page_is_due_at_its_interval_until_somebody_acknowledges() {
        let run = "00000001-0000-0000-0000-000000000007".parse().unwrap();
        let begun = Paging::begun(run, at(0));
        let hour = Duration::from_hours(1);
        let due = |paging: &Paging, now| paging.due(hour, at(now));
        assert_eq!(due(&begun, 3599), None);
        let first = Paging { nth: 1, last: at(3600), ..begun.clone() };
        assert_eq!(due(&begun, 3600), Some(first.clone()));
        // A night without a control plane gives one page, and the next an hour later.
        let night = due(&first, 40_000).unwrap();
        assert_eq!((night.nth, night.last), (2, at(40_000)));
        assert_eq!(due(&night, 43_599), None);
        assert_eq!(due(&night, 43_600).map(|paging| paging.nth), Some(3));
        let by = Acknowledgement { by: "ann".to_owned(), at: at(5000) };
        assert_eq!(due(&Paging { acknowledged: Some(by), ..first }, 99_999), None);
        assert_eq!(begun.due(Duration::ZERO, at(99_999)), None, "zero rings once");
        assert_eq!(due(&Paging { nth: u32::MAX, ..begun }, 99_999), None);
        // A clock that was set back pages late, not at once.
        assert_eq!(due(&night, 0), None);
    }
}
