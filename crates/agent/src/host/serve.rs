//! `afk host FOLDER`: the host process. Started by [`super::Hosts::ensure`], never by people.
//!
//! The main thread starts the box and stays to the end, because the box dies with the *thread* that
//! started it. Helpers on their own threads (pipes, socket, child reaping) only send it notices;
//! [`Lifecycle`](super::life::Lifecycle) decides, [`Owner`] acts.
//!
//! A host exits silently if another host has or had the job: a job runs once.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::Mode;

use super::control::{self, HostAnswer, HostRequest};
use super::files::{Folder, HostRecord, boot, private};
use super::life::Bounds;
use super::outlet::Outlet;
use super::owner::{Notice, Owner, Tally};
use super::spec::{End, EndHow, HandedSecrets, JobKey, StoredSpec};
use super::start::{self, StartInputs};
use super::sweep::{self, MARKER};
use crate::sandbox::processes::{self, ProcessId};
use crate::sandbox::{Capabilities, Group};

/// The hidden subcommand under which the binary reaches [`main`].
pub const SUBCOMMAND: &str = "host";

/// Time between asking a job to end because a time limit is reached, and killing it.
const GRACE: Duration = Duration::from_secs(2);

/// How long the starter may take to hand over secrets.
const HANDOVER: Duration = Duration::from_secs(10);

