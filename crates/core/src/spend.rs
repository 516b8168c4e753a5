//! The ledger of what agents cost, and the caps that stop them.
//!
//! One entry a turn, keyed (session, process, turn), with the raw counter that the
//! CLI gave and its version; what a turn is charged is worked out from these, so
//! that a rule that proves wrong can be mended without losing what was seen. Where
//! it is not known what a counter means, the whole of it is charged. The engine
//! stores entries; time, prices and caps come as data.

mod prices;

pub use prices::{Price, PriceTable, Usage};

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{At, RepoName, RunId};
use crate::usd::Usd;

/// The name of a turn. Ordered as turns follow one another in a session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TurnKey {
    /// The executor's session.
    pub session: String,
    /// Which process of the session, in order of their starts.
    pub process: u32,
    /// Which turn of that process, in order.
    pub turn: u32,
}

/// What is known of a turn's cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cost", rename_all = "snake_case")]
pub enum Cost {
    /// It runs, and may use up what is left of its run's budget.
    Reserved {
        /// What was left when it started.
        left: Usd,
    },
    /// It left no result: what it streamed, at list prices.
    Estimated {
        /// That much.
        amount: Usd,
    },
    /// Its result line gave a counter.
    Reported {
        /// The counter, as it stood there.
        total: Usd,
        /// The turn's own cost, where the line gave that too.
        delta: Option<Usd>,
        /// What an answer that was cut off had streamed, at list prices: counters without
        /// a turn's own cost leave it out, though it is paid for.
        #[serde(default)]
        cut: Option<Usd>,
    },
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The run that it is charged to.
    pub run: RunId,
    /// That run's repo.
    pub repo: RepoName,
    /// When the turn began: the day that it is charged to (UTC).
    pub at: At,
    /// The CLI's version, as it says itself; empty where it was not seen.
    pub cli_version: String,
    /// What is known.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What a turn is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// That much.
    pub amount: Usd,
    /// How it is known.
    pub basis: Basis,
}

/// How a charge is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Not yet spent: set aside for a turn that runs.
    Reserved,
    /// Streamed usage at list prices.
    Estimated,
    /// The turn's own cost, as reported.
    Delta,
    /// The difference to the counter before it.
    Difference,
    /// The whole counter.
    Whole,
}

/// Whether it was measured what the cost counter of this version counts. The whole of
/// any other's counts for each turn, so that a budget is spent sooner.
pub fn is_measured(cli_version: &str) -> bool {
    Counter::of(cli_version) != Counter::Unknown
}

/// What the CLI's counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counter {
    /// All turns of the session, across its processes.
    Session,
    /// All turns of one process.
    Process,
    /// Nobody looked.
    Unknown,
}

impl Counter {
    /// As measured, on these versions alone.
    fn of(version: &str) -> Self {
        // The CLI writes `2.1.329` in its stream and `2.1.329 (…)` on `--version`.
        match version.split_whitespace().next() {
            Some("2.1.329") => Self::Session,
            Some("2.1.197") => Self::Process,
            Some(_) | None => Self::Unknown,
        }
    }
}

/// All entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<TurnKey, Entry>);

