//! A strict T3 Code server, as an HTTP server on loopback: for tests of the adapter and of whatever
//! is above it.
//!
//! It behaves as servers of one version do ([`Flavour`]), with the lies that they were seen to tell,
//! and refuses what they refuse. What it answers is compared with recorded exchanges of those
//! versions by the tests of the adapter. It keeps the world's time and changes nothing by itself:
//! a turn goes on when the world's clock does.
//!
//! Its agent does what the text of a message says ([`play`]). Faults are given to it one request
//! at a time ([`Fault`]); [`T3Fake::kill`] ends it as a signal would.

mod bad;
mod command;
mod play;
mod server;
mod show;
mod state;
mod truth;
mod two;
mod world;

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use afk_engine::ports::Clock as _;
use tokio::sync::oneshot;

use afk_sim::fakes::Sim;
pub use bad::BadExecutor;
pub use state::{Fault, Flavour, OpenTurn};
use state::{State, Workers};
pub use truth::{AgentWork, AgentWorkEnd};

/// A running fake. Dropping it ends the server.
pub struct T3Fake {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the server and the test share.
struct Shared {
    sim: Sim,
    state: Mutex<State>,
    /// Requests that wait for ever.
    silence: tokio::sync::Notify,
    /// A command is held.
    held: tokio::sync::Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl T3Fake {
    /// A server of that version in the time of `sim`, for whoever has the bearer `token`, on a free
    /// port of loopback.
    pub fn start(sim: &Sim, flavour: Flavour, token: &str) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}/", listener.local_addr()?);
        let shared = Arc::new(Shared {
            sim: sim.clone(),
            state: Mutex::new(State::new(flavour, url, token)),
            silence: tokio::sync::Notify::new(),
            held: tokio::sync::Notify::new(),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = server::spawn(listener, shared.clone(), stopped)?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.shared.state().url.clone()
    }

    /// A folder on its machine; one without git is no checkout.
    pub fn has_folder(&self, path: &str, git: bool) {
        self.shared.state().folders.insert(path.to_owned(), git);
    }

    /// The next request whose path contains `path` suffers `fault`.
    pub fn fails(&self, path: &str, fault: Fault) {
        self.shared.state().faults.push((path.to_owned(), fault));
    }

    /// The `nth` command from now on, from 0, is never answered, before or after it is done.
    pub fn holds(&self, nth: usize, done: bool) {
        self.shared.state().hold = Some((nth, done));
    }

    /// Returns once a command is held.
    pub async fn held(&self) {
        self.shared.held.notified().await;
    }

    /// How many faults no request has met.
    pub fn faults_left(&self) -> usize {
        self.shared.state().faults.len()
    }

    /// It is killed: nothing is answered, and its agents are orphans.
    pub fn kill(&self) {
        let now = self.shared.sim.now();
        let mut state = self.shared.state();
        state.go_on(now);
        state.kill(now);
    }

    /// It is there again after it was killed.
    pub fn revive(&self) {
        let now = self.shared.sim.now();
        self.shared.state().revive(now);
    }

    /// Whether a turn that is under way was told to stop.
    pub fn is_interrupted(&self) -> bool {
        self.shared
            .state()
            .threads
            .iter()
            .any(|one| one.run.as_ref().is_some_and(|run| run.interrupted.is_some()))
    }

    /// From now on no turn ends because it was interrupted.
    pub fn is_deaf(&self) {
        self.shared.state().deaf = true;
    }

    /// Its agents are the world's: they do what the scripts of the world say.
    pub fn plays_world(&self) {
        self.shared.state().workers = Workers::World;
    }

    /// Its agents work outside, in real folders of this machine: [`Self::open_turns`] are for
    /// somebody to do.
    pub fn works_outside(&self) {
        self.shared.state().workers = Workers::Outside;
    }

    /// The turns that somebody outside has to do, until they are ended or interrupted.
    pub fn open_turns(&self) -> Vec<OpenTurn> {
        let now = self.shared.sim.now();
        let mut state = self.shared.state();
        state.go_on(now);
        state.open_turns()
    }

    /// The agent of a turn has done its work, and says this.
    pub fn end_turn(&self, turn: &str, said: &str) {
        self.shared.state().end_turn(turn, said);
    }

    /// It does not say which protocol it speaks, as early builds of 2.
    pub fn names_no_protocol(&self) {
        self.shared.state().unnamed = true;
    }

    /// From now on turns are accepted and never started.
    pub fn starts_nothing(&self) {
        self.shared.state().idle = true;
    }

    /// Whoever asks has this fault.
    pub fn is_asked_by(&self, bad: BadExecutor) {
        self.shared.state().bad = Some(bad);
    }

    /// Everything that its agents were given to do, oldest first.
    pub fn work(&self) -> Vec<AgentWork> {
        let now = self.shared.sim.now();
        let mut state = self.shared.state();
        state.go_on(now);
        state.work.clone()
    }

    /// A bearer with only these scopes.
    pub fn grant(&self, token: &str, scopes: &[&str]) {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.shared.state().tokens.insert(token.to_owned(), scopes);
    }

    /// A one-time credential that may be exchanged for a bearer.
    pub fn pairs(&self, credential: &str) {
        self.shared.state().pairing.insert(credential.to_owned());
    }

    /// The methods and paths that were asked since the last look, with what a command did.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().requests)
    }

    /// How many turns were ever started on it.
    pub fn turns(&self) -> usize {
        self.shared.state().turns
    }

    /// The ids of threads that are not put away.
    pub fn open_threads(&self) -> Vec<String> {
        let state = self.shared.state();
        let open =
            state.threads.iter().filter(|one| one.archived.is_none() && one.deleted.is_none());
        open.map(|one| one.id.clone()).collect()
    }

    /// Somebody deletes a thread in the cockpit.
    pub fn delete(&self, thread: &str) {
        let now = self.shared.sim.now();
        let mut state = self.shared.state();
        if let Some(thread) = state.threads.iter_mut().find(|one| one.id == thread) {
            thread.deleted = Some(now);
        }
    }
}

impl Drop for T3Fake {
    fn drop(&mut self) {
        self.shared.silence.notify_waiters();
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
