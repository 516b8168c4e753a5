//! Checks everything that the loop needs and says how to mend what is missing:
//! `afk doctor`.
//!
//! A list of small questions, asked side by side, each within a time of its own.
//! Nothing is decided here about runs and no model is called. The store is opened and
//! the mirrors are fetched, as every run would; nothing else is changed. A check that cannot be
//! made says so: it is not passed over.

mod machine;
mod repos;

use std::future::Future;
use std::time::Duration;

use afk_core::ids::RepoName;
use serde::Serialize;

use crate::config::{Config, Loaded, Sources, load};
use crate::settings::problems;
use crate::views::SilentDoorbell;
use crate::{App, data_dir};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// The group of what belongs to no repository.
const MACHINE: &str = "machine";

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Worth knowing, and nothing to mend.
    Note,
    /// The loop works, and not as well as it could.
    Warning,
    /// The loop cannot work.
    Failure,
}

/// What one question came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: the configuration, the machine, or a repository.
    pub group: String,
    /// What was asked.
    pub about: String,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub says: String,
    /// How to mend it.
    pub mend: Option<String>,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of the groups.
    pub findings: Vec<Finding>,
    /// The configuration itself cannot be used.
    pub unusable: bool,
}

impl Report {
    /// The worst of it.
    pub fn worst(&self) -> State {
        self.findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok)
    }
}

impl Finding {
    fn new(group: &str, about: &str, state: State, says: impl Into<String>) -> Self {
        let (group, about) = (group.to_owned(), about.to_owned());
        Self { group, about, state, says: says.into(), mend: None }
    }

    fn mend(self, how: impl Into<String>) -> Self {
        Self { mend: Some(how.into()), ..self }
    }
}

/// Asks everything. With `fix` what a tracker lacks is made.
pub async fn examine(sources: Sources, fix: bool) -> Report {
    const CONFIG: &str = "configuration";
    let file = sources.file.as_ref().map(|path| path.display().to_string());
    let mut findings = Vec::new();
    let config = match load::<Config>(&sources) {
        Err(errors) => {
            let told = errors.problems.iter().map(|problem| {
                Finding::new(CONFIG, "file", State::Failure, problem.to_string())
                    .mend("correct it; `afk config check` tells when it is good")
            });
            findings.extend(told);
            None
        }
        Ok(loaded) => {
            let problems = problems(&loaded);
            let Loaded { config, warnings, .. } = loaded;
            for warning in warnings {
                findings.push(Finding::new(CONFIG, "file", State::Warning, warning.to_string()));
            }
            for problem in problems {
                findings.push(
                    Finding::new(CONFIG, "file", State::Failure, problem.to_string())
                        .mend("correct it; `afk config check` tells when it is good"),
                );
            }
            let said = file.clone().unwrap_or_else(|| "no file, the defaults".to_owned());
            if findings.iter().all(|finding| finding.state != State::Failure) {
                let found = Finding::new(CONFIG, "file", State::Ok, said);
                let bare = file.is_none() && config.policy.repos.is_empty();
                findings.push(if bare {
                    Finding { state: State::Warning, ..found }.mend("`afk init` makes one")
                } else {
                    found
                });
            }
            findings.extend(switches(&config));
            Some(config)
        }
    };
    let unusable = findings.iter().any(|finding| finding.state == State::Failure);
    let looked_at = config.clone().unwrap_or_default();
    findings.extend(Box::pin(machine::examine(&looked_at)).await);
    // Where nothing is configured and nothing was done there is nothing to open.
    let begun = |config: &Config| {
        !config.policy.repos.is_empty()
            || data_dir(config).is_ok_and(|folder| folder.join("afk.db").exists())
    };
    if let Some(config) = config.filter(|config| !unusable && begun(config)) {
        match App::open(sources).await {
            Ok(app) => {
                findings.extend(machine::leftovers(&app).await);
                findings.extend(doorbells(&app).await);
                findings.extend(repos::examine(&app, fix).await);
            }
            // Why is among the findings of the machine, unless it is this.
            Err(error) if findings.iter().all(|finding| finding.state != State::Failure) => {
                findings.push(Finding::new(MACHINE, "start", State::Failure, error.to_string()));
            }
            Err(_) => {
                for name in config.policy.repos.keys() {
                    let says = "not looked at: the machine must be mended first";
                    findings.push(Finding::new(name.as_str(), "all", State::Note, says));
                }
            }
        }
    }
    Report { findings, unusable }
}

/// The gates that a person holds: closed is no fault.
fn switches(config: &Config) -> [Finding; 2] {
    let group = "configuration";
    let kill = if config.policy.kill_switch {
        Finding::new(group, "kill switch", State::Note, "on: nothing is dispatched")
            .mend("`afk arm` turns it off, when you are ready")
    } else {
        Finding::new(group, "kill switch", State::Ok, "off")
    };
    // What is listed and has no table is among the problems, and may be something else.
    let listed = config.policy.allowlist.iter();
    let names: Vec<_> = listed
        .filter(|name| config.policy.repos.contains_key(*name))
        .map(RepoName::as_str)
        .collect();
    let listed = if config.policy.allowlist.is_empty() {
        Finding::new(group, "allowlist", State::Note, "empty: no repository is worked")
            .mend("`afk enroll OWNER/NAME` lists one")
    } else {
        Finding::new(group, "allowlist", State::Ok, names.join(", "))
    };
    [kill, listed]
}

/// Whether every doorbell rings, as far as the outbox tells: none is rung for a trial.
async fn doorbells(app: &App) -> Vec<Finding> {
    let found = |state, says: String| Finding::new(MACHINE, "doorbells", state, says);
    let names: Vec<_> = app.config.policy.doorbells().map(|(name, _)| name.to_string()).collect();
    if names.is_empty() {
        let none = found(State::Note, "none: nobody is told how runs end".to_owned());
        return vec![none.mend("add one to `notify`, such as { kind = \"terminal\" }")];
    }
    match SilentDoorbell::look(app).await {
        Err(error) => vec![found(State::Failure, error.to_string())],
        Ok(silent) if silent.is_empty() => {
            vec![found(State::Ok, format!("{}: nothing was given up", names.join(", ")))]
        }
        Ok(silent) => silent
            .into_iter()
            .map(|one| {
                let SilentDoorbell { name, given_up, since, error, mend, .. } = one;
                let says = format!("{name}: given up {given_up} times since {since:.0}: {error}");
                found(State::Warning, says).mend(mend)
            })
            .collect(),
    }
}

/// The answer to one question, or that it took too long.
async fn within(
    group: &str,
    about: &str,
    question: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    tokio::time::timeout(PATIENCE, question).await.unwrap_or_else(|_| {
        let says = format!("no answer within {} seconds", PATIENCE.as_secs());
        vec![Finding::new(group, about, State::Failure, says)]
    })
}
