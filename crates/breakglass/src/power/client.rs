//! Sends a power verb to the hypervisor, by SSH and without a shell.
//!
//! Called by the routes. The verb is one argument of `ssh`; the forced command there decides what
//! it does. One mutating verb runs at a time, and a second one is told which. A few verbs that only
//! read run beside it, and never keep it waiting. SSH is on a tether, so it dies with the server;
//! what it started on the hypervisor goes on there by design.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use afk_agent::agents::{Exit, Invocation};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::verb::{EXIT_LOCKED, EXIT_REFUSED, Verb};
use crate::supervisor::Supervisor;

/// How much of the beginning of each output is kept, in bytes.
const MAX_OUTPUT: usize = 256 * 1024;
/// How long SSH may take to be gone once it was killed.
const DEATH: Duration = Duration::from_secs(10);
/// How many verbs that only read may be under way at once. A mutating verb needs no such place:
/// questions that hang must never keep it from running.
const QUESTIONS: usize = 4;
/// For how long after a refusal because of a lock the same verb may pass the lock over.
const LOCK_TOLD: Duration = Duration::from_mins(10);

/// Where the hypervisor is, and how it is reached.
#[derive(Clone, Debug)]
pub struct Hypervisor {
    /// The hypervisor's host, preferably as an IP address: names may not resolve in an incident.
    pub host: String,
    /// The user whose key has the forced command.
    pub user: String,
    /// The port of the hypervisor's SSH server.
    pub port: u16,
    /// The whole environment of `ssh`.
    pub env: Vec<(String, String)>,
    /// How long an answer to a verb is waited for.
    pub bound: Duration,
}

/// How a verb ended, as clients get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerbOutcome {
    /// The verb's name.
    pub verb: &'static str,
    /// The script's exit code, or SSH's 255. `None` if SSH was killed or not waited for.
    pub exit_code: Option<i32>,
    /// The beginning of what the verb printed, up to 256 KiB.
    pub stdout: String,
    /// The beginning of standard error, also SSH's own, up to 256 KiB.
    pub stderr: String,
    /// Whether the hypervisor refused the verb, so that nothing was run.
    pub rejected: bool,
    /// Whether the VM is locked, so that nothing was run. `skiplock` passes that over.
    pub locked: bool,
    /// Why the hypervisor's answer was not waited for, if it was not.
    #[serde(skip)]
    pub cut_short: Option<CutShort>,
}

/// Why the answer to a verb was not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutShort {
    /// The answer took longer than this.
    #[error("no answer from the hypervisor within {} s", .0.as_secs())]
    TooLong(Duration),
    /// The server is being stopped.
    #[error("the server was stopped before the hypervisor answered")]
    Shutdown,
}

/// Why a verb is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerbRefusal {
    /// No hypervisor is configured.
    #[error("no hypervisor is configured: set BREAKGLASS_PVE_HOST")]
    NoHypervisor,
    /// This mutating verb is under way.
    #[error("`{0}` is under way: wait until it is done, and ask for `status` meanwhile")]
    Busy(Verb),
    /// The verb is to override a lock, but was not refused because of one just before.
    #[error(
        "send `{0}` without `skiplock` first: a lock can be overridden only after the hypervisor has just refused the same verb because of it"
    )]
    LockNotReported(Verb),
    /// Too many verbs that only read are under way.
    #[error("{QUESTIONS} verbs that only read are under way: try again in a moment")]
    TooMany,
    /// The server is being stopped.
    #[error("the server is being stopped: try again in a moment")]
    Stopping,
}

/// Sends verbs. Clones share its state.
#[derive(Clone, Debug)]
pub struct PowerClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hypervisor: Option<Hypervisor>,
    supervisor: Supervisor,
    questions: Arc<Semaphore>,
    state: Mutex<State>,
    shutdown: CancellationToken,
    under_way: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    /// The mutating verb that is under way.
    mutating: Option<Verb>,
    /// The verb that was last refused because the VM is locked, and when.
    locked: Option<(Verb, Instant)>,
}

