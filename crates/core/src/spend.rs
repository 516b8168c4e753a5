//! The ledger of what agents cost.
//!
//! One entry for each turn, keyed (session, process, turn), with the raw counter that the CLI
//! reported and its version. Charges are computed from the entries, so that a wrong rule can be
//! fixed without losing data. If it is not known what a counter means, the whole of it is charged.
//! The engine stores entries; time and prices are arguments.

mod prices;

pub use prices::{Price, PriceTable, Usage};

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::ids::{At, RepoName, RunId};
use crate::usd::Usd;

/// The key of a turn. Ordered as the turns of a session follow each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TurnKey {
    /// The executor's session.
    pub session: String,
    /// Which process of the session, in order of start.
    pub process: u32,
    /// Which turn of that process, in order.
    pub turn: u32,
}

/// What is known of a turn's cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cost", rename_all = "snake_case")]
pub enum Cost {
    /// The turn left no result, so that its cost is estimated.
    Estimated {
        /// The streamed usage at list prices; if none is known, what the agent's table says that a
        /// turn costs, or else all that was reserved for it.
        amount: Usd,
    },
    /// Its result line gave a counter.
    Reported {
        /// The counter as reported.
        total: Usd,
        /// The turn's own cost, if the result line has it.
        delta: Option<Usd>,
        /// What an answer that was cut off had streamed, at list prices: counters without a turn's
        /// own cost omit it, although it is charged.
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
    /// When the turn began, which determines the day that it is charged to (UTC).
    pub at: At,
    /// The CLI's version as it reports it; empty if it was not seen.
    pub cli_version: String,
    /// What is known of the cost.
    #[serde(flatten)]
    pub cost: Cost,
}

/// The charge for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// What is charged.
    pub amount: Usd,
    /// How it was determined.
    pub basis: Basis,
}

/// How a charge was determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// At least a part is streamed usage at list prices.
    Estimated,
    /// The turn's own cost, as reported.
    Delta,
    /// The difference to the previous counter.
    Difference,
    /// The whole counter.
    Whole,
}

/// Whether it is known what the cost counter of this CLI version counts. For other versions the
/// whole counter is charged for each turn, so that a budget runs out sooner.
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
    /// Not known.
    Unknown,
}

impl Counter {
    /// The counter's meaning as measured, for these versions only.
    fn of(version: &str) -> Self {
        // The CLI writes `2.1.329` in its stream and `2.1.329 (…)` on `--version`.
        match version.split_whitespace().next() {
            Some("2.1.329") => Self::Session,
            Some("2.1.197") => Self::Process,
            Some(_) | None => Self::Unknown,
        }
    }
}

/// The entries of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<TurnKey, Entry>);

impl FromIterator<(TurnKey, Entry)> for Ledger {
    fn from_iter<I: IntoIterator<Item = (TurnKey, Entry)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl Ledger {
    /// Records a turn, replacing an earlier record of it.
    pub fn record(&mut self, key: TurnKey, entry: Entry) {
        self.0.insert(key, entry);
    }

    /// The charge for each turn, in key order.
    pub fn charges(&self) -> impl Iterator<Item = (&TurnKey, &Entry, Charge)> {
        // The last counter seen: its session, its process, its version's meaning.
        let mut last: Option<(&TurnKey, Counter, Usd)> = None;
        self.0.iter().map(move |(key, entry)| {
            let charge = match &entry.cost {
                Cost::Estimated { amount } => Charge { amount: *amount, basis: Basis::Estimated },
                Cost::Reported { total, delta, cut } => {
                    let counter = Counter::of(&entry.cli_version);
                    let before = last.filter(|(k, c, t)| {
                        *c == counter
                            && k.session == key.session
                            // A counter that went back started over.
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
                        (None, Some((_, _, before))) => Charge {
                            amount: total.saturating_sub(before),
                            basis: Basis::Difference,
                        },
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

    /// The total of all charges.
    pub fn total(&self) -> Usd {
        self.charges().map(|(_, _, charge)| charge.amount).sum()
    }

    /// Whether a part of the total is estimated.
    pub fn has_estimates(&self) -> bool {
        self.charges().any(|(_, _, charge)| charge.basis == Basis::Estimated)
    }
}

/// The UTC day of a time.
pub fn day_of(at: At) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

#[cfg(test)]
mod tests;
