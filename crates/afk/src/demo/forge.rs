//! The forge of a demo: a fake in this process, on loopback.
//!
//! It is the strict fake of the tests, which refuses what the real forge would refuse. It has the
//! demo's repository and its people, and ends with the process. The loop, and the control planes
//! that a scenario starts, talk to it over HTTP, as to the real one.

use std::io;
use std::path::Path;

use afk_core::config::Policy;
use afk_core::ids::{At, IssueRef, RepoName};
use afk_core::issue::Permission;
use afk_fakes::ForgeFake;
use afk_fakes::forgejo::{self, ForgejoFake};
use afk_fakes::github::{GitHubFake, Login};
use afk_sim::fakes::Sim;
use afk_sim::world::{World, person};
use serde::Serialize;

use super::error::DemoError;
use super::{ForgeKind, READY};

/// The token that the loop logs in with. It is good for this fake alone.
pub(super) const TOKEN: &str = "token-of-the-demo";

/// The login of the person who watches the demo, and who may write to the repository.
pub(super) const YOU: &str = "you";

/// A running fake.
pub struct Forge {
    /// Which kind of forge it is a fake of.
    pub kind: ForgeKind,
    sim: Sim,
    fake: Box<dyn ForgeFake>,
}

/// How a demo's forge was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForgeSeen {
    /// Which kind of forge it was a fake of.
    pub kind: ForgeKind,
    /// The URL at which it was served.
    pub url: String,
    /// How many requests it answered.
    pub requests: usize,
    /// Requests that the real forge would have refused; there should be none.
    pub mistakes: Vec<String>,
}

impl Forge {
    /// Starts a fake that has `repo`, whose branches are those of the bare repository `origin`.
    pub(super) fn start(
        kind: ForgeKind,
        repo: &RepoName,
        origin: &Path,
    ) -> Result<Self, DemoError> {
        let mut world = World::new(Policy::default(), At::now());
        world.tracker.permissions.insert(YOU.to_owned(), Permission::Write);
        let sim = Sim::new(world);
        let fake = start(kind, &sim, repo);
        let fake = fake.map_err(|error| DemoError::Forge { what: error.to_string() })?;
        fake.live();
        fake.on_git(repo, origin);
        Ok(Self { kind, sim, fake })
    }

    /// Returns the URL at which it is served.
    pub fn url(&self) -> String {
        self.fake.url()
    }

    /// Files an issue as `by`.
    pub(super) fn file(&self, repo: &RepoName, title: &str, body: &str, by: &str) -> IssueRef {
        self.sim.with(|world| {
            world.now = At::now();
            let number = world.tracker.issues.len() as u64 + 1;
            let issue = IssueRef { repo: repo.clone(), number };
            world.file(&issue.to_string(), body, &[], by);
            if let Some(record) = world.tracker.issues.get_mut(&issue) {
                title.clone_into(&mut record.issue.title);
            }
            issue
        })
    }

    /// Puts the ready label on an issue as `by`.
    pub(super) fn release(&self, issue: &IssueRef, by: &str) {
        self.sim.with(|world| {
            world.now = At::now();
            world.set_label(issue, READY, true, &person(by));
        });
    }

    /// Whether somebody has commented on the issue.
    pub(super) fn is_commented(&self, issue: &IssueRef) -> bool {
        self.sim.with(|world| {
            world.tracker.issues.get(issue).is_some_and(|record| !record.comments.is_empty())
        })
    }

    /// Returns how it was used so far.
    pub(super) fn seen(&self) -> ForgeSeen {
        ForgeSeen {
            kind: self.kind,
            url: self.url(),
            requests: self.fake.targets().len(),
            mistakes: self.sim.with(|world| world.wrong.clone()),
        }
    }
}

fn start(kind: ForgeKind, sim: &Sim, repo: &RepoName) -> io::Result<Box<dyn ForgeFake>> {
    let forgejo = |kind| {
        let settings = forgejo::Settings { token: TOKEN.to_owned(), kind, admin: true };
        let fake = ForgejoFake::start(sim, settings)?;
        // On these forges only a label that exists can be put on an issue.
        let policy = Policy::default();
        for label in [&policy.in_progress_label, &policy.human_label] {
            fake.add_label(repo, label);
        }
        io::Result::Ok(Box::new(fake) as Box<dyn ForgeFake>)
    };
    match kind {
        ForgeKind::Github => Ok(Box::new(GitHubFake::start(sim, Login::Token(TOKEN.to_owned()))?)),
        ForgeKind::Forgejo => forgejo(forgejo::Kind::Forgejo),
        ForgeKind::Gitea => forgejo(forgejo::Kind::Gitea),
    }
}
