//! A strict GitHub over the [`World`](afk_sim::world::World), as an HTTP server on loopback: for tests
//! of the adapter and of whatever is above it.
//!
//! It serves what the adapter asks for and nothing else, with real pages, tags and limits. What no
//! client may send (another address, parameter or field, no version, a wrong credential) is refused
//! and recorded in [`World::wrong`](afk_sim::world::World). What it takes and answers is checked
//! against GitHub's official description ([`GitHubFake::check`]), so that it invents nothing. It
//! keeps the world's time, or the real one, and changes nothing by itself but what is written through
//! it.
//!
//! Names of accounts are the world's; their numbers are its own, as GitHub's are. [`Fault`]s are
//! given to it one request at a time.
//!
//! A repo may have a real git remote ([`GitHubFake::on_git`]): then its branches are read there, and
//! what people merge is merged there. What checks say about commits is set by whoever plays CI
//! ([`GitHubFake::begin_run`]).

mod admin;
mod answers;
mod checks;
mod ci;
mod graphql;
mod issues;
mod payloads;
mod pulls;
mod route;
mod schema;
mod server;
mod state;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use afk_core::ids::{Actor, IssueRef, Oid, RepoName};
use serde_json::{Value, json};

pub use admin::Hook;
pub use route::Route;
use state::State;
pub use state::{AppAccount, Login, Verify};

use crate::bare::{Bare, MergeAs};
pub use crate::frame::Fault;
use crate::frame::{Running, listen};
use crate::git_http::GitAsked;
use afk_sim::fakes::Sim;
use afk_sim::world::PullRecord;

/// A request as it came, and the answer's status.
pub type Recorded = crate::frame::Recorded<Route>;

/// A running fake. Dropping it ends the server.
pub struct GitHubFake {
    shared: Arc<Shared>,
    _running: Running,
}

/// What the server and the test share.
type Shared = crate::frame::Shared<State>;

impl GitHubFake {
    /// Serves the world of `sim` to whoever logs in like that, on a free port of loopback.
    pub fn start(sim: &Sim, login: Login) -> io::Result<Self> {
        let ((api, base), (other, elsewhere)) = (listen()?, listen()?);
        let now = sim.with(|world| world.now);
        let shared = Shared::new(sim, State::new(base, elsewhere, login, now));
        let running = server::spawn(api, other, &shared)?;
        Ok(Self { shared, _running: running })
    }

    /// The world's time is the real one from now on, whenever somebody asks.
    pub fn live(&self) {
        self.shared.state().live = true;
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        self.shared.state().base.clone()
    }

    /// The repo's branches are those of a bare git folder from now on.
    pub fn on_git(&self, repo: &RepoName, path: &Path) {
        self.shared.state().pulls.on_git(repo, Bare::at(path));
    }

    /// The branches of a repo's git folder with their heads.
    ///
    /// # Panics
    ///
    /// If it has none, or git does not work.
    pub fn heads(&self, repo: &RepoName) -> BTreeMap<String, Oid> {
        self.shared.state().pulls.heads(repo)
    }

    /// The id of another webhook.
    pub(crate) fn fresh_delivery(&self) -> String {
        format!("delivery-{}", self.shared.state().fresh_id("delivery"))
    }

    /// A person merges the open pull request of `branch`, and the remote has it.
    ///
    /// # Panics
    ///
    /// If it is not open, or does not merge.
    pub fn merge_pull(&self, repo: &RepoName, branch: &str, as_: MergeAs) -> Oid {
        let message = |number: u64, pull: &PullRecord| merge_message(number, pull, as_);
        let merged = self
            .shared
            .sim
            .with(|world| self.shared.state().pulls.merge(world, (repo, branch), as_, message));
        merged.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Where its API is as Enterprise Server has it.
    pub fn enterprise_url(&self) -> String {
        format!("{}/api/v3", self.url())
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.state().requests.clone()
    }

    /// The requests since the last time that this was asked.
    pub fn take_requests(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.shared.state().requests)
    }

    /// Every credential that opens it, to be looked for where none may be.
    pub fn credentials(&self) -> Vec<String> {
        let state = self.shared.state();
        let own = match &state.login {
            Login::Token(token) => Some(token.clone()),
            Login::App(_) => None,
        };
        own.into_iter().chain(state.minted.iter().map(|one| one.token.clone())).collect()
    }

    /// What git asked for over HTTP, in its order.
    pub fn git_asked(&self) -> Vec<GitAsked> {
        self.shared.state().git_asked.clone()
    }

    /// What another host was asked, to which the fake redirected: the path, and whether a
    /// credential came with it.
    pub fn strayed(&self) -> Vec<(String, bool)> {
        self.shared.state().strayed.clone()
    }

    /// The next request of that route goes wrong; several go wrong in this order.
    pub fn fail(&self, route: Route, fault: Fault) {
        self.shared.state().faults.push(route, fault);
    }

    /// The same for the request after the next one of that route, such as the second page of a list.
    pub fn fail_second(&self, route: Route, fault: Fault) {
        let faults = &mut self.shared.state().faults;
        faults.spare(route);
        faults.push(route, fault);
    }

