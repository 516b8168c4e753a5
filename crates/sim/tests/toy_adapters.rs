//! Adapters that the engine has never heard of: a tracker, an executor, a kind of stage and a kind
//! of doorbell of this test's own land an issue. The configuration names them, and no file of
//! `core` or `engine` knows them.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afk_core::ask::Answer;
use afk_core::checkout::Checkout;
use afk_core::config::{DoorbellPolicy, Policy};
use afk_core::doorbell::{Doorbell, DoorbellKind};
use afk_core::evidence::SandboxStrength;
use afk_core::ids::{Actor, AdapterName, At, IssueRef, JobKey, Oid, RepoName, RunId};
use afk_core::issue::{BlockerState, Comment, Issue, IssueChange, IssueEvent, Permission};
use afk_core::plan::End;
use afk_core::run::{TurnEnd, TurnFacts, TurnSeen};
use afk_core::verdict::StageAnswer;
use afk_engine::Engine;
use afk_engine::ports::{
    Doorbells, Executor, IssueView, Labels, PortError, PortErrorKind, PortResult, Ports, Settings,
    StageQuery, StageReport, Stages, Tracker, Transcript, TurnReport, TurnRequest,
};
use afk_engine::router::{RoutedDoorbells, RoutedExecutor, RoutedStages, RoutedTracker, Router};
use afk_sim::fakes::Sim;
use afk_sim::story::{self, Story, good_work, repo, seven};
use async_trait::async_trait;

/// A tracker that is a list in memory.
struct Notebook {
    issues: Mutex<BTreeMap<IssueRef, (IssueView, Vec<Comment>)>>,
}

fn account(name: &str) -> Actor {
    Actor { id: format!("notebook:{name}"), login: name.to_owned(), bot: false }
}

fn unknown(issue: &IssueRef) -> PortError {
    PortError::new(PortErrorKind::NotFound, format!("{issue} is not in the notebook"))
}

impl Notebook {
    fn with(title: &str, ready: &str, at: At) -> Self {
        let issue = Issue {
            issue: seven(),
            title: title.to_owned(),
            body: "Say two.".to_owned(),
            labels: vec![ready.to_owned()],
            open: true,
        };
        let what = IssueChange::Labeled { label: ready.to_owned() };
        let released = IssueEvent { at, actor: Some(account("ann")), what };
        let view = IssueView { issue, events: vec![released], native_blockers: Vec::new() };
        Self { issues: Mutex::new([(seven(), (view, Vec::new()))].into()) }
    }

    fn change<T>(
        &self,
        issue: &IssueRef,
        change: impl FnOnce(&mut IssueView, &mut Vec<Comment>) -> T,
    ) -> PortResult<T> {
        let mut issues = self.issues.lock().unwrap();
        let (view, comments) = issues.get_mut(issue).ok_or_else(|| unknown(issue))?;
        Ok(change(view, comments))
    }

    fn of(&self, repo: &RepoName, label: &str) -> Vec<Issue> {
        let issues = self.issues.lock().unwrap();
        let all = issues.values().map(|(view, _)| view.issue.clone());
        all.filter(|issue| issue.issue.repo == *repo && issue.open)
            .filter(|issue| issue.has(label))
            .collect()
    }
}

#[async_trait]
impl Tracker for Notebook {
    fn home(&self, _repo: &RepoName) -> String {
        "notebook".to_owned()
    }

    async fn ready(&self, repo: &RepoName, label: &str) -> PortResult<Vec<Issue>> {
        Ok(self.of(repo, label))
    }

    async fn labelled(&self, repo: &RepoName, label: &str) -> PortResult<Vec<IssueRef>> {
        Ok(self.of(repo, label).into_iter().map(|issue| issue.issue).collect())
    }

    async fn issue(&self, issue: &IssueRef) -> PortResult<IssueView> {
        self.change(issue, |view, _| view.clone())
    }

    async fn permission(&self, _: &RepoName, actor: &Actor) -> PortResult<Permission> {
        Ok(if *actor == account("ann") { Permission::Write } else { Permission::None })
    }

    async fn blocker(&self, _: &RepoName, issue: &IssueRef) -> PortResult<BlockerState> {
        let open = self.change(issue, |view, _| view.issue.open)?;
        Ok(if open { BlockerState::Open } else { BlockerState::Closed })
    }

    async fn own_account(&self, _: &RepoName) -> PortResult<Actor> {
        Ok(account("afk"))
    }

