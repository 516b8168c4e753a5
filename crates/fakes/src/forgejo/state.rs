//! What the fake knows that the world does not: the server's own numbers for everything, what tests
//! plant, and what was asked.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::IssueChange;

use super::checks::Checks;
use super::hooks::Hook;
use super::{Recorded, Route};
use crate::frame::{self, Exchanges, Faults, Reply};
use crate::git_http::RecordedGitRequest;
use crate::pulls::{PullMeta, Pulls};
use afk_sim::world::{PullRecord, World, own};

/// Which server it is, and who the loop is to it.
#[derive(Clone)]
pub struct Settings {
    /// The token that it accepts.
    pub token: String,
    /// Which server.
    pub kind: Kind,
    /// Whether the token's account administers every repo: it may then read what others may do, and
    /// see webhooks and protected branches.
    pub admin: bool,
}

/// Servers that have this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Forgejo.
    Forgejo,
    /// Gitea, which lacks some of its parameters and routes.
    Gitea,
}

impl Kind {
    /// The version that the server says it has.
    pub(super) const fn version(self) -> &'static str {
        match self {
            Self::Forgejo => "17.0.0+gitea-1.22.0",
            Self::Gitea => "1.25.2",
        }
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) id: i64,
    pub(super) login: String,
}

/// A label of a repo, without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) id: u64,
    pub(super) color: String,
    pub(super) description: String,
    pub(super) exclusive: bool,
}

/// Something in an issue's timeline that is no event of the world's.
#[derive(Debug, Clone)]
pub(super) enum More {
    /// A dependency was added or removed; the other issue has such an entry, too.
    Dependency { added: bool, other: IssueRef, by: Actor },
    /// Another issue refers to this one.
    Referred { from: IssueRef, by: Actor },
    /// An entry of a kind that nobody has heard of.
    Odd,
    /// `null` in the place of an entry that the server could not load.
    Null,
    /// A reference from a repo that the account may not see: it is counted when pages are cut, and
    /// then left out.
    Hidden,
}

/// How the default branch of a repo is protected.
#[derive(Debug, Clone, Default)]
pub struct Protection {
    /// Whether our account may push to it.
    pub may_push: bool,
    /// The contexts of statuses that must have passed; none if statuses are not checked.
    pub contexts: Option<Vec<String>>,
    /// How many people must approve a pull request.
    pub approvals: u64,
}

/// A request and its answer, to be checked against the official description.
pub(super) type Exchange = frame::Exchange<Route>;

/// Everything that the fake knows beside the world.
pub(super) struct State {
    /// The address of the server.
    pub(super) base: String,
    /// The address of the other host.
    pub(super) elsewhere: String,
    pub(super) settings: Settings,
    /// Whether the token has no scope for issues.
    pub(super) lacks_issues: bool,
    pub(super) faults: Faults<Route>,
    /// When each edited comment was last edited, by its id.
    pub(super) edited: BTreeMap<String, At>,
    /// Former names of repos, with the names that they have now.
    pub(super) renamed: BTreeMap<RepoName, RepoName>,
    /// Repos that nobody may write to.
    pub(super) archived: BTreeSet<RepoName>,
    /// Repos that the account cannot see.
    pub(super) hidden: BTreeSet<RepoName>,
    /// Issues that are locked, and on which our account counts as one that may not write.
    pub(super) locked: BTreeSet<IssueRef>,
    /// The labels of each repo, by name.
    labels: BTreeMap<RepoName, BTreeMap<String, Label>>,
    /// Events that were deleted with their label, by their index among the issue's events.
    pub(super) dropped: BTreeSet<(IssueRef, usize)>,
    /// What timelines have beside events of the world and comments.
    pub(super) more: BTreeMap<IssueRef, Vec<(At, More)>>,
    pub(super) protections: BTreeMap<RepoName, Protection>,
    pub(super) hooks: BTreeMap<RepoName, Vec<Hook>>,
    /// How many webhooks were sent.
    pub(super) deliveries: u64,
    pub(super) checks: Checks,
    pub(super) pulls: Pulls,
    /// The pull requests from a stranger's fork of each repo, newest first.
    pub(super) from_forks: BTreeMap<RepoName, Vec<(PullMeta, PullRecord)>>,
    /// The numbers of the pull requests that the server fails to load.
    pub(super) broken_pulls: BTreeSet<u64>,
    /// Whether the world's time is the real one.
    pub(super) live: bool,
    /// The last whole answer at each address.
    pub(super) last: BTreeMap<String, Reply>,
    pub(super) requests: Vec<Recorded>,
    /// What git asked for over HTTP.
    pub(super) git_requests: Vec<RecordedGitRequest>,
    /// The requests to the other host: their path, and whether a credential came with it.
    pub(super) strayed: Vec<(String, bool)>,
    pub(super) exchanges: Exchanges<Route>,
    ids: BTreeMap<String, u64>,
}

impl State {
    pub(super) fn new(base: String, elsewhere: String, settings: Settings) -> Self {
        Self {
            base,
            elsewhere,
            settings,
            lacks_issues: false,
            faults: Faults::default(),
            edited: BTreeMap::new(),
            renamed: BTreeMap::new(),
            archived: BTreeSet::new(),
            hidden: BTreeSet::new(),
            locked: BTreeSet::new(),
            labels: BTreeMap::new(),
            dropped: BTreeSet::new(),
            more: BTreeMap::new(),
            protections: BTreeMap::new(),
            hooks: BTreeMap::new(),
            deliveries: 0,
            checks: Checks::default(),
            pulls: Pulls::default(),
            from_forks: BTreeMap::new(),
            broken_pulls: BTreeSet::new(),
            live: false,
            last: BTreeMap::new(),
            requests: Vec::new(),
            git_requests: Vec::new(),
            strayed: Vec::new(),
            exchanges: Exchanges::default(),
            ids: BTreeMap::new(),
        }
    }

