//! The restart scenario: a control plane in its own process is killed in mid-turn, and another one
//! works to the end.
//!
//! Both are this binary, started as a person would start it. The demo only watches the store and
//! the turn; it does not work on the run itself.

use std::process::Stdio;
use std::time::Duration;

use afk_core::run::TurnSeen;
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::error::DemoError;
use super::setup::Demo;

/// Time limit of each control plane.
const BOUND: Duration = Duration::from_mins(5);
/// How often the turn is polled.
const BEAT: Duration = Duration::from_millis(50);

/// A kill in mid-turn, and which process continued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restart {
    /// The id of the process that was killed.
    pub killed: u32,
    /// The id of the process that worked to the end.
    pub went_on: u32,
    /// Whether the turn ran before the kill and still ran after it.
    pub agent_went_on: bool,
}

impl Demo {
    /// Starts one control plane, kills it in mid-turn, and lets another finish; none if
    /// interrupted.
    pub(super) async fn restarted(
        &self,
        shutdown: &CancellationToken,
        tell: &dyn Fn(String),
    ) -> Result<Option<Restart>, DemoError> {
        let mut first = self.control_plane("control-1.log")?;
        let killed = pid(&first)?;
        tell(format!("control plane {killed} started"));
        let begun = tokio::select! {
            begun = within(self.turn_begun(&mut first)) => begun?,
            () = shutdown.cancelled() => return Ok(None),
        };
        // SIGKILL: it has no chance to clean up.
        first.kill().await.map_err(|e| trouble(format!("it could not be killed: {e}")))?;
        let agent_went_on = begun && self.turn_runs().await?;
        tell(format!("control plane {killed} was killed in the middle of the turn"));
        if agent_went_on {
            tell("the agent goes on under its host".to_owned());
        }
        let mut second = self.control_plane("control-2.log")?;
        let went_on = pid(&second)?;
        tell(format!("control plane {went_on} started, and finds the agent at work"));
        tokio::select! {
            ended = within(async { second.wait().await.map_err(|e| trouble(e.to_string())) }) => {
                let status = ended?;
                if !status.success() {
                    return Err(trouble(format!(
                        "{went_on} ended with {status}; see {}",
                        self.folder.join("control-2.log").display()
                    )));
                }
            }
            () = shutdown.cancelled() => return Ok(None),
        }
        Ok(Some(Restart { killed, went_on, agent_went_on }))
    }

    /// Starts a control plane that works until nothing is left to do.
    fn control_plane(&self, log: &str) -> Result<Child, DemoError> {
        let program = std::env::current_exe()
            .map_err(|e| trouble(format!("the path of the running program is unknown: {e}")))?;
        let log = self.folder.join(log);
        let err = std::fs::File::create(&log)
            .map_err(|e| trouble(format!("{} cannot be made: {e}", log.display())))?;
        let mut command = Command::new(&program);
        command
            .arg("--config")
            .arg(self.folder.join("afk.toml"))
            .args(["tick", "--poll", "--watch", "--verbose"])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(err))
            .kill_on_drop(true);
        // As for the demo itself: only the variables that concern the agents.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AFK_") && !text.starts_with("AFK_AGENTS__") {
                command.env_remove(&name);
            }
        }
        command.spawn().map_err(|e| trouble(format!("{} did not start: {e}", program.display())))
    }

    /// Waits until the first turn runs and the issue has the run's comment; false if `control`
    /// ended before. If it were killed while it posts the comment, the next control plane would
    /// have to wait until that is sure to show.
    async fn turn_begun(&self, control: &mut Child) -> Result<bool, DemoError> {
        loop {
            let shown = || self.forge.as_ref().is_none_or(|forge| forge.is_commented(&self.issue));
            if self.turn_runs().await? && shown() {
                return Ok(true);
            }
            if control.try_wait().map_err(|e| trouble(e.to_string()))?.is_some() {
                return Ok(false);
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Whether the turn of a live run is running, and its agent has produced output.
    async fn turn_runs(&self) -> Result<bool, DemoError> {
        let ports = self.app.engine.ports();
        for stored in ports.store.live().await? {
            let run = &stored.run;
            let Some(turn) = run.turn().filter(|turn| turn.ended.is_none()) else { continue };
            let report = ports.executor.observe(&run.issue.repo, &run.turn_key(turn.n)).await?;
            if matches!(report.seen, TurnSeen::Running { .. }) && report.last.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

async fn within<T>(work: impl Future<Output = Result<T, DemoError>>) -> Result<T, DemoError> {
    let late = |_| trouble(format!("it did not end within {} minutes", BOUND.as_secs() / 60));
    tokio::time::timeout(BOUND, work).await.map_err(late)?
}

fn pid(control: &Child) -> Result<u32, DemoError> {
    control.id().ok_or_else(|| trouble("it ended at once".to_owned()))
}

fn trouble(what: String) -> DemoError {
    DemoError::ControlPlane { what }
}
