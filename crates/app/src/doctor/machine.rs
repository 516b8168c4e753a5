//! What the loop needs of this machine, independent of repositories.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afk_agent::host::{EndHow, Hosts, Job, JobKey, JobSpec, JobState};
use afk_agent::sandbox::{Access, BoxSpec, Capabilities, Refusal, Requirement, Strength};
use afk_core::config::SandboxRequirement;
use afk_core::ids::{AdapterName, At, RepoName, RunId};
use afk_core::network::AgentNetwork;
use afk_core::secret::SecretSource;
use afk_core::spend::is_measured;
use afk_core::usd::Usd;
use afk_engine::ports::Filter;
use afk_local::ask::ask;
use afk_local::git::{Git, GitError, Limits, OLDEST_GIT};
use afk_local::{
    Acp, Agent, Claude, Codex, Command, FREE, Process, find_claude, find_codex, find_process,
};
use afk_store::StoreErrorKind;
use futures_util::future::join_all;
use rustix::fs;

use super::{Check, DAMAGED, Finding, MACHINE, State, within};
use crate::config::Config;
use crate::operations::jobs;
use crate::operator::evidence_key;
use crate::secrets::{read_secret, try_vault};
use crate::wiring::open_store;
use crate::{App, Error, data_dir};

/// Free space below this is reported.
const LITTLE_FREE: u64 = 4 << 30;
const GIT: Check<'static> = Check::of(MACHINE, "git");
const STORE: Check<'static> = Check::of(MACHINE, "store");
const DISK: Check<'static> = Check::of(MACHINE, "disk");
const SANDBOX: Check<'static> = Check::of(MACHINE, "sandbox");
const HOSTS: Check<'static> = Check::of(MACHINE, "hosts");
const CLAUDE: Check<'static> = Check::of(MACHINE, "Claude CLI");
const CODEX: Check<'static> = Check::of(MACHINE, "Codex");
const SIGN_IN: Check<'static> = Check::of(MACHINE, "sign-in");
/// The key that signs evidence.
const EVIDENCE_KEY: Check<'static> = Check::of(MACHINE, "evidence key");
const VAULT: Check<'static> = Check::of(MACHINE, "Vault");
const CLOCK: Check<'static> = Check::of(MACHINE, "clock");
const LEFTOVERS: Check<'static> = Check::of(MACHINE, "leftovers");
/// Time limit of the command in a trial box, which does next to nothing.
const HOST: Duration = Duration::from_secs(30);
/// A clock before this time (2025-01-01, in Unix seconds) is wrong.
const OLDEST: i64 = 1_735_689_600;

/// All checks, in a fixed order.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let (git, store, boxes, mut host, agent, key, vault) = tokio::join!(
        within(GIT, git()),
        within(STORE, store(config)),
        within(SANDBOX, sandbox(config)),
        within(HOSTS, host(config)),
        within(Check::of(MACHINE, "agents"), agents(config)),
        within(EVIDENCE_KEY, signing(config)),
        within(VAULT, vault(config)),
    );
    if boxes.iter().any(|one| one.state == State::Failure) {
        // The host's trial would fail for the same reason.
        host = vec![HOSTS.note("not tried: fix the sandbox first")];
    }
    [temporary(), git, store, boxes, host, agent, key, vault, clock(At::now())].concat()
}

/// A failure if no temporary folder can be made. The checks that need one return nothing then.
fn temporary() -> Vec<Finding> {
    const TEMPORARY: Check<'static> = Check::of(MACHINE, "temporary");
    let failed = |error: std::io::Error| {
        let folder = std::env::temp_dir();
        let says = format!("no folder can be made in {}: {}", folder.display(), error.kind());
        let remedy = "set TMPDIR to a writable folder with free space, or make /tmp writable";
        TEMPORARY.failure(says, remedy)
    };
    tempfile::tempdir().err().map(failed).into_iter().collect()
}

