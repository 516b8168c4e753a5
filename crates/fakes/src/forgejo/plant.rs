//! What tests plant: what people do on the server, and what state it is in, beyond what the world
//! knows.

use std::collections::BTreeMap;
use std::path::Path;

use afk_core::ids::{Actor, At, IssueRef, Oid, RepoName};
use afk_core::issue::IssueChange;
use afk_core::run::PullState;
use afk_engine::ports::PullSpec;

use super::answers::Forge;
use super::state::More;
use super::{ForgejoFake, Hook, Protection, Run, State, Status};
use crate::bare::{Bare, MergeAs};
use crate::forge::UnfinishedJob;
use crate::pulls::{DEFAULT_BRANCH, PullMeta};
use afk_sim::world::{PullRecord, World};

/// The number of the first pull request from a fork; those of the repo's own branches are lower.
const FIRST_FROM_FORK: u64 = 90_001;

impl ForgejoFake {
    fn with<T>(&self, act: impl FnOnce(&mut World, &mut State) -> T) -> T {
        self.shared.sim.with(|world| act(world, &mut self.shared.state()))
    }

    /// Sets the world's time to the real one at every request from now on.
    pub fn live(&self) {
        self.with(|_, state| state.live = true);
    }

    /// Makes the repo's branches those of the bare git folder at `path`, from now on.
    pub fn on_git(&self, repo: &RepoName, path: &Path) {
        self.with(|_, state| state.pulls.on_git(repo, Bare::at(path)));
    }

    /// The branches of a repo's git folder with their heads.
    ///
    /// # Panics
    ///
    /// If the repo has no git folder, or git fails.
    pub fn heads(&self, repo: &RepoName) -> BTreeMap<String, Oid> {
        self.with(|_, state| state.pulls.heads(repo))
    }

