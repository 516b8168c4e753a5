//! What the fake knows that the world does not: GitHub's own numbers for everything, who may ask
//! how often, and what was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use afk_core::digest::Digest;
use afk_core::ids::{Actor, At, IssueRef, RepoName};
use jiff::SignedDuration;
use serde_json::Value;

use super::admin::Admin;
use super::ci::Ci;
use super::{Recorded, Route};
use crate::frame::{self, Exchanges, Faults};
use crate::git_http::RecordedGitRequest;
use crate::pulls::Pulls;
use afk_sim::world::own;

/// How many requests an account may make in a period.
const QUOTA: u64 = 5000;
/// The length of a period of the quota.
const PERIOD: SignedDuration = SignedDuration::from_hours(1);

/// Who the loop is to GitHub.
#[derive(Clone)]
pub enum Login {
    /// A user, with this token.
    Token(String),
    /// An app, and its installations.
    App(AppAccount),
}

/// An app with one or more installations.
#[derive(Clone)]
pub struct AppAccount {
    /// Its id.
    pub id: u64,
    /// Its slug, which is its name in addresses.
    pub slug: String,
    /// The numbers of its installations; the first one is the loop's.
    pub installations: Vec<u64>,
    /// Checks the tokens that the app signs with its own key.
    pub verify: Verify,
}

/// Returns the claims of a token, if it is signed with the app's key.
pub type Verify = Arc<dyn Fn(&str) -> Option<Value> + Send + Sync>;

/// A token that was made for an installation.
pub(super) struct Minted {
    pub(super) token: String,
    pub(super) ends: At,
    pub(super) permissions: Value,
    /// The bare names of the repos that it is narrowed to, if it is.
    pub(super) repositories: Option<Vec<String>>,
}

/// An account as GitHub shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) login: String,
    pub(super) is_bot: bool,
}

/// How much of the requests of one kind is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quota {
    pub(super) limit: u64,
    pub(super) used: u64,
    pub(super) reset: At,
}

/// A request and its answer, to be checked against the official description.
pub(super) type Exchange = frame::Exchange<Route>;

/// Everything that the fake knows beside the world.
pub(super) struct State {
    /// The address of the API.
    pub(super) base: String,
    /// The address of the other host.
    pub(super) elsewhere: String,
    pub(super) login: Login,
    /// Whether the world's time is the real one.
    pub(super) live: bool,
    pub(super) minted: Vec<Minted>,
    /// Bare names of repos in which the app is not installed.
    pub(super) foreign: BTreeSet<String>,
    /// Whether the app has no permission for workflows.
    pub(super) no_workflows: bool,
    pub(super) faults: Faults<Route>,
    pub(super) quota: Quota,
    pub(super) graph_quota: Quota,
    /// Why issues were closed, for those that were closed over the API.
    pub(super) reasons: BTreeMap<IssueRef, String>,
    /// When each edited comment was last edited, by its id.
    pub(super) edited: BTreeMap<String, At>,
    /// Former names of repos, with the names that they have now.
    pub(super) renamed: BTreeMap<RepoName, RepoName>,
    /// Issues that were transferred, with what they are now.
    pub(super) transferred: BTreeMap<IssueRef, IssueRef>,
    /// Entries of timelines that the official description does not know.
    pub(super) odd: BTreeMap<IssueRef, Vec<(At, Value)>>,
    /// Edits whose text was deleted, by their index among the issue's events.
    pub(super) deleted_revisions: BTreeSet<(IssueRef, usize)>,
    /// Accounts of which GitHub says that they are no users.
    pub(super) no_users: BTreeSet<String>,
    pub(super) pulls: Pulls,
    /// Labels, webhooks, and what the credential may do.
    pub(super) admin: Admin,
    /// What checks say about commits.
    pub(super) ci: Ci,
    /// The last whole answer at each address, by credential.
    pub(super) last: BTreeMap<(String, Digest), Value>,
    pub(super) requests: Vec<Recorded>,
    /// What git asked for over HTTP.
    pub(super) git_requests: Vec<RecordedGitRequest>,
    /// The requests to the other host: their path, and whether a credential came with it.
    pub(super) strayed: Vec<(String, bool)>,
    pub(super) exchanges: Exchanges<Route>,
    ids: BTreeMap<String, u64>,
    tokens: u64,
}

