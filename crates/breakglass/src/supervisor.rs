//! How this program starts others: under a supervisor, so that none outlives it.
//!
//! Every process of the server is started here: the agent, SSH, ssh-agent and ssh-add. Built on
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
    /// `program` is started as the supervisor, and must have the subcommand [`tether::SUBCOMMAND`].
    /// `mark` must be unique to this server on the machine, and the same after a restart.
    pub fn new(program: impl Into<PathBuf>, mark: impl Into<String>) -> Self {
        Self { program: program.into(), mark: mark.into() }
    }

    /// Starts a process in `folder`. The caller writes its standard input.
    pub fn spawn(&self, invocation: &Invocation, folder: &Path) -> io::Result<Tethered> {
        tether::start(&self.program, invocation, folder, &self.mark)
    }

    /// Ends the processes of an earlier server that was killed together with its supervisors, and
    /// returns how many there were. Must be called before anything is started.
    pub fn sweep(&self) -> usize {
        tether::sweep(&self.mark)
    }
}