    /// Merges the open pull request of `branch` in the repo's git folder, as a person does. Returns
    /// the commit that this made.
    ///
    /// # Panics
    ///
    /// If it is not open, or does not merge.
    pub fn merge_pull(&self, repo: &RepoName, branch: &str, as_: MergeAs) -> Oid {
        let message = |number: u64, pull: &PullRecord| merge_message(number, pull, as_);
        let merged =
            self.with(|world, state| state.pulls.merge(world, (repo, branch), as_, message));
        merged.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Opens a pull request from a stranger's fork, whose branch has this name, and decides on it as
    /// `state` says. It is newer than all that the repo has. Returns its number.
    pub fn pull_from_fork(
        &self,
        repo: &RepoName,
        branch: &str,
        commit: &Oid,
        state: PullState,
    ) -> u64 {
        self.with(|world, fake| {
            let now = world.tracker_now();
            let all = fake.from_forks.entry(repo.clone()).or_default();
            let number = FIRST_FROM_FORK + all.len() as u64;
            let spec = PullSpec {
                repo: repo.clone(),
                branch: branch.to_owned(),
                commit: commit.clone(),
                onto: DEFAULT_BRANCH.to_owned(),
                title: "Take mine".to_owned(),
                body: String::new(),
            };
            let meta = PullMeta { number, created: now, updated: now };
            all.insert(0, (meta, PullRecord { spec, state }));
            number
        })
    }

    /// Makes the server fail to load the pull request of this number, or load it again. Meanwhile
    /// the list shows `null` in its place (`ListPullRequests` in `routers/api/v1/repo/pull.go`).
    pub fn break_pull(&self, number: u64, broken: bool) {
        self.with(|_, state| {
            if broken {
                state.broken_pulls.insert(number);
            } else {
                state.broken_pulls.remove(&number);
            }
        });
    }

    /// Renames a repo: its issues move along, and the former name is redirected.
    pub fn rename(&self, from: &RepoName, to: &RepoName) {
        self.with(|world, state| {
            state.rename(from, to);
            for (mut issue, mut record) in std::mem::take(&mut world.tracker.issues) {
                if issue.repo == *from {
                    issue.repo = to.clone();
                    record.issue.issue = issue.clone();
                }
                world.tracker.issues.insert(issue, record);
            }
        });
    }

    /// Archives the repo: nobody may write to it any more, apart from labels.
    pub fn archive(&self, repo: &RepoName) {
        self.with(|_, state| state.archived.insert(repo.clone()));
    }

    /// Hides the repo from the token's account, or shows it again.
    pub fn hide(&self, repo: &RepoName, hidden: bool) {
        self.with(|_, state| {
            if hidden {
                state.hidden.insert(repo.clone());
            } else {
                state.hidden.remove(repo);
            }
        });
    }

    /// Locks an issue. Real servers then refuse accounts that may not write the repo's issues; on
    /// this issue the fake takes our account for one of these.
    pub fn lock(&self, issue: &IssueRef) {
        self.with(|_, state| state.locked.insert(issue.clone()));
    }

    /// Makes a label that is on no issue yet.
    pub fn add_label(&self, repo: &RepoName, name: &str) {
        self.with(|_, state| state.label(repo, name));
    }

    /// The names of a repo's labels.
    pub fn labels(&self, repo: &RepoName) -> Vec<String> {
        self.with(|world, state| {
            state.learn(world, repo);
            let names = state.labels_of(repo).into_iter().flatten();
            names.map(|(name, _)| name.clone()).collect()
        })
    }

    /// Deletes a label, as people can: every issue loses it, and its timeline the entries about it,
    /// and no issue counts as changed (`DeleteLabel` in `models/issues/label.go`).
    pub fn delete_label(&self, repo: &RepoName, name: &str) {
        self.with(|world, state| {
            state.learn(world, repo);
            state.take_label(repo, name);
            for (issue, record) in &mut world.tracker.issues {
                if issue.repo != *repo {
                    continue;
                }
                record.issue.labels.retain(|label| label != name);
                for (nth, event) in record.events.iter().enumerate() {
                    if is_of(&event.what, name) {
                        state.dropped.insert((issue.clone(), nth));
                    }
                }
            }
        });
    }

    /// Renames a label, as people can. No issue counts as changed, and from then on every timeline
    /// shows the new name, as if the label had always had it (`LoadLabel` in
    /// `models/issues/comment.go`).
    pub fn rename_label(&self, repo: &RepoName, from: &str, to: &str) {
        self.with(|world, state| {
            state.learn(world, repo);
            if let Some(label) = state.take_label(repo, from) {
                state.put_label(repo, to, label);
            }
            world.rename_label(repo, from, to);
            for (issue, record) in &mut world.tracker.issues {
                for (nth, event) in record.events.iter_mut().enumerate() {
                    let is_dropped = state.dropped.contains(&(issue.clone(), nth));
                    if issue.repo == *repo && !is_dropped {
                        renamed(&mut event.what, from, to);
                    }
                }
            }
        });
    }

    /// Changes the body of an issue: the issue counts as changed, and its timeline shows nothing.
    pub fn edit_silently(&self, issue: &IssueRef, body: &str) {
        self.with(|world, _| {
            let now = world.tracker_now();
            if let Some(record) = world.tracker.issues.get_mut(issue) {
                body.clone_into(&mut record.issue.body);
                record.updated = now;
            }
        });
    }

    /// Sets when an issue was last changed, as an administrator can.
    pub fn set_updated(&self, issue: &IssueRef, at: At) {
        self.with(|world, _| {
            if let Some(record) = world.tracker.issues.get_mut(issue) {
                record.updated = at;
            }
        });
    }

    /// Makes `issue` wait for `on`, or not any more. Both count as changed, and both timelines show
    /// it in the same words (`createIssueDependencyComment` in `models/issues/comment.go`).
    pub fn depend(&self, issue: &IssueRef, on: &IssueRef, added: bool, by: &Actor) {
        self.with(|world, state| {
            if let Some(record) = world.tracker.issues.get_mut(issue) {
                record.blockers.retain(|blocker| blocker != on);
                record.blockers.extend(added.then(|| on.clone()));
            }
            for (told, other) in [(issue, on), (on, issue)] {
                let more = More::Dependency { added, other: other.clone(), by: by.clone() };
                tell(world, state, told, more);
            }
        });
    }

    /// Refers to `issue` from another one, by which `issue` counts as changed.
    pub fn refer(&self, issue: &IssueRef, from: &IssueRef, by: &Actor) {
        let more = More::Referred { from: from.clone(), by: by.clone() };
        self.with(|world, state| tell(world, state, issue, more));
    }

    /// Adds an entry to the issue's timeline, now, of a kind that nobody has heard of.
    pub fn odd_entry(&self, issue: &IssueRef) {
        self.with(|world, state| tell(world, state, issue, More::Odd));
    }

    /// Adds an entry to the issue's timeline that the server cannot load: it shows `null`.
    pub fn null_entry(&self, issue: &IssueRef) {
        self.with(|world, state| tell(world, state, issue, More::Null));
    }

    /// Adds so many entries to the issue's timeline that our account may not see: they count when
    /// pages are cut, and are then left out.
    pub fn hidden_entries(&self, issue: &IssueRef, how_many: usize) {
        self.with(|world, state| {
            (0..how_many).for_each(|_| tell(world, state, issue, More::Hidden));
        });
    }

    /// Protects the default branch of a repo in this way.
    pub fn protect(&self, repo: &RepoName, protection: Protection) {
        self.with(|_, state| state.protections.insert(repo.clone(), protection));
    }

    /// Adds a webhook to a repo.
    pub fn add_hook(&self, repo: &RepoName, hook: Hook) {
        self.with(|_, state| state.hooks.entry(repo.clone()).or_default().push(hook));
    }

    /// The webhooks of a repo, with their secrets.
    pub fn hooks(&self, repo: &RepoName) -> Vec<Hook> {
        self.with(|_, state| state.hooks.get(repo).cloned().unwrap_or_default())
    }

    /// Makes this the secret that webhooks of the repo are signed with.
    pub(crate) fn sign_with(&self, repo: &RepoName, secret: &str) {
        self.with(|_, state| {
            let hooks = state.hooks.entry(repo.clone()).or_default();
            let secret = Some(secret.to_owned());
            match hooks.iter_mut().find(|hook| hook.active) {
                Some(hook) => hook.secret = secret,
                None => hooks.push(Hook {
                    url: String::new(),
                    secret,
                    events: Vec::new(),
                    active: true,
                    content_type: "json".to_owned(),
                }),
            }
        });
    }

    /// The jobs that have not ended, by repo and run.
    pub(crate) fn waiting(&self) -> Vec<UnfinishedJob> {
        self.with(|_, state| state.checks.waiting())
    }

    /// What the server would send for an event such as `push`, `issues`, `issue_label`,
    /// `issue_comment` or `pull_request` in a repo: headers and body, signed with the secret of the
    /// repo's first active hook that has one. Each call is another delivery.
    pub fn hook(&self, event: &str, repo: &RepoName) -> (Vec<(String, String)>, Vec<u8>) {
        self.with(|world, state| Forge { state, world }.delivery(event, repo))
    }

    /// Gives a commit a status, beside those that it has.
    pub fn give_status(&self, repo: &RepoName, commit: &Oid, status: Status) {
        self.with(|world, state| {
            let now = world.tracker_now();
            state.checks.give(repo, commit, status, now);
        });
    }

    /// Puts a run of Actions on a commit, in place of the repo's run of the same number.
    pub fn put_run(&self, repo: &RepoName, commit: &Oid, run: Run) {
        self.with(|world, state| {
            let now = world.tracker_now();
            state.checks.put(repo, commit, run, now);
        });
    }

    /// How often each run of a repo was started, by its number.
    pub fn attempts(&self, repo: &RepoName) -> BTreeMap<u64, u64> {
        self.with(|_, state| state.checks.attempts(repo))
    }

    /// The server's number of an account, as text.
    pub fn account_id(&self, login: &str) -> String {
        self.with(|_, state| state.account_id(login).to_string())
    }
}

/// The message that the server proposes for a merge.
fn merge_message(number: u64, record: &PullRecord, as_: MergeAs) -> String {
    let spec = &record.spec;
    match as_ {
        MergeAs::Merge => {
            let (title, branch, onto) = (&spec.title, &spec.branch, &spec.onto);
            format!("Merge pull request '{title}' (#{number}) from {branch} into {onto}")
        }
        MergeAs::Squash => format!("{} (#{number})\n\n{}", spec.title, spec.body),
    }
}

/// Adds something to an issue's timeline, now, by which the issue counts as changed.
fn tell(world: &mut World, state: &mut State, issue: &IssueRef, more: More) {
    let now = world.tracker_now();
    if let Some(record) = world.tracker.issues.get_mut(issue) {
        record.updated = now;
    }
    state.more.entry(issue.clone()).or_default().push((now, more));
}

/// Whether this is an event about the label of this name.
fn is_of(what: &IssueChange, name: &str) -> bool {
    match what {
        IssueChange::Labeled { label } | IssueChange::Unlabeled { label } => label == name,
        IssueChange::Renamed
        | IssueChange::Edited
        | IssueChange::Closed
        | IssueChange::Reopened => false,
    }
}

/// Makes an event about the label `from` one about `to`.
fn renamed(what: &mut IssueChange, from: &str, to: &str) {
    if let IssueChange::Labeled { label } | IssueChange::Unlabeled { label } = what
        && label == from
    {
        to.clone_into(label);
    }
}
