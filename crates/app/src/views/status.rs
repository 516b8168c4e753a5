//! Everything at a glance: `afk status`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use afk_core::gates::{Dispatcher, Explanation};
use afk_core::ids::{At, IssueRef, RepoName, RunId};
use afk_engine::ports::{Filter, Settings as _, StoredRun, Switches};
use afk_local::owner::Holder;
use afk_remote::ForgeLimits;
use futures_util::future;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use tokio::time::timeout;

use super::{RunView, SilentDoorbell};
use crate::{App, Error};

/// Maximum number of issues handed to people that are shown, newest first.
const HANDED_BACK: usize = 20;
/// Maximum number of issues handed to people that are looked up, to see whether they still wait.
const RECENT: u32 = 200;
/// Maximum number of ready issues shown for each repo.
const READY: usize = 20;
/// Maximum number of ready issues, of all repos, whose gates are queried.
const QUERIED: usize = 100;
/// How many runs, gates and issues are queried side by side.
const AT_ONCE: usize = 16;
/// Time limit of each query of a tracker or a gate.
const BOUND: Duration = Duration::from_secs(10);

/// Everything that `afk status` shows; serialised, its JSON document.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// When it was read.
    pub at: At,
    /// Whether the loop may take issues: the kill switch is off, the allowlist names a repo, and
    /// neither shadow mode nor a halt or pause forbids it.
    pub takes_issues: bool,
    /// The kill switch of the configuration; true stops dispatch.
    pub kill_switch: bool,
    /// Shadow mode of the configuration: nothing is done, not even for live runs.
    pub shadow: bool,
    /// The allowlist of the configuration.
    pub allowlist: Vec<RepoName>,
    /// The switches of the store: halt, pause and freezes.
    pub switches: Switches,
    /// Live runs.
    pub runs: Vec<RunView>,
    /// Issues that their newest run handed to a person, and that still wait for one.
    pub handed_back: Vec<HandedOver>,
    /// Ready issues of enrolled repos that no run works, with their gates.
    pub ready: Vec<ReadyIssue>,
    /// Repos whose issues could not be read, and why.
    pub unreadable: Vec<UnreadableRepo>,
    /// The rate limits that the forges reported for our accounts.
    pub forges: Vec<ForgeLimits>,
    /// Doorbells whose rings were given up.
    pub silent_doorbells: Vec<SilentDoorbell>,
    /// The daemon that works this store; none if none runs.
    pub serving: Option<Holder>,
    /// The last heartbeat of a control plane, written before each look at the trackers; none if
    /// none ever ran.
    pub looked_at: Option<At>,
    /// What the sandbox can enforce on this machine, in a sentence.
    pub sandbox: String,
    /// The configuration file; none if only defaults and variables apply.
    pub config: Option<PathBuf>,
    /// The folder of store and workspaces.
    pub data_dir: PathBuf,
}

/// A repo whose issues could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableRepo {
    /// The repo.
    pub repo: RepoName,
    /// Why its issues could not be read.
    pub why: String,
}

/// A ready issue and its gates.
#[derive(Debug, Clone, Serialize)]
pub struct ReadyIssue {
    /// The issue.
    pub issue: IssueRef,
    /// Its title.
    pub title: String,
    /// Its gates; none if they could not be queried, or were not, to save time.
    pub gates: Option<Explanation>,
    /// Why the gates could not be queried.
    pub error: Option<String>,
}

/// An issue that a run handed to a person, and that nobody has taken up since.
#[derive(Debug, Clone, Serialize)]
pub struct HandedOver {
    /// The issue.
    pub issue: IssueRef,
    /// Its title, as it was accepted.
    pub title: String,
    /// Its newest run.
    pub run: RunId,
    /// When that run ended.
    pub at: At,
    /// Why it was handed over.
    pub why: String,
}

/// What only the trackers know of a status, with the gates that they are asked about.
#[derive(Debug)]
pub struct FromTrackers {
    read: Instant,
    /// The switches at that time, which decide gates, too.
    switches: Switches,
    handed_back: Vec<HandedOver>,
    ready: Vec<ReadyIssue>,
    unreadable: Vec<UnreadableRepo>,
}

impl FromTrackers {
    async fn read(
        app: &App,
        live: &[StoredRun],
        switches: &Switches,
        known: bool,
    ) -> Result<Self, Error> {
        let (handed_back, (ready, unreadable)) =
            tokio::join!(handed_back(app, known), ready(app, live));
        let (read, switches) = (Instant::now(), switches.clone());
        Ok(Self { read, switches, handed_back: handed_back?, ready, unreadable })
    }

    /// Whether it need not be read again yet, if it is read at most once in `every`.
    fn holds(&self, switches: &Switches, every: Duration) -> bool {
        self.read.elapsed() < every && self.switches == *switches
    }
}