    async fn label(&self, issue: &IssueRef, labels: &Labels) -> PortResult<()> {
        self.change(issue, |view, _| {
            let kept = view.issue.labels.iter().filter(|label| !labels.remove.contains(label));
            let all: BTreeSet<String> = kept.chain(&labels.add).cloned().collect();
            view.issue.labels = all.into_iter().collect();
        })
    }

    async fn comments(&self, issue: &IssueRef) -> PortResult<Vec<Comment>> {
        self.change(issue, |_, comments| comments.clone())
    }

    async fn comments_since(&self, _: &RepoName, _: At) -> PortResult<Vec<(IssueRef, Comment)>> {
        Ok(Vec::new())
    }

    async fn comment(&self, issue: &IssueRef, _: RunId, body: &str) -> PortResult<String> {
        self.change(issue, |_, comments| {
            let (author, body) = (Some(account("afk")), body.to_owned());
            let (id, at) = (comments.len().to_string(), story::start());
            comments.push(Comment { id: id.clone(), author, at, body, edited: false });
            id
        })
    }

    async fn edit_comment(&self, issue: &IssueRef, id: &str, body: &str) -> PortResult<()> {
        self.change(issue, |_, comments| {
            for comment in comments.iter_mut().filter(|comment| comment.id == id) {
                body.clone_into(&mut comment.body);
            }
        })
    }

    async fn close(&self, issue: &IssueRef) -> PortResult<()> {
        self.change(issue, |view, _| view.issue.open = false)
    }

    async fn reopen(&self, issue: &IssueRef) -> PortResult<()> {
        self.change(issue, |view, _| view.issue.open = true)
    }
}

/// An executor whose agent is done at once.
struct Prompt {
    sim: Sim,
    done: Mutex<BTreeSet<JobKey>>,
}

#[async_trait]
impl Executor for Prompt {
    fn checkout(&self, _: &RepoName) -> PortResult<Checkout> {
        Ok(Checkout::Ours)
    }

    async fn ready(&self, _: &RepoName) -> PortResult<()> {
        Ok(())
    }

    async fn start(&self, turn: &TurnRequest) -> PortResult<()> {
        if self.done.lock().unwrap().insert(turn.key.clone()) {
            self.sim.with(|world| good_work().acts.iter().for_each(|act| world.act(turn.run, act)));
        }
        Ok(())
    }

    async fn observe(&self, _: &RepoName, key: &JobKey) -> PortResult<TurnReport> {
        let seen = if self.done.lock().unwrap().contains(key) {
            let facts = TurnFacts {
                sandbox: Some(SandboxStrength::Full),
                transcript: Some(afk_core::digest::Digest::of(key.as_str())),
                ..TurnFacts::default()
            };
            let how = TurnEnd::Finished { message: "Done.".to_owned() };
            TurnSeen::Ended { how, facts: Box::new(facts) }
        } else {
            TurnSeen::Absent
        };
        Ok(TurnReport {
            seen,
            tokens: (0, 0),
            cost: None,
            streamed: None,
            last: None,
            link: None,
            transcript: None,
        })
    }

    async fn answer(&self, _: &RepoName, _: &JobKey, _: &str, _: &Answer) -> PortResult<()> {
        Ok(())
    }

    async fn interrupt(&self, _: &RepoName, _: &JobKey) -> PortResult<()> {
        Ok(())
    }

    async fn alive(&self, _: &RepoName, _: RunId) -> PortResult<Vec<JobKey>> {
        Ok(Vec::new())
    }

    async fn stop(&self, _: &RepoName, _: RunId) -> PortResult<()> {
        Ok(())
    }

    async fn transcript(&self, _: &RepoName, _: &JobKey, _: u64) -> PortResult<Option<Transcript>> {
        Ok(None)
    }

    async fn changed(&self, _: &RepoName, _: &JobKey, _: Duration) {}
}

/// A stage that passes every commit, at the second poll.
#[derive(Default)]
struct Oracle {
    asked: Mutex<BTreeSet<Oid>>,
}

#[async_trait]
impl Stages for Oracle {
    async fn poll(&self, query: &StageQuery) -> PortResult<StageReport> {
        let first = self.asked.lock().unwrap().insert(query.commit.clone());
        let answer = if first { StageAnswer::Pending } else { StageAnswer::Success };
        Ok(StageReport { answer, link: None, tail: None, next_look: None })
    }
}

