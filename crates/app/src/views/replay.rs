//! A run's decisions made again from its journal. Only reads.

use afk_core::ids::{IssueRef, RunId};
use afk_core::replay::{Replayed, Row, replay};
use afk_core::run::Run;
use afk_engine::ports::JournalRow;
use afk_store::{JournalFault, JournalReport};
use serde::Serialize;

use super::show::journal;
use crate::Error;
use crate::operator::Operator;

/// A run's decisions made again.
#[derive(Debug, Serialize)]
pub struct ReplayPage {
    /// The run.
    pub run: RunId,
    /// Its issue.
    pub issue: IssueRef,
    /// Whether its rows are unedited and complete.
    pub chain: Chain,
    /// Its decisions, made again; none where the rows cannot be read.
    pub replayed: Option<Replayed>,
}

/// The hash chain of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "chain", rename_all = "lowercase")]
pub enum Chain {
    /// Every row is intact.
    Whole,
    /// A row is not.
    Broken {
        /// The first such row, counted from 1.
        row: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ReplayPage {
    /// Whether journal and decisions are as stored.
    pub fn same(&self) -> bool {
        let none = self.replayed.as_ref().is_some_and(|one| one.differences.is_empty());
        none && self.chain == Chain::Whole
    }

    /// Makes the decisions of `run` again.
    pub async fn look(operator: &Operator, run: Run) -> Result<Self, Error> {
        let chain = match operator.store.verify_journal(run.id).await? {
            JournalReport::Intact { .. } => Chain::Whole,
            JournalReport::Broken { run_seq, fault, .. } => {
                Chain::Broken { row: run_seq, why: describe(fault) }
            }
        };
        // A row that is no longer JSON cannot be read; the chain has already reported it.
        let replayed = match journal(&operator.store, &run).await {
            Ok(rows) => {
                let row = |row: JournalRow| Row { seq: row.seq, at: row.at, body: row.body };
                Some(replay(&rows.into_iter().map(row).collect::<Vec<_>>(), &run))
            }
            Err(error) if chain == Chain::Whole => return Err(error.into()),
            Err(_) => None,
        };
        Ok(Self { run: run.id, issue: run.issue, chain, replayed })
    }
}

const fn describe(fault: JournalFault) -> &'static str {
    match fault {
        JournalFault::Missing => "it is missing: its place is empty or taken by another row",
        JournalFault::Edited => "it was edited: its content does not match its hash",
        JournalFault::Unchained => "it does not follow the row before it",
        JournalFault::HeadDiffers => "the run's record names a different last row",
    }
}
