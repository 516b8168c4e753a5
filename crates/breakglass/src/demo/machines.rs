//! Stand-ins for the machine and its hypervisor: two real SSH servers on loopback, with keys of
//! their own, for the demo and for tests.
//!
//! Logging in to the hypervisor runs the shipped `power-verbs.sh` with a stand-in for `qm`; logging
//! in to the machine runs a few commands that only read. Neither gives anybody a shell on this
//! computer. Both servers die with the process that started them.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afk_agent::agents::Invocation;
use afk_agent::tether::Tethered;
use anyhow::{Context as _, bail};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::supervisor::Supervisor;

/// The text of the script for the hypervisor, as it ships.
pub const POWER_VERBS: &str = include_str!("../../host/power-verbs.sh");
const QM: &str = include_str!("../../host/stand-in/qm");
const SOCAT: &str = include_str!("../../host/stand-in/socat");
const MACHINE: &str = include_str!("../../host/stand-in/machine");
/// A stand-in for `gdb` that attaches to nothing: what stands in for QEMU is this process.
const GDB: &str = "#!/bin/sh\necho 'Thread 1: a stand-in has no stack'\n";

/// How long an SSH server may take to answer, and ssh-keygen to end.
const BIRTH: Duration = Duration::from_secs(20);
/// Where `sshd` may be if it is not on an ordinary user's `PATH`.
const SBIN: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// Both servers, which run for as long as it is held.
#[derive(Debug)]
pub struct Machines {
    folder: PathBuf,
    user: String,
    devvm: SshServer,
    pve: SshServer,
}

#[derive(Debug)]
struct SshServer {
    port: u16,
    _process: Tethered,
}

impl Machines {
    /// Starts both servers in `folder`, which is created.
    pub async fn start(folder: &Path, supervisor: &Supervisor) -> anyhow::Result<Self> {
        let sshd = sshd().context(
            "there is no sshd on this computer: install OpenSSH's server (apt install \
             openssh-server); it need not run",
        )?;
        let bin = folder.join("bin");
        for below in [&bin, &folder.join("vm"), &folder.join("kept"), &folder.join("qemu")] {
            fs::create_dir_all(below)?;
        }
        for (name, text) in [
            ("power-verbs.sh", POWER_VERBS),
            ("qm", QM),
            ("socat", SOCAT),
            ("machine", MACHINE),
            ("gdb", GDB),
        ] {
            let path = bin.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(folder.join("vm/state"), "running\n")?;
        fs::write(folder.join("qemu/102.pid"), format!("{}\n", std::process::id()))?;
        for key in ["key", "host-key"] {
            make_key(&folder.join(key), supervisor).await?;
        }
        let shown = folder.display();
        let pve = format!(
            "env STAND_IN={shown}/vm POWER_VERBS_PATH={shown}/bin:/usr/sbin:/usr/bin:/sbin:/bin \
             POWER_VERBS_DIR={shown}/kept POWER_VERBS_RUN={shown}/run POWER_VERBS_QEMU={shown}/qemu \
             POWER_VERBS_APART=0.1 POWER_VERBS_QMP_BOUND=2 POWER_VERBS_QMP_WAIT=5 \
             {shown}/bin/power-verbs.sh 102"
        );
        let devvm = format!("{shown}/bin/machine");
        if rustix::process::geteuid().is_root() {
            // As root sshd refuses to start without this folder.
            let _ = fs::create_dir_all("/run/sshd");
        }
        let devvm = serve(&sshd, folder, "devvm", &devvm, supervisor).await?;
        let pve = serve(&sshd, folder, "pve", &pve, supervisor).await?;
        Ok(Self { folder: folder.to_owned(), user: user()?, devvm, pve })
    }

    /// Returns the user to log in as at both: the one that this process runs as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the path of the private key for both.
    pub fn key(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// Returns the loopback port of the machine's SSH server.
    pub fn devvm_port(&self) -> u16 {
        self.devvm.port
    }

    /// Returns the loopback port of the hypervisor's SSH server.
    pub fn pve_port(&self) -> u16 {
        self.pve.port
    }

    /// Returns the folder with the VM's state; `host/stand-in/qm` describes its files.
    pub fn vm(&self) -> PathBuf {
        self.folder.join("vm")
    }

    /// Returns the folder in which the hypervisor keeps forensics and outputs.
    pub fn kept(&self) -> PathBuf {
        self.folder.join("kept")
    }

    /// Returns the folder that stands in for `/run/power-verbs`: the hypervisor's lock is there,
    /// and its records if [`Machines::kept`] cannot be written.
    pub fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Returns the folder that comes first on the hypervisor's `PATH`, with the stand-ins.
    pub fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Makes QEMU hang until the VM is cycled.
    pub fn hang(&self) -> io::Result<()> {
        fs::write(self.vm().join("hangs"), "")
    }
}

/// Returns the path of OpenSSH's server, if it is installed.
pub fn sshd() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SBIN.map(PathBuf::from));
    // sshd refuses to be started by anything but its absolute path.
    folders.map(|folder| folder.join("sshd")).find(|path| path.is_absolute() && path.is_file())
}

