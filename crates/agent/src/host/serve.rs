//! `afk host FOLDER`: the host process. Started by [`super::Hosts::ensure`], never by people.
//!
//! The main thread starts the box and stays to the end, because the box dies with the
//! *thread* that started it. Helpers on threads of their own (pipes, socket, child
//! reaping) only send it notices; [`Life`] decides, this file carries out.
//!
//! Exits silently when another host has the job, or had it: a job runs once.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::Mode;
use rustix::process::Pid;

use super::control::{self, Answer, Ask};
use super::files::{Folder, HostRecord, Running, boot, private};
use super::life::{Action, Bounds, Event, Life};
use super::pump::PumpNotice;
use super::spec::{End, EndHow, StoredSpec};
use super::start::{self, Started};
use super::sweep::{self, MARKER};
use crate::sandbox::processes::{self, ProcessId};
use crate::sandbox::{Capabilities, Strength};

/// The hidden subcommand under which the binary reaches [`main`].
pub const SUBCOMMAND: &str = "host";

/// How often the job's memory and processes are looked at.
const WATCH: Duration = Duration::from_millis(200);

/// How often the machine's threads are counted in between. A fork bomb is faster than [`WATCH`],
/// and where the job's user is the machine's root, the kernel's own limit does not hold it.
const PEEK: Duration = Duration::from_millis(20);

/// Between asking a job to end and ending it, where nobody says otherwise.
const GRACE: Duration = Duration::from_secs(2);

/// One go at killing; it is gone at again with every tick.
const KILL_ROUND: Duration = Duration::from_millis(500);

/// How long the last words of a dead job may take to reach the disk.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// How long the starter may take to hand over secrets.
const HANDOVER: Duration = Duration::from_secs(10);

/// What the helpers tell the main thread.
pub(super) enum Notice {
    /// A child of the host ended.
    Reaped(Pid, ExitStatus),
    /// The box's first process, as bubblewrap tells it.
    Root(i32),
    /// What our code in the box said before it became the job; empty if it never came so far.
    Ready(String),
    /// Output.
    Pump(PumpNotice),
    /// A question, and where to answer.
    Asked(Ask, Sender<()>),
}

