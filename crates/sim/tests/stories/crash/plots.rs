//! The stories that the sweep tells: what agents and people do in each, and how it ends when
//! nothing goes wrong.

use afk_core::ask::Permissions;
use afk_core::config::{History, Policy};
use afk_core::ids::Actor;
use afk_core::plan::End;
use afk_core::request::{PersonRequest, Request};
use afk_core::run::TurnEnd;
use afk_core::usd::Usd;
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{JobKind, JobState, Switch, SwitchState};
use afk_sim::story::{
    Story, breaking_work, far, fixing_work, good_work, permit, polled, pulls, repo, seven, start,
    tested, untested_work,
};
use afk_sim::world::{Act, Asks, JobRecord, PushFate, Says, Script, TurnState, World, person};
use jiff::SignedDuration;

use super::sweep::Part;

/// A story. Its end with faults is compared with its undisturbed end, and that with the fields
/// below.
pub(super) struct Plot {
    pub(super) name: &'static str,
    /// What the agent does, turn by turn.
    pub(super) scripts: fn() -> Vec<Script>,
    pub(super) configure: fn(&mut Policy),
    /// Changes the world before the first tick.
    pub(super) world: fn(&mut World),
    /// What people do between ticks; the number counts what they have done so far.
    pub(super) people: fn(&mut World, &mut u32),
    /// What must hold, too, before the story is over.
    pub(super) over: fn(&World) -> bool,
    /// Whether its agent waits. A switch that cannot be read would interrupt the agent, which makes
    /// it another story, so those reads do not fail here.
    pub(super) waits: bool,
    pub(super) end: End,
    /// Commits on the default branch after the first, others' included.
    pub(super) landings: usize,
    pub(super) turns: usize,
    /// The part of its calls that is swept.
    pub(super) part: Part,
}

const DONE: Plot = Plot {
    name: "straight",
    scripts: || vec![good_work()],
    configure: |_| {},
    world: |_| {},
    people: |_, _| {},
    over: |_| true,
    waits: false,
    end: End::Done,
    landings: 1,
    turns: 1,
    part: Part::All,
};

const STOPPED: Plot = Plot { end: End::NeedsHuman, landings: 0, ..DONE };

/// Stories that land without further ado.
pub(super) const STRAIGHT: Plot = DONE;
pub(super) const FIX_FORWARD: Plot = Plot {
    name: "fix-forward",
    scripts: || vec![breaking_work(), fixing_work()],
    landings: 2,
    turns: 2,
    ..DONE
};
pub(super) const REFUSED_ONCE: Plot =
    Plot { name: "refused once", scripts: || vec![untested_work(), tests()], turns: 2, ..DONE };
pub(super) const REWORDED: Plot = Plot {
    name: "the messages of commits that are kept are written anew",
    scripts: || {
        let (mut hasty, mut anew) = (good_work(), good_work());
        hasty.acts.push(Act::Commit {
            message: "Quick [skip ci]",
            files: vec![("src/note", Some("fine"))],
        });
        anew.acts.insert(0, Act::Follow);
        vec![hasty, anew]
    },
    configure: |config| {
        for table in config.repos.values_mut() {
            table.history = History::Merge;
        }
    },
    turns: 2,
    ..DONE
};
pub(super) const DESCENDANT: Plot = Plot {
    name: "a descendant speaks",
    scripts: || vec![voiding_work()],
    world: |world| {
        world.git.fates = [PushFate::Followed(vec![("src/note", "fine")])].into();
    },
    landings: 2,
    ..DONE
};
pub(super) const TESTED: Plot = Plot { name: "tested", configure: tested, part: Part::Try, ..DONE };
pub(super) const TESTED_RED: Plot = Plot {
    name: "tested, red before landing",
    scripts: || vec![breaking_work(), fixing_work()],
    configure: tested,
    turns: 2,
    part: Part::Try,
    ..DONE
};
pub(super) const POLLED: Plot = Plot {
    name: "stages that are polled, and of which one poll fails by chance",
    configure: polled,
    world: |world| {
        let failure = Says::Answer(StageAnswer::Failure);
        world.stages.says.insert("ci".to_owned(), [failure].into());
    },
    part: Part::FromPush,
    ..DONE
};
pub(super) const PULLED: Plot = Plot {
    name: "people merge a pull request with more than was judged",
    configure: pulls,
    people: |world, done| {
        if *done == 0 && !world.pulls.opened.is_empty() {
            world.somebody_lands(&repo("o/r"), &[("src/other", "theirs")]);
            world.people_merge(&repo("o/r"));
            *done = 1;
        }
    },
    landings: 2,
    part: Part::Try,
    ..DONE
};
pub(super) const TAKEN_BACK: Plot = Plot {
    name: "stopped while its pull request is open",
    configure: pulls,
    people: |world, done| {
        if *done == 0 && !world.pulls.opened.is_empty() {
            let run = world.store.all().pop().expect("a run").id;
            let (by, at) = (person("ann"), world.now);
            world.add_request(
                run,
                &PersonRequest { id: "stop".to_owned(), by, at, what: Request::Stop },
            );
            *done = 1;
        }
    },
    end: End::Withdrawn,
    part: Part::Try,
    ..STOPPED
};
pub(super) const RACED: Plot = Plot {
    name: "somebody else lands first",
    world: |world| {
        world.git.fates = [PushFate::Overtaken(vec![("src/other", "theirs")])].into();
    },
    landings: 2,
    part: Part::FromPush,
    ..DONE
};

