//! A strict Forgejo over the [`World`](afk_sim::world::World), as an HTTP server on loopback: for
//! tests of the adapter and of whatever is above it. It can be a Gitea, too, which has less.
//!
//! It serves what the adapter asks for and nothing else, with the pages, counts and traps of real
//! servers. A request that no client may send (to another address, with another parameter or field,
//! without a token) is refused and recorded in [`World::wrong`](afk_sim::world::World), and so is
//! one that real servers accept in silence without doing what it asks. What it takes and answers is
//! checked against Forgejo's official description ([`ForgejoFake::check`]), so that it invents
//! nothing. It keeps the world's time, or the real one, and nothing changes but what is written
//! through it.
//!
//! Names of accounts are the world's; their numbers are the fake's own. Every repo that is asked
//! about exists, unless a test hides it. A test gives it [`Fault`]s one request at a time. What
//! people do on the server that the world does not know is in `plant.rs`.
//!
//! Where files of the server are named, they are those of <https://codeberg.org/forgejo/forgejo>
//! and, in Gitea's case, of <https://github.com/go-gitea/gitea>.

mod answers;
mod checks;
mod hooks;
mod issues;
mod labels;
mod payloads;
mod plant;
mod pulls;
mod route;
mod schema;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod timeline;

use std::io;
use std::sync::Arc;

pub use checks::{Job, Run, Status};
pub use hooks::Hook;
pub use route::Route;
use state::State;
pub use state::{Kind, Protection, Settings};

pub use crate::frame::Fault;
use crate::frame::{Running, listen};
use crate::git_http::RecordedGitRequest;
use afk_sim::fakes::Sim;

/// A request as it came, and the status of its answer.
pub type Recorded = crate::frame::Recorded<Route>;

/// A running fake. Dropping it ends the server.
pub struct ForgejoFake {
    shared: Arc<Shared>,
    _running: Running,
}

/// What the server and the test share.
type Shared = crate::frame::Shared<State>;

impl ForgejoFake {
    /// Serves the world of `sim` as `settings` say, on a free port of loopback.
    pub fn start(sim: &Sim, settings: Settings) -> io::Result<Self> {
        let ((api, base), (other, elsewhere)) = (listen()?, listen()?);
        let shared = Shared::new(sim, State::new(base, elsewhere, settings));
        let running = server::spawn(api, other, &shared)?;
        Ok(Self { shared, _running: running })
    }

    /// The address of the server; its API is below `/api/v1`.
    pub fn url(&self) -> String {
        self.shared.state().base.clone()
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
        vec![self.shared.state().settings.token.clone()]
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

    /// How many faults no request has met yet.
    pub fn faults_left(&self) -> usize {
        self.shared.state().faults.left()
    }

    /// Accepts this token from now on, and refuses the former one.
    pub fn rotate(&self, token: &str) {
        token.clone_into(&mut self.shared.state().settings.token);
    }

    /// Takes the scope for issues from the token.
    pub fn lacks_issues(&self) {
        self.shared.state().lacks_issues = true;
    }

    /// Takes the administration of all repos from the token's account.
    pub fn administers_nothing(&self) {
        self.shared.state().settings.admin = false;
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
