//! The restrictions that a process applies to itself before it becomes the job: resource limits, no
//! capabilities, no new privileges, landlock.
//!
//! [`super::init_main`] applies them inside the box, from a [`Plan`] that the host made. All of
//! them are irreversible and inherited.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

/// The newest landlock version that these rules were written for. Older kernels enforce the part
/// that they know.
const ABI_KNOWN: ABI = ABI::V7;

/// The instructions for [`super::init_main`]. A job's plan comes on standard input, because it
/// contains the environment, and everyone can read arguments.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
    /// Memory of each process, in bytes. Used without a host, where nobody watches what all of them
    /// use together.
    #[serde(default)]
    pub(crate) memory: Option<u64>,
    /// Size of the largest file, in bytes.
    pub(crate) file_size: Option<u64>,
    pub(crate) open_files: Option<u64>,
    /// Threads of this user, counted by the kernel.
    pub(crate) processes: Option<u64>,
    /// Whether to drop every capability. Bubblewrap does that by itself.
    pub(crate) drop_capabilities: bool,
    /// Whether to leave the session, and so the terminal. Bubblewrap does that by itself.
    pub(crate) new_session: bool,
    /// Landlock rules; `None` if landlock is not to be used.
    pub(crate) landlock: Option<Rules>,
}

/// What landlock allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// Folders and files to read and execute.
    pub(crate) read: Vec<PathBuf>,
    /// Folders and files to read, write and execute.
    pub(crate) write: Vec<PathBuf>,
    /// Device nodes and terminals.
    pub(crate) devices: Vec<PathBuf>,
    pub(crate) no_tcp: bool,
}

/// A restriction that could not be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    /// A resource limit.
    #[error("cannot limit {what} to {value}: {source}")]
    Limit { what: &'static str, value: u64, source: rustix::io::Errno },
    /// Capabilities or the no-new-privileges flag.
    #[error("cannot give up privileges: {0}")]
    Privileges(rustix::io::Errno),
    /// Landlock refused the rules.
    #[error("cannot apply landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// The kernel accepted the rules but enforces none.
    #[error(
        "cannot apply landlock: this kernel does not enforce it; boot with `lsm=landlock,…` or a kernel that has it"
    )]
    LandlockAbsent,
}

/// Applies everything in the plan to the calling thread, which must be the only one.
pub(crate) fn confine(plan: &Plan) -> Result<(), ConfineError> {
    if plan.new_session {
        // Fails only if this process leads a session already, which is as good.
        let _ = rustix::process::setsid();
        // If the supervisor is killed, the job dies with it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(ConfineError::Privileges)?;
    }
    // The host's strict umask must not reach the job, which creates files like any other program.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // The host may have raised its own priority, which the job would inherit.
    let _ = rustix::process::setpriority_process(None, 5);
    limit("a core dump", Resource::Core, Some(0))?;
    limit("memory", Resource::Data, plan.memory)?;
    limit("file size", Resource::Fsize, plan.file_size)?;
    limit("open files", Resource::Nofile, plan.open_files)?;
    limit("processes", Resource::Nproc, plan.processes)?;
    // If the machine runs out of memory, the kernel should kill the job, not the control plane.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    if plan.drop_capabilities {
        drop_capabilities().map_err(ConfineError::Privileges)?;
    }
    rustix::thread::set_no_new_privs(true).map_err(ConfineError::Privileges)?;
    if let Some(rules) = &plan.landlock {
        restrict(rules)?;
    }
    Ok(())
}

/// Applies landlock to the calling thread. Paths that do not exist are skipped, and stay refused.
pub(crate) fn restrict(rules: &Rules) -> Result<(), ConfineError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(landlock::CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI_KNOWN))?
        .scope(Scope::from_all(ABI_KNOWN))?;
    if rules.no_tcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(ABI_KNOWN))?;
    }
    let read = AccessFs::from_read(ABI_KNOWN);
    // No device nodes, even if the job somehow got the right to make one.
    let write = AccessFs::from_all(ABI_KNOWN)
        & !(AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;
    let allowed = pairs(&rules.read, read)
        .chain(pairs(&rules.write, write))
        .chain(pairs(&rules.devices, device));
    let mut created = ruleset.create()?;
    for (path, access) in allowed {
        let Ok(opened) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI_KNOWN) };
        created = created.add_rule(PathBeneath::new(opened, access))?;
    }
    match created.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(ConfineError::LandlockAbsent),
    }
}

/// The landlock version in force, found by restricting a thread that then ends; 0 if there is none.
pub(crate) fn landlock_abi() -> u32 {
    // On a thread of its own, because the restriction belongs to the thread and ends with it.
    std::thread::spawn(|| {
        let status = Ruleset::default()
            .handle_access(AccessFs::MakeBlock)
            .ok()?
            .create()
            .ok()?
            .restrict_self()
            .ok()?;
        match status.landlock {
            landlock::LandlockStatus::Available { effective_abi, kernel_abi } => Some(
                kernel_abi.and_then(|abi| u32::try_from(abi).ok()).unwrap_or(effective_abi as u32),
            ),
            landlock::LandlockStatus::NotEnabled | landlock::LandlockStatus::NotImplemented => None,
        }
    })
    .join()
    .ok()
    .flatten()
    .unwrap_or(0)
}

fn pairs(
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = (&Path, BitFlags<AccessFs>)> {
    paths.iter().map(move |path| (path.as_path(), access))
}

/// Lowers the soft and the hard limit to `value`, or to the present hard limit if that is lower.
fn limit(what: &'static str, resource: Resource, value: Option<u64>) -> Result<(), ConfineError> {
    let Some(value) = value else { return Ok(()) };
    let hard = rustix::process::getrlimit(resource).maximum.map_or(value, |hard| hard.min(value));
    let both = Rlimit { current: Some(hard), maximum: Some(hard) };
    rustix::process::setrlimit(resource, both).map_err(|source| ConfineError::Limit {
        what,
        value,
        source,
    })
}

/// Empties every capability set, including the bounding one, so that no exec brings one back.
fn drop_capabilities() -> Result<(), rustix::io::Errno> {
    for capability in CapabilitySet::all().iter() {
        // Shrinking the bounding set needs SETPCAP; a process without it has nothing to lose.
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )
}

/// Turns a failure to become the job into one line for the job's standard error.
pub(crate) fn exec_failure(program: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!(
                "cannot start `{program}`: not found in the box; bind the folder it is in, and set PATH"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("cannot start `{program}`: no permission to execute it in the box")
        }
        _ => format!("cannot start `{program}`: {error}"),
    }
}
