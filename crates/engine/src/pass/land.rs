//! From a head to the default branch: the intent, and the push.
//!
//! The intent (base, candidate) is committed before anything is done with it. Equal inputs give an
//! equal commit id, so that after a crash the remote shows whether the commit is there already. The
//! beginning of a push is recorded first, so that whatever the run does next reads the remote.

use afk_core::ids::Oid;
use afk_core::impediment::{Impediment, kept};
use afk_core::message;
use afk_core::plan::Refusal;
use afk_core::run::{Candidate, Left, Refused, Transition};

use super::{Acted, Pass};
use crate::ports::{CommitSpec, Merge, PortError, PortErrorKind, PortResult, Push, Tried};

/// Maximum number of candidates within one attempt, each for a default branch that moved.
const MAX_CANDIDATES: usize = 10;
/// The committer of a landing.
pub(super) const COMMITTER: (&str, &str) = ("afk", "afk@localhost");

impl Pass<'_> {
    /// Merges the attempt's head with the default head and records the intent.
    pub(super) async fn integrate(&mut self) -> PortResult<Acted> {
        let Some((attempt, left)) = self.run.attempt().and_then(|a| Some((a.n, a.left.clone()?)))
        else {
            return Ok(Acted::Again);
        };
        let tried = self.run.attempt().map_or(0, |attempt| attempt.candidates.len());
        if tried >= MAX_CANDIDATES {
            return self.impede(Impediment::Overtaken { times: tried as u32 }).await;
        }
        let repo = self.run.issue.repo.clone();
        let branch = self.branch();
        let base = self.ports().git.default_head(&repo, &branch, &self.token()).await?;
        match self.ports().git.merge(&repo, &base, &left.head).await? {
            Merge::Conflict { paths } => {
                let detail = format!(
                    "the change conflicts with {branch} at {} in: {}",
                    base.short(),
                    paths.join(", ")
                );
                let why = Refusal::Conflict;
                let output = String::new();
                self.refuse(Refused { why, detail, output, conflict: Some((base, paths)) }).await
            }
            Merge::Clean { tree } if tree == self.ports().git.tree(&repo, &base).await? => {
                let detail = format!("the commits change nothing that {branch} does not have");
                let (why, output) = (Refusal::Proof, String::new());
                self.refuse(Refused { why, detail, output, conflict: None }).await
            }
            Merge::Clean { tree } => {
                let candidate = Box::new(self.candidate(attempt, &left, base, tree).await?);
                let name = format!("candidate-{attempt}-{}", tried + 1);
                self.ports().git.keep(&repo, self.run.id, &name, &candidate.commit).await?;
                self.commit(Transition::Integrated { candidate }).await?;
                Ok(Acted::Again)
            }
        }
    }

    async fn candidate(
        &self,
        attempt: u32,
        left: &Left,
        base: Oid,
        tree: Oid,
    ) -> PortResult<Candidate> {
        let repo = &self.run.issue.repo;
        let commits = self.ports().git.commits(repo, &base, &left.head).await?;
        let texts: Vec<&str> = commits.iter().map(|commit| commit.message.as_str()).collect();
        let message = message::landing(&texts, self.run.issue.number, self.run.id, attempt);
        // The operator's word: what the agent's commits claim may be anybody's name.
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

    /// Ends the attempt before landing.
    pub(super) async fn refuse(&mut self, refused: Refused) -> PortResult<Acted> {
        self.commit(Transition::Refused { refused }).await?;
        Ok(Acted::Again)
    }

    /// Puts the candidate on the default branch, or finds that it is there.
    ///
    /// The remote is read before and after the push: whatever happened in between, or to the
    /// previous process, only what it shows counts.
    pub(super) async fn land(&mut self) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        if let Some(acted) = self.found(&candidate).await? {
            return Ok(acted);
        }
        if candidate.sent_at.is_none() {
            self.commit(Transition::PushBegun).await?;
        }
        if !self.may_push().await? {
            return Ok(Acted::Again);
        }
        let repo = self.run.issue.repo.clone();
        let pushed =
            self.ports().git.push(&repo, &self.branch(), &candidate.commit, &self.token()).await?;
        if let Some(acted) = self.found(&candidate).await? {
            return Ok(acted);
        }
        match pushed {
            Push::Moved => self.integrate().await,
            Push::Refused { why } => self.push_refused(&candidate, self.branch(), &why).await,
            Push::Landed | Push::Unknown => Err(PortError::transient(format!(
                "{} was pushed, but the default branch does not show it yet",
                candidate.commit.short()
            ))),
        }
    }

    /// The remote refuses the candidate.
    pub(super) async fn push_refused(
        &mut self,
        candidate: &Candidate,
        branch: String,
        why: &str,
    ) -> PortResult<Acted> {
        let remote = self.ports().git.remote(&self.run.issue.repo);
        let commit = candidate.commit.clone();
        self.impede(Impediment::PushRefused { commit, branch, remote, why: kept(why) }).await
    }

    /// Reads what became of a push that was begun, or that the agent may have made by itself,
    /// where that is not known.
    pub(super) async fn find(&mut self) -> PortResult<Acted> {
        if self.run.agent_lands() {
            return self.find_brought().await;
        }
        let Some(candidate) = self.run.sent().cloned() else { return Ok(Acted::Again) };
        if candidate.pull.is_some() {
            return self.find_pull().await;
        }
        if let Some(acted) = self.found(&candidate).await? {
            return Ok(acted);
        }
        self.commit(Transition::NotLanded).await?;
        Ok(Acted::Again)
    }

    /// Whether lease, halt and freeze, read once more, allow a push. The switches come last: after
    /// them a halt can only stop the push itself.
    pub(super) async fn may_push(&self) -> PortResult<bool> {
        self.hold_lease().await?;
        self.brake.read(self.ports()).await;
        let repo = &self.run.issue.repo;
        let frozen = self.brake.switches().is_none_or(|now| now.freeze_of(repo).is_some());
        Ok(!(self.brake.halted() || frozen))
    }

    /// Renews the lease: nobody may push for a run that another control plane works now.
    async fn hold_lease(&self) -> PortResult<()> {
        match self.engine.lease(self.run.id, self.now()).await? {
            Some(generation) if generation == self.generation => Ok(()),
            Some(_) | None => Err(PortError::new(
                PortErrorKind::Cancelled,
                "another control plane holds the run now",
            )),
        }
    }

    /// Records the landing if the remote shows the candidate; none while it shows nothing of this
    /// attempt.
    async fn found(&mut self, candidate: &Candidate) -> PortResult<Option<Acted>> {
        let attempt = self.run.attempt().map_or(0, |attempt| attempt.n);
        let (repo, branch) = (&self.run.issue.repo, self.branch());
        // A forged commit may be older than the candidate's base, but not older than the run.
        let since = self.run.start.as_ref().map_or(&candidate.base, |start| &start.base);
        let run = self.run.id;
        let tried = Tried { run, attempt, candidate: &candidate.commit, base: since };
        let landed = self.ports().git.landed(repo, &branch, &tried, &self.token()).await?;
        match landed {
            None => Ok(None),
            Some(commit) if commit == candidate.commit => {
                self.commit(Transition::Landed { commit }).await?;
                Ok(Some(Acted::Again))
            }
            Some(other) => {
                // Nobody proved that tree, and whoever pushed it may push more.
                let branch = self.branch();
                self.impede(Impediment::Forged { commit: other, branch }).await.map(Some)
            }
        }
    }

    /// The default branch; known once the workspace was created.
    pub(super) fn branch(&self) -> String {
        self.run.branch().to_owned()
    }
}
