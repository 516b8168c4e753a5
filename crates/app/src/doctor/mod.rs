//! Checks everything the loop needs and says how to fix what is missing: `afk doctor`.
//!
//! Small checks run side by side, each with a time limit; then `verify`, unless it is left out,
//! under its own time limit. Nothing is decided about runs and no model is called. The store is
//! opened and the mirrors are fetched, as for a run; nothing else changes, unless a person asks to
//! create what a tracker lacks. A check that cannot be made is reported, not skipped.

mod machine;
mod repos;
mod stages;
mod table;
mod verify;

pub use verify::Verifying;

use futures_util::future::LocalBoxFuture;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use afk_core::ids::RepoName;
use serde::Serialize;

use crate::config::{Config, Loaded, Sources, load};
use crate::secrets::read_secret;
use crate::settings::problems;
use crate::views::SilentDoorbell;
use crate::{App, data_dir};

/// Time limit of one check.
const PATIENCE: Duration = Duration::from_mins(1);
/// The group of checks that belong to no repository.
const MACHINE: &str = "machine";
/// How to fix a store that can be opened but not read.
const DAMAGED: &str =
    "the file must be readable and intact: fix what it names, or put a copy of `afk backup` there";

/// The state of what was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In order.
    Ok,
    /// Worth knowing; nothing to fix.
    Note,
    /// The loop works, but not as well as it could.
    Warning,
    /// The loop cannot work.
    Failure,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The group of the check: `configuration`, `machine`, or a repository's name.
    pub group: String,
    /// What was checked, such as `sandbox`.
    pub about: String,
    /// The state of what was checked.
    pub state: State,
    /// What was found.
    pub says: String,
    /// How to fix it, or how to change what needs no fixing.
    pub remedy: Option<String>,
    /// How long the command took, in seconds, if the check ran one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The end of the command's output, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The findings, those of a group together once `verify` was run.
    pub findings: Vec<Finding>,
    /// Whether the configuration itself is invalid.
    pub unusable: bool,
    /// How many repositories are configured.
    pub repos: usize,
    /// How many of them had their `verify` run.
    pub verified: usize,
    /// Why the loop takes no issue by itself, and which command changes that; none if it may.
    pub disarmed: Option<String>,
}

impl Report {
    /// Returns the worst state of all findings.
    pub fn worst(&self) -> State {
        self.findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok)
    }
}

impl Finding {
    /// Adds how to change what needs no fixing.
    fn remedy(self, how: impl Into<String>) -> Self {
        Self { remedy: Some(how.into()), ..self }
    }
}

/// What is checked. Findings are made from it, so that none names a fault without its remedy.
#[derive(Debug, Clone, Copy)]
struct Check<'a> {
    group: &'a str,
    about: &'a str,
}

impl<'a> Check<'a> {
    const fn of(group: &'a str, about: &'a str) -> Self {
        Self { group, about }
    }

    fn ok(self, says: impl Into<String>) -> Finding {
        self.found(State::Ok, says, None)
    }

    fn note(self, says: impl Into<String>) -> Finding {
        self.found(State::Note, says, None)
    }

    fn warning(self, says: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.found(State::Warning, says, Some(remedy.into()))
    }

    fn failure(self, says: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.found(State::Failure, says, Some(remedy.into()))
    }

    fn found(self, state: State, says: impl Into<String>, remedy: Option<String>) -> Finding {
        let (group, about) = (self.group.to_owned(), self.about.to_owned());
        Finding { group, about, state, says: says.into(), remedy, seconds: None, output: None }
    }
}