    /// Moves everything that is known of a repo to another name; its numbers stay.
    pub(super) fn rename(&mut self, from: &RepoName, to: &RepoName) {
        fn moved<V>(all: &mut BTreeMap<RepoName, V>, from: &RepoName, to: &RepoName) {
            if let Some(known) = all.remove(from) {
                all.insert(to.clone(), known);
            }
        }
        let there = |mut issue: IssueRef| {
            if issue.repo == *from {
                issue.repo = to.clone();
            }
            issue
        };
        moved(&mut self.labels, from, to);
        moved(&mut self.protections, from, to);
        moved(&mut self.hooks, from, to);
        for repos in [&mut self.archived, &mut self.hidden] {
            if repos.remove(from) {
                repos.insert(to.clone());
            }
        }
        let more = std::mem::take(&mut self.more).into_iter();
        self.more = more.map(|(issue, more)| (there(issue), more)).collect();
        let dropped = std::mem::take(&mut self.dropped).into_iter();
        self.dropped = dropped.map(|(issue, nth)| (there(issue), nth)).collect();
        self.locked = std::mem::take(&mut self.locked).into_iter().map(there).collect();
        let word = |word: &str| match word.strip_prefix(from.as_str()) {
            Some(rest) if rest.is_empty() || rest.starts_with('#') => format!("{to}{rest}"),
            Some(_) | None => word.to_owned(),
        };
        let ids = std::mem::take(&mut self.ids).into_iter();
        let ids = ids.map(|(key, id)| {
            let words: Vec<String> = key.split(' ').map(word).collect();
            (words.join(" "), id)
        });
        self.ids = ids.collect();
        self.renamed.insert(from.clone(), to.clone());
    }

    /// The server's number for the thing that `key` names; the same at each call.
    pub(super) fn id(&mut self, key: &str) -> u64 {
        // The world numbers comments from 1; these must not collide with them.
        let next = 100_001 + self.ids.len() as u64;
        *self.ids.entry(key.to_owned()).or_insert(next)
    }

    /// The number of an account.
    pub(super) fn account_id(&mut self, login: &str) -> u64 {
        self.id(&format!("account {login}"))
    }

    /// Whether an account of this name was ever shown.
    pub(super) fn knows_account(&self, login: &str) -> bool {
        self.ids.contains_key(&format!("account {login}"))
    }

    /// The number of a repo.
    pub(super) fn repo_id(&mut self, repo: &RepoName) -> u64 {
        self.id(&format!("repo {repo}"))
    }

    pub(super) fn account(&mut self, login: &str) -> Account {
        Account { id: self.account_id(login).cast_signed(), login: login.to_owned() }
    }

    /// The account that the loop writes as.
    pub(super) fn own(&mut self) -> Account {
        self.account(&own().login)
    }

    /// The account of whoever acted; if that is not known, the ghost that the server shows for
    /// deleted accounts (`NewGhostUser` in `models/user/user_system.go`).
    pub(super) fn acted(&mut self, actor: Option<&Actor>) -> Account {
        match actor {
            Some(actor) => self.account(&actor.login),
            None => Account { id: -1, login: "Ghost".to_owned() },
        }
    }

    /// Makes the labels that people put on issues of `repo` known as labels of the repo.
    pub(super) fn learn(&mut self, world: &World, repo: &RepoName) {
        let mut seen = BTreeSet::new();
        for (issue, record) in world.tracker.issues.iter().filter(|(issue, _)| issue.repo == *repo)
        {
            seen.extend(record.issue.labels.iter().cloned());
            for (nth, event) in record.events.iter().enumerate() {
                if let IssueChange::Labeled { label } | IssueChange::Unlabeled { label } =
                    &event.what
                    && !self.dropped.contains(&(issue.clone(), nth))
                {
                    seen.insert(label.clone());
                }
            }
        }
        for name in seen {
            self.label(repo, &name);
        }
    }

    /// A label of a repo, which is made if the repo has none of that name.
    pub(super) fn label(&mut self, repo: &RepoName, name: &str) -> Label {
        if let Some(label) = self.labels_of(repo).and_then(|labels| labels.get(name)) {
            return label.clone();
        }
        let label = Label {
            // A label that is deleted and made again gets another number.
            id: self.id(&format!("label {}", self.ids.len())),
            color: "ededed".to_owned(),
            description: String::new(),
            exclusive: false,
        };
        self.put_label(repo, name, label.clone());
        label
    }

    pub(super) fn put_label(&mut self, repo: &RepoName, name: &str, label: Label) {
        self.labels.entry(repo.clone()).or_default().insert(name.to_owned(), label);
    }

    pub(super) fn take_label(&mut self, repo: &RepoName, name: &str) -> Option<Label> {
        self.labels.get_mut(repo)?.remove(name)
    }

    /// The labels of a repo, by name.
    pub(super) fn labels_of(&self, repo: &RepoName) -> Option<&BTreeMap<String, Label>> {
        self.labels.get(repo)
    }

    /// Whether a repo has a label of exactly that name, in that case.
    pub(super) fn has_label(&self, repo: &RepoName, name: &str) -> bool {
        self.labels_of(repo).is_some_and(|labels| labels.contains_key(name))
    }

    /// The name of the repo's label with this number.
    pub(super) fn label_by_id(&self, repo: &RepoName, id: u64) -> Option<String> {
        let labels = self.labels_of(repo)?;
        labels.iter().find(|(_, label)| label.id == id).map(|(name, _)| name.clone())
    }
}
