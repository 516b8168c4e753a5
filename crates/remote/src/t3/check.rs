//! `afk t3 check`: tries everything that the loop does with a server on that server, as it is
//! configured, and deletes what it made. It calls a model, for a few words.
//!
//! Where the control plane lands, an agent works in a folder of ours: an empty one is made for the
//! check, which shows whether the server reaches it at the configured path.

use std::time::Duration;

use afk_core::checkout::Checkout;
use afk_core::ids::{At, JobKey, JobOf, RepoName, RunId};
use afk_core::run::{TurnEnd, TurnSeen};
use afk_core::usd::Usd;
use afk_engine::ports::{Executor as _, PortError, PortResult, TurnRequest};
use jiff::SignedDuration;

use super::executor::T3Executor;
use super::ids;
use super::protocol::{Action, Freshness};

/// How long a turn of the check may take.
const TAKES: SignedDuration = SignedDuration::from_mins(3);

/// The step in which a workspace is made.
const WORKSPACE: &str = "workspace";

/// A step of the check, and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckStep {
    /// A word for what was tried, such as `reach` or `interrupt`.
    pub step: &'static str,
    /// What was seen, or why the step failed, as text for people.
    pub says: Result<String, String>,
}

impl T3Executor {
    /// Tries the server in the project of `repo`, under the id of a new run.
    pub(super) async fn check(&self, repo: &RepoName, run: RunId) -> Vec<CheckStep> {
        let mut all = Vec::new();
        let done = match self.make_workspace(run, &mut all).await {
            Ok(()) => self.check_steps(repo, run, &mut all).await,
            Err(error) => Err((WORKSPACE, error)),
        };
        if let Err((step, error)) = done {
            all.push(CheckStep { step, says: Err(error.chain()) });
        }
        let says = self.clean_up(run).await.map_err(|error| error.chain());
        all.push(CheckStep { step: "clean up", says });
        all
    }

    /// Makes the folder that the agent works in, if it is one of ours.
    async fn make_workspace(&self, run: RunId, all: &mut Vec<CheckStep>) -> PortResult<()> {
        match self.table.checkout() {
            Checkout::Own => Ok(()),
            Checkout::Ours => {
                let (here, there) = ((self.workspaces.of)(run), self.workspace(run)?);
                let made = tokio::fs::create_dir_all(&here).await;
                made.map_err(|error| {
                    PortError::permanent(format!("cannot make {}: {error}", here.display()))
                })?;
                let says = if there == here.to_string_lossy() {
                    there
                } else {
                    format!("{}, {there} on the server's machine", here.display())
                };
                all.push(CheckStep { step: WORKSPACE, says: Ok(says) });
                Ok(())
            }
        }
    }

    async fn check_steps(
        &self,
        repo: &RepoName,
        run: RunId,
        all: &mut Vec<CheckStep>,
    ) -> Result<(), (&'static str, PortError)> {
        let mut note = |step, says: String| all.push(CheckStep { step, says: Ok(says) });
        let failed = |step: &'static str| move |error: PortError| (step, error);
        self.server.authenticated().await.map_err(failed("reach"))?;
        let connection = self.server.connect().await.map_err(failed("reach"))?;
        let (about, tested) =
            (&connection.about, if connection.is_tested() { "" } else { ", untested so far" });
        note(
            "reach",
            format!("T3 Code {}, protocol {}{tested}", about.server_version, connection.number),
        );
        let first = request(repo, run, 1, "Answer with the single word ready. Use no tools.");
        self.start(&first).await.map_err(failed("start"))?;
        self.start(&first).await.map_err(failed("start again"))?;
        note("start", self.server.link(&ids::thread(run, 0)));
        let said = self.ends(repo, &first).await.map_err(failed("end"))?;
        note("end", said);
        let second =
            request(repo, run, 2, "Count from 1 to 2000, one number a line. Use no tools.");
        self.start(&second).await.map_err(failed("second turn"))?;
        self.until(repo, &second, |seen| !matches!(seen, TurnSeen::Absent))
            .await
            .map_err(failed("second turn"))?;
        self.interrupt(repo, &second.key).await.map_err(failed("interrupt"))?;
        let said = self.ends(repo, &second).await.map_err(failed("interrupt"))?;
        note("interrupt", said);
        let alive = self.alive(repo, run).await.map_err(failed("alive"))?;
        let says = if alive.is_empty() { "nothing" } else { "the interrupted turn" };
        note("at work after it", says.to_owned());
        Ok(())
    }

