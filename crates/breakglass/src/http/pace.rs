//! Limits how often one person may change something: a token bucket for each.
//!
//! It stops a page that loops or a finger that hammers; nobody in an emergency comes near the
//! limit. Pure: the time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many requests a full bucket allows at once.
const BURST: u32 = 40;
/// How long it takes until one more request is allowed.
const REFILL: Duration = Duration::from_secs(1);
/// How many buckets there are. For more, full ones are dropped, or else newcomers refused.
const PEOPLE: usize = 1000;

/// The buckets of all people, by name.
#[derive(Debug, Default)]
pub struct Pace(HashMap<String, Used>);

#[derive(Clone, Copy, Debug)]
struct Used {
    left: u32,
    at: Instant,
}

impl Pace {
    /// Takes a request from the bucket of `who`.
    ///
    /// # Errors
    ///
    /// If the bucket is empty: how many seconds to wait.
    pub fn take(&mut self, who: &str, now: Instant) -> Result<(), u64> {
        if self.0.len() >= PEOPLE && !self.0.contains_key(who) {
            let full = REFILL * BURST;
            self.0.retain(|_, used| now.saturating_duration_since(used.at) < full);
            if self.0.len() >= PEOPLE {
                return Err(REFILL.as_secs());
            }
        }
        let used = self.0.entry(who.to_owned()).or_insert(Used { left: BURST, at: now });
        let more = now.saturating_duration_since(used.at).as_secs() / REFILL.as_secs();
        let more = u32::try_from(more).unwrap_or(BURST);
        if more > 0 {
            used.left = used.left.saturating_add(more).min(BURST);
            used.at += REFILL * more;
        }
        if used.left == 0 {
            return Err(REFILL.as_secs());
        }
        used.left -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_a_second_for_each_person() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(pace.take("anna", start), Ok(()));
        }
        assert_eq!(pace.take("anna", start), Err(1));
        assert_eq!(pace.take("otto", start), Ok(()));
        assert_eq!(pace.take("anna", start + Duration::from_millis(1500)), Ok(()));
        assert_eq!(pace.take("anna", start + Duration::from_millis(1600)), Err(1));
        assert_eq!(pace.take("anna", start + Duration::from_secs(2)), Ok(()));
        for _ in 0..BURST {
            assert_eq!(pace.take("anna", start + Duration::from_hours(1)), Ok(()));
        }
        assert_eq!(pace.take("anna", start + Duration::from_hours(1)), Err(1));
    }

    #[test]
    fn people_beyond_counting_take_no_memory() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for n in 0..2 * PEOPLE {
            let _ = pace.take(&n.to_string(), start);
        }
        assert_eq!(pace.0.len(), PEOPLE);
        assert_eq!(pace.take("anna", start + Duration::from_mins(1)), Ok(()));
        assert_eq!(pace.0.len(), 1);
    }
}
