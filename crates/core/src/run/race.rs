//! The race with a default branch to which others push faster than a change is judged.
//!
//! Each candidate that somebody overtakes is followed by a new one, after a pause that grows. What
//! is limited is how long the race may last, not the number of candidates: a number says nothing
//! about a branch that is busy for ten minutes.

use jiff::SignedDuration;

use super::{Attempt, Candidate, Limits};
use crate::elapsed::{Pause, elapsed};
use crate::ids::At;

/// How many candidates are made however long they take: one that is tested on a branch of its own
/// may take most of the race's time.
const AT_LEAST: usize = 3;
/// The longest pause before a new candidate, in seconds.
const LONGEST: i64 = 60;

/// Whether another candidate may be made for a branch that moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Race {
    /// It may, from this time on.
    From(At),
    /// No more: the candidates were overtaken for too long.
    Lost {
        /// How many were overtaken.
        times: u32,
        /// For how many minutes.
        minutes: u64,
    },
}

impl Attempt {
    /// How the race with the default branch stands at `now`, when the newest candidate was
    /// overtaken or there is none yet.
    pub fn race(&self, limits: &Limits, now: At, pauses: &[Pause]) -> Race {
        // A candidate that waited for a base to be fixed was not overtaken.
        let raced = |one: &&Candidate| one.red_bases.is_empty();
        let overtaken: Vec<_> = self.candidates.iter().rev().take_while(raced).collect();
        let Some((first, newest)) = overtaken.last().zip(overtaken.first()) else {
            return Race::From(now);
        };
        let lasted = elapsed(first.at, now, pauses);
        if lasted >= limits.race && overtaken.len() >= AT_LEAST {
            let times = u32::try_from(overtaken.len()).unwrap_or(u32::MAX);
            return Race::Lost { times, minutes: lasted.as_secs().div_ceil(60) };
        }
        let pause = match overtaken.len() {
            0 | 1 => 0,
            n => (1_i64 << (n - 2).min(6)).min(LONGEST),
        };
        Race::From(newest.at.checked_add(SignedDuration::from_secs(pause)).unwrap_or(now))
    }
}
