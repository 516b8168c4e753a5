//! `replay`: a run's journal through this binary's decisions. Reads only.

use afk_core::replay::{Row, replay};

use super::Context;
use super::look::journal;
use crate::cli::desk::Desk;
use crate::cli::exit::Exit;
use crate::cli::failure::Answer;
use crate::cli::render::{self, Chain, ReplayPage};
use afk_store::{JournalFault, JournalReport};

pub(super) async fn run(context: &Context<'_>, text: &str) -> Answer {
    let desk = Desk::open_to_look(context.out, context.config()).await?;
    let run = desk.run(text).await?.run;
    let chain = match desk.store.verify_journal(run.id).await? {
        JournalReport::Intact { .. } => Chain::Whole,
        JournalReport::Broken { run_seq, fault, .. } => {
            Chain::Broken { row: run_seq, why: said(fault) }
        }
    };
    // A row that is no JSON any more cannot be read: then the chain tells all there is.
    let replayed = match journal(&desk, &run).await {
        Ok(rows) => {
            let row = |row: afk_engine::ports::JournalRow| Row {
                seq: row.seq,
                at: row.at,
                body: row.body,
            };
            Some(replay(&rows.into_iter().map(row).collect::<Vec<_>>(), &run))
        }
        Err(failure) if chain == Chain::Whole => return Err(failure),
        Err(_) => None,
    };
    desk.store.close().await;
    let page = ReplayPage { run: run.id, issue: run.issue, chain, replayed };
    context.out.result(&page, |paint| render::replayed(&page, paint))?;
    Ok(if page.same() { Exit::Done } else { Exit::Failure })
}

const fn said(fault: JournalFault) -> &'static str {
    match fault {
        JournalFault::Missing => "it is missing: another, or none, is in its place",
        JournalFault::Edited => "it was edited: its content does not give its hash",
        JournalFault::Unchained => "it does not follow on the row before it",
        JournalFault::HeadDiffers => "the run's record names another last row",
    }
}
