//! One started `afk`: its output in files, ended by its own id when dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::until;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A started process.
pub struct Control {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Control {
    /// Starts the command, with its output in files below `folder`.
    pub fn start(mut command: Command, folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (folder.join(format!("{n}.out")), folder.join(format!("{n}.err")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Self { child: command.spawn().unwrap(), out, err }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Both streams of its output so far.
    pub fn said(&self) -> String {
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        format!("{}\n{}", read(&self.out), read(&self.err))
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit status, if it has ended.
    pub fn over(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end, at most for `bound`.
    pub fn wait(mut self, bound: Duration) -> Output {
        let said = self.out.with_extension("*");
        let what = format!("the end of process {}, see {}", self.id(), said.display());
        let status = until(&what, bound, || self.over());
        Output {
            status,
            stdout: fs::read(&self.out).unwrap(),
            stderr: fs::read(&self.err).unwrap(),
        }
    }

    /// Waits for its end, which must be a success; returns its standard output.
    pub fn done(self) -> String {
        let output = self.wait(super::BOUND);
        let (out, err) = super::texts(&output);
        assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
        out
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
