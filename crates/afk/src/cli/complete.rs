//! Completions of runs, issues and repositories: those that exist.
//!
//! The shell asks through `COMPLETE=… afk` while a person waits at the tab key. So no store is
//! created, no forge is asked, and after a second nothing is offered. Issues on forges are known
//! from their runs.

use std::ffi::OsStr;
use std::time::Duration;

use afk_app::config::{Config, load};
use afk_app::operator::Operator;
use afk_app::store_is_there;
use afk_engine::ports::{Filter, Store as _};
use clap_complete::CompletionCandidate;

use super::sources::sources;
use super::words::line;

/// How long a person waits for offers.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many runs are offered, newest first.
const RUNS: u32 = 50;
/// Maximum length of the help beside an offer, in characters.
const HELP: usize = 60;

/// Offers issues: those of this machine's tracker that are open, and those that had runs.
pub(super) fn issues(current: &OsStr) -> Vec<CompletionCandidate> {
    fitting(current, offers(|known| known.issues))
}

/// Offers runs by their ids, and the issues of runs.
pub(super) fn runs(current: &OsStr) -> Vec<CompletionCandidate> {
    fitting(current, offers(|known| known.runs))
}

/// Offers repositories of the configuration.
pub(super) fn repos(current: &OsStr) -> Vec<CompletionCandidate> {
    let config = load::<Config>(&sources(None)).map(|loaded| loaded.config).unwrap_or_default();
    let names = config.policy.repos.keys().map(|name| (name.to_string(), String::new()));
    fitting(current, names.collect())
}

/// An offer, with a few words about it.
type Offer = (String, String);

/// Everything that can be offered.
#[derive(Default)]
struct Known {
    issues: Vec<Offer>,
    runs: Vec<Offer>,
}

fn offers(wanted: impl FnOnce(Known) -> Vec<Offer>) -> Vec<Offer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let known = runtime.ok().and_then(|runtime| {
        runtime.block_on(async { tokio::time::timeout(PATIENCE, known()).await.ok().flatten() })
    });
    wanted(known.unwrap_or_default())
}

async fn known() -> Option<Known> {
    let config = load::<Config>(&sources(None)).ok()?.config;
    if !store_is_there(&config) {
        return None;
    }
    let operator = Operator::open_to_look(sources(None)).await.ok()?;
    let filter = Filter { limit: RUNS, ..Filter::default() };
    let stored = operator.store.runs(&filter).await.unwrap_or_default();
    let local = operator.tracker.list(None, Some(true), None).await.unwrap_or_default();
    operator.store.close().await;
    let mut issues: Vec<Offer> =
        local.into_iter().map(|issue| (issue.issue.to_string(), issue.title)).collect();
    let mut runs = Vec::new();
    for one in &stored {
        let issue = (one.run.issue.to_string(), one.run.pinned.title.clone());
        let state = if one.run.settled_at.is_some() { "ended" } else { "live" };
        runs.push((one.run.id.to_string(), format!("{}, {state}: {}", issue.0, issue.1)));
        if !issues.iter().any(|(name, _)| *name == issue.0) {
            issues.push(issue);
        }
    }
    let mut of_runs: Vec<Offer> = Vec::new();
    for one in &stored {
        let name = one.run.issue.to_string();
        if !of_runs.iter().any(|(known, _)| *known == name) {
            of_runs.push((name, one.run.pinned.title.clone()));
        }
    }
    of_runs.extend(runs);
    Some(Known { issues, runs: of_runs })
}

/// The offers that begin with what is typed.
fn fitting(current: &OsStr, offers: Vec<Offer>) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let fit = offers.into_iter().filter(|(name, _)| name.starts_with(current));
    fit.map(|(name, about)| {
        let about = line(&about, HELP);
        CompletionCandidate::new(name).help((!about.is_empty()).then(|| about.into()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_as_typed_is_offered_with_a_harmless_help() {
        let offers = vec![
            ("o/web#1".to_owned(), "A\u{1b}[31m title".to_owned()),
            ("o/api#2".to_owned(), String::new()),
        ];
        let found = fitting(OsStr::new("o/w"), offers.clone());
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(one.get_value(), "o/web#1");
        assert!(!one.get_help().unwrap().to_string().contains('\u{1b}'));
        assert_eq!(fitting(OsStr::new(""), offers).len(), 2);
    }
}