    /// How many faults no request has met.
    pub fn faults_left(&self) -> usize {
        self.shared.state().faults.left()
    }

    /// Another token counts from now on; the former one is refused.
    pub fn rotate(&self, token: &str) {
        self.shared.state().login = Login::Token(token.to_owned());
    }

    /// Every token of an installation is refused from now on.
    pub fn revoke_tokens(&self) {
        self.shared.state().minted.clear();
    }

    /// The app is not installed in that repo.
    pub fn is_foreign(&self, repo: &RepoName) {
        self.shared.state().foreign.insert(repo.name().to_owned());
    }

    /// The app has no permission for workflows.
    pub fn grants_no_workflows(&self) {
        self.shared.state().no_workflows = true;
    }

    /// What the tokens of the app were narrowed to when they were made, as permissions and repos.
    pub fn minted(&self) -> Vec<(Value, Option<Vec<String>>)> {
        let state = self.shared.state();
        let minted = state.minted.iter();
        minted.map(|one| (one.permissions.clone(), one.repositories.clone())).collect()
    }

    /// So many requests are left until the quota begins anew.
    pub fn leave(&self, left: u64) {
        let quota = &mut self.shared.state().quota;
        quota.limit = quota.limit.max(left);
        quota.used = quota.limit - left;
    }

    /// How much is left of the quota.
    pub fn left(&self) -> u64 {
        self.shared.state().quota.left()
    }

    /// A repo gets another name: its issues move there, and the former name is redirected.
    pub fn rename(&self, from: &RepoName, to: &RepoName) {
        self.shared.sim.with(|world| {
            self.shared.state().renamed.insert(from.clone(), to.clone());
            for (mut issue, mut record) in std::mem::take(&mut world.tracker.issues) {
                if issue.repo == *from {
                    issue.repo = to.clone();
                    record.issue.issue = issue.clone();
                }
                world.tracker.issues.insert(issue, record);
            }
        });
    }

    /// An issue becomes another repo's.
    pub fn transfer(&self, from: &IssueRef, to: &IssueRef) {
        self.shared.state().transferred.insert(from.clone(), to.clone());
    }

    /// Somebody deletes the text of an edit; `nth` counts what happened to the issue, from 0.
    pub fn delete_revision(&self, issue: &IssueRef, nth: usize) {
        self.shared.state().deleted_revisions.insert((issue.clone(), nth));
    }

    /// GitHub says of the account that it is no user.
    pub fn is_no_user(&self, login: &str) {
        self.shared.state().no_users.insert(login.to_owned());
    }

    /// An entry of a kind that nobody has heard of comes into the issue's timeline, now.
    pub fn odd_entry(&self, issue: &IssueRef) {
        let now = self.shared.sim.with(|world| world.tracker_now());
        let entry = json!({
            "event": "moved_to_mars", "created_at": null, "label": 7, "actor": { "login": [] },
        });
        self.shared.state().odd.entry(issue.clone()).or_default().push((now, entry));
    }

    /// A person makes a discussion of the issue: it is closed, and its timeline says so.
    pub fn becomes_discussion(&self, issue: &IssueRef, by: &Actor) {
        let now = self.shared.sim.with(|world| {
            world.set_open(issue, false, by);
            world.tracker_now()
        });
        let entry = json!({ "event": "converted_to_discussion", "actor": null });
        self.shared.state().odd.entry(issue.clone()).or_default().push((now, entry));
    }

    /// GitHub's number of an account.
    pub fn account_id(&self, login: &str) -> String {
        self.shared.state().account_id(login).to_string()
    }

    /// Judges everything that was asked and answered so far: nothing may be wrong, and where the
    /// official description is at hand it must agree.
    ///
    /// # Panics
    ///
    /// If something is wrong.
    pub fn check(&self, test: &str) {
        let wrong = self.shared.sim.with(|world| world.wrong.clone());
        assert!(wrong.is_empty(), "{test}: {wrong:#?}");
        let exchanges = self.shared.state().exchanges.take();
        schema::check(test, &exchanges);
    }
}

/// What GitHub proposes to say about what is merged.
fn merge_message(number: u64, record: &PullRecord, as_: MergeAs) -> String {
    let spec = &record.spec;
    match as_ {
        MergeAs::Merge => {
            let (owner, branch, title) = (spec.repo.owner(), &spec.branch, &spec.title);
            format!("Merge pull request #{number} from {owner}/{branch}\n\n{title}")
        }
        MergeAs::Squash => format!("{} (#{number})\n\n{}", spec.title, spec.body),
    }
}

/// A person who acts through an app.
pub fn through(person: &str, app: u64, slug: &str) -> Actor {
    Actor { id: format!("app/{app}"), login: format!("{person} by {slug}"), bot: true }
}

/// An app's own account.
pub fn bot(slug: &str) -> Actor {
    let login = format!("{slug}[bot]");
    Actor { id: login.clone(), login, bot: true }
}
