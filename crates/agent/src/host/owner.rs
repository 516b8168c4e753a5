//! The host's main loop: receives notices from helper threads, lets [`Lifecycle`] decide, and acts.
//!
//! [`super::serve`] calls it once the box is started, on the thread that started the box. It
//! returns when nothing of the job is left, and decides nothing itself.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::Pid;

use super::control::HostRequest;
use super::files::{Folder, HostRecord, Running};
use super::life::{Action, Bounds, Event, Lifecycle};
use super::outlet::Outlet;
use super::pump::PumpNotice;
use super::spec::EndHow;
use super::start::{self, Started};
use crate::sandbox::Strength;
use crate::sandbox::processes::{self, ProcessId, Watched};

/// How often the job's memory and processes are measured.
const WATCH: Duration = Duration::from_millis(200);

/// How often the machine's threads are counted between two measurements. A fork bomb is faster than
/// [`WATCH`], and the kernel's own limit does not hold a job that runs as the machine's root.
const PEEK: Duration = Duration::from_millis(20);

/// Time limit of one round of killing; every tick begins another round.
const KILL_ROUND: Duration = Duration::from_millis(500);

/// How long the remaining output of a dead job may take to reach the disk.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// What the helpers send to the main thread.
pub(super) enum Notice {
    /// A child of the host ended.
    Reaped(Pid, ExitStatus),
    /// The box's first process, as bubblewrap reports it.
    Root(i32),
    /// What our code in the box reported before it became the job; empty if the box ended earlier.
    Ready(String),
    /// News from a thread that stores output.
    Pump(PumpNotice),
    /// A control plane's request, and where to say that it was carried out.
    Asked(HostRequest, Sender<()>),
}

/// What the end of a job records besides the reason, gathered while it runs.
#[derive(Default)]
pub(super) struct Tally {
    /// The highest memory measured, in bytes.
    pub(super) max_memory: u64,
    /// The strength of its box, and a description of what the machine can do.
    pub(super) sandbox: Option<(Strength, String)>,
    pub(super) started_at: Option<Timestamp>,
    /// The lock of its workspace, held until the end is recorded.
    pub(super) workspace: Option<File>,
}

/// A running job, and everything that its host does about it.
pub(super) struct Owner<'a> {
    folder: &'a Folder,
    record: &'a mut HostRecord,
    tally: &'a mut Tally,
    started: Started,
    notices: Receiver<Notice>,
    life: Lifecycle,
    watched: Watched,
    begun: Instant,
    ready: Option<String>,
    pumps: u32,
    limit_tasks: Option<u64>,
    machine_tasks: u64,
}

impl<'a> Owner<'a> {
    pub(super) fn new(
        folder: &'a Folder,
        record: &'a mut HostRecord,
        tally: &'a mut Tally,
        started: Started,
        notices: Receiver<Notice>,
        bounds: Bounds,
    ) -> Self {
        Self {
            folder,
            record,
            tally,
            notices,
            life: Lifecycle::new(bounds),
            watched: Watched::new(rustix::process::getpid().as_raw_pid(), started.group.clone()),
            started,
            begun: Instant::now(),
            ready: None,
            pumps: 0,
            limit_tasks: bounds.tasks,
            machine_tasks: 0,
        }
    }

