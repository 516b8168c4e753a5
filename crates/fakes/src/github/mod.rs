//! A strict GitHub over the [`World`](afk_sim::world::World), as an HTTP server on loopback, for
//! tests of the adapter and of whatever is above it.
//!
//! It serves what the adapter asks for and nothing else, with real pages, tags and limits. A
//! request that no client may send (to another address, with another parameter or field, without a
//! version, with a wrong credential) is refused and recorded in
//! [`World::wrong`](afk_sim::world::World). What it takes and answers is checked against GitHub's
//! official description ([`GitHubFake::check`]), so that it invents nothing. It keeps the world's
//! time, or the real one, and nothing changes but what is written through it.
//!
//! Names of accounts are the world's; their numbers are the fake's own, as GitHub's are. A test
//! gives it [`Fault`]s one request at a time.
//!
//! A repo may have a real git remote ([`GitHubFake::on_git`]): then its branches are read there,
//! and what people merge is merged there. What checks say about commits is up to whoever plays CI
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
use crate::git_http::RecordedGitRequest;
use afk_sim::fakes::Sim;
use afk_sim::world::PullRecord;

/// A request as it came, and the status of its answer.
pub type Recorded = crate::frame::Recorded<Route>;

/// A running fake. Dropping it ends the server.
pub struct GitHubFake {
    shared: Arc<Shared>,
    _running: Running,
}

/// What the server and the test share.
type Shared = crate::frame::Shared<State>;

impl GitHubFake {
    /// Serves the world of `sim` to whoever logs in as `login`, on a free port of loopback.
    pub fn start(sim: &Sim, login: Login) -> io::Result<Self> {
        let ((api, base), (other, elsewhere)) = (listen()?, listen()?);
        let now = sim.with(|world| world.now);
        let shared = Shared::new(sim, State::new(base, elsewhere, login, now));
        let running = server::spawn(api, other, &shared)?;
        Ok(Self { shared, _running: running })
    }

    /// Sets the world's time to the real one at every request from now on.
    pub fn live(&self) {
        self.shared.state().live = true;
    }

    /// The address of its API, as github.com has it.
    pub fn url(&self) -> String {
        self.shared.state().base.clone()
    }

    /// Makes the repo's branches those of the bare git folder at `path`, from now on.
    pub fn on_git(&self, repo: &RepoName, path: &Path) {
        self.shared.state().pulls.on_git(repo, Bare::at(path));
    }

    /// The branches of a repo's git folder with their heads.
    ///
    /// # Panics
    ///
    /// If the repo has no git folder, or git fails.
    pub fn heads(&self, repo: &RepoName) -> BTreeMap<String, Oid> {
        self.shared.state().pulls.heads(repo)
    }

    /// The id of one more webhook.
    pub(crate) fn fresh_delivery(&self) -> String {
        format!("delivery-{}", self.shared.state().fresh_id("delivery"))
    }

    /// Merges the open pull request of `branch` in the repo's git folder, as a person does. Returns
    /// the commit that this made.
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

    /// The address of its API, as Enterprise Server has it.
    pub fn enterprise_url(&self) -> String {
        format!("{}/api/v3", self.url())
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.state().requests.clone()
    }

