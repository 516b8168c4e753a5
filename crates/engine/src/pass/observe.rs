//! What one pass observes: only what [`afk_core::run::ObservationScope`] asks for. What cannot be read counts
//! as unknown, never as ended.

use afk_core::ids::{JobKey, JobOf};
use afk_core::impediment::kept;
use afk_core::request::Request;
use afk_core::run::{IssueSeen, Names, Observation, TurnEnd, TurnSeen, WorkspaceInspection};

use super::Pass;
use super::requests::budget_room;
use crate::ports::{FetchedHead, JobState, PortError, PortResult};

/// Maximum number of paths in the record of a dirty workspace.
const NAMED_PATHS: usize = 20;

impl Pass<'_> {
    /// Observes what can be observed; the error is why it broke off, if it did.
    pub(super) async fn observe(&self) -> (Observation, Option<PortError>) {
        // Until the contrary is seen, everything counts as at work.
        let unknown =
            Observation { alive: true, working: true, far: true, ..Observation::default() };
        let mut seen = Observation { dropped: self.dropped, ..unknown };
        let broke_off = self.look(&mut seen).await.err();
        seen.broke_off = broke_off.as_ref().map(|error| kept(&error.chain()));
        let repo = &self.run.issue.repo;
        if self.dropped && (self.run.unconfirmed_push().is_some() || self.run.agent_lands()) {
            let why = format!("{repo} is not configured any more, so its remote cannot be read");
            seen.remote_unreadable = Some(why);
        }
        let switches = self.brake.switches();
        seen.halted = self.brake.halted();
        seen.frozen = switches.as_ref().is_none_or(|now| now.freeze_of(repo).is_some());
        (seen, broke_off)
    }

    /// Observes one thing after another, as far as possible.
    async fn look(&self, seen: &mut Observation) -> PortResult<()> {
        let (scope, id) = (self.run.observation_scope(), self.run.id);
        if scope.issue {
            // The issue first: errors of the rest are shown on it.
            seen.issue = self.issue().await;
        }
        let mut alive = self.ports().jobs.alive(id).await?;
        let any = !alive.is_empty();
        if self.run.conclusion.is_some() {
            // The last hook belongs to settling the run, which stops everything else.
            let last = self.hook_key("before_remove", "0");
            alive.retain(|key| *key != last);
        }
        // A job of an unknown kind is not a stage, and may be at work.
        let is_stage = |key: &JobKey| key.of() == Some(JobOf::Stage);
        seen.judging = alive.iter().any(|key| key.of().is_some_and(JobOf::judges));
        seen.staging = alive.iter().any(is_stage);
        seen.far = !self.alive_far().await?.is_empty();
        seen.alive = seen.far || !alive.is_empty();
        seen.working = seen.far || !alive.iter().all(is_stage);
        if any {
            match self.ports().jobs.renew(id).await {
                // The run has ended: its jobs need no renewal, and its end must be shown.
                Err(error) if self.run.conclusion.is_some() => {
                    tracing::warn!(run.id = %id, error = error.chain(), "a job cannot be observed");
                }
                renewed => renewed?,
            }
        }
        seen.staging = seen.staging || self.has_unrecorded_answer().await?;
        let requests = self.open_requests().await?;
        if requests.iter().any(|request| matches!(request.what, Request::Budget { .. })) {
            let (store, now) = (&*self.ports().store, self.now());
            seen.budget_room = budget_room(store, &self.config, &self.run, now).await?;
        }
        seen.requests = requests;
        if let Some(n) = scope.turn {
            let (turn, link) = self.turn(n).await;
            seen.thread_link = link;
            if matches!(&turn, TurnSeen::Ended { how: TurnEnd::Interrupted, .. }) {
                // The halt that stopped it may be newer than our last read of the switches.
                self.brake.read(self.ports()).await;
            }
            seen.turn = Some(turn);
        }
        if scope.gates || self.run.is_unstarted(seen.turn.as_ref()) {
            seen.gates = Some(self.engine.gates_of(&self.run, &self.config, self.brake).await);
        }
        if let Some(n) = scope.workspace.filter(|_| !self.dropped) {
            seen.left = self.left(n).await?;
        }
        Ok(())
    }

    async fn issue(&self) -> Option<IssueSeen> {
        let tracker = &self.ports().tracker;
        let both = async {
            let view = tracker.issue(&self.run.issue).await?;
            PortResult::Ok((view, tracker.own_account(&self.run.issue.repo).await?))
        };
        let (view, own) = match both.await {
            Ok(both) => both,
            Err(error) => {
                tracing::warn!(run.id = %self.run.id, error = error.chain(), "issue unreadable");
                return None;
            }
        };
        let has = |label: &str| view.issue.has(label);
        Some(IssueSeen {
            open: view.issue.open,
            ready: has(&self.config.ready_label),
            in_progress: has(&self.config.in_progress_label),
            human: has(&self.config.human_label),
            enrolled: self.config.allowlist.contains(&self.run.issue.repo),
            own_account: own.id,
            events: view.events,
        })
    }

    /// The run's turns that are at work somewhere else than on this machine. Only the executor that
    /// the run was begun with knows them.
    async fn alive_far(&self) -> PortResult<Vec<JobKey>> {
        let (executor, repo) = (&self.ports().executor, &self.run.issue.repo);
        let elsewhere = (self.dropped && self.run.agent_lands())
            || self.run.is_elsewhere(executor.checkout(repo)?, &executor.machine(repo)?);
        if elsewhere {
            if self.run.conclusion.is_some() {
                // The run has waited for an answer until its time was over.
                return Ok(Vec::new());
            }
            return Err(PortError::transient(self.run.out_of_reach()));
        }
        executor.alive(repo, self.run.id).await
    }

    /// The turn as its executor shows it, and a link where people can watch it.
    async fn turn(&self, n: u32) -> (TurnSeen, Option<String>) {
        let key = self.run.turn_key(n);
        match self.ports().executor.observe(&self.run.issue.repo, &key).await {
            Ok(report) => (report.seen, report.link),
            Err(error) => {
                tracing::warn!(run.id = %self.run.id, error = error.chain(), "turn unreadable");
                (TurnSeen::Unknown, None)
            }
        }
    }

    /// What the turn left in the workspace; none until the job that inspects it has ended.
    async fn left(&self, n: u32) -> PortResult<Option<WorkspaceInspection>> {
        let key = self.status_key(n);
        let JobState::Ended(end) = self.ports().jobs.observe(self.run.id, &key).await? else {
            return Ok(None);
        };
        if end.stopped {
            return Ok(None);
        }
        let fetched = self
            .ports()
            .git
            .fetch_head(&self.run.issue.repo, self.run.id, n, &self.token())
            .await?;
        let dirty = if end.code == Some(0) {
            status_paths(&end.stdout)
        } else {
            vec![format!("git status failed: {}", end.tail.trim())]
        };
        let FetchedHead { head, elsewhere, unfinished } = fetched;
        Ok(Some(WorkspaceInspection { head, dirty, elsewhere, unfinished }))
    }

    /// The key of the job that lists what turn `n` left uncommitted.
    pub(super) fn status_key(&self, n: u32) -> JobKey {
        JobKey::new(self.run.id, JobOf::Status, &n.to_string())
    }

    pub(super) fn names(&self) -> Names<'_> {
        Names { ready: &self.config.ready_label, in_progress: &self.config.in_progress_label }
    }
}

/// The first [`NAMED_PATHS`] paths in the output of `git status --porcelain=v1 -z`.
fn status_paths(output: &[u8]) -> Vec<String> {
    let entries = output.split(|byte| *byte == 0).filter(|entry| entry.len() > 3);
    entries.take(NAMED_PATHS).map(|entry| String::from_utf8_lossy(&entry[3..]).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_committed_is_read_with_any_path() {
        assert_eq!(status_paths(b" M a b\0?? x\ny\0A  z\0"), ["a b", "x\ny", "z"]);
        assert!(status_paths(b"").is_empty());
        assert_eq!(status_paths(&b"?? x\0".repeat(100)).len(), NAMED_PATHS);
    }
}
