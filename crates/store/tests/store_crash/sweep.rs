//! Sweeps a story with one death at each moment: it must end as it does without the death.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use afk_core::doorbell::DoorbellKind;
use afk_core::ids::Actor;
use afk_core::plan::End;
use afk_core::replay::{Row, replay};
use afk_core::run::Run;
use afk_engine::Engine;
use afk_engine::ports::{Filter, JournalRow, Ports, Store as _};
use afk_sim::fakes::Sim;
use afk_sim::story::{Story, repo, seven};
use afk_sim::world::World;
use afk_store::{JournalReport, OpenOptions, Store};
use jiff::SignedDuration;

use crate::files::{Files, folder, log};
use crate::plots::{Plot, Seen};
use crate::witness::{Called, Moment, When, Witness};

/// A story that is not over after this many rounds is stuck.
const ROUNDS: u32 = 400;

/// Everything about a finished story that can be seen from outside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    ends: Vec<Option<End>>,
    /// The doorbells that rang; one that rang twice under the same id counts once.
    bells: Vec<DoorbellKind>,
    /// Comments of the loop's own account.
    comments: usize,
    open: bool,
    labels: BTreeSet<String>,
    /// How many commits the default branch has.
    commits: usize,
    turns: usize,
    evidence: bool,
    branches: usize,
    workspaces: usize,
    alive: usize,
    requests: Vec<Option<String>>,
    /// What is wrong with the store: a journal that is not intact, a lease that is still held.
    faults: Vec<String>,
}

/// A story that was told undisturbed.
pub(crate) struct Baseline {
    outcome: Outcome,
    pub(crate) calls: Vec<Called>,
    /// When the process might have died, and how much people had done by then.
    pub(crate) moments: Vec<(Moment, u32)>,
    /// The write-ahead log at the end of the story.
    pub(crate) log: Vec<u8>,
}

/// Tells the story without a death, and asserts that it ends as the plot says.
pub(crate) async fn undisturbed(plot: &Plot) -> Baseline {
    let sim = Story::new().with_issue((plot.scripts)()).configure(plot.configure).sim;
    let process = Process::start(&Files::fresh().await, &sim, true).await;
    let mut moments = process.work(plot, 0).await;
    let told_here = |world: &World| plot.from.is_none_or(|call| world.calls.contains(&call));
    moments.retain(|(moment, _)| told_here(&moment.world));
    let calls = process.witness.witnessed.lock().unwrap().calls.clone();
    let log = log(process.store.path());
    let (outcome, text) = process.end().await;
    assert_eq!(outcome.ends, [Some(plot.end)], "{}\n{text}", plot.name);
    assert_eq!(outcome.bells, plot.bells, "{}\n{text}", plot.name);
    let counted = (outcome.comments, outcome.commits, outcome.turns, outcome.alive);
    assert_eq!(counted, (1, 1 + plot.landings, plot.turns, 0), "{}\n{text}", plot.name);
    assert_eq!(outcome.faults, Vec::<String>::new(), "{}\n{text}", plot.name);
    Baseline { outcome, calls, moments, log }
}

/// Tells the story once for each moment before or after a call at which the process may die.
pub(crate) async fn sweep(plot: &Plot) {
    let since = Instant::now();
    let told = undisturbed(plot).await;
    let fresh = Files::fresh().await;
    let mut deaths = 0_u32;
    for (moment, done) in &told.moments {
        if !matches!(moment.when, When::During(_)) {
            told.ends_the_same(plot, moment, *done, &fresh.with(&told.log[..moment.log])).await;
            deaths += 1;
        }
    }
    let (calls, seconds) = (told.calls.len(), since.elapsed().as_secs_f64());
    println!("{}: {deaths} deaths between {calls} calls, each survived, {seconds:.1} s", plot.name);
}

