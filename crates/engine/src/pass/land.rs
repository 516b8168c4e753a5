//! From a head to the default branch: making the candidate, and the push.
//!
//! The candidate and its base are committed to the record before anything is done with them. Equal
//! inputs give an equal commit id, so that after a crash the remote shows whether the commit is
//! there already. The beginning of a push is recorded before the push, so that whatever the run
//! does next reads the remote first.

use std::collections::BTreeMap;

use afk_core::config::History;
use afk_core::ids::Oid;
use afk_core::impediment::{Impediment, NotRebuilt};
use afk_core::message;
use afk_core::plan::Refusal;
use afk_core::run::{
    AttemptRefusal, Candidate, PushFailure, Race, Transition, WorkspaceInspection, claimed_runs,
    forged_commit,
};

use super::brought::as_branch_commit;
use super::{Acted, Pass, Watch};
use crate::ports::{CommitSpec, LandingSearch, Merge, PortError, PortErrorKind, PortResult, Push};

/// The committer of every candidate: name and address.
pub(super) const COMMITTER: (&str, &str) = ("afk", "afk@localhost");

/// What the remote says of its default branch.
enum Now {
    /// The head of the default branch, which is the branch that the run began with.
    Head(Oid),
    /// Another branch is the default now, which was recorded as an impediment.
    Switched(Acted),
}

