//! Combines a spec and a machine's capabilities into the command that starts the box.
//!
//! The host calls it once for each job. It decides what each strength means: which program is
//! started, what landlock allows, which environment the job has.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bubblewrap::{self, HOME};
use super::confine::{Plan, Rules};
use super::detect::{Capabilities, Strength};
use super::init::SUBCOMMAND;
use super::processes;
use super::spec::{Access, BoxSpec, Network};

/// The files and folders of a box that are kept outside, in the job's folder.
#[derive(Clone, Debug)]
pub(crate) struct Scratch(PathBuf);

/// A box that is ready to start.
pub(crate) struct Launch {
    /// What to spawn; its standard input must first carry `plan`.
    pub(crate) command: Command,
    /// The instructions for our code in the box.
    pub(crate) plan: Plan,
    pub(crate) strength: Strength,
}

/// What the host adds to the spec.
pub(crate) struct Setting<'a> {
    /// What this machine can enforce, already reduced to the spec's requirement.
    pub(crate) machine: &'a Capabilities,
    pub(crate) scratch: &'a Scratch,
    pub(crate) program: &'a Path,
    /// Inheritable descriptor for bubblewrap's report of the box's first process.
    pub(crate) info: i32,
    /// Inheritable descriptor for the report of our code inside ([`super::READY`]).
    pub(crate) ready: i32,
    /// Inheritable descriptor through which the box hands out its listening socket, if it has a way
    /// to the network ([`crate::egress`]).
    pub(crate) door: Option<i32>,
    /// Name and value of the environment variable by which every process of the job can be found.
    pub(crate) marker: (&'a str, &'a str),
    /// Environment variables that are in no file.
    pub(crate) secrets: BTreeMap<String, String>,
}

/// Files of `/proc` that programs read and that say nothing about other processes.
const PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/self",
    "/proc/stat",
    "/proc/sys",
    "/proc/uptime",
    "/proc/version",
    "/proc/vmstat",
];

/// Harmless devices.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Memory of each process of a [`reader`], in bytes.
const READER_MEMORY: u64 = 2 << 30;
/// Open files of each process of a [`reader`].
const READER_FILES: u64 = 4096;
/// Threads of all processes of a [`reader`].
const READER_TASKS: u64 = 64;

impl Scratch {
    /// The files of the box of the job in folder `job`; does no I/O.
    pub(crate) fn at(job: &Path) -> Self {
        Self(job.join("box"))
    }

