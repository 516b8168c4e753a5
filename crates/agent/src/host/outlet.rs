//! The process that connects to the network for a box, from the host's side: started before the
//! box, ended after it.
//!
//! The process (`afk egress`) is a child of the host and no part of the job. It dies with the host:
//! its standard input ends, and it carries the job's marker, by which a sweep finds it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::files::Folder;
use super::spec::StoredSpec;
use super::sweep::MARKER;
use crate::egress::{SUBCOMMAND, Task};
use crate::sandbox::processes::ProcessId;
use crate::sandbox::{Capabilities, Network};

/// How long the process may take to record the last attempts.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A box's way to the network.
pub(super) struct Outlet {
    id: ProcessId,
    /// The standard input of the process; closing it ends the process.
    task: ChildStdin,
    /// The box's end of the socket pair, until the box is started.
    door: Option<OwnedFd>,
}

impl Outlet {
    /// Starts the process from the calling thread, which must be the main one; `None` if the box
    /// needs no such process.
    pub(super) fn start(
        folder: &Folder,
        spec: &StoredSpec,
        machine: &Capabilities,
        program: &Path,
        key: Option<String>,
    ) -> Result<Option<Self>, String> {
        let rules = match &spec.boxed.network {
            // Without bubblewrap such a box is refused later.
            Network::Through(rules) if machine.bubblewrap.is_ok() => rules.clone(),
            Network::Through(_) | Network::None | Network::Open => return Ok(None),
        };
        let told = |error: io::Error| format!("cannot start the box's way to the network: {error}");
        let (door, outside) = UnixStream::pair().map_err(told)?;
        let mut child = Command::new(program)
            .arg(SUBCOMMAND)
            .env_clear()
            .env(MARKER, spec.key.digest())
            .stdin(Stdio::piped())
            .stdout(Stdio::from(OwnedFd::from(outside)))
            // Ours is the host's log.
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(told)?;
        let pid = i32::try_from(child.id()).ok();
        let id = pid.and_then(ProcessId::of).ok_or("the box's way to the network ended at once")?;
        let mut task = child.stdin.take().ok_or("the box's way to the network has no input")?;
        let order = Task { rules, key, folder: folder.path().to_owned() };
        order.write(&mut task).map_err(told)?;
        Ok(Some(Self { id, task, door: Some(door.into()) }))
    }

    /// Takes the box's end of the socket pair; `None` after the first call.
    pub(super) fn take_door(&mut self) -> Option<OwnedFd> {
        self.door.take()
    }

    pub(super) fn pid(&self) -> i32 {
        self.id.pid
    }

    /// Lets the process record the last attempts, and returns when it is gone or its time is up.
    /// After that it is killed like everything else below the host.
    pub(super) fn end(self) {
        drop(self.task);
        let deadline = Instant::now() + LAST_WORDS;
        while self.id.is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
