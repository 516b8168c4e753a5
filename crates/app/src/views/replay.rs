//! Makes a run's decisions again from its journal, and compares. Only reads.
//!
//! The run's own row in the store fixes the end of its journal. Somebody who rewrites both in the
//! store does not thereby change the rows in the kept bundle, so these are compared, too.

use std::io::{self, Read as _};

use afk_core::evidence::bundle::Bundle;
use afk_core::ids::{IssueRef, RunId};
use afk_core::replay::{Replayed, Row, replay};
use afk_core::run::Run;
use afk_engine::ports::{JournalRow, Journals as _};
use afk_store::{JournalFault, JournalReport};
use serde::Serialize;

use super::show::journal;
use crate::Error;
use crate::operator::{Operator, bundle_file};

/// Maximum number of bytes read of a bundle.
const LARGEST: u64 = 256 << 20;

/// The result of making a run's decisions again.
#[derive(Debug, Serialize)]
pub struct ReplayPage {
    /// The run.
    pub run: RunId,
    /// Its issue.
    pub issue: IssueRef,
    /// Whether its rows are unedited and complete.
    pub chain: Chain,
    /// How the rows in its kept bundle compare with the store's; none if no bundle is kept.
    pub kept: Option<KeptRows>,
    /// Its decisions, made again; none if the rows cannot be read.
    pub replayed: Option<Replayed>,
}

/// The rows in a kept bundle, compared with those of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kept", rename_all = "lowercase")]
pub enum KeptRows {
    /// The rows are the same.
    Same,
    /// The rows are not the same.
    Differs {
        /// The first difference, or whose bundle it is instead.
        why: String,
    },
    /// The bundle cannot be read.
    Unreadable {
        /// Why it cannot be read.
        why: String,
    },
}

/// The hash chain of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "chain", rename_all = "lowercase")]
pub enum Chain {
    /// Every row is there and matches its hash.
    Whole,
    /// A row is missing, or was changed.
    Broken {
        /// The first such row, counted from 1.
        row: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ReplayPage {
    /// Whether the chain is whole, the kept rows agree, and every decision comes out as stored.
    pub fn same(&self) -> bool {
        let none = self.replayed.as_ref().is_some_and(|one| one.differences.is_empty());
        let kept = self.kept.as_ref().is_none_or(|kept| *kept == KeptRows::Same);
        none && kept && self.chain == Chain::Whole
    }

    /// Makes the decisions of `run` again.
    pub async fn read(operator: &Operator, run: Run) -> Result<Self, Error> {
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
        let kept = kept(operator, &run).await?;
        Ok(Self { run: run.id, issue: run.issue, chain, kept, replayed })
    }
}

/// Compares the rows in the run's kept bundle with the store's; none if no bundle is kept.
async fn kept(operator: &Operator, run: &Run) -> Result<Option<KeptRows>, Error> {
    let file = bundle_file(&operator.config, run.id)?;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&file)
        .and_then(|opened| opened.take(LARGEST).read_to_end(&mut bytes).map(drop));
    let bundle = match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(()) => Bundle::read(&bytes).map_err(|why| why.to_string()),
    };
    let bundle = match bundle {
        Ok(bundle) => bundle,
        Err(why) => return Ok(Some(KeptRows::Unreadable { why })),
    };
    let rows = operator.store.chain(run.id).await?;
    let stray = bundle.of(run.id, Some(&run.issue)).into_iter().next();
    let stray = stray.or_else(|| bundle.against(&rows)).map(|stray| stray.to_string());
    Ok(Some(stray.map_or(KeptRows::Same, |why| KeptRows::Differs { why })))
}

const fn describe(fault: JournalFault) -> &'static str {
    match fault {
        JournalFault::Missing => "it is missing: its place is empty or taken by another row",
        JournalFault::Edited => "it was edited: its content does not match its hash",
        JournalFault::Unchained => "it does not follow the row before it",
        JournalFault::HeadDiffers => "the run's record names a different last row",
    }
}
