//! A candidate on which people decide: its pull request, and what they merged.
//!
//! Like a push, a pull request is recorded before it is opened. From then on it may be merged, so
//! the run does not end before the pull request is closed and was read once more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use afk_core::elapsed::waited;
use afk_core::ids::Oid;
use afk_core::impediment::{Fault, Impediment};
use afk_core::run::{Candidate, PullSeen, PullState, Transition, pull_text};
use jiff::SignedDuration;

use super::requests::budget_room;
use super::{Acted, Pass, Watch};
use crate::bounds::later;
use crate::ports::{
    AdmitRefusal, CommitText, LandingSearch, PortError, PortErrorKind, PortResult, PullSpec,
};

/// How often pull requests are read.
const LOOK: SignedDuration = SignedDuration::from_secs(30);

/// How long the default branch may lack what the forge says was merged before that is believed: the
/// forge may name a commit before its git shows it.
const SHOWN: Duration = Duration::from_mins(10);

impl Pass<'_> {
    /// Opens the candidate's pull request, or finds it.
    pub(super) async fn open_pull(&mut self) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        if candidate.sent_at.is_none() {
            self.commit(Transition::PullBegun).await?;
        }
        if !self.may_push().await? {
            return Ok(Acted::Again);
        }
        let repo = self.run.issue.repo.clone();
        let message = self.ports().git.message(&repo, &candidate.commit).await?;
        let (title, body) = pull_text(&message);
        let spec = PullSpec {
            repo,
            branch: self.run.pull_branch(),
            commit: candidate.commit,
            onto: self.branch(),
            title,
            body,
        };
        let seen = self.ports().pulls.open(&spec).await?;
        self.commit(Transition::PullSeen { seen }).await?;
        Ok(Acted::Again)
    }

    /// Reads what people have decided so far, and records it if it is new.
    pub(super) async fn look_at_pull(&mut self) -> PortResult<Acted> {
        let seen = self.ports().pulls.look(&self.run.issue.repo, &self.run.pull_branch()).await?;
        let known = self.run.candidate().and_then(|one| one.pull.as_ref()?.seen.as_ref());
        if known == Some(&seen) {
            return Ok(Acted::wait(Watch::Nothing, Some(later(self.now(), LOOK))));
        }
        self.commit(Transition::PullSeen { seen }).await?;
        Ok(Acted::Again)
    }

    /// Takes the repo's lock again, under the checks of an admission; waits where it is not free.
    pub(super) async fn take_up(&mut self) -> PortResult<Acted> {
        let store = &*self.ports().store;
        let room = budget_room(store, &self.config, &self.run, self.now()).await?;
        // What was merged is followed also on a day that has no money left for fixing it.
        let budget = room.map_or(self.run.budget, |room| room.min(self.run.budget));
        let what = match self.try_commit(Transition::TookUp { budget }, Vec::new(), None).await? {
            None => {
                // What held it up is over: what may come now has its own time.
                if let Some(over) = self.run.unimpeded() {
                    self.commit(over).await?;
                }
                return Ok(Acted::Again);
            }
            Some(AdmitRefusal::Locked) => "another run is at work in the repository",
            Some(AdmitRefusal::Full) => "as many runs are at work as may be",
            Some(AdmitRefusal::Spent) => "another run took what the caps of the day had left",
            Some(AdmitRefusal::Frozen | AdmitRefusal::Stopped) => "dispatch is stopped",
        };
        let why = format!("its pull request was merged, but {what}");
        self.noted = Some(Impediment::port(Fault::Transient, &why));
        Ok(Acted::wait(Watch::Nothing, Some(later(self.now(), LOOK))))
    }

    /// Records what people merged, once the default branch has it.
    pub(super) async fn adopt(&mut self) -> PortResult<Acted> {
        let state = self.run.candidate().and_then(|candidate| candidate.pull_state().cloned());
        let Some(PullState::Merged { commit }) = state else { return Ok(Acted::Again) };
        self.adopt_commit(commit).await
    }

    /// Closes the pull request, because the run goes on without it, and reads its state once more:
    /// if it was merged meanwhile, the candidate has landed.
    pub(super) async fn find_pull(&mut self) -> PortResult<Acted> {
        let (pulls, repo) = (self.ports().pulls.clone(), self.run.issue.repo.clone());
        let branch = self.run.pull_branch();
        let mut seen = pulls.look(&repo, &branch).await;
        if matches!(&seen, Ok(PullSeen { state: PullState::Open, .. })) {
            pulls.close(&repo, &branch).await?;
            seen = pulls.look(&repo, &branch).await;
        }
        match seen {
            Ok(PullSeen { state: PullState::Merged { commit }, .. }) => {
                self.adopt_commit(commit).await
            }
            Ok(PullSeen { state: PullState::Closed | PullState::Superseded, .. }) => {
                self.commit(Transition::NotLanded).await?;
                Ok(Acted::Again)
            }
            Ok(PullSeen { state: PullState::Open, link }) => {
                Err(PortError::transient(format!("{link} was closed, but is still open")))
            }
            // It was never opened.
            Err(error) if error.kind == PortErrorKind::NotFound => {
                self.commit(Transition::NotLanded).await?;
                Ok(Acted::Again)
            }
            Err(error) => Err(error),
        }
    }

    async fn adopt_commit(&mut self, commit: Oid) -> PortResult<Acted> {
        let Some(candidate) = self.run.candidate().cloned() else { return Ok(Acted::Again) };
        let (repo, branch) = (self.run.issue.repo.clone(), self.branch());
        let git = self.ports().git.clone();
        let attempt = self.run.attempt().map_or(0, |attempt| attempt.n);
        let (base, id) = (&candidate.base, self.run.id);
        let tried = LandingSearch { run: id, attempt, candidate: &commit, base };
        let landed = git.landed(&repo, &branch, &tried, &self.token()).await?;
        if landed.as_ref() != Some(&commit) {
            return self.unshown(commit, branch).await;
        }
        let base = self.below_merged(&candidate, &commit).await?;
        let tree = git.tree(&repo, &commit).await?;
        self.commit(Transition::Adopted { commit, base, tree }).await?;
        Ok(Acted::Again)
    }

    /// The commit on which people put the candidate when they merged it as `merged`: its first
    /// parent or, if the forge put the candidate's commits there one by one, what is below them.
    /// What people added above one of them is judged with it.
    async fn below_merged(&self, candidate: &Candidate, merged: &Oid) -> PortResult<Oid> {
        let (git, repo) = (&self.ports().git, &self.run.issue.repo);
        let own = git.commits(repo, &candidate.base, &candidate.commit).await?;
        let own: BTreeSet<_> = own.iter().filter_map(as_written).collect();
        let since = git.commits(repo, &candidate.base, merged).await?;
        let since: BTreeMap<&Oid, &CommitText> = since.iter().map(|one| (&one.id, one)).collect();
        let (mut base, mut at) = (&candidate.base, since.get(merged));
        while let Some((one, parent)) = at.and_then(|one| Some((one, one.parents.first()?))) {
            if one.id == *merged || as_written(one).is_some_and(|one| own.contains(&one)) {
                base = parent;
            }
            at = since.get(parent);
        }
        Ok(base.clone())
    }

    /// Waits for `branch` to show what was merged. If that takes too long it did not land: people
    /// may choose another branch for a pull request before they merge it, or take the commit out.
    async fn unshown(&mut self, commit: Oid, branch: String) -> PortResult<Acted> {
        let why = format!("{} was merged, but {branch} does not show it yet", commit.short());
        let by = Impediment::port(Fault::Transient, &why);
        let (now, stuck) = (self.now(), self.run.is_at_an_obstacle());
        let since = self.run.impeded().map(|known| (known.since, by.is_news_after(&known.by)));
        match since {
            // What held the run up before this is over, and does not count.
            Some((_, true)) if !stuck => {
                if let Some(over) = self.run.unimpeded() {
                    self.commit(over).await?;
                }
            }
            Some((since, _)) if waited(since, now, &self.run.pauses) >= SHOWN => {
                self.commit(Transition::NotLanded).await?;
                if stuck {
                    return Ok(Acted::Again);
                }
                return self.impede(Impediment::MergedElsewhere { commit, branch }).await;
            }
            Some(_) | None => {}
        }
        Err(PortError::transient(why))
    }
}

/// What a commit keeps when it is put on another one: the line of its author, with the date, and
/// the message. None if its header is not text.
fn as_written(commit: &CommitText) -> Option<(&str, &str)> {
    let author = commit.header.as_deref()?.lines().find(|line| line.starts_with("author "))?;
    Some((author, commit.message.trim_end()))
}