pub(super) const PURGED: Plot = Plot {
    name: "the commit that the work stands on is purged, and the first push is refused",
    world: |world| {
        world.somebody_lands(&repo("o/r"), &[("src/other", "not for everybody")]);
        world.git.fates = [PushFate::Refused("the branch is locked")].into();
    },
    people: |world, done| {
        if *done == 0 && !world.agents.turns.is_empty() {
            world.somebody_rewinds(&repo("o/r"));
            *done = 1;
        }
    },
    part: Part::FromCandidate,
    ..DONE
};

pub(super) const FAR: Plot = Plot {
    name: "an agent far away lands by itself, and fixes what was red",
    scripts: || vec![breaking_work(), fixing_work()],
    world: far,
    landings: 4,
    turns: 2,
    ..DONE
};
pub(super) const FAR_STOPPED: Plot = Plot {
    name: "stopped far away, and pushed all the same",
    scripts: || vec![Script { end: None, ..good_work() }],
    world: |world| {
        far(world);
        world.agents.lingering = true;
    },
    people: |world, done| {
        if *done == 0 && at_work(world) {
            let run = world.store.all().pop().expect("a run").id;
            let (by, at) = (person("ann"), world.now);
            world.add_request(
                run,
                &PersonRequest { id: "stop".to_owned(), by, at, what: Request::Stop },
            );
            *done = 1;
        }
    },
    waits: true,
    landings: 2,
    ..DONE
};

/// Stories in which something waits, or people speak.
pub(super) const LIMITED: Plot = Plot {
    name: "a usage limit",
    scripts: || {
        let resets_at = start().checked_add(SignedDuration::from_secs(20)).ok();
        vec![Script::ends(Vec::new(), TurnEnd::Limited { resets_at }), good_work()]
    },
    turns: 2,
    part: Part::UntilTurn(2),
    ..DONE
};
pub(super) const ASKED: Plot = Plot {
    name: "the agent asks, and nobody answers in time",
    scripts: || vec![Script { asks: Some(Asks::Question("Which greeting?")), ..good_work() }],
    configure: |config| {
        permit(config, Permissions::Ask);
        config.question_timeout_seconds = 10;
    },
    waits: true,
    part: Part::UntilTurn(2),
    ..DONE
};
pub(super) const SAID: Plot = Plot {
    name: "a comment says something",
    scripts: || vec![Script::hangs(), good_work()],
    people: |world, done| {
        if *done == 0 && at_work(world) {
            world.write_comment(&seven(), "/afk say Mind the hinges.", &person("ann"));
            *done = 1;
        } else if *done == 1 && !world.store.requests.is_empty() {
            let end = TurnEnd::Finished { message: "Done.".to_owned() };
            world.agents.turns.values_mut().next().expect("a turn").state = TurnState::Ended(end);
            *done = 2;
        }
    },
    turns: 2,
    waits: true,
    part: Part::UntilTurn(2),
    ..DONE
};
pub(super) const HALTED: Plot = Plot {
    name: "halted and resumed",
    scripts: || vec![Script::hangs(), good_work()],
    people: |world, done| {
        let halt = Switch::Halt;
        if *done == 0 && at_work(world) {
            let why = "lunch".to_owned();
            let state = SwitchState { by: "ann".to_owned(), at: world.now, why };
            world.throw(&halt, Some(&state));
            *done = 1;
        } else if *done == 1 && !running(world) {
            world.throw(&halt, None);
            *done = 2;
        }
    },
    turns: 2,
    waits: true,
    part: Part::UntilTurn(2),
    ..DONE
};