async fn serve(
    sshd: &Path,
    folder: &Path,
    name: &str,
    command: &str,
    supervisor: &Supervisor,
) -> anyhow::Result<SshServer> {
    let key = fs::read_to_string(folder.join("key.pub"))?;
    let keys = folder.join(format!("{name}-keys"));
    fs::write(&keys, format!("command=\"{command}\",restrict {key}"))?;
    let config = folder.join(format!("{name}-config"));
    let deadline = Instant::now() + BIRTH;
    loop {
        // Somebody else may take the port before sshd does; the loop then tries another one.
        let port = free_port()?;
        fs::write(&config, configuration(port, folder, &keys))?;
        let args = ["-D", "-e", "-f"].map(Into::into).into_iter().chain([config.clone().into()]);
        let invocation = Invocation {
            program: sshd.to_owned(),
            args: args.collect(),
            env: vec![("PATH".to_owned(), "/usr/bin:/bin".into())],
            stdin: Vec::new(),
        };
        let mut process = supervisor.spawn(&invocation, folder)?;
        while Instant::now() < deadline {
            let answered = answers(port).await;
            // Another server may have answered, which took the port; ours has ended then.
            if timeout(Duration::from_millis(20), process.wait()).await.is_ok() {
                break;
            }
            if answered {
                return Ok(SshServer { port, _process: process });
            }
        }
        if Instant::now() >= deadline {
            drop(process.stdout.take());
            let mut said = String::new();
            if let Some(stderr) = process.stderr.take() {
                let _ = stderr.take(2000).read_to_string(&mut said).await;
            }
            bail!("sshd does not start: {}", said.trim());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn configuration(port: u16, folder: &Path, keys: &Path) -> String {
    format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}/host-key\nAuthorizedKeysFile {}\n\
         PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nLogLevel ERROR\n\
         MaxStartups 100\n",
        folder.display(),
        keys.display()
    )
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether an SSH server sends its greeting on this port.
async fn answers(port: u16) -> bool {
    let greeted = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting).await.ok()?;
        (&greeting == b"SSH-").then_some(())
    };
    timeout(Duration::from_secs(2), greeted).await.is_ok_and(|greeted| greeted.is_some())
}

async fn make_key(path: &Path, supervisor: &Supervisor) -> anyhow::Result<()> {
    let args = ["-q", "-t", "ed25519", "-N", "", "-C", "breakglass", "-f"];
    let args = args.map(Into::into).into_iter().chain([path.as_os_str().to_owned()]);
    let invocation = Invocation {
        program: "ssh-keygen".into(),
        args: args.collect(),
        env: vec![("PATH".to_owned(), std::env::var("PATH").unwrap_or_default().into())],
        stdin: Vec::new(),
    };
    let mut process = supervisor.spawn(&invocation, Path::new("/"))?;
    let exit = timeout(BIRTH, process.wait()).await.context("ssh-keygen does not end")?;
    if !path.is_file() {
        bail!("ssh-keygen made no key ({exit}): install OpenSSH's client");
    }
    Ok(())
}

/// Returns the name of the user that this process runs as: our sshd can log in nobody else.
fn user() -> anyhow::Result<String> {
    let id = rustix::process::geteuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        (uid == id).then(|| name.to_owned())
    });
    found.with_context(|| format!("user {id} is not in /etc/passwd, so sshd does not know them"))
}