    /// Supervises the job until it has ended, and returns how.
    pub(super) fn watch(mut self) -> EndHow {
        if let Some(root) = self.started.root {
            self.note_root(root);
        }
        let (mut looked, mut peeked) = (Duration::ZERO, Duration::ZERO);
        loop {
            let now = self.begun.elapsed();
            let deadline = self.life.next_deadline().unwrap_or(Duration::MAX);
            let pause = (looked + WATCH).min(deadline).saturating_sub(now).min(PEEK);
            match self.notices.recv_timeout(pause) {
                Ok(Notice::Reaped(pid, status)) if pid.as_raw_pid() == self.started.launcher => {
                    return self.finish(status);
                }
                Ok(notice) => self.take(notice),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            // After notices, too, or a job that causes many of them would never be measured.
            let now = self.begun.elapsed();
            let peek = now >= peeked + PEEK;
            if peek {
                peeked = now;
            }
            let grown = peek && self.machine_has_grown();
            if grown {
                self.watched.renew();
            }
            if grown || now >= (looked + WATCH).min(deadline) {
                looked = now;
                self.look();
            }
        }
    }

    /// Measures the job's memory and threads.
    fn look(&mut self) {
        self.machine_tasks = processes::tasks_of_machine().unwrap_or(0);
        let mut job = self.watched.look();
        let spared = self.spared();
        job.retain(|process| Some(process.id.pid) != spared);
        let usage = processes::usage(&job);
        self.tally.max_memory = self.tally.max_memory.max(usage.memory);
        self.happen(Event::Tick(usage));
    }

    /// Whether the machine has gained so many threads since the last measurement that the job may
    /// exceed its limit.
    fn machine_has_grown(&self) -> bool {
        let tasks = processes::tasks_of_machine().unwrap_or(0);
        self.limit_tasks.is_some_and(|limit| tasks > self.machine_tasks + limit / 4 + 16)
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            // An orphan of the job that was reparented to us.
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
                    // The control thread has stored the input; it also proves a control plane.
                    HostRequest::Renew | HostRequest::Write { .. } | HostRequest::CloseStdin => {
                        self.happen(Event::Renewed);
                    }
                    HostRequest::Interrupt { signal, grace_ms, by } => {
                        self.happen(Event::Interrupted {
                            signal,
                            grace: Duration::from_millis(grace_ms),
                            by,
                        });
                    }
                    HostRequest::Kill { by } => self.happen(Event::Killed { by }),
                }
                // Whoever asked may have given up.
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

    /// Signals the process group of every child of the box's first process: the job's group, and
    /// those of orphans. The first process itself is not the job, and stays to reap the others.
    fn stop(&self, signal: rustix::process::Signal) {
        let Some(running) = &self.record.running else { return };
        let own = rustix::process::getpgrp().as_raw_pid();
        for process in job_processes().iter().filter(|process| process.parent == running.root.pid) {
            match Pid::from_raw(process.group) {
                // Otherwise it has not left our own group yet, which must not get the signal.
                Some(group) if group.as_raw_pid() != own => {
                    let _ = rustix::process::kill_process_group(group, signal);
                }
                Some(_) | None => process.id.signal(signal),
            }
        }
    }

    /// Kills the job, and returns whether nothing is left. The kernel ends everything in the
    /// control group, or below the first process of the namespace, at once; then the rest is
    /// killed.
    fn kill(&self) -> bool {
        if let Some(group) = &self.started.group {
            group.kill();
        }
        if let Some(running) = &self.record.running {
            running.root.signal(rustix::process::Signal::KILL);
        }
        processes::kill_below_self_but(KILL_ROUND, self.spared()).is_empty()
    }

    /// Id of the one process below us that is no part of the job: the box's way to the network.
    fn spared(&self) -> Option<i32> {
        self.started.outlet.as_ref().map(Outlet::pid)
    }

    fn note_root(&mut self, pid: i32) {
        let ids = ProcessId::of(pid).zip(ProcessId::of(self.started.launcher));
        // If they are gone already, the notice of their end is on its way.
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

    /// The launcher has ended: kills what is left, stores the remaining output, and returns how the
    /// job ended.
    fn finish(mut self, status: ExitStatus) -> EndHow {
        // Without a limit: an end must not be recorded while something still runs.
        while !self.kill() {
            while let Ok(notice) = self.notices.try_recv() {
                self.take(notice);
            }
        }
        // Ended only now, when nothing of the job is left that could use it.
        if let Some(outlet) = self.started.outlet.take() {
            outlet.end();
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

    fn own_end(&mut self, status: ExitStatus) -> EndHow {
        if let (Some(""), Some(signal)) = (self.ready.as_deref(), status.signal()) {
            self.tally.started_at = None;
            return EndHow::Unbegun(signal);
        }
        match start::never_ran(self.ready.as_deref(), || self.launcher_complaint()) {
            Some(reason) => {
                self.tally.started_at = None;
                EndHow::CouldNotStart(reason)
            }
            None => start::ended(status),
        }
    }

    /// Bubblewrap's message on why it could not build the box: the last line of standard error.
    fn launcher_complaint(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(self.folder.file("stderr"))
            .and_then(|file| file.take(2000).read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        match (read, text.lines().next_back()) {
            (Ok(_), Some(line)) => line.trim().to_owned(),
            (Ok(_) | Err(_), _) => "the box was not built, for an unknown reason".to_owned(),
        }
    }
}

/// The processes below us. They are the job's, but for the box's way to the network.
fn job_processes() -> Vec<processes::Process> {
    processes::below(rustix::process::getpid().as_raw_pid())
}

/// Waits for every child until there is none, and reports each. Runs on a thread of its own.
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
