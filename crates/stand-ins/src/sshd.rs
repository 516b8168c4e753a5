//! A real OpenSSH server on loopback, for tests of git over SSH, with keys of its own: the host's
//! key, and one key that is allowed in, which only an `ssh-agent` of its own holds.
//!
//! The server is the machine's program. So that the client does not use the configuration of the
//! user who runs the tests, a folder of the server, to be put first on `PATH`, has a program `ssh`
//! that starts the real one with another configuration.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::tools::{Skip, found_or_skipped, run, skip};

/// Where sshd is on systems where it is not on every user's `PATH`.
const SBIN: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
/// How long a program may take to start, or to end.
const BOUND: Duration = Duration::from_secs(30);

/// A running server with its `ssh-agent`. Both are stopped when it is dropped.
#[derive(Debug)]
pub struct Sshd {
    server: Child,
    agent: Child,
    folder: tempfile::TempDir,
    port: u16,
    user: String,
}

/// An OpenSSH server for a test; `None`, with a printed notice, if the machine has none.
///
/// # Panics
///
/// If the machine has none although `CI` is set, or if it does not start.
#[expect(clippy::expect_used, reason = "for tests")]
pub fn for_test(test: &str) -> Option<Sshd> {
    let program = found_or_skipped(test, "OpenSSH server", "CI", program())?;
    Some(Sshd::start(&program).expect("sshd starts"))
}

impl Sshd {
    /// The URL of a folder on this machine, over SSH.
    pub fn url(&self, folder: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}{folder}", self.user, self.port)
    }

    /// The socket of the `ssh-agent` that holds the one key that is allowed in.
    pub fn agent(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    /// The folder with the client, to be put first on `PATH`. The client knows the server's key.
    pub fn client(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// The text of the private key, so that tests can check where it must not be.
    pub fn private_key(&self) -> String {
        fs::read_to_string(self.folder.path().join("key")).unwrap_or_default()
    }

    fn start(program: &Path) -> Result<Self, Skip> {
        let folder = tempfile::Builder::new().prefix("afk-sshd-").tempdir().map_err(io)?;
        let at = |name: &str| folder.path().join(name);
        for name in ["key", "host-key"] {
            let mut made = Command::new("ssh-keygen");
            made.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(at(name));
            run(made, BOUND)?;
        }
        let user = run(command("id", &["-un"]), BOUND)?.trim().to_owned();
        fs::copy(at("key.pub"), at("allowed")).map_err(io)?;
        if user == "root" {
            // As root, sshd refuses to start without this folder.
            let _ = fs::create_dir_all("/run/sshd");
        }
        let (server, port) = serve(program, folder.path())?;
        let host = fs::read_to_string(at("host-key.pub")).map_err(io)?;
        fs::write(at("known"), format!("[127.0.0.1]:{port} {host}")).map_err(io)?;
        client(folder.path())?;
        let agent = command("ssh-agent", &["-D", "-a"]).arg(at("agent")).spawn().map_err(io)?;
        let running = Self { server, agent, folder, port, user };
        let socket = running.agent();
        until("ssh-agent", || Ok(socket.exists().then_some(())))?;
        let mut add = command("ssh-add", &["-q"]);
        add.arg(running.folder.path().join("key")).env("SSH_AUTH_SOCK", socket);
        run(add, BOUND)?;
        Ok(running)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.agent] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn program() -> Result<PathBuf, Skip> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(SBIN.map(PathBuf::from));
    // sshd must be started by its absolute path.
    let found = folders.find_map(|folder| {
        let program = folder.join("sshd");
        (program.is_absolute() && program.is_file()).then_some(program)
    });
    found.ok_or_else(|| skip("there is no sshd: install OpenSSH's server"))
}

fn command(program: impl AsRef<OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts the server on a free port.
fn serve(program: &Path, folder: &Path) -> Result<(Child, u16), Skip> {
    let deadline = Instant::now() + BOUND;
    let config = folder.join("config");
    while Instant::now() < deadline {
        // Another process may take the port before sshd does: then the next round tries another.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(io)?.port();
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host-key\nAuthorizedKeysFile \
             {at}/allowed\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication \
             no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nLogLevel \
             ERROR\n",
            at = folder.display()
        );
        fs::write(&config, text).map_err(io)?;
        let mut child = command(program, &["-D", "-e", "-f"]).arg(&config).spawn().map_err(io)?;
        let greeted = until("sshd", || {
            if child.try_wait().map_err(io)?.is_some() {
                return Ok(Some(false));
            }
            if !greets(port) {
                return Ok(None);
            }
            // Another server may have greeted, which took the port; ours has ended then.
            Ok(Some(child.try_wait().map_err(io)?.is_none()))
        })?;
        if greeted {
            return Ok((child, port));
        }
    }
    Err(skip("sshd does not start"))
}

/// Whether an SSH server answers on this port of loopback.
fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).is_ok() && &greeting == b"SSH-"
}

/// Writes the client's configuration, and the program that starts the real client with it.
fn client(folder: &Path) -> Result<(), Skip> {
    let config = folder.join("client");
    let text = format!(
        "UserKnownHostsFile {at}/known\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking \
         yes\nPreferredAuthentications publickey\n",
        at = folder.display()
    );
    fs::write(&config, text).map_err(io)?;
    let real = run(command("which", &["ssh"]), BOUND)?;
    let bin = folder.join("bin");
    fs::create_dir(&bin).map_err(io)?;
    let (program, config) = (bin.join("ssh"), config.display().to_string());
    fs::write(&program, format!("#!/bin/sh\nexec {} -F {config} \"$@\"\n", real.trim()))
        .map_err(io)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(io)
}

/// Polls `ask` until it has an answer; an error once [`BOUND`] has passed.
fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>, Skip>) -> Result<T, Skip> {
    let deadline = Instant::now() + BOUND;
    while Instant::now() < deadline {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(skip(format!("{what} does not start")))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn io(error: std::io::Error) -> Skip {
    skip(error.to_string())
}
