//! The adapter with servers that lie and fail, by random seeds: what happens is drawn, and what the
//! adapter concludes is judged by what the agents really did.
//!
//! A seed determines a version of server, the texts of up to three turns, and at each step perhaps
//! a fault of the next request, a server that is killed or comes back, or another control plane
//! with the same notes. Afterwards nothing goes wrong any more, and every turn must come to an end
//! that is true. `cargo xtask sim --t3` runs many more seeds.
//!
//! Known-bad executors run with [`Odds`] that bring about what they do wrong: by the usual ones,
//! some would get there once in hundreds of seeds. `cargo xtask sim --bad` shows what each is
//! caught by.

use std::sync::Arc;

use afk_core::ask::Answer;
use afk_core::run::{TurnEnd, TurnSeen};
use afk_engine::ports::{Executor, Notes, PortResult};
use afk_fakes::t3::{AgentWork, AgentWorkEnd, BadExecutor, Fault, Flavour};
use afk_sim::fakes::MemoryNotes;
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::support::{ALL, Home, ONE, key, repo, request, run};

/// How many seeds are always run.
const SEEDS: u64 = 60;
/// How many seeds an honest executor must pass with the odds for each known-bad one.
const FAIR: u64 = 8;
/// The number of seeds within which every known-bad executor must be caught.
const CATCHES: u64 = 20;
/// How many seeds run at the same time.
const AT_ONCE: usize = 4;
/// The number of steps in which things go wrong, and of further ones in which nothing does.
const WILD: usize = 40;
const CALM: usize = 120;
/// How long a turn may say nothing before the loop interrupts it, in milliseconds.
const STALL: i64 = 20 * 60_000;
/// How long an interrupt that was answered may take, in milliseconds.
const STOPS: i64 = 60_000;
/// How long the adapter expects an orphan to go on working, in milliseconds. That one works longer,
/// or that nobody noticed that its server was killed, is a known limit (docs/adr/0030-t3-code.md).
const ORPHANS: i64 = 15 * 60_000;
/// How often a turn is interrupted at most: answers are lost, but not that many in a row.
const INSISTS: u32 = 20;
/// The texts that turns are drawn from; the fake's agents act by them.
const TEXTS: &[&str] = &[
    "hello",
    "SLEEP:3",
    "SLEEP:40",
    "SLEEP:600",
    "SLEEP:100000",
    "HTTP500 x",
    "HTTP401 x",
    "FAIL x",
    "RUN:touch mark",
    "ASK:Which one?",
];

/// Random numbers that are the same on every machine: splitmix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// What a seed draws from, and how often something happens, in percent.
#[derive(Clone, Copy)]
struct Odds {
    flavours: &'static [Flavour],
    texts: &'static [&'static str],
    /// How many turns there are at least; up to two more are drawn.
    turns: u64,
    /// The chance that the server starts nothing.
    idle: u64,
    /// The chance at each step that the server is killed.
    killed: u64,
    /// The chance at each step that a request meets a fault.
    fails: u64,
    /// The chance that the loop interrupts a turn as soon as it can.
    impatient: u64,
}

impl Odds {
    const USUAL: Self = Self {
        flavours: &ALL,
        texts: TEXTS,
        turns: 1,
        idle: 8,
        killed: 4,
        fails: 25,
        impatient: 40,
    };
    /// Nothing goes wrong.
    const CALM: Self = Self { idle: 0, killed: 0, fails: 0, impatient: 0, ..Self::USUAL };