/// Makes all checks. With `fix`, creates what a tracker lacks; with `verifying`, runs `verify`.
pub fn examine<'a>(
    sources: Sources,
    fix: bool,
    verifying: Option<&'a Verifying<'a>>,
) -> LocalBoxFuture<'a, Report> {
    Box::pin(async move {
        const FILE: Check<'static> = Check::of("configuration", "file");
        const CORRECT: &str = "correct it, then run `afk config check`";
        let file = sources.file.as_ref().map(|path| path.display().to_string());
        let mut findings = Vec::new();
        let mut verified = 0;
        let config = match load::<Config>(&sources) {
            Err(errors) => {
                let told = errors.problems.iter();
                findings.extend(told.map(|problem| FILE.failure(problem.to_string(), CORRECT)));
                None
            }
            Ok(loaded) => {
                let problems = problems(&loaded);
                let Loaded { config, warnings, .. } = loaded;
                let mistyped = "correct it, or take it out of the environment";
                findings.extend(warnings.iter().map(|one| FILE.warning(one.to_string(), mistyped)));
                findings.extend(problems.iter().map(|one| FILE.failure(one.to_string(), CORRECT)));
                let said = file.clone().unwrap_or_else(|| "no file, using the defaults".to_owned());
                if findings.iter().all(|finding| finding.state != State::Failure) {
                    let bare = file.is_none() && config.policy.repos.is_empty();
                    findings.push(if bare {
                        FILE.warning(said, "`afk init`, in a clone, makes one")
                    } else {
                        FILE.ok(said)
                    });
                }
                findings.extend(switches(&config));
                Some(config)
            }
        };
        let unusable = findings.iter().any(|finding| finding.state == State::Failure);
        let looked_at = config.clone().unwrap_or_default();
        findings.extend(Box::pin(machine::examine(&looked_at)).await);
        // Without repositories and without a store there is nothing to open.
        let begun = |config: &Config| {
            !config.policy.repos.is_empty()
                || data_dir(config).is_ok_and(|folder| folder.join("afk.db").exists())
        };
        if let Some(config) = config.filter(|config| !unusable && begun(config)) {
            match App::open(sources).await {
                Ok(app) => {
                    findings.extend(machine::leftovers(&app).await);
                    findings.extend(doorbells(&app).await);
                    let unboxed = |one: &Finding| {
                        let about = ["temporary", "sandbox", "hosts"].contains(&one.about.as_str());
                        about && one.state == State::Failure
                    };
                    let boxes = !findings.iter().any(unboxed);
                    findings.extend(repos::examine(&app, fix, boxes).await);
                    if let Some(verifying) = verifying {
                        let failed = failed(&findings);
                        let told = verify::examine(&app, verifying, &failed).await;
                        verified = told.iter().filter(|found| found.seconds.is_some()).count();
                        findings.extend(told);
                        // Moves each answer to the repository's other findings.
                        findings = by_group(findings);
                    }
                }
                // Told only if the machine's findings do not explain it.
                Err(error) if findings.iter().all(|finding| finding.state != State::Failure) => {
                    let remedy = "fix what it names: no command can work before";
                    findings.push(Check::of(MACHINE, "start").failure(error.to_string(), remedy));
                }
                Err(_) => {
                    for name in config.policy.repos.keys() {
                        let check = Check::of(name.as_str(), "all");
                        findings.push(check.note("not checked: fix the machine first"));
                    }
                }
            }
        }
        let (repos, disarmed) = (looked_at.policy.repos.len(), disarmed(&looked_at));
        Report { findings, unusable, repos, verified, disarmed }
    })
}

/// The groups with a failure because of which `verify` would fail, too.
fn failed(findings: &[Finding]) -> BTreeSet<String> {
    let met = |found: &&Finding| {
        let about = found.about.as_str();
        let elsewhere = if found.group == MACHINE {
            // `verify` needs no agent, sign-in or doorbell.
            !matches!(about, "temporary" | "git" | "store" | "disk" | "sandbox" | "hosts")
        } else {
            matches!(about, "agent" | "labels" | "tracker")
        };
        found.state == State::Failure && !elsewhere
    };
    findings.iter().filter(met).map(|found| found.group.clone()).collect()
}

/// Why the loop takes no issue by itself, and which command changes that.
fn disarmed(config: &Config) -> Option<String> {
    match (config.policy.kill_switch, config.policy.allowlist.is_empty()) {
        (false, false) => None,
        (true, true) => {
            Some("disarmed: `afk enroll` and `afk arm` let the loop take issues".to_owned())
        }
        (true, false) => Some("disarmed: `afk arm` lets the loop take issues".to_owned()),
        (false, true) => Some("no repository is enrolled: `afk enroll` lists one".to_owned()),
    }
}

