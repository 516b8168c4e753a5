//! What the fake knows beside the world: GitHub's own numbers for everything, who may ask, how
//! often, and what was asked.

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
use crate::git_http::GitAsked;
use crate::pulls::Pulls;
use afk_sim::world::own;

/// How many requests an account has in a period.
const QUOTA: u64 = 5000;
/// How long a period of the quota is.
const PERIOD: SignedDuration = SignedDuration::from_hours(1);

/// As whom the loop asks.
#[derive(Clone)]
pub enum Login {
    /// With a token.
    Token(String),
    /// As an app.
    App(AppAccount),
}

/// An app that is installed once.
#[derive(Clone)]
pub struct AppAccount {
    /// Its id.
    pub id: u64,
    /// Its name in addresses.
    pub slug: String,
    /// Its installations; the first one is the loop's.
    pub installations: Vec<u64>,
    /// The claims of what the app signed for itself, if it is signed with its key.
    pub verify: Verify,
}

/// Verifies what an app signed for itself.
pub type Verify = Arc<dyn Fn(&str) -> Option<Value> + Send + Sync>;

/// A token of an installation.
pub(super) struct Minted {
    pub(super) token: String,
    pub(super) ends: At,
    pub(super) permissions: Value,
    /// The repos that it is narrowed to, by their bare names.
    pub(super) repositories: Option<Vec<String>>,
}

/// An account as GitHub shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) login: String,
    pub(super) is_bot: bool,
}

/// What is left for requests of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quota {
    pub(super) limit: u64,
    pub(super) used: u64,
    pub(super) reset: At,
}

/// An exchange that the official description has something to say about.
pub(super) type Exchange = frame::Exchange<Route>;

/// Everything but the world.
pub(super) struct State {
    /// Where the API is.
    pub(super) base: String,
    /// Another host.
    pub(super) elsewhere: String,
    pub(super) login: Login,
    /// Whether the world's time is the real one.
    pub(super) live: bool,
    pub(super) minted: Vec<Minted>,
    /// Repos, by their bare names, in which the app is not installed.
    pub(super) foreign: BTreeSet<String>,
    /// Whether the app has no permission for workflows.
    pub(super) no_workflows: bool,
    pub(super) faults: Faults<Route>,
    pub(super) quota: Quota,
    pub(super) graph_quota: Quota,
    /// Why issues are closed, if not because they are completed.
    pub(super) reasons: BTreeMap<IssueRef, String>,
    /// When comments were edited.
    pub(super) edited: BTreeMap<String, At>,
    /// Repos that have another name now.
    pub(super) renamed: BTreeMap<RepoName, RepoName>,
    /// Issues that are another repo's now.
    pub(super) transferred: BTreeMap<IssueRef, IssueRef>,
    /// Entries of timelines that the description does not know.
    pub(super) odd: BTreeMap<IssueRef, Vec<(At, Value)>>,
    /// Edits whose text somebody deleted, by their place among the issue's events.
    pub(super) deleted_revisions: BTreeSet<(IssueRef, usize)>,
    /// Accounts that GitHub calls no users.
    pub(super) no_users: BTreeSet<String>,
    pub(super) pulls: Pulls,
    /// Labels, webhooks, and what the credential may do.
    pub(super) admin: Admin,
    /// What checks say about commits.
    pub(super) ci: Ci,
    /// The last whole answers, by address and credential.
    pub(super) last: BTreeMap<(String, Digest), Value>,
    pub(super) requests: Vec<Recorded>,
    /// What git asked for over HTTP.
    pub(super) git_asked: Vec<GitAsked>,
    /// What another host was asked: the path, and whether a credential came with it.
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
            git_asked: Vec::new(),
            strayed: Vec::new(),
            exchanges: Exchanges::default(),
            ids: BTreeMap::new(),
            tokens: 0,
        }
    }

    /// GitHub's number for what this key names; the same at each call.
    pub(super) fn id(&mut self, key: &str) -> u64 {
        let next = 1001 + self.ids.len() as u64;
        *self.ids.entry(key.to_owned()).or_insert(next)
    }

    /// A number that nothing else has, higher than all before it.
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

    /// The repo of a number.
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

    /// Who acted, and the app through which it was done.
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

    /// A token that nobody had before, as long as GitHub's are.
    pub(super) fn fresh_token(&mut self, app: u64) -> String {
        self.tokens += 1;
        let part = |n: usize| format!("{:x<n$}", self.tokens);
        format!("ghs_{app}_{}.{}.{}", part(96), part(240), part(160))
    }

    /// The quota that a request of this route is counted in; begun anew if its period is over, or the
    /// forge's clock was put back to before it.
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

/// That much later.
pub(super) fn later(at: At, by: SignedDuration) -> At {
    at.checked_add(by).unwrap_or(at)
}