impl FromIterator<(TurnKey, Entry)> for Ledger {
    fn from_iter<I: IntoIterator<Item = (TurnKey, Entry)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl Ledger {
    /// Records a turn; what was recorded of it before is replaced.
    pub fn record(&mut self, key: TurnKey, entry: Entry) {
        self.0.insert(key, entry);
    }

    /// What each turn is charged, in key order.
    pub fn charges(&self) -> impl Iterator<Item = (&TurnKey, &Entry, Charge)> {
        // The last counter seen: its session, its process, its version's meaning.
        let mut last: Option<(&TurnKey, Counter, Usd)> = None;
        self.0.iter().map(move |(key, entry)| {
            let charge = match &entry.cost {
                Cost::Reserved { left } => Charge { amount: *left, basis: Basis::Reserved },
                Cost::Estimated { amount } => Charge { amount: *amount, basis: Basis::Estimated },
                Cost::Reported { total, delta, cut } => {
                    let counter = Counter::of(&entry.cli_version);
                    let before = last.filter(|(k, c, t)| {
                        *c == counter
                            && k.session == key.session
                            // A counter that went back began anew.
                            && *t <= *total
                            && match counter {
                                Counter::Session => true,
                                Counter::Process => k.process == key.process,
                                Counter::Unknown => false,
                            }
                    });
                    last = Some((key, counter, *total));
                    let told = match (delta, before) {
                        (Some(delta), _) => Charge { amount: *delta, basis: Basis::Delta },
                        (None, Some((_, _, before))) => {
                            Charge { amount: total.less(before), basis: Basis::Difference }
                        }
                        (None, None) => Charge { amount: *total, basis: Basis::Whole },
                    };
                    match cut {
                        Some(cut) if delta.is_none() => {
                            Charge { amount: told.amount + *cut, basis: Basis::Estimated }
                        }
                        Some(_) | None => told,
                    }
                }
            };
            (key, entry, charge)
        })
    }

    /// What a run has spent, without reservations.
    pub fn spent(&self, run: RunId) -> Usd {
        self.sum(|entry, basis| entry.run == run && basis != Basis::Reserved)
    }

    /// What was spent on a repo on a day, without reservations.
    pub fn spent_on_repo(&self, repo: &RepoName, day: Date) -> Usd {
        self.sum(|e, basis| e.repo == *repo && day_of(e.at) == day && basis != Basis::Reserved)
    }

    /// What was spent on a day, without reservations.
    pub fn spent_on_day(&self, day: Date) -> Usd {
        self.sum(|entry, basis| day_of(entry.at) == day && basis != Basis::Reserved)
    }

    /// Everything, with reservations.
    pub fn total(&self) -> Usd {
        self.sum(|_, _| true)
    }

    /// What is left of a run's budget: what its next process may be started with.
    pub fn left(&self, run: RunId, budget: Usd) -> Usd {
        budget.less(self.spent(run))
    }

    /// Whether a run has used up its budget.
    pub fn used_up(&self, run: RunId, budget: Usd) -> bool {
        self.left(run, budget) == Usd::ZERO
    }

    /// Whether a part of what a run spent is estimated.
    pub fn has_estimates(&self, run: RunId) -> bool {
        self.charges().any(|(_, e, charge)| e.run == run && charge.basis == Basis::Estimated)
    }

    /// Whether the caps leave room for the whole budget of one more run on `repo`.
    ///
    /// Each live run counts as if it used up its budget today.
    pub fn room_for(
        &self,
        repo: &RepoName,
        live: &[LiveRun],
        day: Date,
        caps: &SpendCaps,
    ) -> Result<(), CapReached> {
        let set_aside = |counts: &dyn Fn(&LiveRun) -> bool| -> Usd {
            live.iter().filter(|run| counts(run)).map(|l| self.left(l.run, l.budget)).sum()
        };
        let ask = |cap: Cap, limit: Usd, spent: Usd, set_aside: Usd| {
            let needed = spent + set_aside + caps.run;
            if needed <= limit {
                Ok(())
            } else {
                Err(CapReached { cap, limit, spent, set_aside, budget: caps.run })
            }
        };
        let on_repo = set_aside(&|run| run.repo == *repo);
        ask(Cap::RepoDay, caps.repo_day, self.spent_on_repo(repo, day), on_repo)?;
        ask(Cap::AllDay, caps.all_day, self.spent_on_day(day), set_aside(&|_| true))
    }

    fn sum(&self, counts: impl Fn(&Entry, Basis) -> bool) -> Usd {
        let charges = self.charges().filter(|(_, entry, charge)| counts(entry, charge.basis));
        charges.map(|(_, _, charge)| charge.amount).sum()
    }
}

/// The UTC day of a time.
pub fn day_of(at: At) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

/// A run that is live, and its budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRun {
    /// The run.
    pub run: RunId,
    /// Its repo.
    pub repo: RepoName,
    /// Its budget, which a person may have changed.
    pub budget: Usd,
}

/// How much may be spent, in US dollars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpendCaps {
    /// By one run: its budget.
    pub run: Usd,
    /// On one repo a day (UTC).
    pub repo_day: Usd,
    /// On all repos a day (UTC).
    pub all_day: Usd,
}

impl Default for SpendCaps {
    fn default() -> Self {
        let dollars = Usd::dollars;
        Self { run: dollars(100), repo_day: dollars(300), all_day: dollars(500) }
    }
}

/// Which cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cap {
    /// On one repo a day.
    RepoDay,
    /// On all repos a day.
    AllDay,
}

/// A cap that leaves no room for one more run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapReached {
    /// Which.
    pub cap: Cap,
    /// The cap.
    pub limit: Usd,
    /// What was spent today.
    pub spent: Usd,
    /// What is set aside for live runs.
    pub set_aside: Usd,
    /// What one more run may spend.
    pub budget: Usd,
}

impl fmt::Display for CapReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.cap {
            Cap::RepoDay => "this repo",
            Cap::AllDay => "all repos",
        };
        let Self { limit, spent, set_aside, budget, .. } = self;
        write!(
            f,
            "the daily cap of {limit} for {whose} has no room for a run of {budget}: \
             {spent} spent today, {set_aside} set aside for live runs",
        )
    }
}

#[cfg(test)]
mod tests;
