//! What tests plant: what people do on the server, and how it stands, beyond what the world knows.

use std::collections::BTreeMap;
use std::path::Path;

use afk_core::ids::{Actor, At, IssueRef, Oid, RepoName};
use afk_core::issue::IssueChange;

use super::answers::Forge;
use super::state::More;
use super::{ForgejoFake, Hook, Protection, Run, State, Status};
use crate::bare::{Bare, MergeAs};
use crate::forge::Unfinished;
use afk_sim::world::{PullRecord, World};

impl ForgejoFake {
    fn with<T>(&self, act: impl FnOnce(&mut World, &mut State) -> T) -> T {
        self.shared.sim.with(|world| act(world, &mut self.shared.state()))
    }

    /// The world's time is the real one from now on, whenever somebody asks.
    pub fn live(&self) {
        self.with(|_, state| state.live = true);
    }

    /// The repo's branches are those of a bare git folder from now on.
    pub fn on_git(&self, repo: &RepoName, path: &Path) {
        self.with(|_, state| state.pulls.on_git(repo, Bare::at(path)));
    }

    /// The branches of a repo's git folder with their heads.
    ///
    /// # Panics
    ///
    /// If it has none, or git does not work.
    pub fn heads(&self, repo: &RepoName) -> BTreeMap<String, Oid> {
        self.with(|_, state| state.pulls.heads(repo))
    }

    /// A person merges the open pull request of `branch`, and the remote has it.
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

    /// A repo gets another name: its issues move there, and the former name is redirected.
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

    /// Nobody may write to the repo any more, apart from labels.
    pub fn archive(&self, repo: &RepoName) {
        self.with(|_, state| state.archived.insert(repo.clone()));
    }

    /// The token's account cannot see the repo; or it can again.
    pub fn hide(&self, repo: &RepoName, hidden: bool) {
        self.with(|_, state| {
            if hidden {
                state.hidden.insert(repo.clone());
            } else {
                state.hidden.remove(repo);
            }
        });
    }

    /// Somebody locks an issue. Servers then refuse whoever may not write the repo's issues: on
    /// this one the fake takes our account for one that may not.
    pub fn lock(&self, issue: &IssueRef) {
        self.with(|_, state| state.locked.insert(issue.clone()));
    }

    /// Somebody makes a label that is on no issue yet.
    pub fn add_label(&self, repo: &RepoName, name: &str) {
        self.with(|_, state| state.label(repo, name));
    }

    /// The labels that a repo has.
    pub fn labels(&self, repo: &RepoName) -> Vec<String> {
        self.with(|world, state| {
            state.learn(world, repo);
            let names = state.labels_of(repo).into_iter().flatten();
            names.map(|(name, _)| name.clone()).collect()
        })
    }

    /// Somebody deletes a label: every issue loses it, and what its timeline told of it, and is not
    /// touched (`DeleteLabel` in `models/issues/label.go`).
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

    /// Somebody gives a label another name. No issue is touched, and every timeline tells of it by
    /// the new name from then on, as if it had always had that (`LoadLabel` in
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

    /// The body of an issue changes: the issue is touched, and its timeline tells nothing.
    pub fn edit_silently(&self, issue: &IssueRef, body: &str) {
        self.with(|world, _| {
            let now = world.tracker_now();
            if let Some(record) = world.tracker.issues.get_mut(issue) {
                body.clone_into(&mut record.issue.body);
                record.updated = now;
            }
        });
    }

    /// An administrator says when an issue was last changed.
    pub fn set_updated(&self, issue: &IssueRef, at: At) {
        self.with(|world, _| {
            if let Some(record) = world.tracker.issues.get_mut(issue) {
                record.updated = at;
            }
        });
    }

    /// `issue` waits for `on` from now on, or not any more. Both are touched, and both timelines
    /// tell of it in the same words (`createIssueDependencyComment` in `models/issues/comment.go`).
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

