//! The stories in which a process dies: what the agent does in each, what people do, and how it
//! ends if no process dies.

use afk_core::config::Policy;
use afk_core::doorbell::DoorbellKind;
use afk_core::ids::Actor;
use afk_core::plan::End;
use afk_core::run::Run;
use afk_core::usd::Usd;
use afk_sim::story::{breaking_work, fixing_work, good_work, repo, seven};
use afk_sim::world::{Script, TurnState, World, person};
use jiff::SignedDuration;

/// A story.
pub(crate) struct Plot {
    pub(crate) name: &'static str,
    /// What the agent does, turn by turn.
    pub(crate) scripts: fn() -> Vec<Script>,
    pub(crate) configure: fn(&mut Policy),
    /// What people do between ticks; the number counts what they have done.
    pub(crate) people: fn(&mut World, &Seen, &mut u32),
    /// The process dies only after this call of another port; before it the story is the same as
    /// another one.
    pub(crate) from: Option<&'static str>,
    pub(crate) end: End,
    /// Commits that land.
    pub(crate) landings: usize,
    pub(crate) turns: usize,
    /// The doorbells that ring.
    pub(crate) bells: &'static [DoorbellKind],
}

/// What the store says between two ticks.
pub(crate) struct Seen {
    pub(crate) runs: Vec<Run>,
    pub(crate) frozen: bool,
    /// How many sends wait in the outbox.
    pub(crate) waiting: u64,
}

impl Seen {
    /// Whether there are runs, and every one is settled.
    pub(crate) fn settled(&self) -> bool {
        !self.runs.is_empty() && self.runs.iter().all(|run| run.settled_at.is_some())
    }

    /// Whether the story is over.
    pub(crate) fn over(&self) -> bool {
        self.settled() && self.waiting == 0 && !self.frozen
    }
}

pub(crate) const STRAIGHT: Plot = Plot {
    name: "straight",
    scripts: || vec![good_work()],
    configure: |_| {},
    people: |_, _, _| {},
    from: None,
    end: End::Done,
    landings: 1,
    turns: 1,
    bells: &[DoorbellKind::Done],
};

pub(crate) const FIX_FORWARD: Plot = Plot {
    name: "fix-forward",
    scripts: || vec![breaking_work(), fixing_work()],
    from: Some("git.push"),
    landings: 2,
    turns: 2,
    ..STRAIGHT
};

/// The doorbell is out of order until the run is settled, and there is a spend cap on the day.
pub(crate) const GIVES_UP: Plot = Plot {
    name: "gives up",
    scripts: || vec![Script::acts(Vec::new())],
    configure: |config| config.day_budget_usd = Some(Usd::dollars(500)),
    people: |world, seen, done| {
        world.break_doorbells(!seen.settled());
        if seen.settled() && *done == 0 {
            // Past the pause before the next attempt to ring.
            world.advance(SignedDuration::from_secs(5));
            *done = 1;
        }
    },
    end: End::NeedsHuman,
    landings: 0,
    bells: &[DoorbellKind::NeedsHuman],
    ..STRAIGHT
};

pub(crate) const STOPPED: Plot = Plot {
    name: "a person stops it",
    scripts: || vec![Script::hangs()],
    people: |world, _, done| {
        if *done == 0 && at_work(world) {
            world.write_comment(&seven(), "/afk stop", &person("ann"));
            *done = 1;
        }
    },
    end: End::Withdrawn,
    landings: 0,
    bells: &[],
    ..STRAIGHT
};

pub(crate) const FROZEN: Plot = Plot {
    name: "closed by its own commit, frozen, paged and lifted",
    scripts: || vec![breaking_work()],
    configure: |config| config.fix_forward_max_attempts = 0,
    people: |world, seen, done| {
        let landed = world.git.history(&repo("o/r")).len() > 1;
        match *done {
            // As a forge does when it finds a closing keyword in a commit.
            0 if landed => {
                world.set_open(&seven(), false, &Actor { bot: true, ..person("afk") });
            }
            1 if seen.settled() && !world.rung().is_empty() => {
                world.advance(SignedDuration::from_hours(1));
            }
            2 if world.rung().iter().any(|bell| bell.body.contains("page 1")) => {
                world.write_comment(&seven(), "/afk unfreeze", &person("ann"));
            }
            _ => return,
        }
        *done += 1;
    },
    from: Some("git.push"),
    end: End::Frozen,
    bells: &[DoorbellKind::Frozen, DoorbellKind::Frozen],
    ..STRAIGHT
};

/// The agent is missing, and is installed once the doorbell has rung for that.
pub(crate) const LACKING: Plot = Plot {
    name: "an agent that is missing at first",
    people: |world, _, done| match *done {
        0 => {
            world.agents.missing = true;
            *done = 1;
        }
        1 if !world.rung().is_empty() => {
            world.agents.missing = false;
            *done = 2;
        }
        _ => {}
    },
    bells: &[DoorbellKind::Held, DoorbellKind::Done],
    ..STRAIGHT
};

/// All of them.
pub(crate) const ALL: [&Plot; 6] =
    [&STRAIGHT, &FIX_FORWARD, &GIVES_UP, &STOPPED, &FROZEN, &LACKING];

/// Whether a turn is at work and the issue's label shows it.
fn at_work(world: &World) -> bool {
    let turns = world.agents.turns_of(&repo("o/r"));
    let running = turns.iter().any(|turn| turn.state == TurnState::Running);
    running && world.tracker.issues[&seven()].has("agent-in-progress")
}
