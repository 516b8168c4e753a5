//! Starting the box, and finding out whether the job in it began.
//!
//! Two reports come out of a starting box. On `info`, bubblewrap reports the box's first process.
//! On `ready`, our own code in the box reports that it is about to become the job. That descriptor
//! is closed when the job begins, so a job cannot pass its own failure off as a failure of the box.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, PipeReader, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use jiff::Timestamp;
use rustix::io::FdFlags;

use super::files::Folder;
use super::outlet::Outlet;
use super::owner::{Notice, reap};
use super::pump::{self, Allowance, Input};
use super::spec::{EndHow, StopSignal, StoredSpec};
use super::sweep::MARKER;
use crate::sandbox::{
    Capabilities, Group, Launch, Outside, READY, Scratch, Setting, Strength, signal_of, write_plan,
};

/// A box that was spawned.
pub(super) struct Started {
    /// Process id of what was spawned: bubblewrap, or our supervisor.
    pub(super) launcher: i32,
    /// Process id of the box's first process, if that is the launcher itself; otherwise bubblewrap
    /// reports it later ([`Notice::Root`]).
    pub(super) root: Option<i32>,
    /// The control group of the whole box, if it has one.
    pub(super) group: Option<Group>,
    /// The process that connects to the network for the box, if it has one.
    pub(super) outlet: Option<Outlet>,
    /// How strong the box is.
    pub(super) strength: Strength,
    /// When it was spawned.
    pub(super) at: Timestamp,
}

/// What a box is given beside its spec.
pub(super) struct StartInputs {
    /// Environment variables that are in no file.
    pub(super) secrets: BTreeMap<String, String>,
    /// The job's standard input.
    pub(super) input: Arc<Input>,
    /// The control group that the box is started in.
    pub(super) group: Option<Group>,
}

/// Prepares the job's input as the spec says.
pub(super) fn input(folder: &Folder, spec: &StoredSpec) -> Result<Arc<Input>, String> {
    let first = match &spec.input {
        Some(name) => fs::read(folder.file(name)),
        None => Ok(Vec::new()),
    };
    first
        .and_then(|first| Input::new(&folder.file("stdin"), &first, spec.more_input))
        .map_err(|error| format!("cannot prepare the input: {error}"))
}

/// Spawns the box from the calling thread, which must be the main one, and starts the helper
/// threads that serve its pipes.
pub(super) fn start(
    folder: &Folder,
    spec: &StoredSpec,
    machine: &Capabilities,
    program: &Path,
    given: StartInputs,
    mut outlet: Option<Outlet>,
    notify: &Sender<Notice>,
) -> Result<Started, String> {
    let StartInputs { secrets, input, group } = given;
    let told = |error: io::Error| format!("cannot start the box: {error}");
    let (info, info_end) = io::pipe().map_err(told)?;
    let (ready, ready_end) = io::pipe().map_err(told)?;
    // The child inherits only these. Without bubblewrap nobody would close `info`, and the job
    // could report any process as its first, for us to kill.
    let informed = machine.bubblewrap.is_ok().then_some(&info_end);
    for end in informed.into_iter().chain([&ready_end]) {
        rustix::io::fcntl_setfd(end, FdFlags::empty()).map_err(|error| told(error.into()))?;
    }
    // Our copy is dropped once the box is spawned; then only the box holds the door.
    let door = outlet.as_mut().and_then(Outlet::take_door);
    if let Some(door) = &door {
        rustix::io::fcntl_setfd(door, FdFlags::empty()).map_err(|error| told(error.into()))?;
    }
    let digest = spec.key.digest();
    let mut launch = Launch::new(
        &spec.boxed,
        &Setting {
            machine,
            scratch: &Scratch::at(folder.path()),
            program,
            info: info_end.as_raw_fd(),
            ready: ready_end.as_raw_fd(),
            door: door.as_ref().map(std::os::fd::AsRawFd::as_raw_fd),
            marker: (MARKER, &digest),
            secrets,
        },
    )?;
    launch.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (child, group) = match group {
        None => (launch.command.spawn(), None),
        Some(group) => match group.around(|| launch.command.spawn()) {
            Ok(child) => (child, Some(group)),
            Err(Outside::Never(child) | Outside::Stuck(child)) => (child, None),
        },
    };
    let child = child.map_err(told)?;
    let at = Timestamp::now();
    let launcher =
        i32::try_from(child.id()).map_err(|error| format!("cannot start the box: {error}"))?;
    drop((info_end, ready_end, door));
    help(folder, spec, child, launch.plan, input, info, ready, notify).map_err(told)?;
    Ok(Started {
        launcher,
        root: machine.bubblewrap.is_err().then_some(launcher),
        group,
        outlet,
        strength: launch.strength,
        at,
    })
}

