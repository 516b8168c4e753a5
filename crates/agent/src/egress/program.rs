//! `afk egress`: the process outside of a box that lets out what may leave. Started by the box's host,
//! never by people.
//!
//! Its standard input carries a [`Task`], length first, and then stays open until the job has
//! ended; a host that dies closes it, too. Its standard output is the socket through which the box
//! hands out its listener ([`super::handover`]). Errors go to standard error, which is the host's
//! log.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::attempts::{AttemptCounters, Attempts};
use super::handover::{self, BoxHandles};
use super::log::Log;
use super::proxy::Proxy;
use super::rules::Egress;
use super::upstream::Model;

/// The hidden subcommand under which the binary reaches [`main`].
pub const SUBCOMMAND: &str = "egress";

/// The largest task that is accepted, in bytes.
const TASK: u64 = 4 << 20;
/// How often attempts past the proxy are counted.
const LOOK: Duration = Duration::from_millis(500);

/// What the process has to do.
#[derive(Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) rules: Egress,
    /// The key of the model's API, if it was handed over.
    pub(crate) key: Option<String>,
    pub(crate) folder: PathBuf,
}

impl Task {
    /// Writes the task as [`main`] reads it: eight bytes of length, then JSON.
    pub(crate) fn write(&self, mut to: impl io::Write) -> io::Result<()> {
        let body = serde_json::to_vec(self)?;
        to.write_all(&(body.len() as u64).to_be_bytes())?;
        to.write_all(&body)
    }

    fn read(mut from: impl io::Read) -> io::Result<Self> {
        let mut length = [0; 8];
        from.read_exact(&mut length)?;
        let length = u64::from_be_bytes(length);
        if length > TASK {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
        let mut body = Vec::new();
        from.take(length).read_to_end(&mut body)?;
        // The parse error is dropped, because it may quote the key.
        serde_json::from_slice(&body).map_err(|_| io::Error::other("it is not complete"))
    }
}

/// Lets out what may leave, until the host ends it: the body of `afk egress`.
pub fn main() -> ExitCode {
    // If this fails, the end of standard input does the same, a moment later.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(io::stderr(), "the box's way to the network: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    // Descriptors of our own, without the buffers of the standard streams.
    let input = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let door = io::stdout().as_fd().try_clone_to_owned();
    let told = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut input = input.map_err(told("no standard input"))?;
    let task = Task::read(&mut input).map_err(told("cannot read what to do"))?;
    let log = Log::open(&task.folder).map_err(told("cannot record what is refused"))?;
    let log = Arc::new(log);
    let key = task.key.map(SecretString::from);
    let model = match task.rules.model.clone() {
        Some(upstream) => Some(Model::new(upstream, key)?),
        None => None,
    };
    let door = door.map_err(told("no standard output"))?;
    let Some(opened) = handover::take(door).map_err(told("the box does not open"))? else {
        return Ok(());
    };
    let BoxHandles { listener, snmp, snmp6 } = opened;
    let counters =
        AttemptCounters::new(snmp, snmp6).map_err(told("cannot count what goes past"))?;
    listener.set_nonblocking(true).map_err(told("cannot listen"))?;
    let proxy = Arc::new(Proxy::new(task.rules, model, Arc::clone(&log)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(told("cannot start"))?;
    runtime.block_on(async {
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(told("cannot listen"))?;
        tokio::spawn(proxy.serve(listener));
        count(counters, &log, end_of(input)).await;
        Ok(())
    })
}

/// Resolves at the end of `input`.
fn end_of(mut input: File) -> oneshot::Receiver<()> {
    let (send, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut more = [0; 64];
        while matches!(input.read(&mut more), Ok(1..)) {}
        // Nobody waits for it if the process is ending.
        let _ = send.send(());
    });
    ended
}

/// Records attempts past the proxy until the job is over, including those of its last moments.
async fn count(mut counters: AttemptCounters, log: &Log, mut ended: oneshot::Receiver<()>) {
    loop {
        let over = tokio::time::timeout(LOOK, &mut ended).await.is_ok();
        // Counters that were readable once stay so; if not, the attempts only go unrecorded.
        let Attempts { v4, v6 } = counters.new_attempts().unwrap_or_default();
        for (times, family) in [(v4, "IPv4"), (v6, "IPv6")] {
            if times > 0 {
                let target = format!("past the proxy, over {family}");
                log.add(&target, "the box has no other way out", times);
            }
        }
        if over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_read_and_a_torn_one_says_nothing_of_its_key() {
        let task =
            Task { rules: Egress::default(), key: Some("canary".into()), folder: "/x".into() };
        let mut bytes = Vec::new();
        task.write(&mut bytes).unwrap();
        bytes.extend(b"more");
        assert_eq!(Task::read(&bytes[..]).unwrap().key.as_deref(), Some("canary"));
        for cut in [0, 7, 20, bytes.len() - 8] {
            let error = Task::read(&bytes[..cut]).err().unwrap().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
        let long = u64::MAX.to_be_bytes();
        assert!(Task::read(&long[..]).err().unwrap().to_string().contains("too long"));
    }
}