/// Owns the job in this folder to its end.
pub fn main(dir: &Path) -> ExitCode {
    close_inherited();
    // Fails only for a session's leader, who needs no other.
    let _ = rustix::process::setsid();
    // A job that takes all the processor must not keep its host from ending it. Only root may.
    let _ = rustix::process::setpriority_process(None, -20);
    rustix::process::umask(Mode::from_raw_mode(0o077));
    match own(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The starter has put a log file there.
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
    // Without its secrets a job is not begun, so that the next starter can bring them.
    let secrets = if spec.has_secrets { receive_secrets()? } else { BTreeMap::new() };
    let mut record = HostRecord {
        host: ProcessId::own().ok_or_else(|| io::Error::other("/proc is not mounted"))?,
        boot: boot(),
        marker: format!("{MARKER}={}", spec.key.digest()),
        running: None,
    };
    folder.write("host.json", &record)?;
    let mut tally = Tally::default();
    let how =
        run(&folder, &spec, secrets, &mut record, &mut tally).unwrap_or_else(EndHow::CouldNotStart);
    let end = End {
        how,
        started_at: record.running.as_ref().map(|running| running.started_at),
        ended_at: Timestamp::now(),
        max_memory: tally.max_memory,
        cpu_ms: children_cpu_ms().unwrap_or(0),
        sandbox: tally.sandbox.as_ref().map(|(strength, _)| *strength),
        sandbox_text: tally.sandbox.map(|(_, text)| text).unwrap_or_default(),
    };
    folder.write("end.json", &end)?;
    let _ = fs::remove_file(folder.file("sock"));
    Ok(())
}

/// What is known of a job beside how it ended.
#[derive(Default)]
struct Tally {
    max_memory: u64,
    sandbox: Option<(Strength, String)>,
}

/// From the workspace's lock to the last process. An error says why the job never ran.
fn run(
    folder: &Folder,
    spec: &StoredSpec,
    secrets: BTreeMap<String, String>,
    record: &mut HostRecord,
    tally: &mut Tally,
) -> Result<EndHow, String> {
    let _workspace = match &spec.lock {
        None => None,
        Some(path) => match lock_workspace(path, folder)? {
            Some(held) => Some(held),
            None => return Ok(EndHow::WorkspaceBusy),
        },
    };
    let program = own_program(folder)?;
    let machine = Capabilities::detect(&program)
        .under(spec.boxed.requirement)
        .map_err(|refusal| refusal.to_string())?;
    // Orphans of the job come to us, wherever they went.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| format!("cannot adopt the job's processes: {error}"))?;
    let (notify, notices) = mpsc::channel();
    let input = start::input(folder, spec)?;
    listen(folder, &notify, &input)?;
    let started = start::start(folder, spec, &machine, &program, secrets, input, &notify)?;
    tally.sandbox = Some((started.strength, machine.to_string()));
    Ok(Owner {
        folder,
        record,
        tally,
        started,
        notices,
        life: Life::new(bounds(spec)),
        begun: Instant::now(),
        ready: None,
        pumps: 0,
        limit_tasks: spec.boxed.limits.processes,
        machine_tasks: 0,
    }
    .watch())
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

/// A job that runs, and all that is done about it.
struct Owner<'a> {
    folder: &'a Folder,
    record: &'a mut HostRecord,
    tally: &'a mut Tally,
    started: Started,
    notices: Receiver<Notice>,
    life: Life,
    begun: Instant,
    ready: Option<String>,
    pumps: u32,
    limit_tasks: Option<u64>,
    machine_tasks: u64,
}

impl Owner<'_> {
    fn watch(mut self) -> EndHow {
        if let Some(root) = self.started.root {
            self.note_root(root);
        }
        let mut looked = Duration::ZERO;
        loop {
            let now = self.begun.elapsed();
            let deadline = self.life.next_deadline().unwrap_or(Duration::MAX);
            let pause = (looked + WATCH).min(deadline).saturating_sub(now).min(PEEK);
            match self.notices.recv_timeout(pause) {
                Ok(Notice::Reaped(pid, status)) if pid.as_raw_pid() == self.started.launcher => {
                    return self.finish(status);
                }
                Ok(notice) => self.take(notice),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let now = self.begun.elapsed();
                    if now >= (looked + WATCH).min(deadline) || self.machine_has_grown() {
                        looked = now;
                        self.look();
                    }
                }
            }
        }
    }

    /// Counts and measures the job.
    fn look(&mut self) {
        self.machine_tasks = processes::tasks_of_machine().unwrap_or(0);
        let usage = processes::usage(&job_processes());
        self.tally.max_memory = self.tally.max_memory.max(usage.memory);
        self.happen(Event::Tick(usage));
    }

    /// Whether so many threads have come since the last look that the job may be past its limit.
    fn machine_has_grown(&self) -> bool {
        let tasks = processes::tasks_of_machine().unwrap_or(0);
        self.limit_tasks.is_some_and(|limit| tasks > self.machine_tasks + limit / 4 + 16)
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            // An orphan that came to us and ended.
            Notice::Reaped(_, _) => {}
            Notice::Root(pid) => self.note_root(pid),
            Notice::Ready(said) => self.ready = Some(said),
            Notice::Pump(PumpNotice::Full) => self.happen(Event::OutputFull),
            Notice::Pump(PumpNotice::Failed(error)) => {
                self.happen(Event::OutputLost(error.to_string()));
            }
            Notice::Pump(PumpNotice::Done) => self.pumps += 1,
            Notice::Asked(ask, done) => {
                match ask {
                    // Input goes past us; it shows that a control plane is there all the same.
                    Ask::Renew | Ask::Write { .. } | Ask::CloseStdin => self.happen(Event::Renewed),
                    Ask::Interrupt { signal, grace_ms, by } => {
                        self.happen(Event::Interrupted {
                            signal,
                            grace: Duration::from_millis(grace_ms),
                            by,
                        });
                    }
                    Ask::Kill { by } => self.happen(Event::Killed { by }),
                }
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match self.life.on(event, self.begun.elapsed()) {
            Action::Nothing | Action::Finish(_) => {}
            Action::Stop(signal) => self.stop(signal.into()),
            Action::KillAll => {
                self.kill();
            }
        }
    }

    /// Signals the group of every process directly below the box's first: the job's own, and
    /// those of orphans. The first process itself only keeps the rest together.
    fn stop(&self, signal: rustix::process::Signal) {
        let Some(running) = &self.record.running else { return };
        let own = rustix::process::getpgrp().as_raw_pid();
        for process in job_processes().iter().filter(|process| process.parent == running.root.pid) {
            match Pid::from_raw(process.group) {
                // It has not left our own group yet, and we stay.
                Some(group) if group.as_raw_pid() != own => {
                    let _ = rustix::process::kill_process_group(group, signal);
                }
                Some(_) | None => process.id.signal(signal),
            }
        }
    }

    /// Kills everything: with the box's first process the kernel ends all of a namespace at once;
    /// then whatever else is below.
    fn kill(&self) -> bool {
        if let Some(running) = &self.record.running {
            running.root.signal(rustix::process::Signal::KILL);
        }
        processes::kill_below_self(KILL_ROUND).is_empty()
    }

    fn note_root(&mut self, pid: i32) {
        let ids = ProcessId::of(pid).zip(ProcessId::of(self.started.launcher));
        // Gone already: its end is on the way.
        let Some((root, launcher)) = ids else { return };
        self.record.running = Some(Running {
            root,
            launcher,
            started_at: self.started.at,
            sandbox: self.started.strength,
        });
        if let Err(error) = self.folder.write("host.json", &*self.record) {
            self.happen(Event::OutputLost(error.to_string()));
        }
    }

    /// The launcher is gone: leaves no process, takes the last words, and says how it ended.
    fn finish(mut self, status: ExitStatus) -> EndHow {
        // However long it takes: an end that is written while something still runs is a lie.
        while !self.kill() {
            while let Ok(notice) = self.notices.try_recv() {
                self.take(notice);
            }
        }
        let deadline = Instant::now() + LAST_WORDS;
        while (self.pumps < 2 || self.ready.is_none()) && Instant::now() < deadline {
            match self.notices.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(notice) => self.take(notice),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let own = self.own_end(status);
        match self.life.on(Event::Gone(own.clone()), self.begun.elapsed()) {
            Action::Finish(how) => how,
            Action::Nothing | Action::Stop(_) | Action::KillAll => own,
        }
    }

    fn own_end(&self, status: ExitStatus) -> EndHow {
        match start::never_ran(self.ready.as_deref(), || self.launcher_complaint()) {
            Some(reason) => EndHow::CouldNotStart(reason),
            None => start::ended(status),
        }
    }

    /// What bubblewrap said when it could not build the box.
    fn launcher_complaint(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(self.folder.file("stderr"))
            .and_then(|file| file.take(2000).read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        match (read, text.lines().next_back()) {
            (Ok(_), Some(line)) => line.trim().to_owned(),
            (Ok(_) | Err(_), _) => "the box was not built, and nothing says why".to_owned(),
        }
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
    // A relative path: the folder's own may be longer than a socket's may.
    control::listen(Path::new("sock"), token, move |ask, bytes| {
        answer(&notify, &input, ask, &bytes)
    })
    .map_err(told)
}

fn answer(notify: &Sender<Notice>, input: &super::pump::Input, ask: Ask, bytes: &[u8]) -> Answer {
    let written = match ask {
        Ask::Write { offset, len: _ } => input.write(offset, bytes),
        Ask::CloseStdin => Ok(input.close()),
        Ask::Renew | Ask::Interrupt { .. } | Ask::Kill { .. } => Ok(input.len()),
    };
    let stdin_len = match written {
        Ok(length) => length,
        Err(reason) => return Answer::Refused { reason },
    };
    let (done, heard) = mpsc::channel();
    let sent = notify.send(Notice::Asked(ask, done));
    if sent.is_err() || heard.recv_timeout(control::PATIENCE).is_err() {
        return Answer::Refused { reason: "the job is ending".to_owned() };
    }
    Answer::Done { stdin_len }
}

/// Takes the workspace's lock, and ends what an earlier holder's dead host has left there.
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

/// Our own binary as a path that a box can bind. After an upgrade the running file has no
/// name any more, so a copy is made.
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

/// Reads the secrets that the starter sends, with a bound on time and size.
fn receive_secrets() -> io::Result<BTreeMap<String, String>> {
    let (send, received) = mpsc::channel();
    std::thread::spawn(move || {
        let mut body = Vec::new();
        let read = io::stdin().take(1 << 20).read_to_end(&mut body);
        // After the bound nobody listens.
        let _ = send.send(read.map(|_| body));
    });
    let body = received.recv_timeout(HANDOVER).map_err(io::Error::other)??;
    // The text of a parse error may quote what it could not parse.
    serde_json::from_slice(&body).map_err(|_| io::Error::other("the secrets did not arrive whole"))
}

/// Closes what a careless ancestor left open, before anything of ours is: a folder's descriptor
/// would be a way out of every box.
fn close_inherited() {
    let numbers: Vec<i32> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&number| number > 2)
        .collect();
    for number in numbers {
        // One of them was the listing's own, and is closed already.
        let _ = nix::unistd::close(number);
    }
}

/// Processor time of all children that have ended and been waited for.
fn children_cpu_ms() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    Some(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Everything below us is the job.
fn job_processes() -> Vec<processes::Process> {
    processes::below(rustix::process::getpid().as_raw_pid())
}

/// Waits for every child, on a thread of its own, until there is none.
pub(super) fn reap(notify: &Sender<Notice>) {
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::empty()) {
            Ok(Some((pid, status))) => {
                if notify.send(Notice::Reaped(pid, ExitStatus::from_raw(status.as_raw()))).is_err()
                {
                    return;
                }
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
