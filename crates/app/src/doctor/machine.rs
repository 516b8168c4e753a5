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
use afk_engine::ports::Filter;
use afk_local::ask::ask;
use afk_local::git::{Git, Limits};
use afk_local::{
    Acp, Agent, Claude, Codex, Command, FREE, Process, find_claude, find_codex, find_process,
};
use afk_store::Store;
use futures_util::future::join_all;

use super::{Finding, MACHINE, State, within};
use crate::config::Config;
use crate::operator::evidence_key;
use crate::secrets::{read_secret, try_vault};
use crate::{App, data_dir};

/// Free space below this is reported.
const LITTLE_FREE: u64 = 4 << 30;
/// The name of the check of the key that signs evidence.
const EVIDENCE_KEY: &str = "evidence key";
/// Time limit of a box that does nothing.
const HOST: Duration = Duration::from_secs(30);
/// A clock that shows a time before this, in seconds, is wrong.
const OLDEST: i64 = 1_735_689_600;

/// All checks, in a fixed order.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let (git, store, boxes, host, agent, key, vault) = tokio::join!(
        within(MACHINE, "git", git()),
        within(MACHINE, "store", store(config)),
        within(MACHINE, "sandbox", sandbox(config)),
        within(MACHINE, "hosts", host(config)),
        within(MACHINE, "agents", agents(config)),
        within(MACHINE, EVIDENCE_KEY, signing(config)),
        within(MACHINE, "Vault", vault(config)),
    );
    [git, store, boxes, host, agent, key, vault, clock(At::now())].concat()
}

async fn git() -> Vec<Finding> {
    let found = |state, says: String| Finding::new(MACHINE, "git", state, says);
    let Ok(folder) = tempfile::tempdir() else {
        return vec![found(State::Failure, "no temporary folder can be created".to_owned())];
    };
    let opened = Git::open(Path::new("git"), folder.path(), Vec::new(), Limits::default()).await;
    vec![match opened {
        Ok(_) => {
            let version = ask("git", &["version"], folder.path()).await;
            found(State::Ok, version.unwrap_or_default())
        }
        Err(error) => found(State::Failure, error.to_string())
            .mend("install git 2.39 or newer and make sure it is on PATH"),
    }]
}

async fn store(config: &Config) -> Vec<Finding> {
    let found = |state, says: String| Finding::new(MACHINE, "store", state, says);
    let folder = match data_dir(config) {
        Ok(folder) => folder,
        Err(error) => return vec![found(State::Failure, error.to_string())],
    };
    let mut all = vec![disk(&folder)];
    all.extend(open_to_others(&folder));
    let file = folder.join("afk.db");
    if !file.exists() {
        all.push(found(
            State::Note,
            format!("{} will be created by the first command", file.display()),
        ));
        return all;
    }
    all.push(match Store::open(&file).await {
        Ok(store) => {
            store.close().await;
            found(State::Ok, file.display().to_string())
        }
        Err(error) => found(State::Failure, error.to_string()).mend(
            "the folder must be writable and the file intact; a newer schema needs a newer afk",
        ),
    });
    all
}

/// An existing data folder may be open to others.
fn open_to_others(folder: &Path) -> Option<Finding> {
    let mode = folder.metadata().ok()?.permissions().mode() & 0o777;
    let says = format!("{} is accessible to others (mode {mode:04o})", folder.display());
    let mend = format!("chmod 700 {}", folder.display());
    let found = Finding::new(MACHINE, "data folder", State::Warning, says);
    (mode & 0o077 != 0).then(|| found.mend(mend))
}

fn disk(folder: &Path) -> Finding {
    let found = |state, says: String| Finding::new(MACHINE, "disk", state, says);
    let there = folder.ancestors().find(|path| path.is_dir()).map(Path::to_owned);
    let there = there.unwrap_or_else(|| PathBuf::from("/"));
    match rustix::fs::statvfs(&there) {
        Err(error) => found(State::Failure, format!("{}: {error}", there.display())),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let says = format!("{:.1} GiB free at {}", gib(free), there.display());
            let mend = "free some space, or set data_dir to a larger disk";
            match free {
                0..FREE => found(State::Failure, says).mend(mend),
                FREE..LITTLE_FREE => found(State::Warning, says).mend(mend),
                _ => found(State::Ok, says),
            }
        }
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1_u32 << 30)
}