/// Starts one thread for each of: both outputs, the input, the two reports, and reaping. Reaping
/// comes last: if a thread before it cannot be started, the child is not reaped and can be killed.
#[expect(clippy::too_many_arguments, reason = "the ends of six pipes, each for one thread")]
fn help(
    folder: &Folder,
    spec: &StoredSpec,
    mut child: Child,
    plan: crate::sandbox::Plan,
    input: Arc<Input>,
    info: PipeReader,
    ready: PipeReader,
    notify: &Sender<Notice>,
) -> io::Result<()> {
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let allowance = Arc::new(Allowance::new(spec.output_limit));
    if let Some(stdout) = child.stdout.take() {
        let (path, allowance, notify) =
            (folder.file("stdout"), Arc::clone(&allowance), notify.clone());
        thread("stdout").spawn(move || {
            pump::drain(stdout, &path, &allowance, |said| drop(notify.send(Notice::Pump(said))));
        })?;
    }
    if let Some(stderr) = child.stderr.take() {
        let (path, notify) = (folder.file("stderr"), notify.clone());
        thread("stderr").spawn(move || {
            pump::drain(stderr, &path, &allowance, |said| drop(notify.send(Notice::Pump(said))));
        })?;
    }
    if let Some(mut stdin) = child.stdin.take() {
        // A job that closes its input only ends this thread.
        thread("stdin")
            .spawn(move || write_plan(&mut stdin, &plan).and_then(|()| input.feed(stdin)))?;
    }
    let told = notify.clone();
    thread("info").spawn(move || {
        if let Some(pid) = first_process(info) {
            drop(told.send(Notice::Root(pid)));
        }
    })?;
    let told = notify.clone();
    thread("ready").spawn(move || {
        let mut said = Vec::new();
        // After a read error, what was read before it still counts.
        let _ = ready.take(8192).read_to_end(&mut said);
        drop(told.send(Notice::Ready(String::from_utf8_lossy(&said).into_owned())));
    })?;
    let told = notify.clone();
    thread("reap").spawn(move || reap(&told))?;
    Ok(())
}

/// Parses `{"child-pid": 123, …}` up to its closing brace.
fn first_process(info: PipeReader) -> Option<i32> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Info {
        child_pid: i32,
    }
    let text: Vec<u8> = BufReader::new(info.take(4096))
        .bytes()
        .map_while(Result::ok)
        .scan(false, |over, byte| (!std::mem::replace(over, byte == b'}')).then_some(byte))
        .collect();
    serde_json::from_slice::<Info>(&text).ok().map(|info| info.child_pid)
}

/// Why the job never ran; `None` if it ran. `ready` is the report of our code in the box, and
/// `complaint` returns the launcher's own message.
pub(super) fn never_ran(ready: Option<&str>, complaint: impl FnOnce() -> String) -> Option<String> {
    match ready {
        // Something may still hold the pipe, so nothing is known: the launcher's status counts.
        None => None,
        Some("") => Some(complaint()),
        Some(said) => match said.strip_prefix(READY) {
            Some("") => None,
            Some(reason) => Some(reason.to_owned()),
            None => Some(said.to_owned()),
        },
    }
}

/// How the job ended, by the exit status of its launcher.
pub(super) fn ended(status: ExitStatus) -> EndHow {
    match (status.code(), status.signal()) {
        (Some(code), _) => match signal_of(code) {
            Some(signal) => EndHow::Signalled(signal),
            None => EndHow::Exited(code),
        },
        (None, Some(signal)) => EndHow::Signalled(signal),
        (None, None) => EndHow::CouldNotStart(format!("the box ended in an unknown way: {status}")),
    }
}

impl From<StopSignal> for rustix::process::Signal {
    fn from(signal: StopSignal) -> Self {
        match signal {
            StopSignal::Interrupt => Self::INT,
            StopSignal::Terminate => Self::TERM,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_tell_whether_it_ran() {
        let check = |ready: Option<&str>, expected: Option<&str>| {
            assert_eq!(
                never_ran(ready, || "bwrap: no".to_owned()).as_deref(),
                expected,
                "{ready:?}"
            );
        };
        check(None, None);
        check(Some(""), Some("bwrap: no"));
        check(Some(READY), None);
        check(Some("cannot enter"), Some("cannot enter"));
        check(Some(&format!("{READY}not found")), Some("not found"));
    }

    #[test]
    fn statuses() {
        for (raw, expected) in [
            (0, EndHow::Exited(0)),
            (3 << 8, EndHow::Exited(3)),
            (137 << 8, EndHow::Signalled(9)),
            (15, EndHow::Signalled(15)),
            (255 << 8, EndHow::Exited(255)),
        ] {
            assert_eq!(ended(ExitStatus::from_raw(raw)), expected);
        }
    }
}