impl Baseline {
    /// Asserts that the story ends as it did without a death if the process dies at this moment and
    /// another goes on from these files.
    pub(crate) async fn ends_the_same(
        &self,
        plot: &Plot,
        moment: &Moment,
        done: u32,
        files: &Files,
    ) {
        let sim = Sim::new(moment.world.clone());
        let ((n, call), when) = (moment.call, moment.when);
        if n % 2 == 0 {
            // After every other death, jobs and turns have ended when the next process starts.
            sim.with(World::step);
        }
        sim.advance(SignedDuration::from_secs(1));
        let process = Process::start(files, &sim, false).await;
        process.work(plot, done).await;
        let (outcome, text) = process.end().await;
        let death = format!("{}, died at {call} (call {n}) {when:?}", plot.name);
        assert_eq!(outcome, self.outcome, "{death}\n{text}");
    }
}

/// A process of the control plane.
struct Process {
    name: String,
    store: Store,
    witness: Arc<Witness>,
    story: Story,
    _folder: tempfile::TempDir,
}

impl Process {
    /// Starts a process on these files. Its moments are kept if it is `watched`.
    async fn start(files: &Files, sim: &Sim, watched: bool) -> Self {
        let folder = folder();
        let path = folder.path().join("afk.db");
        files.put(&path);
        let options = OpenOptions { is_dead: is_gone, ..OpenOptions::default() };
        let store = options.open(&path).await.unwrap();
        let witness = Arc::new(Witness::new(&store, watched.then_some(sim)));
        let ports = Ports { store: witness.clone(), ..sim.ports() };
        let name = process_name();
        let engine = Engine::new(ports, &name);
        Self { name, store, witness, story: Story { sim: sim.clone(), engine }, _folder: folder }
    }

    /// Works rounds until the story is over, from where people have `done` so much; returns the
    /// moments at which the process might have died.
    async fn work(&self, plot: &Plot, mut done: u32) -> Vec<(Moment, u32)> {
        let mut moments = Vec::new();
        for _ in 0..ROUNDS {
            let seen = self.seen().await;
            self.story.sim.with(|world| (plot.people)(world, &seen, &mut done));
            if seen.over() {
                return moments;
            }
            let ticked = self.story.round().await.unwrap();
            assert_eq!(ticked.failed, [], "{}", plot.name);
            assert_eq!(ticked.elsewhere, [], "{}: the dead are not waited out", plot.name);
            let new = std::mem::take(&mut self.witness.witnessed.lock().unwrap().moments);
            moments.extend(new.into_iter().map(|moment| (moment, done)));
        }
        panic!("{} is never over\n{}", plot.name, self.text().await);
    }

    async fn seen(&self) -> Seen {
        let frozen = self.store.switches().await.unwrap().frozen;
        let waiting = self.store.outbox_backlog().await.unwrap().0;
        Seen { runs: self.runs().await, frozen: !frozen.is_empty(), waiting }
    }

    async fn runs(&self) -> Vec<Run> {
        let runs = self.store.runs(&Filter::default()).await.unwrap();
        runs.into_iter().map(|stored| stored.run).collect()
    }

    async fn text(&self) -> String {
        let mut text = String::new();
        for run in self.runs().await {
            for row in self.store.journal(run.id, 0).await.unwrap() {
                let body: String = row.body.to_string().chars().take(300).collect();
                writeln!(text, "  {} {} {body}", row.at, row.kind).unwrap();
            }
        }
        let calls = self.story.sim.with(|world| world.calls.clone());
        let last: Vec<_> = calls.iter().rev().take(30).rev().collect();
        text + &format!("last calls of other ports: {last:?}")
    }