    /// The odds that bring about what a known-bad executor does wrong.
    fn that_ask(bad: BadExecutor) -> Self {
        match bad {
            BadExecutor::CompletedIsSuccess => {
                Self { texts: &["HTTP500 x", "HTTP401 x", "FAIL x"], ..Self::CALM }
            }
            BadExecutor::TrustsLatestTurn => Self {
                flavours: &[Flavour::V27, Flavour::V33],
                texts: &["hello", "SLEEP:40", "SLEEP:600"],
                turns: 3,
                ..Self::CALM
            },
            BadExecutor::RetriesWithNewId => {
                Self { texts: &["SLEEP:600"], turns: 3, fails: 60, ..Self::CALM }
            }
            // With protocol 1 the session is stopped at the second interrupt, which hides the
            // fault.
            BadExecutor::InterruptsUnnamed => Self {
                flavours: &[Flavour::Two],
                texts: &["SLEEP:100000"],
                impatient: 100,
                ..Self::CALM
            },
            BadExecutor::BelievesOrphansDead => {
                Self { texts: &["SLEEP:600"], killed: 15, ..Self::CALM }
            }
            // Other versions do not show an interrupted turn as completed.
            BadExecutor::ForgetsItsInterrupts => Self {
                flavours: &[Flavour::V33, Flavour::August],
                texts: &["SLEEP:600"],
                impatient: 100,
                ..Self::CALM
            },
            BadExecutor::WaitsForEver => Self { flavours: &ONE, idle: 100, ..Self::CALM },
        }
    }
}

/// Notes that forget that we interrupted something.
#[derive(Default)]
struct Forgetful(Arc<MemoryNotes>);

#[async_trait]
impl Notes for Forgetful {
    async fn read(&self, kind: &str, key: &str) -> PortResult<Option<Value>> {
        self.0.read(kind, key).await
    }

    async fn write(
        &self,
        kind: &str,
        key: &str,
        value: &Value,
        now: afk_core::ids::At,
    ) -> PortResult<()> {
        let mut value = value.clone();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("interrupted");
        }
        self.0.write(kind, key, &value, now).await
    }
}

/// A seed that is running.
struct Told {
    home: Home,
    notes: Arc<dyn Notes>,
    executor: Arc<dyn Executor>,
    rng: Rng,
    odds: Odds,
    /// The texts of its turns.
    texts: Vec<String>,
    /// The turn that is under way, from 1, and what the loop knows of it.
    n: u32,
    started: bool,
    /// When an interrupt of it was answered.
    interrupted: Option<afk_core::ids::At>,
    /// How often the loop has tried to interrupt it.
    tried: u32,
    /// Whether the loop interrupts it as soon as it can.
    impatient: bool,
    /// Whether the server is killed.
    away: bool,
    /// Whether the server was killed since the turn began.
    disturbed: bool,
}

/// Runs a seed, with the odds for a known-bad executor if one is given. An error says what was
/// wrong.
async fn tell(seed: u64, bad: Option<BadExecutor>) -> Result<(), String> {
    told_by(seed, bad.map_or(Odds::USUAL, Odds::that_ask), bad).await
}

async fn told_by(seed: u64, odds: Odds, bad: Option<BadExecutor>) -> Result<(), String> {
    let mut told = Told::new(seed, odds, bad);
    for step in 0..WILD + CALM {
        if step < WILD {
            told.goes_wrong();
        } else if step == WILD {
            told.revive();
        }
        if told.over() {
            return Ok(());
        }
        told.go_on().await.map_err(|wrong| format!("step {step}, turn {}: {wrong}", told.n))?;
        told.pass_time(step);
    }
    if told.over() || told.disturbed {
        // Nobody may ever know what became of a turn that a killed server had under way.
        return Ok(());
    }
    Err(format!("turn {} has no end: {}", told.n, told.home.told(told.n).await))
}