async fn git() -> Vec<Finding> {
    let Ok(folder) = tempfile::tempdir() else { return Vec::new() };
    let opened = Git::open(Path::new("git"), folder.path(), Vec::new(), Limits::default()).await;
    vec![match opened {
        Ok(_) => {
            let version = ask("git", &["version"], folder.path()).await;
            GIT.ok(version.unwrap_or_default())
        }
        Err(GitError::NotFound { binary }) => GIT.failure(
            format!("the program {} is not on PATH", binary.display()),
            format!("install git {OLDEST_GIT} or newer, as with `apt install git`"),
        ),
        Err(GitError::TooOld { found, .. }) => GIT.failure(
            format!("{found} is too old"),
            format!("update it to git {OLDEST_GIT} or newer"),
        ),
        Err(error) => GIT.failure(error.to_string(), "make `git version` work for this user"),
    }]
}

async fn store(config: &Config) -> Vec<Finding> {
    let Ok(folder) = data_dir(config) else {
        let says = "neither data_dir nor HOME says where to keep the store";
        return vec![STORE.failure(says, "set data_dir")];
    };
    let mut all = vec![disk(&folder)];
    all.extend(open_to_others(&folder));
    let file = folder.join("afk.db");
    if !file.exists() {
        all.push(unmade(&folder).unwrap_or_else(|| {
            STORE.note(format!("{} will be created by the first command", file.display()))
        }));
        return all;
    }
    all.push(match open_store(&folder).await {
        Ok(store) => {
            store.close().await;
            STORE.ok(file.display().to_string())
        }
        Err(error) => {
            let remedy = if matches!(error.kind(), StoreErrorKind::InUse(_)) {
                "stop the older afk, then start this one"
            } else {
                "the folder must be writable and the file intact; a newer schema needs a newer \
                 afk, and a damaged file a copy of `afk backup` in its place"
            };
            STORE.failure(Error::from(error).message, remedy)
        }
    });
    all
}

/// Why the store could not be created in `folder`, or `folder` itself.
fn unmade(folder: &Path) -> Option<Finding> {
    let there = folder.ancestors().find(|path| path.exists())?;
    let path = there.display();
    if !there.is_dir() {
        let says = format!("{path} is not a folder, so there can be no store");
        return Some(STORE.failure(says, "set data_dir to another folder, or move the file away"));
    }
    let closed = fs::access(there, fs::Access::WRITE_OK | fs::Access::EXEC_OK).is_err();
    closed.then(|| {
        let says = format!("{path} cannot be written, so there can be no store below it");
        STORE.failure(says, "let this user write there, or set data_dir to another folder")
    })
}

/// A warning if the data folder exists and others than its owner have any access.
fn open_to_others(folder: &Path) -> Option<Finding> {
    let mode = folder.metadata().ok()?.permissions().mode() & 0o777;
    let says = format!("{} is accessible to others (mode {mode:04o})", folder.display());
    let remedy = format!("chmod 700 {}", folder.display());
    let open = folder.is_dir() && mode & 0o077 != 0;
    open.then(|| Check::of(MACHINE, "data folder").warning(says, remedy))
}

fn disk(folder: &Path) -> Finding {
    let there = folder.ancestors().find(|path| path.is_dir()).map(Path::to_owned);
    let there = there.unwrap_or_else(|| PathBuf::from("/"));
    match fs::statvfs(&there) {
        Err(error) => DISK.failure(
            format!("{}: {error}", there.display()),
            "let this user read that folder, or set data_dir to another",
        ),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let says = format!("{:.1} GiB free at {}", gib(free), there.display());
            let remedy = "free some space, or set data_dir to a larger disk";
            match free {
                0..FREE => DISK.failure(says, remedy),
                FREE..LITTLE_FREE => DISK.warning(says, remedy),
                _ => DISK.ok(says),
            }
        }
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1_u32 << 30)
}