/// The right to send one verb, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    client: PowerClient,
    verb: Verb,
    skip_lock: bool,
    /// The place among [`QUESTIONS`], for a verb that only reads.
    _place: Option<OwnedSemaphorePermit>,
}

impl PowerClient {
    /// Makes a client for this hypervisor, or for none. `shutdown` ends the wait for answers.
    pub fn new(
        hypervisor: Option<Hypervisor>,
        supervisor: Supervisor,
        shutdown: CancellationToken,
    ) -> Self {
        Self(Arc::new(Shared {
            hypervisor,
            supervisor,
            questions: Arc::new(Semaphore::new(QUESTIONS)),
            state: Mutex::default(),
            shutdown,
            under_way: TaskTracker::new(),
        }))
    }

    /// Returns the right to send a verb, or refuses at once rather than waiting. A lock of the VM
    /// is only overridden if the same verb was just refused because of it.
    pub fn permit(&self, verb: Verb, skip_lock: bool, now: Instant) -> Result<Permit, VerbRefusal> {
        if self.0.hypervisor.is_none() {
            return Err(VerbRefusal::NoHypervisor);
        }
        if self.0.shutdown.is_cancelled() {
            return Err(VerbRefusal::Stopping);
        }
        let mut state = self.state();
        if let (true, Some(other)) = (verb.is_mutating(), state.mutating) {
            return Err(VerbRefusal::Busy(other));
        }
        let was_told = state.locked.is_some_and(|(locked, at)| {
            locked == verb && now.saturating_duration_since(at) < LOCK_TOLD
        });
        if skip_lock && !was_told {
            return Err(VerbRefusal::LockNotReported(verb));
        }
        let place = if verb.is_mutating() {
            *state = State { mutating: Some(verb), locked: None };
            None
        } else {
            let place = self.0.questions.clone().try_acquire_owned();
            Some(place.map_err(|_| VerbRefusal::TooMany)?)
        };
        Ok(Permit { client: self.clone(), verb, skip_lock, _place: place })
    }

    /// Runs `verb` on a task that outlives its client, and that [`PowerClient::ended`] awaits.
    pub fn carry_out<T: Send + 'static>(
        &self,
        verb: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.under_way.spawn(verb)
    }

    /// Waits until no verb is under way. Call it once the shutdown was asked for.
    pub async fn ended(&self) {
        self.0.under_way.close();
        self.0.under_way.wait().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Sends the verb and waits for its end, within the bound and until the server is stopped.
    pub async fn send(self) -> VerbOutcome {
        let shared = &self.client.0;
        let failed = |stderr: String| outcome(self.verb, None, String::new(), stderr);
        let Some(hypervisor) = &shared.hypervisor else {
            return failed(VerbRefusal::NoHypervisor.to_string());
        };
        let invocation = invocation(hypervisor, &self.verb.to_wire(self.skip_lock));
        let mut child = match shared.supervisor.spawn(&invocation, Path::new("/")) {
            Ok(child) => child,
            Err(error) => return failed(format!("cannot start ssh: {error}")),
        };
        drop(child.stdin.take());
        let (mut stdout, mut said) = (BoundedOutput::default(), BoundedOutput::default());
        let read = async {
            // By the tether, standard output ends when nothing of the process is left.
            tokio::join!(stdout.fill(child.stdout.take()), said.fill(child.stderr.take()));
        };
        let cut_short = tokio::select! {
            read = timeout(hypervisor.bound, read) => {
                read.err().map(|_| CutShort::TooLong(hypervisor.bound))
            }
            () = shared.shutdown.cancelled() => Some(CutShort::Shutdown),
        };
        // Dropping standard output, the tether, ends SSH. If `read` took it, that has happened.
        drop(child.stdout.take());
        let exit = timeout(DEATH, child.wait()).await.unwrap_or(Exit::Lost);
        let (stdout, mut stderr) = (stdout.into_text(), said.into_text());
        let exit_code = match (cut_short, exit) {
            (Some(why), _) => {
                stderr.push_str(&told(self.verb, why));
                None
            }
            (None, Exit::Exited { code }) if code <= 128 || code == 255 => Some(code),
            (
                None,
                Exit::Exited { .. } | Exit::Signalled { .. } | Exit::NotStarted { .. } | Exit::Lost,
            ) => None,
        };
        let outcome = VerbOutcome { cut_short, ..outcome(self.verb, exit_code, stdout, stderr) };
        if outcome.locked {
            self.client.state().locked = Some((self.verb, Instant::now()));
        }
        outcome
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.verb.is_mutating() {
            self.client.state().mutating = None;
        }
    }
}