impl Told {
    fn new(seed: u64, odds: Odds, bad: Option<BadExecutor>) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0xA076_1D64_78BD_642F));
        rng.below(2);
        let flavour = rng.pick(odds.flavours);
        let asks = if rng.chance(30) { "ask" } else { "full-access" };
        let home = Home::with(flavour, &json!({ "permissions": asks }));
        // No server of protocol 2 was seen to start nothing, and only the loop's deadline would end
        // that.
        if rng.chance(odds.idle) && flavour != Flavour::Two {
            home.fake.starts_nothing();
        }
        let turns = odds.turns + rng.below(3);
        let texts = (0..turns).map(|_| rng.pick(odds.texts).to_owned()).collect();
        let notes: Arc<dyn Notes> = match bad {
            Some(BadExecutor::ForgetsItsInterrupts) => Arc::new(Forgetful::default()),
            _ => home.notes.clone(),
        };
        if let Some(bad) = bad {
            home.fake.is_asked_by(bad);
        }
        let executor = home.noting(&notes);
        let impatient = rng.chance(odds.impatient);
        Self {
            home,
            notes,
            executor,
            rng,
            odds,
            texts,
            n: 1,
            started: false,
            interrupted: None,
            tried: 0,
            impatient,
            away: false,
            disturbed: false,
        }
    }

    fn over(&self) -> bool {
        usize::try_from(self.n).unwrap() > self.texts.len()
    }

    /// Restarts the server, if it was killed.
    fn revive(&mut self) {
        if std::mem::take(&mut self.away) {
            self.home.fake.revive();
        }
    }

    /// Draws what goes wrong at this step.
    fn goes_wrong(&mut self) {
        if self.away {
            if self.rng.chance(30) {
                self.revive();
            }
        } else if self.rng.chance(self.odds.killed) {
            self.home.fake.kill();
            (self.away, self.disturbed) = (true, true);
        }
        if self.rng.chance(self.odds.fails) {
            let fault = self.rng.pick(&[
                Fault::BreaksBefore,
                Fault::BreaksAfter,
                Fault::BreaksAfter,
                Fault::Answers(500),
                Fault::Answers(502),
                Fault::Forgets,
                Fault::Refuses,
            ]);
            // Only a command can be forgotten or refused; a read can only lose its answer.
            let command = matches!(fault, Fault::Forgets | Fault::Refuses) || self.rng.chance(60);
            self.home.fake.fails(if command { "dispatch" } else { "orchestration" }, fault);
        }
        if self.rng.chance(8) {
            self.executor = self.home.noting(&self.notes);
        }
    }

    fn pass_time(&mut self, step: usize) {
        let ms = if step < WILD {
            self.rng.pick(&[0, 50, 300, 1_000, 4_000, 20_000, 90_000, 600_000])
        } else {
            self.rng.pick(&[1_000, 20_000, 300_000])
        };
        self.home.later(ms);
    }

    /// Does what the loop does next about the turn that is under way. An error says what is wrong.
    async fn go_on(&mut self) -> Result<(), String> {
        let now = self.home.sim.with(|world| world.now);
        self.two_at_once()?;
        if !self.started {
            let text = &self.texts[usize::try_from(self.n).unwrap() - 1];
            let mut turn = request(self.n, text);
            turn.opening_prompt.clone_from(&turn.prompt);
            self.started = self.executor.start(&turn).await.is_ok();
            return Ok(());
        }
        self.quiet().await?;
        let Ok(report) = self.executor.observe(&repo(), &key(self.n)).await else { return Ok(()) };
        match &report.seen {
            TurnSeen::Absent => self.started = false,
            TurnSeen::Unknown => {}
            TurnSeen::Running { last_event_at, asks, .. } => {
                if let Some(ask) = asks.first() {
                    let answer = if ask.question {
                        Answer::Say { text: "Beta".to_owned() }
                    } else {
                        Answer::Allow
                    };
                    let (repo, key) = (repo(), key(self.n));
                    // After a failure, the next step answers it.
                    let _ = self.executor.answer(&repo, &key, &ask.id, &answer).await;
                    return Ok(());
                }
                let begun = self.work().last().is_some_and(|one| one.begun);
                if let Some(at) = self.interrupted
                    && begun
                    && !self.disturbed
                    && ms(at, now) > STOPS
                {
                    return Err("it is at work, although it was interrupted".to_owned());
                }
                if self.tried > INSISTS {
                    let wrong =
                        format!("it is at work, although it was interrupted {INSISTS} times");
                    return Err(wrong);
                }
                let silent = ms(*last_event_at, now) > STALL;
                if self.interrupted.is_none() && (self.impatient || silent) {
                    self.tried += 1;
                    let told = self.executor.interrupt(&repo(), &key(self.n)).await;
                    // If it found nothing to interrupt, the next step interrupts again.
                    let taken = told.is_ok() && self.home.fake.is_interrupted();
                    self.interrupted = taken.then_some(now);
                }
            }
            TurnSeen::Ended { how, .. } => {
                self.true_end(how)?;
                self.n += 1;
                (self.started, self.tried, self.interrupted) = (false, 0, None);
                self.disturbed = self.away;
                self.impatient = self.rng.chance(self.odds.impatient);
            }
        }
        Ok(())
    }

    /// The work of the server's agents so far.
    fn work(&self) -> Vec<AgentWork> {
        self.home.fake.work()
    }

    /// Checks that no two agents are at work in the one folder.
    fn two_at_once(&self) -> Result<(), String> {
        let now = self.home.sim.with(|world| world.now);
        let work = self.work();
        let begun: Vec<&AgentWork> = work.iter().filter(|one| one.begun).collect();
        let at_work = begun.iter().filter(|one| is_at_work(one, now)).count();
        if at_work > 1 {
            return Err(format!("{at_work} agents are at work: {work:#?}"));
        }
        let turns = usize::try_from(self.n).unwrap();
        if begun.len() > turns {
            return Err(format!("{} agents had {turns} turns: {work:#?}", begun.len()));
        }
        Ok(())
    }

    /// Checks that nothing is at work if the executor says that nothing is alive.
    async fn quiet(&self) -> Result<(), String> {
        let Ok(alive) = self.executor.alive(&repo(), run()).await else { return Ok(()) };
        let now = self.home.sim.with(|world| world.now);
        let work = self.work();
        if alive.is_empty() && work.iter().any(|one| is_at_work(one, now)) {
            return Err(format!("nothing is alive, but {work:#?}"));
        }
        Ok(())
    }

    /// Checks that the turn really ended like `how`.
    fn true_end(&self, how: &TurnEnd) -> Result<(), String> {
        let now = self.home.sim.with(|world| world.now);
        let work = self.work();
        let wrong = |what: &str| Err(format!("{how:?}, but {what}: {work:#?}"));
        let newest = work.last();
        if work.iter().any(|one| is_at_work(one, now)) {
            return wrong("an agent is at work");
        }
        let is_open = |one: &AgentWork| {
            one.is_open(now) && ms(one.accepted, now) < 110_000 && !is_hidden(one, now)
        };
        if newest.is_some_and(is_open) {
            return wrong("it may begin at any moment");
        }
        let end = newest.and_then(|one| one.over.as_ref()).map(|(_, end)| end);
        match (how, end) {
            (TurnEnd::Finished { message }, Some(AgentWorkEnd::Done(said))) if message == said => {
                Ok(())
            }
            (TurnEnd::Finished { .. }, _) => wrong("its work did not end so"),
            (TurnEnd::Interrupted, _) if self.tried == 0 => wrong("nobody interrupted it"),
            _ => Ok(()),
        }
    }
}

