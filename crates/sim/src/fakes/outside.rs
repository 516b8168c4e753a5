//! Tracker, doorbells, archive, settings, clock and ids, over the world.

use std::sync::Arc;

use afk_core::config::Policy;
use afk_core::doorbell::Doorbell;
use afk_core::evidence::Evidence;
use afk_core::ids::{Actor, At, IssueRef, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, Permission};
use afk_engine::ports::{
    Archive, Clock, Doorbells, Ids, IssueView, Labels, PortResult, Settings, Tracker,
};
use async_trait::async_trait;

use super::Sim;
use crate::world::own;

#[async_trait]
impl Clock for Sim {
    fn now(&self) -> At {
        self.with(|world| world.now)
    }

    /// As with a real clock, what counts is how far away `at` is at first: a clock that is set back
    /// keeps nobody asleep.
    async fn sleep_until(&self, at: At) {
        let until = self.with(|world| world.passed + at.duration_since(world.now));
        loop {
            let tick = self.ticks.next();
            if self.with(|world| world.passed) >= until {
                return;
            }
            tick.await;
        }
    }
}

impl Sim {
    /// Returns when time passes next.
    pub(super) async fn next_tick(&self) {
        self.ticks.next().await;
    }
}

impl Sim {
    /// Waits as long as the tracker of `repo` is to hang.
    async fn tracker_hangs(&self, repo: &RepoName) {
        while self.with(|world| world.tracker.hanging.contains(repo)) {
            self.next_tick().await;
        }
    }
}

impl Ids for Sim {
    fn run(&self) -> RunId {
        self.with(crate::world::World::fresh_run)
    }
}

impl Settings for Sim {
    fn current(&self) -> (Arc<Policy>, Option<String>) {
        self.with(|world| {
            let mut config = world.config.clone();
            if let Some(bad) = world.bad {
                bad.config(&mut config);
            }
            (Arc::new(config), world.bad_config.clone())
        })
    }
}

#[async_trait]
impl Doorbells for Sim {
    async fn ring(&self, name: &str, doorbell: &Doorbell) -> PortResult<()> {
        let (name, doorbell) = (name.to_owned(), doorbell.clone());
        while self.with(|world| world.doorbells.hanging.contains(&name)) {
            self.next_tick().await;
        }
        self.effect("doorbells.ring", move |world| world.ring(&name, &doorbell)).await
    }
}

#[async_trait]
impl Archive for Sim {
    async fn keep(&self, evidence: &Evidence) -> PortResult<()> {
        self.call("archive.keep", |world| {
            world.archive.push(evidence.clone());
            Ok(())
        })
        .await
    }

    async fn prune(&self) -> PortResult<u32> {
        self.call("archive.prune", |_| Ok(0)).await
    }
}

#[async_trait]
impl Tracker for Sim {
    fn home(&self, repo: &RepoName) -> String {
        self.with(|world| world.tracker.home(repo))
    }

    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        self.tracker_hangs(repo).await;
        self.about(repo).call("tracker.ready", |world| world.issues_of(repo, label)).await
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>> {
        self.tracker_hangs(repo).await;
        self.about(repo)
            .call("tracker.labelled", |world| {
                Ok(world.issues_of(repo, label)?.into_iter().map(|issue| issue.issue).collect())
            })
            .await
    }

    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView> {
        self.tracker_hangs(&issue.repo).await;
        self.about(&issue.repo).call("tracker.issue", |world| world.view(issue)).await
    }

    async fn permission(&self, repo: &RepoName, actor: &Actor) -> PortResult<Permission> {
        self.tracker_hangs(repo).await;
        self.about(repo).call("tracker.permission", |world| world.permission_of(repo, actor)).await
    }

    async fn blocker(&self, repo: &RepoName, issue: &IssueRef) -> PortResult<BlockerState> {
        self.tracker_hangs(repo).await;
        self.about(repo).call("tracker.blocker", |world| world.blocker_state(issue)).await
    }

    async fn own_account(&self, repo: &RepoName) -> PortResult<Actor> {
        self.tracker_hangs(repo).await;
        self.about(repo).call("tracker.own_account", |_| Ok(own())).await
    }

    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()> {
        self.tracker_hangs(&issue.repo).await;
        self.about(&issue.repo)
            .call("tracker.label", |world| {
                world.record(issue)?;
                for label in &labels.add {
                    world.set_label(issue, label, true, &own());
                }
                for label in &labels.remove {
                    world.set_label(issue, label, false, &own());
                }
                Ok(())
            })
            .await
    }

    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        self.tracker_hangs(&issue.repo).await;
        self.about(&issue.repo).call("tracker.comments", |world| world.comments_of(issue)).await
    }

    async fn comments_since(
        &self,
        repo: &RepoName,
        since: At,
    ) -> PortResult<Vec<(IssueRef, Comment)>> {
        self.tracker_hangs(repo).await;
        self.about(repo)
            .call("tracker.comments_since", |world| world.comments_since(repo, since))
            .await
    }

    async fn comment(&self, issue: &IssueRef, _run: RunId, body: &str) -> PortResult<String> {
        self.tracker_hangs(&issue.repo).await;
        let (issue, body) = (issue.clone(), body.to_owned());
        let sim = self.about(&issue.repo);
        sim.effect("tracker.comment", move |world| world.add_comment(&issue, &body, &own())).await
    }

    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()> {
        self.tracker_hangs(&issue.repo).await;
        self.about(&issue.repo)
            .call("tracker.edit_comment", |world| world.change_comment(issue, id, body))
            .await
    }

    async fn close(&self, issue: &IssueRef) -> PortResult<()> {
        self.tracker_hangs(&issue.repo).await;
        self.about(&issue.repo)
            .call("tracker.close", |world| {
                world.record(issue)?;
                world.set_open(issue, false, &own());
                Ok(())
            })
            .await
    }

    async fn reopen(&self, issue: &IssueRef) -> PortResult<()> {
        self.tracker_hangs(&issue.repo).await;
        self.about(&issue.repo)
            .call("tracker.reopen", |world| {
                world.record(issue)?;
                world.set_open(issue, true, &own());
                Ok(())
            })
            .await
    }
}
