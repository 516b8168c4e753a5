//! A halt comes after any call of a story, in the middle of a pass: once it has been
//! read, nothing more is started and nothing is pushed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::pin::Pin;
use std::task::{Context, Waker};

use afk_core::ids::At;
use afk_engine::Engine;
use afk_engine::ports::Switch;
use afk_sim::fakes::{Fate, Gate, Sim, Waiting};
use afk_sim::story::{Story, breaking_work, mending_work, repo};
use afk_sim::world::World;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

/// One engine whose calls are let through one by one.
struct Stepped {
    story: Story,
    gate: Gate,
    engine: Engine,
    ticking: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Stepped {
    fn new() -> Self {
        let story = Story::new().with_issue(vec![breaking_work(), mending_work()]);
        let gate = Gate::default();
        let behind: Sim = story.sim.behind(&gate, 0);
        let engine = Engine::new(behind.ports(), "first");
        Self { story, gate, engine, ticking: None }
    }

    fn poll(&mut self) {
        let Some(ticking) = &mut self.ticking else { return };
        if ticking.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.ticking = None;
        }
    }

    /// Lets one call through, or begins the next tick of the story.
    fn step(&mut self) {
        if let Some(one) = self.gate.waiting().first() {
            self.grant(*one);
            return;
        }
        assert!(self.ticking.is_none(), "a tick neither ends nor asks");
        self.story.sim.with(World::step);
        self.pass_time(1_000);
        let engine = self.engine.clone();
        self.ticking = Some(Box::pin(async move {
            engine.tick(true, &CancellationToken::new()).await.expect("no call fails");
        }));
        self.poll();
    }

    fn grant(&mut self, one: Waiting) {
        self.gate.grant(one.ticket, Fate::Done);
        self.poll();
    }

    fn pass_time(&mut self, millis: i64) {
        self.story.sim.advance(SignedDuration::from_millis(millis));
        self.poll();
    }

    /// Lets the looks at the switches through, and nothing else.
    fn look_at_switches(&mut self) {
        while let Some(one) =
            self.gate.waiting().into_iter().find(|one| one.name == "store.switches")
        {
            self.grant(one);
        }
    }

    /// Turns and jobs that were started, and where the default branch stands.
    fn done(&self) -> (usize, usize, usize) {
        self.story.sim.with(|world| {
            let landed = world.git.history(&repo("o/r")).len();
            (world.agents.turns.len(), world.jobs.started.len(), landed)
        })
    }

    fn settled(&self) -> bool {
        self.story.sim.with(|world| {
            let runs = world.store.all();
            !runs.is_empty() && runs.iter().all(|run| run.settled_at.is_some())
        })
    }
}

/// Halts after `n` calls; false where the story was over before.
fn halted_after(n: usize) -> bool {
    let mut stepped = Stepped::new();
    for _ in 0..n {
        if stepped.settled() {
            return false;
        }
        stepped.step();
    }
    stepped.story.switch(&Switch::Halt, true);
    stepped.pass_time(600);
    stepped.look_at_switches();
    // What was asked for before the halt was read may still be done.
    let read: At = stepped.story.sim.with(|world| world.now);
    stepped.pass_time(100);
    for one in stepped.gate.waiting().into_iter().filter(|one| one.since <= read) {
        stepped.grant(one);
    }
    let before = stepped.done();
    for _ in 0..120 {
        stepped.step();
    }
    assert_eq!(stepped.done(), before, "something was begun under a halt after {n} calls");
    true
}

#[test]
fn nothing_begins_once_a_halt_was_read_wherever_a_pass_is() {
    let told = (0..5_000).take_while(|n| halted_after(*n)).count();
    assert!(told > 100, "only {told} calls");
    println!("halted after each of {told} calls");
}