/// Whether an agent is at work of whom the adapter can know.
fn is_at_work(one: &AgentWork, now: afk_core::ids::At) -> bool {
    one.is_at_work(now) && !is_hidden(one, now)
}

/// Whether the adapter cannot know of what goes on with this work.
fn is_hidden(one: &AgentWork, now: afk_core::ids::At) -> bool {
    match &one.over {
        Some((_, AgentWorkEnd::Orphaned { since, is_known })) => {
            !is_known || ms(*since, now) >= ORPHANS
        }
        Some((_, AgentWorkEnd::Done(_) | AgentWorkEnd::Failed | AgentWorkEnd::Stopped)) | None => {
            false
        }
    }
}

fn ms(from: afk_core::ids::At, to: afk_core::ids::At) -> i64 {
    i64::try_from(to.duration_since(from).as_millis()).unwrap()
}

/// Reads a number from the environment, where `cargo xtask sim` puts it.
fn given(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn tell_all(seeds: std::ops::Range<u64>) {
    let all = stream::iter(seeds.clone()).map(|seed| async move { (seed, tell(seed, None).await) });
    let mut all = all.buffered(AT_ONCE);
    let mut failed = Vec::new();
    while let Some((seed, told)) = all.next().await {
        if let Err(wrong) = told {
            println!("seed {seed}: {wrong}");
            failed.push(seed);
        }
    }
    println!("{} seeds of lying servers, {} failed", seeds.count(), failed.len());
    assert!(failed.is_empty(), "seeds {failed:?}");
}

#[tokio::test]
async fn no_server_makes_the_adapter_conclude_what_is_not_so() {
    tell_all(0..SEEDS).await;
}

/// The test that `cargo xtask sim --t3` runs.
#[tokio::test]
#[ignore = "as many seeds as are asked for"]
async fn many_servers() {
    let from = given("AFK_T3_FROM", 0);
    tell_all(from..from + given("AFK_T3_SEEDS", 1000)).await;
}

/// The test whose output `cargo xtask sim --bad` shows.
#[tokio::test]
async fn every_known_bad_executor_is_caught() {
    let mut missed = Vec::new();
    for bad in BadExecutor::ALL {
        let mut caught = None;
        for seed in 0..CATCHES {
            if let Err(wrong) = tell(seed, Some(bad)).await {
                caught = Some((seed + 1, wrong));
                break;
            }
        }
        match &caught {
            Some((seeds, wrong)) => {
                let wrong = wrong.lines().next().unwrap_or_default();
                println!("T3 {bad:?}: {seeds} of at most {CATCHES} seeds: {wrong}");
            }
            None => println!("T3 {bad:?}: NOT CAUGHT, by {CATCHES} seeds"),
        }
        let right =
            caught.is_some_and(|(_, wrong)| says(bad).iter().any(|word| wrong.contains(word)));
        if !right {
            missed.push(bad);
        }
    }
    let all = BadExecutor::ALL.len();
    println!("{} of {all} known-bad executors are caught", all - missed.len());
    assert!(missed.is_empty(), "not caught for what they are: {missed:?}");
}

/// An honest executor passes the very seeds that the known-bad ones are caught by.
#[tokio::test]
async fn what_the_known_bad_executors_are_asked_is_fair() {
    for bad in BadExecutor::ALL {
        let told = stream::iter(0..FAIR).map(|seed| told_by(seed, Odds::that_ask(bad), None));
        let wrong: Vec<String> =
            told.buffered(AT_ONCE).filter_map(async |told| told.err()).collect().await;
        assert!(wrong.is_empty(), "{bad:?}: {wrong:#?}");
    }
}

/// Words of the error that must catch each executor: one that is caught for another reason does not
/// show that the check it is there for can fail.
fn says(bad: BadExecutor) -> &'static [&'static str] {
    match bad {
        BadExecutor::CompletedIsSuccess | BadExecutor::ForgetsItsInterrupts => {
            &["its work did not end so"]
        }
        BadExecutor::TrustsLatestTurn => &["but"],
        BadExecutor::RetriesWithNewId => &["agents"],
        BadExecutor::InterruptsUnnamed => &["although it was interrupted"],
        BadExecutor::BelievesOrphansDead => &["an agent is at work", "nothing is alive"],
        BadExecutor::WaitsForEver => &["has no end"],
    }
}