impl Status {
    /// Reads how everything is now. What the `trackers` said before is shown again until the time
    /// between two polls is over or a switch is thrown: how often an account may ask is limited,
    /// and the daemon needs that.
    pub fn read<'a>(
        app: &'a App,
        trackers: &'a mut Option<FromTrackers>,
    ) -> LocalBoxFuture<'a, Result<Self, Error>> {
        Box::pin(async move {
            let trouble = app.settings.current().1;
            let ports = app.engine.ports();
            let switches = ports.store.switches().await?;
            let live = ports.store.live().await?;
            let halted = switches.halt.is_some();
            let looks = live.iter().map(|stored| RunView::read(&app.engine, &stored.run, halted));
            let runs = stream::iter(looks).buffered(AT_ONCE).collect();
            let every = Duration::from_secs(app.config.policy.poll_seconds);
            let known = trackers.take().filter(|known| known.holds(&switches, every));
            let said = async {
                if let Some(known) = known {
                    return Ok(known);
                }
                Box::pin(FromTrackers::read(app, &live, &switches, trouble.is_none())).await
            };
            let (runs, said) = tokio::join!(runs, said);
            let said = trackers.insert(said?);
            // A run may have begun since.
            let idle = |issue: &IssueRef| live.iter().all(|one| one.run.issue != *issue);
            let (mut handed_back, mut ready) = (said.handed_back.clone(), said.ready.clone());
            handed_back.retain(|one| idle(&one.issue));
            ready.retain(|one| idle(&one.issue));
            let stopped = switches.halt.is_some() || switches.pause.is_some();
            Ok(Self {
                at: ports.clock.now(),
                takes_issues: !app.config.policy.kill_switch
                    && !app.config.policy.allowlist.is_empty()
                    && !app.config.policy.shadow
                    && !stopped,
                kill_switch: app.config.policy.kill_switch,
                shadow: app.config.policy.shadow,
                allowlist: app.config.policy.allowlist.iter().cloned().collect(),
                switches,
                runs,
                handed_back,
                ready,
                unreadable: said.unreadable.clone(),
                forges: app.forges.limits().await,
                silent_doorbells: SilentDoorbell::read(app).await?,
                serving: crate::serve::serving(&app.store).await?,
                looked_at: app.store.last_beat().await?,
                sandbox: app.capabilities.to_string(),
                config: app.config_path.clone(),
                data_dir: app.data_dir.clone(),
            })
        })
    }
}

/// Reads the ready issues of enrolled repos that no run works, with their gates, and the repos
/// whose issues could not be read.
async fn ready(app: &App, live: &[StoredRun]) -> (Vec<ReadyIssue>, Vec<UnreadableRepo>) {
    let config = &app.config.policy;
    let enrolled: BTreeSet<&RepoName> = config.allowlist.iter().collect();
    let homes = app.engine.homes().into_values().map(|repos| {
        let repos: Vec<_> = repos.into_iter().filter(|repo| enrolled.contains(repo)).collect();
        async move {
            let read = app.engine.ready_of(repos.clone(), &config.ready_label);
            timeout(BOUND, read).await.map_err(|_| repos)
        }
    });
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    let mut read = Vec::new();
    for home in future::join_all(homes).await {
        match home {
            Ok(of_home) => read.extend(of_home),
            Err(late) => {
                let late = late.into_iter();
                unreadable
                    .extend(late.map(|repo| UnreadableRepo { repo, why: in_vain("the tracker") }));
            }
        }
    }
    for (repo, ready) in read {
        match ready {
            Err(error) => unreadable.push(UnreadableRepo { repo, why: error.chain() }),
            Ok(mut issues) => {
                issues.retain(|issue| live.iter().all(|one| one.run.issue != issue.issue));
                found.extend(issues.into_iter().take(READY));
            }
        }
    }
    let brake = &app.brake().await;
    let ready = found.into_iter().enumerate().map(|(n, issue)| async move {
        let (mut gates, mut error) = (None, None);
        if n < QUERIED {
            let said = app.engine.explain(&issue.issue, Dispatcher::Loop, brake);
            match timeout(BOUND, said).await {
                Ok(Ok(said)) => gates = Some(said),
                Ok(Err(failed)) => error = Some(failed.chain()),
                Err(_) => error = Some(in_vain("a gate")),
            }
        }
        ReadyIssue { issue: issue.issue, title: issue.title, gates, error }
    });
    (stream::iter(ready).buffered(AT_ONCE).collect().await, unreadable)
}

/// Reads the issues that their newest runs handed to a person and that still wait for one: they are
/// open and have the label for a person. `known` says whether the configuration is valid, without
/// which the name of that label is unknown and not looked at.
async fn handed_back(app: &App, known: bool) -> Result<Vec<HandedOver>, Error> {
    let ports = app.engine.ports();
    let filter = Filter { handed_back: true, limit: RECENT, ..Filter::default() };
    let recent = ports.store.runs(&filter).await?.into_iter();
    let back = recent.filter_map(|stored| Some((stored.run.conclusion.clone()?, stored.run)));
    let asked = back.map(|(end, run)| async move {
        let view = timeout(BOUND, ports.tracker.issue(&run.issue)).await;
        // If the tracker does not answer, the issue counts as still waiting.
        let taken = view.is_ok_and(|view| {
            view.is_ok_and(|view| {
                let labelled = view.issue.has(&app.config.policy.human_label);
                !view.issue.open || (known && !labelled)
            })
        });
        let (title, issue, run) = (run.pinned.title, run.issue, run.id);
        (!taken).then_some(HandedOver { issue, title, run, at: end.at, why: end.why })
    });
    let there = stream::iter(asked).buffered(AT_ONCE).filter_map(future::ready);
    Ok(there.take(HANDED_BACK).collect().await)
}

fn in_vain(whom: &str) -> String {
    format!("{whom} did not answer within {} s", BOUND.as_secs())
}