pub(super) const CAPPED: Plot = Plot {
    name: "caps, a blocker that is closed, packages, tests that report, a host that dies",
    configure: |config| {
        config.day_budget_usd = Some(Usd::dollars(500));
        for table in config.repos.values_mut() {
            table.proof.junit = Some("report.xml".to_owned());
            table.proof.fetch = Some(vec!["fetch".to_owned()]);
        }
    },
    world: |world| {
        let three = world.file("o/r#3", "Say one.", &[], "ann");
        world.set_open(&three, false, &person("ann"));
        world.set_body(&seven(), "Say two.\n\nBlocked by #3", &person("ann"));
    },
    people: |world, done| {
        let judged = |job: &&mut JobRecord| matches!(job.job.kind, JobKind::Judge { .. });
        if *done == 0
            && let Some(job) = world.jobs.jobs.values_mut().find(judged)
        {
            job.state = JobState::Lost;
            *done = 1;
        }
    },
    part: Part::UntilTurn(2),
    ..DONE
};
pub(super) const MUTE: Plot = Plot {
    name: "a bell out of order at first",
    world: |world| world.break_doorbells(true),
    people: |world, _| {
        if world.store.all().iter().any(|run| run.settled_at.is_some()) {
            world.break_doorbells(false);
        }
    },
    over: |world| world.doorbells.broken.is_empty(),
    part: Part::FromPush,
    ..DONE
};

pub(super) const LACKING: Plot = Plot {
    name: "an agent that is installed when that has rung",
    world: |world| world.agents.missing = true,
    people: |world, done| {
        if *done == 0 && !world.rung().is_empty() {
            world.agents.missing = false;
            *done = 1;
        }
    },
    part: Part::UntilTurn(1),
    ..DONE
};

/// Stories that are handed back.
pub(super) const GIVES_UP: Plot =
    Plot { name: "gives up", scripts: || vec![Script::acts(Vec::new())], ..STOPPED };
pub(super) const FROZEN: Plot = Plot {
    name: "closed by its own commit, frozen, paged and lifted",
    scripts: || vec![breaking_work()],
    configure: |config| config.fix_forward_max_attempts = 0,
    people: |world, done| {
        let landed = world.git.history(&repo("o/r")).len() > 1;
        let ended = world.store.all().iter().any(|run| run.settled_at.is_some());
        match *done {
            // As a forge does that finds a closing keyword in a commit.
            0 if landed => world.set_open(&seven(), false, &own()),
            1 if ended && !world.rung().is_empty() => {
                world.advance(SignedDuration::from_hours(1));
                true
            }
            2 if world.rung().iter().any(|bell| bell.body.contains("page 1")) => {
                world.write_comment(&seven(), "/afk unfreeze", &person("ann"));
                true
            }
            _ => return,
        };
        *done += 1;
    },
    over: |world| {
        let frozen = world.store.switches.freeze_of(&repo("o/r")).is_some();
        !frozen && world.rung().len() > 1
    },
    end: End::Frozen,
    landings: 1,
    part: Part::FromPush,
    ..DONE
};
pub(super) const LET_GO: Plot = Plot {
    name: "a person stops it",
    scripts: || vec![Script::hangs()],
    people: |world, done| {
        if *done == 0 && at_work(world) {
            let run = world.store.all().pop().expect("a run").id;
            let (by, at) = (person("ann"), world.now);
            world.add_request(
                run,
                &PersonRequest { id: "stop".to_owned(), by, at, what: Request::Stop },
            );
            *done = 1;
        }
    },
    end: End::Withdrawn,
    waits: true,
    ..STOPPED
};

/// All plots.
pub(super) const ALL: [&Plot; 24] = [
    &STRAIGHT,
    &FIX_FORWARD,
    &REFUSED_ONCE,
    &REWORDED,
    &DESCENDANT,
    &TESTED,
    &TESTED_RED,
    &POLLED,
    &PULLED,
    &TAKEN_BACK,
    &RACED,
    &PURGED,
    &FAR,
    &FAR_STOPPED,
    &LIMITED,
    &ASKED,
    &SAID,
    &HALTED,
    &CAPPED,
    &MUTE,
    &LACKING,
    &GIVES_UP,
    &FROZEN,
    &LET_GO,
];

impl Plot {
    /// The story before its first tick.
    pub(super) fn told(&self) -> Story {
        let story = Story::new().with_issue((self.scripts)()).configure(self.configure);
        story.sim.with(self.world);
        story
    }
}

/// Whether people can see a turn at work, by the in-progress label.
fn at_work(world: &World) -> bool {
    running(world) && world.tracker.issues[&seven()].has("agent-in-progress")
}

/// The account that the loop has on the tracker.
fn own() -> Actor {
    Actor { bot: true, ..person("afk") }
}

fn running(world: &World) -> bool {
    world.agents.turns_of(&repo("o/r")).iter().any(|turn| turn.state == TurnState::Running)
}

/// The test that [`untested_work`] lacks.
fn tests() -> Script {
    Script::acts(vec![Act::Commit {
        message: "Expect two",
        files: vec![("tests/two", Some("expect src/lib two"))],
    }])
}

/// Good work about which no stage can say anything, because none can run.
fn voiding_work() -> Script {
    let mut script = good_work();
    let files = vec![("src/note", Some("VOIDS-CI"))];
    script.acts.push(Act::Commit { message: "Add a note", files });
    script
}