fn outcome(verb: Verb, exit_code: Option<i32>, stdout: String, stderr: String) -> VerbOutcome {
    VerbOutcome {
        verb: verb.name(),
        exit_code,
        stdout,
        stderr,
        rejected: exit_code == Some(EXIT_REFUSED),
        locked: exit_code == Some(EXIT_LOCKED),
        cut_short: None,
    }
}

fn told(verb: Verb, why: CutShort) -> String {
    let what = match (verb.is_mutating(), why) {
        (true, CutShort::TooLong(_)) => {
            "if it has begun it goes on there, and `status` tells how it ends"
        }
        (true, CutShort::Shutdown) => "`status` tells whether it goes on there, and how it ends",
        (false, CutShort::TooLong(_)) => "the hypervisor itself may be in trouble",
        (false, CutShort::Shutdown) => "try again in a moment",
    };
    format!("{why}: {what}\n")
}

/// Returns the command that sends a verb. The host key is not checked on purpose: a machine that
/// was rebuilt has a new one just when it must be reached.
fn invocation(hypervisor: &Hypervisor, verb: &str) -> Invocation {
    let mut args: Vec<String> = [
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=10",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
    ]
    .map(str::to_owned)
    .to_vec();
    if hypervisor.port != 22 {
        args.extend(["-p".to_owned(), hypervisor.port.to_string()]);
    }
    args.push(format!("{}@{}", hypervisor.user, hypervisor.host));
    args.push(verb.to_owned());
    let env = hypervisor.env.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
    Invocation {
        program: "ssh".into(),
        args: args.into_iter().map(Into::into).collect(),
        env: env.collect(),
        stdin: Vec::new(),
    }
}

/// The beginning of an output, and how many bytes followed.
#[derive(Default)]
struct BoundedOutput {
    bytes: Vec<u8>,
    dropped: usize,
}