impl State {
    pub(super) fn new(base: String, elsewhere: String, login: Login, now: At) -> Self {
        let quota = Quota { limit: QUOTA, used: 0, reset: later(now, PERIOD) };
        Self {
            base,
            elsewhere,
            login,
            live: false,
            minted: Vec::new(),
            foreign: BTreeSet::new(),
            no_workflows: false,
            faults: Faults::default(),
            quota,
            graph_quota: quota,
            reasons: BTreeMap::new(),
            edited: BTreeMap::new(),
            renamed: BTreeMap::new(),
            transferred: BTreeMap::new(),
            odd: BTreeMap::new(),
            deleted_revisions: BTreeSet::new(),
            no_users: BTreeSet::new(),
            pulls: Pulls::default(),
            admin: Admin::default(),
            ci: Ci::default(),
            last: BTreeMap::new(),
            requests: Vec::new(),
            git_requests: Vec::new(),
            strayed: Vec::new(),
            exchanges: Exchanges::default(),
            ids: BTreeMap::new(),
            tokens: 0,
        }
    }

    /// GitHub's number for the thing that `key` names; the same at each call.
    pub(super) fn id(&mut self, key: &str) -> u64 {
        let next = 1001 + self.ids.len() as u64;
        *self.ids.entry(key.to_owned()).or_insert(next)
    }

    /// A number that nothing has yet, higher than all that were given before.
    pub(super) fn fresh_id(&mut self, of: &str) -> u64 {
        let nth = self.ids.len();
        self.id(&format!("{of} after {nth}"))
    }

    /// The number of an account.
    pub(super) fn account_id(&mut self, account: &str) -> u64 {
        self.id(&format!("account {account}"))
    }

    /// Whether an account of this name was ever shown.
    pub(super) fn knows_account(&self, account: &str) -> bool {
        self.ids.contains_key(&format!("account {account}"))
    }

    /// The number of a repo.
    pub(super) fn repo_id(&mut self, repo: &RepoName) -> u64 {
        self.id(&format!("repo {repo}"))
    }

    /// The repo that has this number.
    pub(super) fn repo_by_id(&self, id: u64) -> Option<RepoName> {
        let named = self.ids.iter().find(|(key, known)| **known == id && key.starts_with("repo "));
        named?.0.strip_prefix("repo ")?.parse().ok()
    }

    /// The account that the loop writes as.
    pub(super) fn own(&mut self) -> Account {
        let (login, is_bot) = match &self.login {
            Login::Token(_) => (own().login, false),
            Login::App(app) => (format!("{}[bot]", app.slug), true),
        };
        Account { id: self.account_id(&login), login, is_bot }
    }

    /// The account of whoever acted, and the app through which it acted, if any.
    pub(super) fn acted(&mut self, actor: &Actor) -> (Account, Option<(u64, String)>) {
        if actor.id == own().id {
            let app = match &self.login {
                Login::Token(_) => None,
                Login::App(app) => Some((app.id, app.slug.clone())),
            };
            return (self.own(), app);
        }
        let app = actor.id.strip_prefix("app/").and_then(|id| id.parse().ok());
        let through = app.zip(actor.login.split_once(" by "));
        if let Some((id, (person, slug))) = through {
            let account =
                Account { id: self.account_id(person), login: person.to_owned(), is_bot: false };
            return (account, Some((id, slug.to_owned())));
        }
        let id = self.account_id(&actor.login);
        (Account { id, login: actor.login.clone(), is_bot: actor.bot }, None)
    }

    /// A new token, as long as GitHub's are.
    pub(super) fn fresh_token(&mut self, app: u64) -> String {
        self.tokens += 1;
        let part = |n: usize| format!("{:x<n$}", self.tokens);
        format!("ghs_{app}_{}.{}.{}", part(96), part(240), part(160))
    }

    /// The quota that a request of this route counts in. It begins anew if its period is over, or
    /// if the forge's clock was put back to before the period.
    pub(super) fn quota(&mut self, route: Option<Route>, now: At) -> &mut Quota {
        let graph = route == Some(Route::GraphQl);
        let quota = if graph { &mut self.graph_quota } else { &mut self.quota };
        if now >= quota.reset || quota.reset > later(now, PERIOD) {
            *quota = Quota { limit: quota.limit, used: 0, reset: later(now, PERIOD) };
        }
        quota
    }
}

impl Quota {
    pub(super) const fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// The time `by` after `at`, or `at` if there is none.
pub(super) fn later(at: At, by: SignedDuration) -> At {
    at.checked_add(by).unwrap_or(at)
}