impl Pass<'_> {
    /// Merges the attempt's head with the default head and records the intent.
    pub(super) async fn integrate(&mut self) -> PortResult<Acted> {
        let Some((attempt, left)) = self.run.attempt().and_then(|a| Some((a.n, a.left.clone()?)))
        else {
            return Ok(Acted::Again);
        };
        if let Some(acted) = self.race().await? {
            return Ok(acted);
        }
        let (repo, branch) = (self.run.issue.repo.clone(), self.branch());
        let base = match self.default_now().await? {
            Now::Head(base) => base,
            Now::Switched(acted) => return Ok(acted),
        };
        if let Some(acted) = self.check_forged(&base).await? {
            return Ok(acted);
        }
        if self.run.landed().is_some()
            && let Some(acted) = self.confirm().await?
        {
            // People took the landed commit out: a correction on top of it is worth nothing.
            return Ok(acted);
        }
        let git = self.ports().git.clone();
        let from = self.stands_on(&left.head).await?;
        let gone = match from {
            Some(from) if !git.contains(&repo, &base, &from).await? => Some(from),
            Some(_) | None => None,
        };
        let merged = match &gone {
            None => git.merge(&repo, &base, &left.head).await?,
            Some(from) => match self.repo.history {
                History::Squash => git.transplant(&repo, &base, from, &left.head).await?,
                History::Merge => {
                    return self.rewritten(from, base, NotRebuilt::KeepsHistory).await;
                }
            },
        };
        match merged {
            Merge::Conflict { paths } => {
                if let Some(from) = gone {
                    // The commits that the head stands on were taken out, maybe for a reason.
                    return self.rewritten(&from, base, NotRebuilt::Conflict { paths }).await;
                }
                let detail = format!(
                    "the change conflicts with {branch} at {} in: {}",
                    base.short(),
                    paths.join(", ")
                );
                let why = Refusal::Conflict;
                let output = String::new();
                self.refuse(AttemptRefusal { why, detail, output, conflict: Some((base, paths)) })
                    .await
            }
            Merge::Clean { tree } if tree == git.tree(&repo, &base).await? => {
                let detail = format!("the commits change nothing that {branch} does not have");
                let (why, output) = (Refusal::Proof, String::new());
                self.refuse(AttemptRefusal { why, detail, output, conflict: None }).await
            }
            Merge::Clean { tree } => {
                let made = self.run.attempt().map_or(0, |attempt| attempt.candidates.len());
                let since = gone.as_ref().unwrap_or(&base).clone();
                let candidate = self.candidate(attempt, &left, base, tree, &since).await?;
                let candidate = Box::new(Candidate { rebuilt_from: gone, ..candidate });
                let name = format!("candidate-{attempt}-{}", made + 1);
                git.keep(&repo, self.run.id, &name, &candidate.commit).await?;
                self.commit(Transition::Integrated { candidate }).await?;
                Ok(Acted::Again)
            }
        }
    }

    /// Records an impediment if somebody else pushed a commit in a run's name since this run began;
    /// none if nobody did.
    ///
    /// Every candidate is made on a head that was checked here, and it is pushed only while the
    /// default branch is still at that head: so nothing lands on a commit that was not checked.
    async fn check_forged(&mut self, head: &Oid) -> PortResult<Option<Acted>> {
        let (ports, repo) = (self.ports(), &self.run.issue.repo);
        let mut since = None;
        for given in self.run.given().into_iter().rev() {
            if ports.git.contains(repo, head, given).await? {
                since = Some(given.clone());
                break;
            }
        }
        // If none is contained the history was rewritten, and old and new cannot be told apart.
        let Some(since) = since else { return Ok(None) };
        let commits = ports.git.commits(repo, &since, head).await?;
        let since: Vec<_> = commits.iter().map(as_branch_commit).collect();
        let mut runs = BTreeMap::new();
        for id in claimed_runs(&since) {
            if id == self.run.id {
                runs.insert(id, self.run.clone());
            } else if let Some(stored) = ports.store.load(id).await? {
                runs.insert(id, stored.run);
            }
        }
        let Some(commit) = forged_commit(head, &since, &runs).cloned() else { return Ok(None) };
        let branch = self.branch();
        self.impede(Impediment::Forged { commit, branch }).await.map(Some)
    }

    /// Waits before the attempt makes another candidate, if other pushes have overtaken the ones
    /// before, or gives the race up; none if the candidate may be made now.
    async fn race(&mut self) -> PortResult<Option<Acted>> {
        let (limits, now) = (self.config.limits(&self.repo), self.now());
        let race = self.run.attempt().map(|one| one.race(&limits, now, &self.run.pauses));
        match race {
            Some(Race::Lost { times, minutes }) => {
                self.impede(Impediment::Overtaken { times, minutes }).await.map(Some)
            }
            Some(Race::From(from)) if now < from => {
                Ok(Some(Acted::wait(Watch::Nothing, Some(from))))
            }
            Some(Race::From(_)) | None => Ok(None),
        }
    }

    /// The newest of the default branch's heads that the run was given which `head` contains; if it
    /// contains none, the head that the run began with.
    async fn stands_on(&self, head: &Oid) -> PortResult<Option<Oid>> {
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let given = self.run.given();
        for commit in &given {
            if git.contains(repo, head, commit).await? {
                return Ok(Some((*commit).clone()));
            }
        }
        // An agent that began a new history has still changed the tree that it was given.
        Ok(given.last().map(|start| (*start).clone()))
    }

    async fn rewritten(&mut self, gone: &Oid, head: Oid, why: NotRebuilt) -> PortResult<Acted> {
        let (branch, gone) = (self.branch(), gone.clone());
        self.impede(Impediment::Rewritten { branch, gone, head, why }).await
    }

    async fn candidate(
        &self,
        attempt: u32,
        left: &WorkspaceInspection,
        base: Oid,
        tree: Oid,
        since: &Oid,
    ) -> PortResult<Candidate> {
        let repo = &self.run.issue.repo;
        let commits = self.ports().git.commits(repo, since, &left.head).await?;
        let texts: Vec<&str> = commits.iter().map(|commit| commit.message.as_str()).collect();
        let message = message::landing(&texts, self.run.issue.number, self.run.id, attempt);
        // From the configuration, because an agent's commits may claim anybody's name.
        let author = &self.repo.author;
        let author = (author.name().to_owned(), author.address().to_owned());
        let at = self.now();
        let parents = match self.repo.history {
            afk_core::config::History::Squash => vec![base.clone()],
            afk_core::config::History::Merge => vec![base.clone(), left.head.clone()],
        };
        let spec = CommitSpec { tree: tree.clone(), parents, message, author, at };
        let commit = self.ports().git.commit(repo, &spec).await?;
        Ok(Candidate::new(base, left.head.clone(), commit, tree, at))
    }

    /// Records the refusal of the attempt, which ends it before it lands.
    pub(super) async fn refuse(&mut self, refused: AttemptRefusal) -> PortResult<Acted> {
        self.commit(Transition::Refused { refused }).await?;
        Ok(Acted::Again)
    }

    /// Pushes the candidate to the default branch, or finds that it is there.
    ///
    /// The remote is read before and after the push: whatever happened in between, or to a previous
    /// process, only what the remote shows counts. If its head is not the candidate's base the
    /// branch has moved, whatever the answer to the push was.
    pub(super) async fn land(&mut self) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        if let Some(acted) = self.found(&candidate).await? {
            return Ok(acted);
        }
        if let Some(acted) = self.after_unpushed(&candidate).await? {
            return Ok(acted);
        }
        // A branch that was reset to before the candidate's base would take the push, too, and with
        // it commits that people took out.
        match self.default_now().await? {
            Now::Head(head) if head == candidate.base => {}
            Now::Head(_) => return self.integrate().await,
            Now::Switched(acted) => return Ok(acted),
        }
        if candidate.sent_at.is_none() {
            self.commit(Transition::PushBegun).await?;
        }
        if !self.may_push().await? {
            return Ok(Acted::Again);
        }
        let (repo, branch) = (self.run.issue.repo.clone(), self.branch());
        let pushed =
            self.ports().git.push(&repo, &branch, &candidate.commit, &self.token()).await?;
        if let Some(acted) = self.found(&candidate).await? {
            return Ok(acted);
        }
        let taken = matches!(pushed, Push::Landed);
        if !taken && self.has_moved(&candidate).await? {
            return self.integrate().await;
        }
        self.unpushed(branch, pushed).await
    }

    /// The head of the default branch now. If another branch has become the default, the run is
    /// handed over: policy, tests and release were those of the old one, and what landed there may
    /// be missing from the new one.
    async fn default_now(&mut self) -> PortResult<Now> {
        let (repo, from) = (self.run.issue.repo.clone(), self.branch());
        let now = self.ports().git.prepare_mirror(&repo, &self.token()).await?;
        if now.branch == from {
            return Ok(Now::Head(now.base));
        }
        let landed = self.run.landed().is_some();
        if landed && let Some(acted) = self.confirm().await? {
            return Ok(Now::Switched(acted));
        }
        let remote = self.ports().git.remote(&repo);
        let by = Impediment::Switched { from, to: now.branch, remote, landed };
        self.impede(by).await.map(Now::Switched)
    }

    /// Whether somebody else pushed to the default branch since the candidate was made.
    async fn has_moved(&self, candidate: &Candidate) -> PortResult<bool> {
        let (repo, branch) = (&self.run.issue.repo, self.branch());
        let head = self.ports().git.default_head(repo, &branch, &self.token()).await?;
        Ok(head != candidate.base)
    }

    /// Records that a push to `branch` did not arrive, as the remote showed afterwards. It is tried
    /// again later.
    pub(super) async fn unpushed(&mut self, branch: String, pushed: Push) -> PortResult<Acted> {
        let (why, how) = match pushed {
            Push::Refused { why } => (why, PushFailure::Refused),
            Push::Moved => {
                (format!("it said that {branch} had moved, but it has not"), PushFailure::Refused)
            }
            Push::Landed => {
                (format!("it took the push, but does not show it on {branch}"), PushFailure::Taken)
            }
            Push::Unknown { why } => (why, PushFailure::Lost),
        };
        if self.brake.halted() {
            // The halt may have stopped the push itself.
            return Err(PortError::transient(why));
        }
        self.commit(Transition::Unpushed { branch, why, how }).await?;
        Ok(Acted::Again)
    }

    /// Waits before a push that did not arrive is tried again, or gives it up; none if it may be
    /// tried now.
    pub(super) async fn after_unpushed(
        &mut self,
        candidate: &Candidate,
    ) -> PortResult<Option<Acted>> {
        let Some(unpushed) = &candidate.unpushed else { return Ok(None) };
        match unpushed.retry_at() {
            Some(again) if self.now() < again => Ok(Some(Acted::wait(Watch::Nothing, Some(again)))),
            Some(_) if unpushed.taken => {
                self.unpushed(unpushed.branch.clone(), Push::Landed).await.map(Some)
            }
            Some(_) => Ok(None),
            None if unpushed.taken && unpushed.branch == self.branch() => {
                let (commit, branch) = (candidate.commit.clone(), self.branch());
                self.impede(Impediment::TakenOut { commit, branch }).await.map(Some)
            }
            None => {
                let remote = self.ports().git.remote(&self.run.issue.repo);
                let (commit, branch) = (candidate.commit.clone(), unpushed.branch.clone());
                let (why, times) = (unpushed.why.clone(), unpushed.times);
                let by = Impediment::PushRefused { commit, branch, remote, why, times };
                self.impede(by).await.map(Some)
            }
        }
    }

    /// Reads whether the branch that is the default now has the newest landed commit, or one with
    /// the same trailers in its place. None if it has; otherwise records that the commit was taken
    /// out or, if another branch has become the default, that this one does not have it.
    pub(super) async fn confirm(&mut self) -> PortResult<Option<Acted>> {
        let Some((attempt, landed)) = self.run.newest_landing() else {
            return Ok(Some(Acted::Again));
        };
        let (commit, base) = (landed.commit.clone(), landed.base.clone());
        let (repo, run, branch) = (self.run.issue.repo.clone(), self.run.id, self.branch());
        let git = self.ports().git.clone();
        let now = git.prepare_mirror(&repo, &self.token()).await?;
        let stands = if self.run.agent_lands() {
            git.contains(&repo, &now.base, &commit).await?
        } else {
            let since = self.run.start.as_ref().map_or(&base, |start| &start.base);
            let tried = LandingSearch { run, attempt, candidate: &commit, base: since };
            git.landed(&repo, &now.branch, &tried, &self.token()).await?.is_some()
        };
        if stands {
            return Ok(None);
        }
        let by = if now.branch == branch {
            Impediment::TakenOut { commit, branch }
        } else {
            let remote = git.remote(&repo);
            Impediment::SwitchedAway { commit, from: branch, to: now.branch, remote }
        };
        self.impede(by).await.map(Some)
    }

    /// Reads the remote for the unknown result of a push that was begun, or that the agent may have
    /// made by itself.
    pub(super) async fn find(&mut self) -> PortResult<Acted> {
        if self.run.agent_lands() {
            return self.find_agent_landing().await;
        }
        let Some(candidate) = self.run.unconfirmed_push().cloned() else { return Ok(Acted::Again) };
        if candidate.pull.is_some() {
            return self.find_pull().await;
        }
        if let Some(acted) = self.found(&candidate).await? {
            return Ok(acted);
        }
        self.commit(Transition::NotLanded).await?;
        Ok(Acted::Again)
    }

    /// Whether lease, halt and freeze, read once more, allow a push. The switches come last, so
    /// that a halt that is not seen here can still stop the push itself.
    pub(super) async fn may_push(&self) -> PortResult<bool> {
        self.hold_lease().await?;
        self.brake.read(self.ports()).await;
        let repo = &self.run.issue.repo;
        let frozen = self.brake.switches().is_none_or(|now| now.freeze_of(repo).is_some());
        Ok(!(self.brake.halted() || frozen))
    }

    /// Renews the lease; an error if it was lost, because only its holder may push for the run.
    async fn hold_lease(&self) -> PortResult<()> {
        match self.engine.lease(self.run.id, self.now()).await? {
            Some(generation) if generation == self.generation => Ok(()),
            Some(_) | None => Err(PortError::new(
                PortErrorKind::Cancelled,
                "another control plane holds the run now",
            )),
        }
    }

    /// Records the landing if the remote shows the candidate, and an impediment if it shows another
    /// commit with this attempt's trailers; none if it shows neither.
    async fn found(&mut self, candidate: &Candidate) -> PortResult<Option<Acted>> {
        let attempt = self.run.attempt().map_or(0, |attempt| attempt.n);
        let (repo, branch) = (&self.run.issue.repo, self.branch());
        // Searched from the run's start on: a forged commit may be older than the candidate's base.
        let since = self.run.start.as_ref().map_or(&candidate.base, |start| &start.base);
        let run = self.run.id;
        let tried = LandingSearch { run, attempt, candidate: &candidate.commit, base: since };
        let landed = self.ports().git.landed(repo, &branch, &tried, &self.token()).await?;
        match landed {
            None => Ok(None),
            Some(commit) if commit == candidate.commit => {
                self.commit(Transition::Landed { commit }).await?;
                Ok(Some(Acted::Again))
            }
            Some(other) => {
                // That commit was not proved, and whoever pushed it may push more.
                let branch = self.branch();
                self.impede(Impediment::Forged { commit: other, branch }).await.map(Some)
            }
        }
    }

    /// The name of the default branch that the run began with.
    pub(super) fn branch(&self) -> String {
        self.run.branch().to_owned()
    }
}