impl BoundedOutput {
    /// Reads everything and keeps the beginning.
    async fn fill(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut chunk = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
            let room = read.min(MAX_OUTPUT - self.bytes.len());
            self.bytes.extend_from_slice(&chunk[..room]);
            self.dropped += read - room;
        }
    }

    fn into_text(self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.dropped > 0 {
            let _ = write!(text, "\n… ({} more bytes)\n", self.dropped);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> PowerClient {
        let hypervisor = Hypervisor {
            host: "192.0.2.1".into(),
            user: "root".into(),
            port: 22,
            env: vec![("PATH".into(), "/usr/bin".into())],
            bound: Duration::from_mins(2),
        };
        of(Some(hypervisor))
    }

    fn of(hypervisor: Option<Hypervisor>) -> PowerClient {
        let supervisor = Supervisor::new("/no/such/program", "a test");
        PowerClient::new(hypervisor, supervisor, CancellationToken::new())
    }

    #[test]
    fn the_verb_is_one_argument_and_the_last() {
        let client = client();
        let hypervisor = client.0.hypervisor.as_ref().unwrap();
        let line = |hypervisor: &Hypervisor, verb| {
            let made = invocation(hypervisor, verb);
            let args: Vec<_> =
                made.args.iter().map(|arg| arg.to_str().unwrap().to_owned()).collect();
            args.join("|")
        };
        assert_eq!(
            line(hypervisor, "cycle --skiplock"),
            "-o|BatchMode=yes|-o|ConnectTimeout=10|-o|StrictHostKeyChecking=no|-o|\
             UserKnownHostsFile=/dev/null|-o|LogLevel=ERROR|root@192.0.2.1|cycle --skiplock"
        );
        let other = Hypervisor { port: 2222, ..hypervisor.clone() };
        assert!(line(&other, "status").ends_with("|-p|2222|root@192.0.2.1|status"));
    }

    #[test]
    fn one_mutating_verb_at_a_time_and_questions_meanwhile() {
        let client = client();
        let permit = |verb| client.permit(verb, false, Instant::now());
        let cycle = permit(Verb::Cycle).expect("free");
        assert_eq!(permit(Verb::Reset).unwrap_err(), VerbRefusal::Busy(Verb::Cycle));
        let mut questions: Vec<_> =
            (0..QUESTIONS).map(|_| permit(Verb::Status).expect("free")).collect();
        for question in [Verb::Status, Verb::Forensics] {
            assert_eq!(permit(question).unwrap_err(), VerbRefusal::TooMany);
        }
        drop(cycle);
        // Questions that hang keep no mutating verb from running, and it frees no place for them.
        let reset = permit(Verb::Reset).expect("free again");
        assert_eq!(permit(Verb::Start).unwrap_err(), VerbRefusal::Busy(Verb::Reset));
        drop(reset);
        assert_eq!(permit(Verb::Status).unwrap_err(), VerbRefusal::TooMany);
        questions.pop();
        drop(permit(Verb::Forensics).expect("one place is free"));
        let refused = of(None).permit(Verb::Status, false, Instant::now()).unwrap_err();
        assert_eq!(refused, VerbRefusal::NoHypervisor);
        client.0.shutdown.cancel();
        assert_eq!(permit(Verb::Status).unwrap_err(), VerbRefusal::Stopping);
    }

    #[test]
    fn a_lock_is_passed_over_only_by_who_was_just_told_of_it() {
        let (client, told) = (client(), Instant::now());
        let check = |verb, now, fine: bool| {
            client.state().locked = Some((Verb::Stop, told));
            let permit = client.permit(verb, true, now);
            assert_eq!(permit.is_ok(), fine, "{verb} {permit:?}");
        };
        check(Verb::Stop, told, true);
        check(Verb::Cycle, told, false);
        check(Verb::Stop, told + LOCK_TOLD, false);
        client.state().locked = None;
        let refused = client.permit(Verb::Stop, true, told).unwrap_err();
        assert_eq!(refused, VerbRefusal::LockNotReported(Verb::Stop));
        // A refusal allows passing the lock over once; a second attempt is refused again.
        client.state().locked = Some((Verb::Stop, told));
        drop(client.permit(Verb::Stop, true, told).expect("confirmed"));
        assert!(client.permit(Verb::Stop, true, told).is_err());
    }

    #[test]
    fn what_is_told_of_an_answer_that_was_not_waited_for() {
        let late = CutShort::TooLong(Duration::from_mins(2));
        for (verb, why, expected) in [
            (
                Verb::Cycle,
                late,
                "no answer from the hypervisor within 120 s: if it has begun it goes on there, and \
                 `status` tells how it ends\n",
            ),
            (
                Verb::Status,
                late,
                "no answer from the hypervisor within 120 s: the hypervisor itself may be in \
                 trouble\n",
            ),
            (
                Verb::Cycle,
                CutShort::Shutdown,
                "the server was stopped before the hypervisor answered: `status` tells whether it \
                 goes on there, and how it ends\n",
            ),
            (
                Verb::Forensics,
                CutShort::Shutdown,
                "the server was stopped before the hypervisor answered: try again in a moment\n",
            ),
        ] {
            assert_eq!(told(verb, why), expected);
        }
    }

    #[test]
    fn what_the_exit_code_says() {
        let of = |code| outcome(Verb::Stop, code, String::new(), String::new());
        assert!(of(Some(EXIT_REFUSED)).rejected && !of(Some(EXIT_REFUSED)).locked);
        assert!(of(Some(EXIT_LOCKED)).locked && !of(Some(EXIT_LOCKED)).rejected);
        for code in [None, Some(0), Some(1), Some(75), Some(255)] {
            assert!(!of(code).rejected && !of(code).locked, "{code:?}");
        }
    }
}