async fn sandbox(config: &Config) -> Vec<Finding> {
    let Ok(program) = std::env::current_exe() else {
        let says = "the path of the running program is unknown";
        return vec![SANDBOX.failure(says, "mount /proc, and start afk by its path")];
    };
    let detected = tokio::task::spawn_blocking(move || Capabilities::detect(&program)).await;
    let Ok(able) = detected else {
        let says = "the sandbox could not be tried";
        return vec![SANDBOX.failure(says, "see why with `afk -vv doctor`")];
    };
    vec![match (able.strength(), config.policy.sandbox) {
        (Strength::Full, _) => SANDBOX.ok(able.to_string()),
        (Strength::Partial | Strength::None, SandboxRequirement::Required) => SANDBOX.failure(
            format!("{able}; a full one is required"),
            format!("{}; or {}", Refusal::REMEDY, Refusal::ACCEPT),
        ),
        (Strength::Partial | Strength::None, SandboxRequirement::Preferred) => {
            SANDBOX.warning(able.to_string(), format!("for a full sandbox, {}", Refusal::REMEDY))
        }
    }]
}

/// Starts a box under a host, and checks that its command succeeds.
async fn host(config: &Config) -> Vec<Finding> {
    let Ok(folder) = tempfile::tempdir() else { return Vec::new() };
    vec![match boxed_trial(config, folder.path()).await {
        Ok(()) => HOSTS.ok("a command ran in a box under its own host"),
        Err(why) => HOSTS.failure(
            format!("a command could not be run in a box: {why}"),
            "fix the sandbox first; then see the log of `afk -vv doctor`",
        ),
    }]
}

