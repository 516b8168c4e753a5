//! Whether the stages that are polled can be asked: each is asked once about the head of the
//! default branch.
//!
//! Only reads. A stage that answers is in order, whatever its answer: a red default branch is the
//! loop's business. A stage that cannot be asked is a warning or a failure.

use std::time::Duration;

use afk_core::config::Repo;
use afk_core::ids::{Oid, RepoName, RunId};
use afk_engine::ports::{PortError, PortErrorKind, StageQuery};
use futures_util::future::join_all;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Check, Finding};
use crate::App;

/// How long one stage may take to answer: less than the time limit of the check of the repo's
/// remote, of which it is a part.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks every polled stage of the repo, side by side.
pub(super) async fn examine(app: &App, name: &RepoName, repo: &Repo, head: &Oid) -> Vec<Finding> {
    let polled = repo.stages.iter().filter(|stage| stage.command.is_empty());
    let asked = polled.map(|stage| async move {
        let query = StageQuery {
            // No run asks; a polled stage starts nothing that needs the id.
            run: RunId::new(Uuid::nil()),
            repo: name.clone(),
            stage: stage.clone(),
            commit: head.clone(),
            landed: true,
            again: 0,
        };
        let about = format!("stage {}", stage.name);
        let late = |_| {
            let seconds = PATIENCE.as_secs();
            Err(PortError::transient(format!("no answer within {seconds} seconds")))
        };
        match timeout(PATIENCE, app.engine.ports().stages.poll(&query)).await.unwrap_or_else(late) {
            Ok(report) => {
                let says = format!("can be asked; of {} it says: {}", head.short(), report.answer);
                Check::of(name.as_str(), &about).ok(says)
            }
            Err(error) => unasked(Check::of(name.as_str(), &about), &error),
        }
    });
    join_all(asked).await
}

/// Why a stage cannot be asked, and how to fix it.
fn unasked(check: Check<'_>, error: &PortError) -> Finding {
    let says = error.chain();
    match error.kind {
        PortErrorKind::RateLimited { .. } => {
            check.warning(says, "wait, or give the stage a credential with a quota of its own")
        }
        PortErrorKind::Auth => {
            check.failure(says, "give the stage, or its forge, a credential that may read there")
        }
        PortErrorKind::NotFound => check.failure(
            says,
            "check the names in the stage's table, and that its credential may see them",
        ),
        PortErrorKind::Transient | PortErrorKind::Permanent | PortErrorKind::Cancelled => check
            .failure(
                says,
                "check the stage's url, and whether it can be reached from here: nothing lands \
                 that it cannot judge",
            ),
    }
}