    /// Creates the folders and files; `home` is `HOME` inside.
    pub(crate) fn make(&self, home: &Path) -> io::Result<()> {
        for folder in [self.0.clone(), self.home(), self.tmp()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let user = bubblewrap::USER;
        let home = home.display();
        fs::write(
            self.passwd(),
            format!(
                "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nafk:x:{user}:{user}:afk:{home}:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            ),
        )?;
        fs::write(self.group(), format!("root:x:0:\nafk:x:{user}:\nnogroup:x:65534:\n"))?;
        fs::write(self.empty(), "")
    }

    /// The file that is `/etc/passwd` inside.
    pub(crate) fn passwd(&self) -> PathBuf {
        self.0.join("passwd")
    }

    /// The file that is `/etc/group` inside.
    pub(crate) fn group(&self) -> PathBuf {
        self.0.join("group")
    }

    /// An empty file, to cover masked files with.
    pub(crate) fn empty(&self) -> PathBuf {
        self.0.join("empty")
    }

    fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    fn tmp(&self) -> PathBuf {
        self.0.join("tmp")
    }
}

impl Launch {
    /// Decides how the job is started; refuses a spec that this machine's strength cannot provide.
    pub(crate) fn new(spec: &BoxSpec, setting: &Setting<'_>) -> Result<Self, String> {
        if let Some(fault) = spec.fault() {
            return Err(fault);
        }
        if let Some(bind) = spec.binds.iter().find(|bind| !bind.source.exists()) {
            return Err(format!(
                "{} cannot be mounted into the box: it does not exist",
                bind.source.display()
            ));
        }
        let machine = setting.machine;
        let landlocked = machine.landlock_abi > 0;
        match &machine.bubblewrap {
            Ok(found) => {
                let home = spec.home.clone().unwrap_or_else(|| HOME.into());
                setting
                    .scratch
                    .make(&home)
                    .map_err(|error| format!("cannot prepare the box: {error}"))?;
                let args = bubblewrap::job(
                    found,
                    spec,
                    setting.scratch,
                    setting.program,
                    (setting.info, setting.ready, setting.door),
                );
                let mut command = Command::new(&found.path);
                command.args(args);
                mark(&mut command, setting.marker);
                let mut plan = plan(spec, setting, &home, Path::new("/tmp"));
                plan.landlock = landlocked.then(|| rules_inside(spec, &home));
                plan.processes = spec.limits.processes;
                Ok(Self { command, plan, strength: machine.strength() })
            }
            Err(_) => Self::without_bubblewrap(spec, setting, landlocked),
        }
    }

    fn without_bubblewrap(
        spec: &BoxSpec,
        setting: &Setting<'_>,
        landlocked: bool,
    ) -> Result<Self, String> {
        if let Some(bind) = spec.binds.iter().find(|bind| bind.source != bind.target) {
            let (source, target) = (bind.source.display(), bind.target.display());
            return Err(format!(
                "{source} cannot appear as {target} without bubblewrap; bind it at its own path"
            ));
        }
        if let Network::Through(_) = spec.network {
            return Err(
                "the network cannot be limited to some hosts without bubblewrap: install it \
                        (apt install bubblewrap), or open the agent's network"
                    .to_owned(),
            );
        }
        if let Some(path) = spec.masked.first().filter(|_| landlocked) {
            return Err(format!("{} cannot be hidden without bubblewrap", path.display()));
        }
        let home = spec.home.clone().unwrap_or_else(|| setting.scratch.home());
        setting.scratch.make(&home).map_err(|error| format!("cannot prepare the box: {error}"))?;
        let tmp = setting.scratch.tmp();
        let mut command = Command::new(setting.program);
        command.args([
            SUBCOMMAND,
            "supervise",
            &rustix::process::getpid().as_raw_pid().to_string(),
            &setting.ready.to_string(),
        ]);
        mark(&mut command, setting.marker);
        let mut plan = plan(spec, setting, &home, &tmp);
        plan.landlock = landlocked.then(|| rules_outside(spec, &home, &tmp));
        plan.drop_capabilities = landlocked;
        plan.new_session = true;
        // The kernel counts everything that this user runs, including the control plane, so the
        // job's share is added.
        plan.processes = spec.limits.processes.map(|share| share + tasks_of_this_user());
        let strength = if landlocked { Strength::Partial } else { Strength::None };
        Ok(Self { command, plan, strength })
    }
}

/// Sets the launcher's own environment: only the marker by which it can be found, and nothing that
/// could influence it.
fn mark(command: &mut Command, (name, value): (&str, &str)) {
    command.env_clear().env(name, value);
}

fn plan(spec: &BoxSpec, setting: &Setting<'_>, home: &Path, tmp: &Path) -> Plan {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut env: BTreeMap<String, String> = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOME", text(home)),
        ("USER", "afk".to_owned()),
        ("LOGNAME", "afk".to_owned()),
        ("SHELL", "/bin/sh".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("TMPDIR", text(tmp)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    env.extend(spec.env.clone());
    env.extend(setting.secrets.clone());
    env.insert(setting.marker.0.to_owned(), setting.marker.1.to_owned());
    Plan {
        argv: spec.argv.clone(),
        cwd: spec.cwd.clone(),
        env,
        memory: None,
        file_size: spec.limits.file_size,
        open_files: spec.limits.open_files,
        processes: None,
        drop_capabilities: false,
        new_session: false,
        landlock: None,
    }
}

/// The plan for a supervised command that only reads `paths`, as JSON for an argument: it holds no
/// secret. Memory is limited, because what is read may configure the command to use any amount.
pub(crate) fn reader(machine: &Capabilities, paths: &[&Path]) -> String {
    let boxed = machine.bubblewrap.is_ok();
    let spec = paths
        .iter()
        .fold(BoxSpec::new(["reader"], "/"), |spec, path| spec.bind(*path, Access::ReadOnly));
    let rules = || {
        let (none, devices) = (Vec::new(), DEVICES.map(PathBuf::from).into());
        if boxed {
            return Rules { read: vec!["/".into()], write: none, devices, no_tcp: true };
        }
        Rules { write: none, ..rules_outside(&spec, Path::new(HOME), Path::new("/tmp")) }
    };
    let landlocked = machine.landlock_abi > 0;
    let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", HOME), ("LC_ALL", "C")];
    let plan = Plan {
        argv: Vec::new(),
        cwd: "/".into(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        memory: Some(READER_MEMORY),
        file_size: Some(1 << 20),
        open_files: Some(READER_FILES),
        processes: Some(READER_TASKS + if boxed { 0 } else { tasks_of_this_user() }),
        drop_capabilities: landlocked && !boxed,
        new_session: false,
        landlock: landlocked.then(rules),
    };
    // Cannot fail: all keys of its maps are texts.
    serde_json::to_string(&plan).unwrap_or_default()
}

/// Landlock rules within bubblewrap: everything may be read, because only what may be read is
/// visible; writing only where a bind or a memory-backed folder allows it.
fn rules_inside(spec: &BoxSpec, home: &Path) -> Rules {
    let mut write: Vec<PathBuf> =
        ["/tmp", "/var/tmp", "/run", "/dev/shm"].map(PathBuf::from).into();
    write.extend(bound(spec, Access::ReadWrite));
    if !bubblewrap::is_bound(spec, home) {
        write.push(home.to_path_buf());
    }
    let devices =
        DEVICES.iter().chain(&["/dev/tty", "/dev/ptmx", "/dev/pts"]).map(PathBuf::from).collect();
    Rules { read: vec!["/".into()], write, devices, no_tcp: false }
}

/// Landlock rules without bubblewrap: the same paths, on the machine's own file system.
fn rules_outside(spec: &BoxSpec, home: &Path, tmp: &Path) -> Rules {
    let mut read: Vec<PathBuf> = bubblewrap::SYSTEM
        .iter()
        .chain(&bubblewrap::ETC)
        .chain(&PROC)
        .chain(&["/etc/passwd", "/etc/group"])
        .map(PathBuf::from)
        .collect();
    read.extend(bound(spec, Access::ReadOnly));
    let mut write = bound(spec, Access::ReadWrite);
    write.push(tmp.to_path_buf());
    if spec.home.is_none() {
        write.push(home.to_path_buf());
    }
    let no_tcp = match &spec.network {
        // `Through` is refused before it comes here without bubblewrap.
        Network::None | Network::Through(_) => true,
        Network::Open => false,
    };
    Rules { read, write, devices: DEVICES.map(PathBuf::from).into(), no_tcp }
}

fn bound(spec: &BoxSpec, access: Access) -> Vec<PathBuf> {
    spec.binds.iter().filter(|bind| bind.access == access).map(|bind| bind.target.clone()).collect()
}

fn tasks_of_this_user() -> u64 {
    let own = rustix::process::geteuid().as_raw();
    processes::all()
        .values()
        .filter(|process| {
            fs::metadata(format!("/proc/{}", process.id.pid)).is_ok_and(|found| found.uid() == own)
        })
        .map(|process| process.threads)
        .sum()
}
