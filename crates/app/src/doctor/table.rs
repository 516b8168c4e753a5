//! What can be told from a repository's table alone: limits under which nothing could run, paths
//! that the sandbox could not show, a scripted agent without its script.
//!
//! The configuration is valid all the same: the loop would meet these mistakes only later.

use std::path::Path;

use afk_agent::agents::scripted::script::Script;
use afk_core::config::{Policy, Repo};
use afk_core::ids::RepoName;
use afk_core::proof::Verify;
use afk_core::usd::Usd;
use afk_local::{Agent, Scripted};

use super::{Check, Finding};
use crate::config::Config;

/// Returns all findings about a repository's table; `home` is the home of whoever runs afk.
pub(super) fn examine(
    config: &Config,
    name: &RepoName,
    repo: &Repo,
    home: Option<&Path>,
) -> Vec<Finding> {
    let check = |about| Check::of(name.as_str(), about);
    let mut all = Vec::new();
    if repo.verify == Verify::None {
        let remedy = "add tests, and set verify to the command that runs them";
        all.push(check("verify").warning("none: no change is proved by a test", remedy));
    }
    for (says, remedy) in limits(&config.policy, repo) {
        all.push(check("limits").failure(says, remedy));
    }
    for path in &repo.read {
        if let Some((says, remedy)) = unreadable(path, home) {
            all.push(check("read").failure(says, remedy));
        }
    }
    if let Some(Agent::Scripted(Scripted { script, .. })) = config.local.agent_on(name, &repo.agent)
    {
        all.push(match script.as_deref().and_then(unfollowable) {
            Some((says, remedy)) => check("agent").failure(says, remedy),
            None => check("agent").note("scripted: it follows a script; no model is called"),
        });
    }
    all
}

/// Why the scripted agent cannot follow the script at `path`, and what to do about it.
fn unfollowable(path: &Path) -> Option<(String, &'static str)> {
    if !path.is_file() {
        let says = format!("there is no script at {}", path.display());
        return Some((says, "write it, or correct `script`"));
    }
    let error = Script::read(path).err()?;
    Some((error.to_string(), "correct the script, or name another one"))
}

/// Limits under which no run could begin or come to its end; each with how to fix it.
fn limits(policy: &Policy, repo: &Repo) -> Vec<(String, String)> {
    let budget = repo.budget_usd.unwrap_or(policy.budget_usd);
    let mut found = Vec::new();
    let numbers = [
        ("max_concurrent_runs", u64::from(policy.max_concurrent_runs)),
        ("run_timeout_seconds", policy.run_timeout_seconds),
        ("stage_timeout_seconds", policy.stage_timeout_seconds),
        ("stall_timeout_seconds", policy.stall_timeout_seconds),
        ("tool_timeout_seconds", policy.tool_timeout_seconds),
        ("verify_timeout_seconds", repo.verify_timeout_seconds),
    ];
    for (key, _) in numbers.iter().filter(|(_, value)| *value == 0) {
        let what = match *key {
            "max_concurrent_runs" => "no run would be admitted",
            "run_timeout_seconds" => "every run would end at once",
            "stage_timeout_seconds" => "every stage would be too late",
            "verify_timeout_seconds" => "verify would be stopped at once",
            _ => "every turn would be stopped at once",
        };
        found.push((format!("{key} is 0: {what}"), format!("raise {key}, or omit it")));
    }
    for (n, stage) in repo.stages.iter().enumerate() {
        if stage.timeout_seconds == Some(0) {
            let key = format!("stages.{n}.timeout_seconds");
            let says = format!("{key} is 0: the stage {:?} would be stopped at once", stage.name);
            found.push((says, format!("raise {key}, or omit it")));
        }
    }
    if budget == Usd::default() {
        let key =
            if repo.budget_usd.is_some() { "the repository's budget_usd" } else { "budget_usd" };
        found
            .push((format!("{key} is 0: no turn would begin"), format!("raise {key}, or omit it")));
    }
    let caps = [
        ("day_budget_usd", policy.day_budget_usd),
        ("repo_day_budget_usd", policy.repo_day_budget_usd),
    ];
    for (key, cap) in caps.iter().filter_map(|(key, cap)| Some((key, (*cap)?))) {
        if cap < budget {
            found.push((
                format!("{key} ({cap}) has no room for one run's budget ({budget})"),
                format!("raise {key}, or lower budget_usd"),
            ));
        }
    }
    found
}

/// Why the sandbox cannot or must not show a path, and what to do about it.
fn unreadable(path: &Path, home: Option<&Path>) -> Option<(String, String)> {
    let shown = path.display();
    let narrower = "name the folder of the toolchain alone, such as \
                    ~/.rustup/toolchains/stable-x86_64-unknown-linux-gnu";
    if !path.is_absolute() {
        let remedy = "write the whole path: afk may run from any folder";
        return Some((format!("{shown} is a relative path"), remedy.to_owned()));
    }
    if path.parent().is_none() {
        let says = "/ would show this whole machine to agents".to_owned();
        return Some((says, narrower.to_owned()));
    }
    if home.is_some_and(|home| home.starts_with(path)) {
        let says =
            format!("{shown} has your home in it, with keys and sign-ins, for agents to read");
        return Some((says, narrower.to_owned()));
    }
    if !path.exists() {
        let remedy = "correct it, or take it out of the repository's `read`";
        return Some((format!("{shown} does not exist"), remedy.to_owned()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_must_not_be_shown_are_told() {
        let home = Some(Path::new("/home/ann"));
        for (path, says) in [
            ("tools", Some("is a relative path")),
            ("/", Some("this whole machine")),
            ("/home", Some("has your home in it")),
            ("/home/ann", Some("has your home in it")),
            ("/nowhere/at/all", Some("does not exist")),
            ("/usr", None),
        ] {
            let told = unreadable(Path::new(path), home).map(|(says, _)| says);
            let good = match (&told, says) {
                (Some(told), Some(says)) => told.contains(says),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            assert!(good, "{path}: {told:?}");
        }
    }

    #[test]
    fn limits_that_let_nothing_run_are_told() {
        let table = serde_json::json!({
            "remote": "/srv/r.git",
            "verify": ["make", "test"],
            "stages": [{ "name": "ci", "command": ["sh", "ci.sh"] }],
        });
        let repo: Repo = serde_json::from_value(table).unwrap();
        assert_eq!(limits(&Policy::default(), &repo), []);
        let policy = Policy {
            max_concurrent_runs: 0,
            budget_usd: Usd::default(),
            run_timeout_seconds: 0,
            ..Policy::default()
        };
        let told: Vec<String> = limits(&policy, &repo).into_iter().map(|(says, _)| says).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        let policy = Policy { day_budget_usd: Some(Usd::dollars(1)), ..Policy::default() };
        let told = limits(&policy, &repo);
        assert!(told[0].0.starts_with("day_budget_usd ("), "{told:?}");
    }
}