    /// How the story ended, and its journal as text for a failure's message.
    async fn end(self) -> (Outcome, String) {
        let (runs, text) = (self.runs().await, self.text().await);
        let mut faults = Vec::new();
        let mut requests = Vec::new();
        for run in &runs {
            faults.extend(self.faults(run).await);
            let rows = self.store.requests(run.id).await.unwrap();
            requests.extend(rows.into_iter().map(|row| row.answered.map(|(_, text)| text)));
        }
        let path = self.store.path().to_owned();
        self.store.close().await;
        let check = Files::of(&path).checked().await;
        if check != "ok" {
            faults.push(check);
        }
        let outcome = self.story.sim.with(|world| {
            faults.append(&mut world.wrong);
            outcome(world, &runs, requests, faults)
        });
        (outcome, text)
    }

    /// What is wrong with the rows that the store keeps of a run.
    async fn faults(&self, run: &Run) -> Vec<String> {
        let mut faults = Vec::new();
        let version = self.store.load(run.id).await.unwrap().unwrap().version;
        let report = self.store.verify_journal(run.id).await.unwrap();
        if report != (JournalReport::Intact { rows: version }) {
            faults.push(format!("the journal of version {version}: {report:?}"));
        }
        let rows = self.store.journal(run.id, 0).await.unwrap().into_iter();
        let row = |row: JournalRow| Row { seq: row.seq, at: row.at, body: row.body };
        let replayed = replay(&rows.map(row).collect::<Vec<_>>(), run);
        faults.extend(replayed.differences.iter().map(|differs| format!("{differs:?}")));
        let held = self.store.lease_holder(&format!("run:{}", run.id)).await.unwrap().unwrap();
        let now = self.story.sim.with(|world| world.now);
        // A dead process releases no lease; that of a settled run harms nobody.
        if held.until > now && held.owner == self.name {
            faults.push(format!("leased until {}, and it is {now}", held.until));
        }
        faults
    }
}

fn outcome(
    world: &World,
    runs: &[Run],
    requests: Vec<Option<String>>,
    faults: Vec<String>,
) -> Outcome {
    let issue = &world.tracker.issues[&seven()];
    let bells: BTreeMap<_, _> = world.rung().iter().map(|bell| (bell.id, bell.kind)).collect();
    let ours = |author: &Option<Actor>| author.as_ref().is_some_and(|who| who.login == "afk");
    Outcome {
        ends: runs.iter().map(|run| run.conclusion.as_ref().map(|end| end.end)).collect(),
        bells: bells.into_values().collect(),
        comments: issue.comments.iter().filter(|comment| ours(&comment.author)).count(),
        open: issue.issue.open,
        labels: issue.issue.labels.iter().map(ToString::to_string).collect(),
        commits: world.git.history(&repo("o/r")).len(),
        turns: world.agents.turns.len(),
        evidence: runs.iter().all(|run| world.archive.iter().any(|kept| kept.run == run.id)),
        branches: world.git.branches.len(),
        workspaces: world.git.workspaces.len(),
        alive: runs.iter().map(|run| world.alive(run.id).len()).sum(),
        requests,
        faults,
    }
}

/// The prefix of the names of processes, all of which count as gone.
const GONE: &str = "gone-";

/// A new name for a process. The next process sees by it that this one is gone, so that its leases
/// need not expire first.
fn process_name() -> String {
    static NTH: AtomicU64 = AtomicU64::new(0);
    format!("{GONE}{}", NTH.fetch_add(1, Ordering::Relaxed))
}

/// Whether a name is one of [`process_name`].
fn is_gone(name: &str) -> bool {
    name.starts_with(GONE)
}

#[tokio::test]
#[should_panic(expected = "straight, died at")]
async fn a_store_that_forgets_what_it_answered_is_caught() {
    let plot = &crate::plots::STRAIGHT;
    let told = undisturbed(plot).await;
    // The log as it was right after the admission.
    let first = told.moments.iter().find(|(moment, _)| moment.call.1 == "commit");
    let (early, _) = first.unwrap();
    let (late, done) = told.moments.last().unwrap();
    let files = Files::fresh().await.with(&told.log[..early.log]);
    told.ends_the_same(plot, late, *done, &files).await;
}