/// Sorts the findings by group, in the order in which the groups first occur.
fn by_group(findings: Vec<Finding>) -> Vec<Finding> {
    let mut groups: Vec<Vec<Finding>> = Vec::new();
    for finding in findings {
        let of = |group: &&mut Vec<Finding>| {
            group.first().is_some_and(|first| first.group == finding.group)
        };
        match groups.iter_mut().find(of) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    groups.concat()
}

/// The kill switch and the allowlist. A person sets them, so a closed gate is a note, not a fault.
fn switches(config: &Config) -> [Finding; 2] {
    let (kill, list) =
        (Check::of("configuration", "kill switch"), Check::of("configuration", "allowlist"));
    let kill = if config.policy.kill_switch {
        kill.note("on: nothing is dispatched").remedy("`afk arm` turns it off, when you are ready")
    } else {
        kill.ok("off")
    };
    // A listed repo without a table is left out: it is reported as a problem of the configuration.
    let listed = config.policy.allowlist.iter();
    let names: Vec<_> = listed
        .filter(|name| config.policy.repos.contains_key(*name))
        .map(RepoName::as_str)
        .collect();
    let listed = if config.policy.allowlist.is_empty() {
        list.note("empty: no repository is worked").remedy("`afk enroll OWNER/NAME` enrolls one")
    } else {
        list.ok(names.join(", "))
    };
    [kill, listed]
}

/// Whether every doorbell rings, as far as its secrets and the outbox tell: none is rung as a test.
async fn doorbells(app: &App) -> Vec<Finding> {
    let check = Check::of(MACHINE, "doorbells");
    let mute = mute(app, check).await;
    if !mute.is_empty() {
        return mute;
    }
    let names: Vec<_> = app.config.policy.doorbells().map(|(name, _)| name.to_string()).collect();
    if names.is_empty() {
        let none = check.note("none: nobody is told how runs end");
        return vec![none.remedy("add one to `notify`, such as { kind = \"terminal\" }")];
    }
    match SilentDoorbell::read(app).await {
        Err(error) => vec![check.failure(error.to_string(), DAMAGED)],
        Ok(silent) if silent.is_empty() => {
            vec![check.ok(format!(
                "{}: nothing was given up; `afk doorbell test` rings each once",
                names.join(", ")
            ))]
        }
        Ok(silent) => silent
            .into_iter()
            .map(|one| {
                let SilentDoorbell { name, given_up, since, error, remedy, .. } = one;
                let says = match given_up {
                    1 => format!("{name}: given up once, at {since:.0}: {error}"),
                    n => format!("{name}: given up {n} times since {since:.0}: {error}"),
                };
                check.warning(says, remedy)
            })
            .collect(),
    }
}

/// Doorbells that cannot ring, because a secret of theirs cannot be read.
async fn mute(app: &App, check: Check<'_>) -> Vec<Finding> {
    let names = app.config.policy.doorbells().map(|(name, _)| name);
    let mut found = Vec::new();
    for (name, table) in names.zip(&app.config.remote.notify) {
        let keys =
            [("secret", &table.secret), ("webhook", &table.webhook), ("token", &table.token)];
        for (key, source) in
            keys.into_iter().filter_map(|(key, source)| Some((key, source.as_ref()?)))
        {
            let Err(error) = read_secret(&app.config, source).await else { continue };
            found.push(check.warning(
                format!("{name} cannot ring: {}", error.chain()),
                format!("correct `{key}` of its entry in `notify`, or provide the source it names"),
            ));
        }
    }
    found
}

/// Returns the findings of `question`, or a failure of `check` if it takes too long.
async fn within(check: Check<'_>, question: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(PATIENCE, question).await.unwrap_or_else(|_| {
        let says = format!("no answer within {} seconds", PATIENCE.as_secs());
        vec![check.failure(says, "see what it waits for with `afk -vv doctor`")]
    })
}