/// A doorbell that remembers what it was rung for.
#[derive(Default)]
struct Gong {
    rung: Mutex<Vec<(String, Doorbell)>>,
}

#[async_trait]
impl Doorbells for Gong {
    async fn ring(&self, name: &str, doorbell: &Doorbell) -> PortResult<()> {
        self.rung.lock().unwrap().push((name.to_owned(), doorbell.clone()));
        Ok(())
    }
}

fn named<T: ?Sized>(what: &'static str, name: &str, adapter: Arc<T>) -> Arc<Router<T>> {
    let name: AdapterName = name.parse().unwrap();
    Arc::new(Router::new(what, [(name, adapter)].into()))
}

/// A story whose repo names the adapters of this test, by which names the engine finds them.
fn story(name_them: impl FnOnce(&mut Policy)) -> (Story, Arc<Notebook>, Arc<Gong>) {
    let story = Story::new().configure(name_them);
    let notebook = Arc::new(Notebook::with("Say two", "ready-for-agent", story::start()));
    let prompt = Prompt { sim: story.sim.clone(), done: Mutex::default() };
    let ports = story.sim.ports();
    let settings: Arc<dyn Settings> = ports.settings.clone();
    let trackers = named::<dyn Tracker>("tracker", "notebook", notebook.clone());
    let executors = named::<dyn Executor>("executor", "prompt", Arc::new(prompt));
    let kinds = named::<dyn Stages>("kind of stage", "oracle", Arc::new(Oracle::default()));
    let gong = Arc::new(Gong::default());
    let doorbells = named::<dyn Doorbells>("kind of doorbell", "gong", gong.clone());
    let ports = Ports {
        doorbells: Arc::new(RoutedDoorbells::new(settings.clone(), doorbells)),
        stages: Arc::new(RoutedStages::new(kinds)),
        tracker: Arc::new(RoutedTracker::new(settings.clone(), trackers)),
        executor: Arc::new(RoutedExecutor::new(settings, executors)),
        ..ports
    };
    (Story { engine: Engine::new(ports, "toy"), ..story }, notebook, gong)
}

#[tokio::test]
async fn an_issue_of_a_toy_tracker_lands_by_a_toy_executor_and_rings_toy_doorbells() {
    let (story, notebook, gong) = story(|policy| {
        let table = policy.repos.get_mut(&repo("o/r")).unwrap();
        table.tracker = "notebook".parse().unwrap();
        table.agent = "prompt".parse().unwrap();
        table.stages[0].kind = "oracle".parse().unwrap();
        let gong = || DoorbellPolicy::of_kind("gong".parse().unwrap());
        let named = |name: &str| Some(name.parse().unwrap());
        policy.notify = vec![
            gong(),
            DoorbellPolicy { name: named("hall"), ..gong() },
            // Rings only for what is urgent.
            DoorbellPolicy { name: named("bedroom"), done: false, ..gong() },
        ];
    });
    story.settle().await;
    story.ended(End::Done);
    let (issue, comments) =
        notebook.change(&seven(), |view, comments| (view.issue.clone(), comments.clone())).unwrap();
    assert!(!issue.open && issue.labels.is_empty(), "{issue:?}");
    assert_eq!(comments.len(), 1);
    assert_eq!(story.sim.with(|world| world.git.history(&repo("o/r")).len()), 2, "it landed");
    let rung = gong.rung.lock().unwrap();
    let rung: BTreeSet<_> = rung.iter().map(|(name, bell)| (name.as_str(), bell.kind)).collect();
    assert_eq!(rung, [("hall", DoorbellKind::Done), ("gong", DoorbellKind::Done)].into());
    let calls = ["tracker.", "executor.", "stages.", "doorbells."];
    let ours = |call: &&&str| calls.iter().any(|port| call.starts_with(port));
    let others = story.sim.with(|world| world.calls.iter().filter(ours).count());
    assert_eq!(others, 0, "no other tracker, executor, stage or doorbell was asked");
}

#[tokio::test]
async fn a_name_that_is_nobodys_is_told_with_those_there_are() {
    let (story, ..) = story(|policy| {
        policy.repos.get_mut(&repo("o/r")).unwrap().tracker = "blackboard".parse().unwrap();
    });
    let _ = story.round().await;
    let why = story.engine.troubles().all().next().map(|(_, trouble)| trouble.why.clone());
    let why = why.expect("the repo is in trouble");
    assert!(why.contains("no tracker is named blackboard"), "{why}");
    assert!(why.contains("known are notebook"), "{why}");
}