async fn boxed_trial(config: &Config, folder: &Path) -> Result<(), String> {
    let hosts = Hosts::of_this_program().map_err(|error| error.to_string())?;
    let work = folder.join("work");
    std::fs::create_dir(&work).map_err(|error| error.to_string())?;
    let mut spec = BoxSpec::new(vec!["true".to_owned()], &work).bind(&work, Access::ReadWrite);
    spec.requirement = match config.policy.sandbox {
        SandboxRequirement::Required => Requirement::Required,
        SandboxRequirement::Preferred => Requirement::Preferred,
    };
    spec.env.insert("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned());
    run_boxed(&hosts, folder, spec).await.map(drop)
}

/// Runs a box to its end in `folder`; returns its output, or why it failed.
pub(super) async fn run_boxed(
    hosts: &Hosts,
    folder: &Path,
    spec: BoxSpec,
) -> Result<String, String> {
    let mut job = JobSpec::new(JobKey::new("doctor"), folder.join("job"), spec);
    job.timeout = HOST;
    let job: Job = hosts.ensure(&job).await.map_err(|error| error.to_string())?;
    match job.wait(HOST + HOST).await.map_err(|error| error.to_string())? {
        JobState::Ended(end) if end.how == EndHow::Exited(0) => {
            let said = job.read_stdout(0, 64 << 10).await.map_err(|error| error.to_string())?;
            Ok(String::from_utf8_lossy(&said).into_owned())
        }
        JobState::Ended(end) => {
            let said = job.read_stderr(0, 4 << 10).await.unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let said = said.trim();
            let told = if said.is_empty() { String::new() } else { format!(": {said}") };
            Err(format!("it {}{told}", end.how))
        }
        JobState::Lost => Err("its host was lost".to_owned()),
        JobState::Starting | JobState::Running { .. } => Err("it did not end".to_owned()),
    }
}

/// Whether the agents that repositories use can be run as configured; also the Claude CLI if no
/// repository uses it or Codex.
async fn agents(config: &Config) -> Vec<Finding> {
    let used = config.local.agents_of(&config.policy);
    let asked = used.iter().map(|(name, agent)| async move {
        match agent {
            Agent::Claude(claude) => claude_of(config, claude, State::Failure).await,
            Agent::Codex(codex) => codex_of(config, codex).await,
            Agent::Acp(Acp { process, .. }) | Agent::Command(Command { process, .. }) => {
                let mut all = process_of(config, name, process).await;
                all.push(cost_of(name, agent));
                all
            }
            Agent::Scripted(_) => Vec::new(),
        }
    });
    let mut all = join_all(asked).await.concat();
    all.extend(networks(config, &used));
    if !used.values().any(|agent| matches!(agent, Agent::Claude(_) | Agent::Codex(_))) {
        // No repository uses the Claude CLI, so its absence is only a note.
        all.extend(claude_of(config, &config.local.shipped_claude(), State::Note).await);
    }
    all
}

/// What each agent that a repository uses may reach, and who holds its key.
fn networks(config: &Config, used: &BTreeMap<AdapterName, Agent>) -> Vec<Finding> {
    let mut all: BTreeMap<(&AdapterName, String), Vec<&RepoName>> = BTreeMap::new();
    for (repo, table) in config.policy.repos.iter() {
        let Some(agent) = used.get(&table.agent) else { continue };
        let says = network(agent, &table.network.agent.narrowed(agent.network()));
        all.entry((&table.agent, says)).or_default().push(repo);
    }
    let found = all.into_iter().map(|((agent, says), repos)| {
        let more = match repos.len() {
            0 | 1 => String::new(),
            repos => format!(" and {} more", repos - 1),
        };
        let first = repos.first().map_or("", |repo| repo.as_str());
        let (about, says) = (format!("network of {agent}"), format!("{says} ({first}{more})"));
        Check::of(MACHINE, &about).ok(says)
    });
    found.collect()
}

/// What an agent may reach, and who holds its key, in a sentence.
fn network(agent: &Agent, allowed: &AgentNetwork) -> String {
    let key = match (agent, agent.holds_key(allowed)) {
        (Agent::Scripted(_), _) => "",
        (_, true) => "; it holds its model's credential",
        (_, false) => "; the model's key stays outside of its box",
    };
    match allowed {
        AgentNetwork::Open => format!("open, as this machine's{key}"),
        AgentNetwork::None => "none: it cannot even reach a model".to_owned(),
        AgentNetwork::Model => format!("the model's API alone{key}"),
        AgentNetwork::Hosts(hosts) => {
            let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            format!("the model's API and {}{key}", hosts.join(", "))
        }
    }
}

/// Whether Codex can be run as configured, and why not.
async fn codex_of(whole: &Config, config: &Codex) -> Vec<Finding> {
    let program = match find_codex(config) {
        Ok(program) => program,
        Err(missing) => return vec![CODEX.failure(missing.what, missing.remedy)],
    };
    let version = ask(&program, &["--version"], &std::env::temp_dir()).await;
    let mut all = vec![if let Some(version) = version {
        CODEX.ok(format!("{version} at {}", program.display()))
    } else {
        CODEX.failure(
            format!("{} does not print its version", program.display()),
            format!("see what `{} --version` prints", program.display()),
        )
    }];
    all.push(if let Some(source) = &config.api_key {
        match read_secret(whole, source).await {
            Ok(_) => SIGN_IN.ok("the API key can be read"),
            Err(error) => SIGN_IN.failure(
                error.to_string(),
                "correct agents.codex.api_key, or provide the source it names",
            ),
        }
    } else {
        let default = || std::env::home_dir().unwrap_or_default().join(".codex");
        let file = config.home.clone().unwrap_or_else(default).join("auth.json");
        if std::fs::File::open(&file).is_ok() {
            SIGN_IN.ok(format!("of {}", file.display()))
        } else {
            SIGN_IN.failure(
                format!("{} cannot be read", file.display()),
                "run `codex login`, or set agents.codex.api_key",
            )
        }
    });
    all
}

/// Whether an agent whose whole command is configured (`acp`, `command`) can be run.
async fn process_of(whole: &Config, name: &AdapterName, process: &Process) -> Vec<Finding> {
    let about = format!("agent {name}");
    let check = Check::of(MACHINE, &about);
    let mut all = vec![match find_process(process) {
        Ok(program) => check.ok(program.display().to_string()),
        Err(missing) => check.failure(missing.what, format!("correct agents.{name}.command")),
    }];
    for (variable, source) in &process.secret_env {
        if let Err(error) = read_secret(whole, source).await {
            let remedy = format!(
                "correct agents.{name}.secret_env.{variable}, or provide the source it names"
            );
            all.push(check.failure(error.to_string(), remedy));
        }
    }
    for path in process.read.iter().filter(|path| !path.exists()) {
        let says = format!("{} does not exist", path.display());
        all.push(check.failure(says, format!("correct agents.{name}.read")));
    }
    all
}

/// What a turn is charged of which the agent does not report what it used. A command never does;
/// whether an agent of the protocol does is known only once it has run.
fn cost_of(name: &AdapterName, agent: &Agent) -> Finding {
    let about = format!("cost of {name}");
    let check = Check::of(MACHINE, &about);
    let never = matches!(agent, Agent::Command(_));
    let whose = if never { "a turn" } else { "a turn of which it does not report what it used" };
    let remedy =
        format!("set agents.{name}.turn_usd to what such a turn is to be charged, in US dollars");
    match agent.turn_usd() {
        None => {
            let says = format!(
                "{whose} is charged all that is left of its run's budget, so that nothing is left \
                 for another"
            );
            let state = if never { State::Warning } else { State::Note };
            check.found(state, says, Some(remedy))
        }
        Some(Usd::ZERO) => {
            let says = format!("{whose} is charged nothing, as turn_usd is 0: no budget limits it");
            check.warning(says, remedy)
        }
        Some(each) => check.ok(format!("{whose} is taken to cost {each}")),
    }
}

/// Whether the Claude CLI can be run as configured, and why not. `missing` is the state of a
/// finding about what is missing.
async fn claude_of(whole: &Config, config: &Claude, missing: State) -> Vec<Finding> {
    let program = match find_claude(config) {
        Ok(program) => program,
        Err(absent) => return vec![CLAUDE.found(missing, absent.what, Some(absent.remedy))],
    };
    let here = std::env::temp_dir();
    let mut all = Vec::new();
    all.push(match ask(&program, &["--version"], &here).await {
        Some(version) if is_measured(&version) => {
            CLAUDE.ok(format!("{version} at {}", program.display()))
        }
        Some(version) => CLAUDE.warning(
            format!(
                "{version} at {}: untested version, its cost accounting is not known",
                program.display()
            ),
            "it works, but each turn is charged the whole counter, so budgets run out sooner",
        ),
        None => {
            let says = format!("{} does not print its version", program.display());
            let remedy = format!("see what `{} --version` prints", program.display());
            CLAUDE.found(missing, says, Some(remedy))
        }
    });
    let signed_out =
        |says: String, remedy: &str| SIGN_IN.found(missing, says, Some(remedy.to_owned()));
    all.push(if let Some(source) = &config.api_key {
        match read_secret(whole, source).await {
            Ok(_) => SIGN_IN.ok("the API key can be read"),
            Err(error) => signed_out(
                error.to_string(),
                "correct agents.claude.api_key, or provide the source it names",
            ),
        }
    } else {
        let home = config.home.clone().or_else(std::env::home_dir);
        let file = home.unwrap_or_default().join(".claude/.credentials.json");
        if std::fs::File::open(&file).is_ok() {
            SIGN_IN.ok(format!("of {}", file.display()))
        } else {
            signed_out(
                format!("{} cannot be read", file.display()),
                "run `claude` once and sign in, or set agents.claude.api_key",
            )
        }
    });
    all
}

/// Whether the key that signs evidence can be used. None is needed, but no run settles while a
/// configured one is unusable.
async fn signing(config: &Config) -> Vec<Finding> {
    match evidence_key(config).await {
        Ok(None) => vec![EVIDENCE_KEY.note("none: evidence is kept unsigned").remedy(
            "`openssl genpkey -algorithm ed25519 -out KEY.pem` makes one for evidence_key, if others \
             are to verify it",
        )],
        Ok(Some(key)) => {
            let mut all = vec![EVIDENCE_KEY.ok(format!("Ed25519, key id {}", key.id()))];
            if let Some(SecretSource::File(file)) = &config.local.evidence_key {
                all.extend(key_open_to_others(file));
            }
            all
        }
        Err(error) => vec![EVIDENCE_KEY.failure(
            error.to_string(),
            "correct evidence_key, or provide the source it names; no run settles until then",
        )],
    }
}

/// Whether we can log in to Vault; nothing if none is configured.
async fn vault(config: &Config) -> Vec<Finding> {
    let tried = try_vault(config).await.map(|tried| match tried {
        Ok(()) => VAULT.ok("afk can log in"),
        Err(error) => VAULT.failure(
            error.chain(),
            "correct the table `vault`; what comes from there is missing until then",
        ),
    });
    tried.into_iter().collect()
}

/// A warning if others can read the file of the key: they could sign as us.
fn key_open_to_others(file: &Path) -> Option<Finding> {
    let mode = file.metadata().ok()?.permissions().mode() & 0o777;
    let says = format!("{} can be read by others (mode {mode:04o})", file.display());
    let remedy = format!("chmod 600 {}", file.display());
    (mode & 0o077 != 0).then(|| EVIDENCE_KEY.warning(says, remedy))
}

fn clock(now: At) -> Vec<Finding> {
    vec![if now.as_second() < OLDEST {
        CLOCK.failure(format!("it is {now}, which cannot be"), "set the clock")
    } else {
        CLOCK.ok(format!("{now:.0}"))
    }]
}

/// Leftovers of runs: hosts of ended runs that are still alive, and a run admitted in the future,
/// which shows that the clock went back.
pub(super) async fn leftovers(app: &App) -> Vec<Finding> {
    let store = &app.engine.ports().store;
    let (live, newest) =
        match (store.live().await, store.runs(&Filter { limit: 1, ..Filter::default() }).await) {
            (Ok(live), Ok(newest)) => (live, newest),
            (Err(error), _) | (_, Err(error)) => {
                return vec![STORE.failure(error.chain(), DAMAGED)];
            }
        };
    let mut all = Vec::new();
    if let Some(last) = newest.iter().find(|last| last.run.admitted_at > At::now()) {
        let says = format!(
            "run {} was admitted at {}, which is in the future",
            last.run.id, last.run.admitted_at
        );
        let remedy = "the clock went back: set it right, or deadlines come late";
        all.push(CLOCK.warning(says, remedy));
    }
    let mut stray = Vec::new();
    let of_ended = |run: &RunId| live.iter().all(|stored| stored.run.id != *run);
    let jobs = jobs(app.local.workspaces.root()).unwrap_or_default();
    for (_, job) in jobs.into_iter().filter(|(run, _)| of_ended(run)) {
        if matches!(job.status().await, Ok(JobState::Running { .. } | JobState::Starting)) {
            stray.push(job.dir().display().to_string());
        }
    }
    all.push(if stray.is_empty() {
        LEFTOVERS.ok("no hosts of ended runs")
    } else {
        LEFTOVERS.warning(
            format!("hosts of ended runs: {}", stray.join(", ")),
            "they end by themselves within ten minutes; check again then",
        )
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_is_told() {
        let state = |second| clock(At::from_second(second).unwrap())[0].state;
        assert_eq!((state(0), state(OLDEST)), (State::Failure, State::Ok));
    }

    #[test]
    fn a_data_folder_that_lets_others_in_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let says = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(folder.path(), mode).unwrap();
            open_to_others(folder.path()).map(|found| found.says)
        };
        assert!(says(0o755).unwrap().ends_with("(mode 0755)"));
        assert_eq!(says(0o700), None);
        assert_eq!(open_to_others(&folder.path().join("missing")), None);
    }

    #[test]
    fn a_full_disk_is_measured_where_the_folder_will_be() {
        let found = disk(Path::new("/nonexistent/by/far"));
        assert!(found.says.ends_with("free at /"), "{}", found.says);
    }
}
