//! A strict T3 Code server, as an HTTP server on loopback: for tests of the adapter and of whatever
//! is above it.
//!
//! It behaves as servers of one version do ([`Flavour`]), with the false answers that they were
//! seen to give, and refuses what they refuse. The tests of the adapter compare its answers with
//! recorded exchanges of those versions. It keeps the world's time and changes nothing by itself: a
//! turn goes on when the world's clock does.
//!
//! Its agent does what the text of a message says ([`play`]). A test gives it faults one request at
//! a time ([`Fault`]); [`T3Fake::kill`] ends it as a signal would.

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
    /// Woken when the server ends, for requests that are never answered.
    silence: tokio::sync::Notify,
    /// Woken when a command is held.
    held: tokio::sync::Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl T3Fake {
    /// Starts a server of this version in the time of `sim`, which accepts the bearer `token`, on a
    /// free port of loopback.
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

    /// The address of the server.
    pub fn url(&self) -> String {
        self.shared.state().url.clone()
    }

    /// Makes a folder on its machine; without `git` it is no checkout.
    pub fn has_folder(&self, path: &str, git: bool) {
        self.shared.state().folders.insert(path.to_owned(), git);
    }

    /// Makes the next request whose path contains `path` suffer `fault`.
    pub fn fails(&self, path: &str, fault: Fault) {
        self.shared.state().faults.push((path.to_owned(), fault));
    }

    /// Holds the `nth` command from now on, counted from 0: it is never answered, after it is done
    /// if `done`, else before.
    pub fn holds(&self, nth: usize, done: bool) {
        self.shared.state().hold = Some((nth, done));
    }

    /// Returns once a command is held.
    pub async fn held(&self) {
        self.shared.held.notified().await;
    }

    /// How many faults no request has met yet.
    pub fn faults_left(&self) -> usize {
        self.shared.state().faults.len()
    }

    /// Kills the server: nothing is answered any more, and its agents are orphans.
    pub fn kill(&self) {
        let now = self.shared.sim.now();
        let mut state = self.shared.state();
        state.go_on(now);
        state.kill(now);
    }

    /// Starts the server again after it was killed.
    pub fn revive(&self) {
        let now = self.shared.sim.now();
        self.shared.state().revive(now);
    }

    /// Whether a turn that has not ended was told to stop.
    pub fn is_interrupted(&self) -> bool {
        self.shared
            .state()
            .threads
            .iter()
            .any(|one| one.run.as_ref().is_some_and(|run| run.interrupted.is_some()))
    }

    /// Makes interrupts without effect: no turn ends because of one.
    pub fn is_deaf(&self) {
        self.shared.state().deaf = true;
    }

    /// Makes its agents those of the world, which do what the world's scripts say.
    pub fn plays_world(&self) {
        self.shared.state().workers = Workers::World;
    }

    /// Makes its agents work outside, in real folders of this machine: somebody has to do the
    /// [`Self::open_turns`].
    pub fn works_outside(&self) {
        self.shared.state().workers = Workers::Outside;
    }

    /// The turns that somebody outside has to do: those that run and were not interrupted.
    pub fn open_turns(&self) -> Vec<OpenTurn> {
        let now = self.shared.sim.now();
        let mut state = self.shared.state();
        state.go_on(now);
        state.open_turns()
    }

    /// Ends a turn that was done outside; its agent said `said`.
    pub fn end_turn(&self, turn: &str, said: &str) {
        self.shared.state().end_turn(turn, said);
    }

    /// Makes it not say which protocol it speaks, as early builds of protocol 2 do not.
    pub fn names_no_protocol(&self) {
        self.shared.state().unnamed = true;
    }

    /// Makes it another server, which calls itself `environment`.
    pub fn is_environment(&self, environment: &str) {
        environment.clone_into(&mut self.shared.state().environment);
    }

    /// Makes it accept turns and never start them.
    pub fn starts_nothing(&self) {
        self.shared.state().idle = true;
    }

    /// Gives whatever executor asks it this fault.
    pub fn is_asked_by(&self, bad: BadExecutor) {
        self.shared.state().bad = Some(bad);
    }

    /// Everything that its agents were given to do, oldest first, and how it went.
    pub fn work(&self) -> Vec<AgentWork> {
        let now = self.shared.sim.now();
        let mut state = self.shared.state();
        state.go_on(now);
        state.work.clone()
    }

    /// Accepts one more bearer, with only these scopes.
    pub fn grant(&self, token: &str, scopes: &[&str]) {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.shared.state().tokens.insert(token.to_owned(), scopes);
    }

    /// Accepts this credential once, in exchange for a bearer.
    pub fn pairs(&self, credential: &str) {
        self.shared.state().pairing.insert(credential.to_owned());
    }

    /// The requests since the last call, which are then forgotten: the type of a command, else
    /// method and path.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().requests)
    }

    /// How many turns were ever started on it.
    pub fn turns(&self) -> usize {
        self.shared.state().turns
    }

    /// The ids of threads that are neither archived nor deleted.
    pub fn open_threads(&self) -> Vec<String> {
        let state = self.shared.state();
        let open =
            state.threads.iter().filter(|one| one.archived.is_none() && one.deleted.is_none());
        open.map(|one| one.id.clone()).collect()
    }

    /// Archives a thread, as people can in the cockpit.
    pub fn archive(&self, thread: &str) {
        let now = self.shared.sim.now();
        let mut state = self.shared.state();
        if let Some(thread) = state.threads.iter_mut().find(|one| one.id == thread) {
            thread.archived = Some(now);
        }
    }

    /// Deletes a thread, as people can in the cockpit.
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