async fn sandbox(config: &Config) -> Vec<Finding> {
    let found = |state, says: String| Finding::new(MACHINE, "sandbox", state, says);
    let Ok(program) = std::env::current_exe() else {
        return vec![found(
            State::Failure,
            "the path of the running program is unknown".to_owned(),
        )];
    };
    let detected = tokio::task::spawn_blocking(move || Capabilities::detect(&program)).await;
    let Ok(able) = detected else {
        return vec![found(State::Failure, "the sandbox trial failed".to_owned())];
    };
    let refusal = || Refusal { found: able.to_string() }.to_string();
    vec![match (able.strength(), config.policy.sandbox) {
        (Strength::Full, _) => found(State::Ok, able.to_string()),
        (Strength::Partial | Strength::None, SandboxRequirement::Required) => {
            found(State::Failure, able.to_string()).mend(refusal())
        }
        (Strength::Partial | Strength::None, SandboxRequirement::Preferred) => {
            found(State::Warning, able.to_string()).mend(refusal())
        }
    }]
}

/// Starts a box under a host, and checks that its command succeeds.
async fn host(config: &Config) -> Vec<Finding> {
    let found = |state, says: String| Finding::new(MACHINE, "hosts", state, says);
    vec![match boxed_trial(config).await {
        Ok(()) => found(State::Ok, "a command ran in a box under its own host".to_owned()),
        Err(why) => found(State::Failure, format!("a command could not be run in a box: {why}"))
            .mend("fix the sandbox first; then see the log of `afk -vv doctor`"),
    }]
}

