//! How this program starts others: under a supervisor, so that none outlives it.
//!
//! The agent, SSH and ssh-agent are started here, and nothing else is. Built on
//! [`afk_agent::tether`].

use std::io;
use std::path::{Path, PathBuf};

use afk_agent::agents::Invocation;
use afk_agent::tether::{self, Tethered};

/// Starts processes that die with the server.
#[derive(Clone, Debug)]
pub struct Supervisor {
    program: PathBuf,
    mark: String,
}

impl Supervisor {
    /// Supervisors are started from `program`, which has the subcommand of
    /// [`tether`](afk_agent::tether). `mark` is this server's own on the machine, and the same
    /// after a restart.
    pub fn new(program: impl Into<PathBuf>, mark: impl Into<String>) -> Self {
        Self { program: program.into(), mark: mark.into() }
    }

    /// Starts a process in `folder`. The caller writes its standard input.
    pub fn spawn(&self, invocation: &Invocation, folder: &Path) -> io::Result<Tethered> {
        tether::start(&self.program, invocation, folder, &self.mark)
    }

    /// Ends what is left of an earlier server that was killed together with its supervisors.
    /// Returns how many processes there were. To be called before anything is started.
    pub fn sweep(&self) -> usize {
        tether::sweep(&self.mark)
    }
}