/// Owns the job in this folder until it has ended: the body of `afk host`.
pub fn main(dir: &Path) -> ExitCode {
    close_inherited();
    // Fails only for a session's leader, which needs no other session.
    let _ = rustix::process::setsid();
    // A job that uses all the CPU must not keep its host from ending it. Only root may raise its
    // own priority.
    let _ = rustix::process::setpriority_process(None, -20);
    rustix::process::umask(Mode::from_raw_mode(0o077));
    match own(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The starter has redirected standard error to the host's log.
            let _ = writeln!(io::stderr(), "cannot host {}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

fn own(dir: &Path) -> io::Result<()> {
    let dir = fs::canonicalize(dir)?;
    let folder = Folder::at(&dir);
    std::env::set_current_dir(&dir)?;
    let Some(_lock) = folder.lock()? else { return Ok(()) };
    if folder.has("host.json") || folder.has("end.json") {
        return Ok(());
    }
    let spec: StoredSpec = folder.read("spec.json")?.ok_or_else(|| io::Error::other("no spec"))?;
    // Read before anything is recorded: without its secrets the job has not begun, and the next
    // starter can bring them.
    let handed = if spec.has_secrets { receive_secrets()? } else { HandedSecrets::default() };
    let mut record = HostRecord {
        host: ProcessId::own().ok_or_else(|| io::Error::other("/proc is not mounted"))?,
        boot: boot(),
        marker: format!("{MARKER}={}", spec.key.digest()),
        // Recorded before it is created, so that whoever cleans up after us finds it. Named after
        // the folder, because two stores on one machine may have jobs with the same key.
        group: Group::place(&format!("afk-{}", JobKey::new(dir.to_string_lossy()).digest())),
        running: None,
    };
    folder.write("host.json", &record)?;
    let mut tally = Tally::default();
    let how =
        run(&folder, &spec, handed, &mut record, &mut tally).unwrap_or_else(EndHow::CouldNotStart);
    // Needed only if starting failed half way; otherwise nothing is left by now.
    while !processes::kill_below_self(Duration::from_secs(1)).is_empty() {}
    let end = End {
        how,
        started_at: tally.started_at,
        ended_at: Timestamp::now(),
        max_memory: tally.max_memory,
        cpu_ms: children_cpu_ms().unwrap_or(0),
        sandbox: tally.sandbox.as_ref().map(|(strength, _)| *strength),
        sandbox_text: tally.sandbox.map(|(_, text)| text).unwrap_or_default(),
    };
    if let Some(group) = record.group.as_deref().and_then(Group::open) {
        group.remove();
    }
    folder.write("end.json", &end)?;
    let _ = fs::remove_file(folder.file("sock"));
    Ok(())
}

/// Runs the job, from taking the workspace's lock to the end of the last process. An error says why
/// the job never ran.
fn run(
    folder: &Folder,
    spec: &StoredSpec,
    handed: HandedSecrets,
    record: &mut HostRecord,
    tally: &mut Tally,
) -> Result<EndHow, String> {
    if let Some(path) = &spec.lock {
        tally.workspace = lock_workspace(path, folder)?;
        if tally.workspace.is_none() {
            return Ok(EndHow::WorkspaceBusy);
        }
    }
    let program = own_program(folder)?;
    let machine = Capabilities::detect(&program)
        .under(spec.boxed.requirement)
        .map_err(|refusal| refusal.to_string())?;
    // Orphans of the job are reparented to us.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| format!("cannot adopt the job's processes: {error}"))?;
    let (notify, notices) = mpsc::channel();
    let input = start::input(folder, spec)?;
    listen(folder, &notify, &input)?;
    let group = record.group.as_deref().and_then(|place| Group::make(place).ok());
    let outlet = Outlet::start(folder, spec, &machine, &program, handed.model_key)?;
    let (given, outlet) = (StartInputs { secrets: handed.env, input, group }, outlet);
    let started = start::start(folder, spec, &machine, &program, given, outlet, &notify)?;
    tally.sandbox = Some((started.strength, machine.to_string()));
    tally.started_at = Some(started.at);
    Ok(Owner::new(folder, record, tally, started, notices, bounds(spec)).watch())
}

fn bounds(spec: &StoredSpec) -> Bounds {
    Bounds {
        timeout: Duration::from_millis(spec.timeout_ms),
        renew_within: Duration::from_millis(spec.renew_within_ms),
        grace: GRACE,
        memory: spec.boxed.limits.memory,
        tasks: spec.boxed.limits.processes,
    }
}

fn listen(
    folder: &Folder,
    notify: &Sender<Notice>,
    input: &std::sync::Arc<super::pump::Input>,
) -> Result<(), String> {
    let told = |error: io::Error| format!("cannot listen for the control plane: {error}");
    let token = fs::read_to_string(folder.file("token")).map_err(told)?;
    let (notify, input) = (notify.clone(), std::sync::Arc::clone(input));
    // A relative path, because the folder's absolute path may be too long for a socket.
    control::listen(Path::new("sock"), token, move |ask, bytes| {
        answer(&notify, &input, ask, &bytes)
    })
    .map_err(told)
}

fn answer(
    notify: &Sender<Notice>,
    input: &super::pump::Input,
    ask: HostRequest,
    bytes: &[u8],
) -> HostAnswer {
    let written = match ask {
        HostRequest::Write { offset, len: _ } => input.write(offset, bytes),
        HostRequest::CloseStdin => Ok(input.close()),
        HostRequest::Renew | HostRequest::Interrupt { .. } | HostRequest::Kill { .. } => {
            Ok(input.len())
        }
    };
    let stdin_len = match written {
        Ok(length) => length,
        Err(reason) => return HostAnswer::Refused { reason },
    };
    let (done, heard) = mpsc::channel();
    let sent = notify.send(Notice::Asked(ask, done));
    if sent.is_err() || heard.recv_timeout(control::PATIENCE).is_err() {
        return HostAnswer::Refused { reason: "the job is ending".to_owned() };
    }
    HostAnswer::Done { stdin_len }
}

/// Takes the workspace's lock, and ends what the dead host of an earlier holder has left running.
/// The file holds the job folder of its latest holder. `None` if another job holds the lock.
fn lock_workspace(path: &Path, folder: &Folder) -> Result<Option<File>, String> {
    let told =
        |error: io::Error| format!("cannot lock the workspace by {}: {error}", path.display());
    let mut file =
        private().create(true).truncate(false).read(true).write(true).open(path).map_err(told)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(told(error)),
    }
    let mut before = String::new();
    (&file).take(4096).read_to_string(&mut before).map_err(told)?;
    if !before.is_empty() && Path::new(&before) != folder.path() {
        sweep::sweep_predecessor(&Folder::at(before)).map_err(|undead| undead.to_string())?;
    }
    file.set_len(0).map_err(told)?;
    io::Seek::rewind(&mut file).map_err(told)?;
    file.write_all(folder.path().to_string_lossy().as_bytes())
        .and_then(|()| file.sync_data())
        .map_err(told)?;
    Ok(Some(file))
}

/// Our own binary as a path that a box can mount. After an upgrade the running file no longer has
/// a name, so a copy is made in the job's folder.
fn own_program(folder: &Folder) -> Result<PathBuf, String> {
    let told = |error: io::Error| format!("cannot find the program itself: {error}");
    let path = fs::read_link("/proc/self/exe").map_err(told)?;
    if path.exists() {
        return Ok(path);
    }
    let copy = folder.file("init");
    fs::copy("/proc/self/exe", &copy).map_err(told)?;
    Ok(copy)
}

/// Reads the starter's secrets, with a limit on time and size.
fn receive_secrets() -> io::Result<HandedSecrets> {
    let (send, received) = mpsc::channel();
    std::thread::spawn(move || {
        let mut body = Vec::new();
        let read = io::stdin().take(1 << 20).read_to_end(&mut body);
        // Nobody receives after the time limit.
        let _ = send.send(read.map(|_| body));
    });
    let body = received.recv_timeout(HANDOVER).map_err(io::Error::other)??;
    // The parse error is dropped, because it may quote a secret.
    serde_json::from_slice(&body)
        .map_err(|_| io::Error::other("the secrets did not arrive completely"))
}

/// Closes descriptors that an ancestor left open, before we open any: an inherited descriptor of a
/// folder would be a way out of the box.
fn close_inherited() {
    let numbers: Vec<i32> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&number| number > 2)
        .collect();
    for number in numbers {
        // One of them belonged to the listing itself, and is closed already.
        let _ = nix::unistd::close(number);
    }
}

/// CPU time of all children that have ended and been waited for, in milliseconds.
fn children_cpu_ms() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    Some(ticks * 1000 / rustix::param::clock_ticks_per_second())
}