async fn boxed_trial(config: &Config) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let hosts = Hosts::of_this_program().map_err(|error| error.to_string())?;
    let work = folder.path().join("work");
    std::fs::create_dir(&work).map_err(|error| error.to_string())?;
    let mut spec = BoxSpec::new(vec!["true".to_owned()], &work).bind(&work, Access::ReadWrite);
    spec.requirement = match config.policy.sandbox {
        SandboxRequirement::Required => Requirement::Required,
        SandboxRequirement::Preferred => Requirement::Preferred,
    };
    spec.env.insert("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned());
    run_boxed(&hosts, folder.path(), spec).await.map(drop)
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

/// Whether the agents that repositories use can be run as configured.
async fn agents(config: &Config) -> Vec<Finding> {
    let used = config.local.agents_of(&config.policy);
    let asked = used.iter().map(|(name, agent)| async move {
        match agent {
            Agent::Claude(claude) => claude_of(config, claude, State::Failure).await,
            Agent::Codex(codex) => codex_of(config, codex).await,
            Agent::Acp(Acp { process, .. }) | Agent::Command(Command { process, .. }) => {
                process_of(config, name, process).await
            }
            Agent::Scripted(_) => Vec::new(),
        }
    });
    let mut all = join_all(asked).await.concat();
    all.extend(networks(config, &used));
    if !used.values().any(|agent| matches!(agent, Agent::Claude(_) | Agent::Codex(_))) {
        // If no repository uses it, its absence blocks nothing.
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
        Finding::new(MACHINE, about.as_str(), State::Ok, says)
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
    let found = |about: &str, state, says: String| Finding::new(MACHINE, about, state, says);
    let program = match find_codex(config) {
        Ok(program) => program,
        Err(error) => return vec![found("Codex", State::Failure, error.chain())],
    };
    let version = ask(&program, &["--version"], &std::env::temp_dir()).await;
    let mut all = vec![if let Some(version) = version {
        found("Codex", State::Ok, format!("{version} at {}", program.display()))
    } else {
        let says = format!("{} does not print its version", program.display());
        found("Codex", State::Failure, says).mend("run it by hand and see what it prints")
    }];
    all.push(if let Some(source) = &config.api_key {
        match read_secret(whole, source).await {
            Ok(_) => found("sign-in", State::Ok, "the API key can be read".to_owned()),
            Err(error) => found("sign-in", State::Failure, error.to_string())
                .mend("correct agents.codex.api_key, or provide the source it names"),
        }
    } else {
        let default = || std::env::home_dir().unwrap_or_default().join(".codex");
        let file = config.home.clone().unwrap_or_else(default).join("auth.json");
        if std::fs::File::open(&file).is_ok() {
            found("sign-in", State::Ok, format!("of {}", file.display()))
        } else {
            found("sign-in", State::Failure, format!("{} cannot be read", file.display()))
                .mend("run `codex login`, or set agents.codex.api_key")
        }
    });
    all
}

/// Whether an agent that is configured in full can be run.
async fn process_of(whole: &Config, name: &AdapterName, process: &Process) -> Vec<Finding> {
    let about = format!("agent {name}");
    let found = |state, says: String| Finding::new(MACHINE, about.as_str(), state, says);
    let mut all = vec![match find_process(process) {
        Ok(program) => found(State::Ok, program.display().to_string()),
        Err(error) => found(State::Failure, error.chain()),
    }];
    for (variable, source) in &process.secret_env {
        if let Err(error) = read_secret(whole, source).await {
            let mend = format!(
                "correct agents.{name}.secret_env.{variable}, or provide the source it names"
            );
            all.push(found(State::Failure, error.to_string()).mend(mend));
        }
    }
    for path in process.read.iter().filter(|path| !path.exists()) {
        let says = format!("{} does not exist", path.display());
        all.push(found(State::Failure, says).mend(format!("correct agents.{name}.read")));
    }
    all
}

/// Whether the CLI can be run as configured, and why not.
async fn claude_of(whole: &Config, config: &Claude, missing: State) -> Vec<Finding> {
    let found = |about: &str, state, says: String| Finding::new(MACHINE, about, state, says);
    let program = match find_claude(config) {
        Ok(program) => program,
        Err(error) => return vec![found("Claude CLI", missing, error.chain())],
    };
    let here = std::env::temp_dir();
    let mut all = Vec::new();
    all.push(match ask(&program, &["--version"], &here).await {
        Some(version) if is_measured(&version) => {
            found("Claude CLI", State::Ok, format!("{version} at {}", program.display()))
        }
        Some(version) => {
            let says = format!(
                "{version} at {}: untested version, its cost accounting is not known",
                program.display()
            );
            found("Claude CLI", State::Warning, says).mend(
                "it works, but each turn is charged the whole counter, so budgets run out sooner",
            )
        }
        None => {
            let says = format!("{} does not print its version", program.display());
            found("Claude CLI", missing, says).mend("run it by hand and see what it prints")
        }
    });
    let sign_in = |state, says: String| found("sign-in", state, says);
    all.push(if let Some(source) = &config.api_key {
        match read_secret(whole, source).await {
            Ok(_) => sign_in(State::Ok, "the API key can be read".to_owned()),
            Err(error) => sign_in(missing, error.to_string())
                .mend("correct agents.claude.api_key, or provide the source it names"),
        }
    } else {
        let home = config.home.clone().or_else(std::env::home_dir);
        let file = home.unwrap_or_default().join(".claude/.credentials.json");
        if std::fs::File::open(&file).is_ok() {
            sign_in(State::Ok, format!("of {}", file.display()))
        } else {
            sign_in(missing, format!("{} cannot be read", file.display()))
                .mend("run `claude` once and sign in, or set agents.claude.api_key")
        }
    });
    all
}

/// The key that signs evidence: none is needed, but a configured one must be usable, because no run
/// settles without it.
async fn signing(config: &Config) -> Vec<Finding> {
    let found = |state, says: String| Finding::new(MACHINE, EVIDENCE_KEY, state, says);
    match evidence_key(config).await {
        Ok(None) => {
            let says = "none: evidence is kept unsigned".to_owned();
            vec![found(State::Note, says).mend(
                "`openssl genpkey -algorithm ed25519 -out KEY.pem` makes one for evidence_key, if \
                 others are to verify it",
            )]
        }
        Ok(Some(key)) => {
            let mut all = vec![found(State::Ok, format!("Ed25519, key id {}", key.id()))];
            if let Some(SecretSource::File(file)) = &config.local.evidence_key {
                all.extend(key_open_to_others(file));
            }
            all
        }
        Err(error) => vec![found(State::Failure, error.to_string()).mend(
            "correct evidence_key, or provide the source it names; no run settles until then",
        )],
    }
}

/// Whether Vault lets us in; nothing if none is configured.
async fn vault(config: &Config) -> Vec<Finding> {
    let found = |state, says: String| Finding::new(MACHINE, "Vault", state, says);
    let tried = try_vault(config).await.map(|tried| match tried {
        Ok(()) => found(State::Ok, "lets us in".to_owned()),
        Err(error) => found(State::Failure, error.chain())
            .mend("correct the table `vault`; what comes from there is missing until then"),
    });
    tried.into_iter().collect()
}

/// A key that others can read signs for them, too.
fn key_open_to_others(file: &Path) -> Option<Finding> {
    let mode = file.metadata().ok()?.permissions().mode() & 0o777;
    let says = format!("{} can be read by others (mode {mode:04o})", file.display());
    let found = Finding::new(MACHINE, EVIDENCE_KEY, State::Warning, says);
    (mode & 0o077 != 0).then(|| found.mend(format!("chmod 600 {}", file.display())))
}

fn clock(now: At) -> Vec<Finding> {
    let found = |state, says: String| Finding::new(MACHINE, "clock", state, says);
    vec![if now.as_second() < OLDEST {
        found(State::Failure, format!("it is {now}, which cannot be")).mend("set the clock")
    } else {
        found(State::Ok, format!("{now:.0}"))
    }]
}

/// Leftovers of runs: hosts of ended runs, and a clock that went back.
pub(super) async fn leftovers(app: &App) -> Vec<Finding> {
    let store = &app.engine.ports().store;
    let (live, newest) =
        match (store.live().await, store.runs(&Filter { limit: 1, ..Filter::default() }).await) {
            (Ok(live), Ok(newest)) => (live, newest),
            (Err(error), _) | (_, Err(error)) => {
                return vec![Finding::new(MACHINE, "store", State::Failure, error.chain())];
            }
        };
    let mut all = Vec::new();
    if let Some(last) = newest.iter().find(|last| last.run.admitted_at > At::now()) {
        let says = format!(
            "run {} was admitted at {}, which is in the future",
            last.run.id, last.run.admitted_at
        );
        let found = Finding::new(MACHINE, "clock", State::Warning, says);
        all.push(found.mend("the clock went back: set it right, or deadlines come late"));
    }
    let mut stray = Vec::new();
    let entries = std::fs::read_dir(app.local.workspaces.root().join("jobs"));
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(run) = name.to_str().and_then(|name| name.parse::<RunId>().ok()) else { continue };
        if live.iter().any(|stored| stored.run.id == run) {
            continue;
        }
        let jobs = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
        for job in jobs.filter_map(|job| Job::open(job.path())) {
            if matches!(job.status().await, Ok(JobState::Running { .. } | JobState::Starting)) {
                stray.push(job.dir().display().to_string());
            }
        }
    }
    all.push(if stray.is_empty() {
        Finding::new(MACHINE, "leftovers", State::Ok, "no hosts of ended runs")
    } else {
        let says = format!("hosts of ended runs: {}", stray.join(", "));
        Finding::new(MACHINE, "leftovers", State::Warning, says)
            .mend("they end by themselves within ten minutes; check again then")
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
        assert_eq!(open_to_others(Path::new("/nonexistent")), None);
    }

    #[test]
    fn a_full_disk_is_measured_where_the_folder_will_be() {
        let found = disk(Path::new("/nonexistent/by/far"));
        assert!(found.says.ends_with("free at /"), "{}", found.says);
    }
}