    /// The requests since the last call, which are then forgotten.
    pub fn take_requests(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.shared.state().requests)
    }

    /// Every credential that the fake accepts, so that a test can look for them where none may be.
    pub fn credentials(&self) -> Vec<String> {
        let state = self.shared.state();
        let own = match &state.login {
            Login::Token(token) => Some(token.clone()),
            Login::App(_) => None,
        };
        own.into_iter().chain(state.minted.iter().map(|one| one.token.clone())).collect()
    }

    /// What git asked for over HTTP, in its order.
    pub fn git_requests(&self) -> Vec<RecordedGitRequest> {
        self.shared.state().git_requests.clone()
    }

    /// The requests to another host, to which the fake redirects: their path, and whether a
    /// credential came with it.
    pub fn strayed(&self) -> Vec<(String, bool)> {
        self.shared.state().strayed.clone()
    }

    /// Makes the next request of `route` go wrong; further calls are for the requests after it.
    pub fn fail(&self, route: Route, fault: Fault) {
        self.shared.state().faults.push(route, fault);
    }

    /// The same for the second request of `route` from now on, such as the second page of a list.
    pub fn fail_second(&self, route: Route, fault: Fault) {
        let faults = &mut self.shared.state().faults;
        faults.spare(route);
        faults.push(route, fault);
    }

    /// How many faults no request has met yet.
    pub fn faults_left(&self) -> usize {
        self.shared.state().faults.left()
    }

    /// Accepts this token from now on, and refuses the former one.
    pub fn rotate(&self, token: &str) {
        self.shared.state().login = Login::Token(token.to_owned());
    }

    /// Refuses every token of an installation that was made so far.
    pub fn revoke_tokens(&self) {
        self.shared.state().minted.clear();
    }

    /// Makes the app one that is not installed in repos of this bare name.
    pub fn is_foreign(&self, repo: &RepoName) {
        self.shared.state().foreign.insert(repo.name().to_owned());
    }

    /// Takes the permission for workflows from the app.
    pub fn grants_no_workflows(&self) {
        self.shared.state().no_workflows = true;
    }

    /// The permissions and repos that each token of the app was narrowed to when it was made.
    pub fn minted(&self) -> Vec<(Value, Option<Vec<String>>)> {
        let state = self.shared.state();
        let minted = state.minted.iter();
        minted.map(|one| (one.permissions.clone(), one.repositories.clone())).collect()
    }

    /// Leaves so many requests of the quota until it begins anew.
    pub fn leave(&self, left: u64) {
        let quota = &mut self.shared.state().quota;
        quota.limit = quota.limit.max(left);
        quota.used = quota.limit - left;
    }

    /// How much is left of the quota.
    pub fn left(&self) -> u64 {
        self.shared.state().quota.left()
    }

    /// Renames a repo: its issues move along, and the former name is redirected.
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

    /// Redirects an issue to another one, as after a transfer.
    pub fn transfer(&self, from: &IssueRef, to: &IssueRef) {
        self.shared.state().transferred.insert(from.clone(), to.clone());
    }

    /// Deletes the text of an edit, as people can. `nth` is its index among the issue's events.
    pub fn delete_revision(&self, issue: &IssueRef, nth: usize) {
        self.shared.state().deleted_revisions.insert((issue.clone(), nth));
    }

    /// Makes GitHub say of an account that it is no user, as it does of some.
    pub fn is_no_user(&self, login: &str) {
        self.shared.state().no_users.insert(login.to_owned());
    }

    /// Adds an entry to the issue's timeline, now, of a kind that nobody has heard of.
    pub fn odd_entry(&self, issue: &IssueRef) {
        let now = self.shared.sim.with(|world| world.tracker_now());
        let entry = json!({
            "event": "moved_to_mars", "created_at": null, "label": 7, "actor": { "login": [] },
        });
        self.shared.state().odd.entry(issue.clone()).or_default().push((now, entry));
    }

    /// Turns an issue into a discussion, as a person does: it is closed, and its timeline says so.
    pub fn becomes_discussion(&self, issue: &IssueRef, by: &Actor) {
        let now = self.shared.sim.with(|world| {
            world.set_open(issue, false, by);
            world.tracker_now()
        });
        let entry = json!({ "event": "converted_to_discussion", "actor": null });
        self.shared.state().odd.entry(issue.clone()).or_default().push((now, entry));
    }

    /// GitHub's number of an account, as text.
    pub fn account_id(&self, login: &str) -> String {
        self.shared.state().account_id(login).to_string()
    }

    /// Judges everything that was asked and answered so far: nothing may have been recorded as
    /// wrong, and the official description, where it is at hand, must agree.
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

/// The message that GitHub proposes for a merge.
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

/// A person who acts through the app with this number and slug.
pub fn through(person: &str, app: u64, slug: &str) -> Actor {
    Actor { id: format!("app/{app}"), login: format!("{person} by {slug}"), bot: true }
}

/// An app's own account.
pub fn bot(slug: &str) -> Actor {
    let login = format!("{slug}[bot]");
    Actor { id: login.clone(), login, bot: true }
}
