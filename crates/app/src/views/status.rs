//! Everything at a glance.

use std::collections::BTreeSet;
use std::path::PathBuf;

use afk_core::gates::{Dispatcher, Explanation};
use afk_core::ids::{At, IssueRef, RepoName, RunId};
use afk_engine::ports::{Filter, PortError, Settings as _, StoredRun, Switches};
use afk_local::owner::Holder;
use serde::Serialize;

use super::RunView;
use crate::{App, Error};

/// Issues in the hands of people that are shown, the newest.
const HANDED_BACK: usize = 20;
/// Runs among which they are looked for, the newest.
const RECENT: u32 = 1_000;
/// Ready issues of a repo whose gates are queried.
const READY: usize = 20;

/// Everything that `status` shows; its JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// When it was looked at.
    pub at: At,
    /// Whether the loop may take issues: armed, and no switch against it.
    pub takes_issues: bool,
    /// The kill switch of the configuration.
    pub kill_switch: bool,
    /// The allowlist of the configuration.
    pub allowlist: Vec<RepoName>,
    /// The switches of the store.
    pub switches: Switches,
    /// Live runs.
    pub runs: Vec<RunView>,
    /// Issues that wait for a person since their newest run.
    pub handed_back: Vec<HandedBack>,
    /// Ready issues and what holds each.
    pub ready: Vec<Held>,
    /// Repos whose issues could not be read, and why.
    pub unreadable: Vec<(RepoName, String)>,
    /// The daemon that works this store; none where none runs.
    pub serving: Option<Holder>,
    /// When a control plane last noted that it runs, which it does before each look at
    /// the trackers; none where none ever ran.
    pub looked_at: Option<At>,
    /// How strong the sandbox is, in a sentence.
    pub sandbox: String,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Where store and workspaces are.
    pub data_dir: PathBuf,
}

/// A ready issue and what holds it.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// The issue.
    pub issue: IssueRef,
    /// Its title.
    pub title: String,
    /// Its gates; none where they could not be asked.
    pub gates: Option<Explanation>,
    /// Why they could not be asked.
    pub error: Option<String>,
}

/// An issue that a run handed to a person, and that nobody has taken from there.
#[derive(Debug, Clone, Serialize)]
pub struct HandedBack {
    /// The issue.
    pub issue: IssueRef,
    /// Its title, as it was accepted.
    pub title: String,
    /// Its newest run.
    pub run: RunId,
    /// When that ended.
    pub at: At,
    /// Why it went no further.
    pub why: String,
}

impl Status {
    /// How everything is now.
    pub async fn look(app: &App) -> Result<Self, Error> {
        let trouble = app.settings.current().1;
        let ports = app.engine.ports();
        let switches = ports.store.switches().await?;
        let mut runs = Vec::new();
        for stored in ports.store.live().await? {
            runs.push(RunView::look(&app.engine, &stored.run).await);
        }
        let handed_back = handed_back(app, trouble.is_none()).await?;
        let (mut ready, mut unreadable) = (Vec::new(), Vec::new());
        let brake = app.brake().await;
        for repo in app
            .config
            .policy
            .allowlist
            .iter()
            .filter(|repo| app.config.policy.repos.contains_key(repo))
        {
            match ports.tracker.ready(repo, &app.config.policy.ready_label).await {
                Err(error) => unreadable.push((repo.clone(), error.chain())),
                Ok(mut issues) => {
                    issues.retain(|issue| runs.iter().all(|run| run.issue != issue.issue));
                    for issue in issues.into_iter().take(READY) {
                        let said = app.engine.explain(&issue.issue, Dispatcher::Loop, &brake).await;
                        let error = said.as_ref().err().map(PortError::chain);
                        let (issue, title) = (issue.issue, issue.title);
                        ready.push(Held { issue, title, gates: said.ok(), error });
                    }
                }
            }
        }
        let stopped = switches.halt.is_some() || switches.pause.is_some();
        Ok(Self {
            at: ports.clock.now(),
            takes_issues: !app.config.policy.kill_switch
                && !app.config.policy.allowlist.is_empty()
                && !stopped,
            kill_switch: app.config.policy.kill_switch,
            allowlist: app.config.policy.allowlist.iter().cloned().collect(),
            switches,
            runs,
            handed_back,
            ready,
            unreadable,
            serving: crate::serve::serving(&app.store).await?,
            looked_at: app.store.last_beat().await?,
            sandbox: app.capabilities.to_string(),
            config: app.config_path.clone(),
            data_dir: app.data_dir.clone(),
        })
    }
}

/// What the newest runs handed to a person, as far as their trackers still show it there. By
/// which label they do is only `known` under a good configuration.
async fn handed_back(app: &App, known: bool) -> Result<Vec<HandedBack>, Error> {
    let (ports, mut seen, mut back) = (app.engine.ports(), BTreeSet::new(), Vec::new());
    let recent = Filter { limit: RECENT, ..Filter::default() };
    for StoredRun { run, .. } in ports.store.runs(&recent).await? {
        if !seen.insert(run.issue.clone()) {
            continue;
        }
        let Some(end) = run.conclusion.filter(|end| end.end.is_handed_back()) else { continue };
        // Where the tracker does not answer, nothing says that somebody has taken it.
        let taken = ports.tracker.issue(&run.issue).await.is_ok_and(|view| {
            let labelled = view.issue.labels.contains(&app.config.policy.human_label);
            !view.issue.open || (known && !labelled)
        });
        if !taken {
            let title = run.pinned.title;
            let (issue, run, at, why) = (run.issue, run.id, end.at, end.why);
            back.push(HandedBack { issue, title, run, at, why });
            if back.len() == HANDED_BACK {
                break;
            }
        }
    }
    Ok(back)
}