    /// Waits for the end of the turn, and says how it ended.
    async fn ends(&self, repo: &RepoName, turn: &TurnRequest) -> PortResult<String> {
        let over = |seen: &TurnSeen| matches!(seen, TurnSeen::Ended { .. });
        let seen = self.until(repo, turn, over).await?;
        let TurnSeen::Ended { how, .. } = seen else {
            return Err(PortError::transient("it has not ended"));
        };
        match how {
            TurnEnd::Finished { message } => Ok(format!("finished: {message}")),
            TurnEnd::Interrupted => Ok("interrupted".to_owned()),
            TurnEnd::Failed { message }
            | TurnEnd::Hopeless { message }
            | TurnEnd::Unavailable { message, .. } => Err(PortError::permanent(message)),
            TurnEnd::Stalled | TurnEnd::Lost => Err(PortError::permanent("it was lost")),
            TurnEnd::Limited { .. } => Err(PortError::permanent("a usage limit")),
        }
    }

    /// Waits until the turn is `like` that, and returns it.
    async fn until(
        &self,
        repo: &RepoName,
        turn: &TurnRequest,
        like: impl Fn(&TurnSeen) -> bool,
    ) -> PortResult<TurnSeen> {
        let until = self.clock.now().checked_add(TAKES).unwrap_or(At::MAX);
        loop {
            let seen = self.observe(repo, &turn.key).await?.seen;
            if like(&seen) {
                return Ok(seen);
            }
            if self.clock.now() >= until {
                let minutes = TAKES.as_mins();
                return Err(PortError::transient(format!(
                    "turn {} is still {seen:?} after {minutes} minutes",
                    turn.n
                )));
            }
            self.changed(repo, &turn.key, Duration::from_secs(5)).await;
        }
    }

    /// Deletes the workspace and the threads that were made.
    async fn clean_up(&self, run: RunId) -> PortResult<String> {
        let connection = self.server.connect().await?;
        let here = (self.workspaces.of)(run);
        if self.table.checkout() == Checkout::Ours && here.exists() {
            let removed = tokio::fs::remove_dir_all(&here).await;
            removed.map_err(|error| {
                PortError::permanent(format!("cannot remove {}: {error}", here.display()))
            })?;
            if let Some(run) = here.parent().filter(|run| **run != self.workspaces.root) {
                // The run's folder is empty now, unless somebody put something there: then it
                // stays.
                let _ = tokio::fs::remove_dir(run).await;
            }
        }
        let mut deleted = 0;
        for generation in 0..=self.notes.run(run).await?.generation {
            let thread = &ids::thread(run, generation);
            if connection.protocol.look(thread, Freshness::Now).await?.thread.is_none() {
                continue;
            }
            let now = self.clock.now().as_millisecond();
            let id = |what: &str| ids::command(run, &format!("{what}-{thread}-{now}"));
            if connection.protocol.stops_sessions() {
                self.tell(&connection, id("stop"), Action::StopSession { thread }).await?;
            }
            self.tell(&connection, id("delete"), Action::Delete { thread }).await?;
            deleted += 1;
        }
        Ok(format!("deleted {deleted} threads"))
    }
}

fn request(repo: &RepoName, run: RunId, n: u32, prompt: &str) -> TurnRequest {
    TurnRequest {
        key: JobKey::new(run, JobOf::Turn, &n.to_string()),
        run,
        repo: repo.clone(),
        thread: run.thread(),
        n,
        prompt: prompt.to_owned(),
        opening_prompt: prompt.to_owned(),
        budget: Usd::dollars(1),
        deadline: Duration::from_mins(10),
        network: afk_core::network::AgentNetwork::Open,
    }
}