    /// Somebody refers to `issue` in another one, which touches it.
    pub fn refer(&self, issue: &IssueRef, from: &IssueRef, by: &Actor) {
        let more = More::Referred { from: from.clone(), by: by.clone() };
        self.with(|world, state| tell(world, state, issue, more));
    }

    /// An entry of a kind that nobody has heard of comes into the issue's timeline, now.
    pub fn odd_entry(&self, issue: &IssueRef) {
        self.with(|world, state| tell(world, state, issue, More::Odd));
    }

    /// An entry comes into the issue's timeline that the server cannot load: it shows `null`.
    pub fn null_entry(&self, issue: &IssueRef) {
        self.with(|world, state| tell(world, state, issue, More::Null));
    }

    /// So many entries come into the issue's timeline that our account may not see: they take their
    /// place on the pages, and are then left out.
    pub fn hidden_entries(&self, issue: &IssueRef, how_many: usize) {
        self.with(|world, state| {
            (0..how_many).for_each(|_| tell(world, state, issue, More::Hidden));
        });
    }

    /// The default branch of a repo is protected like that.
    pub fn protect(&self, repo: &RepoName, protection: Protection) {
        self.with(|_, state| state.protections.insert(repo.clone(), protection));
    }

    /// Somebody makes a webhook of a repo.
    pub fn add_hook(&self, repo: &RepoName, hook: Hook) {
        self.with(|_, state| state.hooks.entry(repo.clone()).or_default().push(hook));
    }

    /// The webhooks of a repo, with their secrets.
    pub fn hooks(&self, repo: &RepoName) -> Vec<Hook> {
        self.with(|_, state| state.hooks.get(repo).cloned().unwrap_or_default())
    }

    /// Webhooks of the repo are signed with that from now on.
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

    /// The jobs of runs that wait or are at work.
    pub(crate) fn waiting(&self) -> Vec<Unfinished> {
        self.with(|_, state| state.checks.waiting())
    }

    /// What the server would send of an event such as `push`, `issues`, `issue_label`,
    /// `issue_comment` or `pull_request` in a repo: headers and body, signed with the secret of the
    /// repo's first active hook that has one. Each call is another delivery.
    pub fn hook(&self, event: &str, repo: &RepoName) -> (Vec<(String, String)>, Vec<u8>) {
        self.with(|world, state| Forge { state, world }.delivery(event, repo))
    }

    /// Somebody gives a commit a status, beside those that it has.
    pub fn give_status(&self, repo: &RepoName, commit: &Oid, status: Status) {
        self.with(|world, state| {
            let now = world.tracker_now();
            state.checks.give(repo, commit, status, now);
        });
    }

    /// A run of Actions on a commit is there, in place of the repo's one of the same number.
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

    /// The server's number of an account.
    pub fn account_id(&self, login: &str) -> String {
        self.with(|_, state| state.account_id(login).to_string())
    }
}

/// What the server proposes to say about what is merged.
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

/// Something comes into an issue's timeline, and touches the issue.
fn tell(world: &mut World, state: &mut State, issue: &IssueRef, more: More) {
    let now = world.tracker_now();
    if let Some(record) = world.tracker.issues.get_mut(issue) {
        record.updated = now;
    }
    state.more.entry(issue.clone()).or_default().push((now, more));
}

/// Whether that happened to a label of this name.
fn is_of(what: &IssueChange, name: &str) -> bool {
    match what {
        IssueChange::Labeled { label } | IssueChange::Unlabeled { label } => label == name,
        IssueChange::Renamed
        | IssueChange::Edited
        | IssueChange::Closed
        | IssueChange::Reopened => false,
    }
}

/// It happened to the label of the new name, if it happened to that of the former one.
fn renamed(what: &mut IssueChange, from: &str, to: &str) {
    if let IssueChange::Labeled { label } | IssueChange::Unlabeled { label } = what
        && label == from
    {
        to.clone_into(label);
    }
}
