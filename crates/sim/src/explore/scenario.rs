//! What a seed stands for: the world at the start, and what will happen to it.
//!
//! Everything but the interleaving is drawn up front, so that an act or a fault
//! can be left out and the rest stays.

use afk_core::config::{Config, History};
use afk_core::ids::RepoName;
use afk_core::issue::Permission;
use afk_core::run::TurnEnd;
use afk_core::usd::Usd;
use afk_engine::ports::PortErrorKind;
use jiff::SignedDuration;

use super::rng::Rng;
use crate::fakes::Fate;
use crate::story;
use crate::world::{Act, PushFate, Script, World};

/// Steps in which people act and ports fail; after them all is calm.
pub(super) const STEPS: u64 = 700;

/// Everything that a seed decides.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// Control planes, one or two.
    pub planes: usize,
    /// What happens in the world, by step.
    pub acts: Vec<(u64, Happens)>,
    /// What calls suffer, by their place among all calls.
    pub faults: Vec<(u64, Fate)>,
}

/// One thing that happens outside the loop.
#[derive(Debug, Clone)]
pub enum Happens {
    /// A person puts a label on an issue, or takes it off.
    Label(String, &'static str, bool, &'static str),
    /// A person closes an issue or opens it again.
    Open(String, bool, &'static str),
    /// A person changes an issue's text.
    Edit(String, &'static str, &'static str),
    /// Somebody else pushes.
    Push(&'static str, &'static str, &'static str),
    /// Everything is halted, or goes on.
    Halt(bool),
    /// Dispatch is paused, or goes on.
    Pause(bool),
    /// A repo is frozen, or thawed.
    Freeze(&'static str, bool),
    /// The kill switch.
    Kill(bool),
    /// A repo is taken off the allowlist, or put on.
    Enroll(&'static str, bool),
    /// The newest configuration is bad, or mended.
    Bad(bool),
    /// The switches cannot be read, or can again.
    Unreadable(bool),
    /// What becomes of the next push.
    Fate(PushFate),
    /// Running agents are lost.
    LoseTurns,
    /// Running jobs are lost.
    LoseJobs,
    /// Bells are out of order, or mended.
    Bells(bool),
    /// A tracker does not answer, or answers again.
    Mute(&'static str, bool),
    /// Much time passes at once.
    Jump(i64),
    /// A control plane dies between two calls.
    Crash(usize),
}

const REPOS: [&str; 3] = ["o/r", "o/s", "p/q"];

impl Scenario {
    /// What `seed` stands for.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 1);
        let planes = if rng.chance(40) { 2 } else { 1 };
        let repos = &REPOS[..repos(seed)];
        let calm = rng.chance(10);
        let count = if calm { 0 } else { rng.below(10) };
        let mut acts: Vec<_> =
            (0..count).map(|_| (rng.below(STEPS), happens(&mut rng, repos, planes))).collect();
        acts.sort_by_key(|(step, _)| *step);
        let count = if calm { 0 } else { rng.below(14) };
        let mut faults: Vec<_> = (0..count).map(|_| (rng.below(STEPS), fate(&mut rng))).collect();
        faults.sort_by_key(|(call, _)| *call);
        faults.dedup_by_key(|(call, _)| *call);
        Self { seed, planes, acts, faults }
    }

    /// The world at the start.
    pub(super) fn world(&self) -> World {
        let mut rng = Rng::new(self.seed, 2);
        let repos = &REPOS[..repos(self.seed)];
        let mut world = World::new(config(&mut rng, repos), story::start());
        world.tracker.permissions.insert("ann".to_owned(), Permission::Write);
        world.tracker.permissions.insert("bob".to_owned(), Permission::Read);
        for repo in repos {
            let name = story::repo(repo);
            world.somebody_lands(&name, &[("README.md", "hello"), ("src/lib", "one")]);
            let scripts = (0..rng.below(9)).map(|n| script(&mut rng, n)).collect();
            world.agents.scripts.insert(name, scripts);
            for number in 1..=rng.below(3) + u64::from(*repo == "o/r") {
                issue(&mut world, &mut rng, repo, number);
            }
        }
        world.replicate();
        world
    }
}

fn repos(seed: u64) -> usize {
    1 + Rng::new(seed, 3).below(3) as usize
}

fn config(rng: &mut Rng, repos: &[&str]) -> Config {
    let mut config = Config {
        kill_switch: false,
        max_concurrent_runs: 1 + rng.below(2) as u32,
        budget_usd: Usd::dollars(3),
        landing_refusals_max: 2,
        fix_forward_max_attempts: 2,
        fix_forward_max_seconds: 300,
        executor_retries_max: 1 + rng.below(2) as u32,
        stall_timeout_seconds: 60,
        stage_timeout_seconds: 120,
        run_timeout_seconds: 900,
        poll_seconds: 5,
        ..Config::default()
    };
    for repo in repos {
        story::enroll(&mut config, repo);
    }
    if rng.chance(30) {
        config.day_budget_usd = Some(Usd::dollars(7));
    }
    let merge = rng.chance(20);
    let alone = rng.chance(15);
    for repo in config.repos.values_mut() {
        repo.verify_timeout_seconds = 60;
        repo.freeze_repo = !alone;
        if merge {
            repo.history = History::Merge;
        }
    }
    config
}

fn issue(world: &mut World, rng: &mut Rng, repo: &str, number: u64) {
    let body = match rng.below(6) {
        0 if number > 1 => "Blocked by #1",
        1 => "Not blocked by #99; see #1",
        _ => "Do the work.",
    };
    let by = if rng.chance(80) { "ann" } else { "mallory" };
    let labels: &[&str] = match rng.below(5) {
        0 => &["priority:1", "ready-for-agent"],
        1 => &["ready-for-agent", "P0"],
        _ => &["ready-for-agent"],
    };
    world.file(&format!("{repo}#{number}"), body, labels, by);
}

/// Files that one piece of work brings: its test, and what passes it.
const WORKS: [[(&str, &str); 2]; 3] = [
    [("tests/two", "expect src/two two"), ("src/two", "two")],
    [("tests/three", "expect src/three three"), ("src/three", "three")],
    [("tests/four", "expect src/four four"), ("src/four", "four")],
];

fn commit(message: &'static str, file: (&'static str, &'static str)) -> Act {
    Act::Commit { message, files: vec![(file.0, Some(file.1))] }
}

fn script(rng: &mut Rng, n: u64) -> Script {
    let [test, code] = WORKS[(n % 3) as usize];
    let good = vec![commit("Expect it", test), commit("Make it so", code)];
    let with = |more: Act| good.iter().cloned().chain([more]).collect::<Vec<_>>();
    let failed = |message: &str| TurnEnd::Failed { message: message.to_owned() };
    let mut script = match rng.below(20) {
        0..=6 => Script::acts(good),
        7 | 8 => Script::acts(with(commit("Add a note", ("src/note", "BREAKS-CI")))),
        9 | 10 => Script::acts(vec![commit("Mend the note", ("src/note", "fine"))]),
        11 => Script::acts(vec![commit("Make it so", code)]),
        12 => Script::acts(vec![commit("Expect much", ("tests/never", "expect src/lib never"))]),
        13 => Script::hangs(),
        14 => Script::ends(Vec::new(), failed("the service is away")),
        15 => Script::ends(good, failed("it broke off")),
        16 => Script::ends(Vec::new(), TurnEnd::Limited { resets_at: None }),
        17 => Script::acts(with(Act::Dirty("src/left"))),
        18 => Script::acts(vec![Act::Discard, commit("Skip it [skip ci]", code)]),
        _ => Script::acts(Vec::new()),
    };
    script.cost = Usd::micros(rng.pick(&[100_000, 400_000, 2_000_000]));
    script
}

fn fate(rng: &mut Rng) -> Fate {
    let until = story::start() + SignedDuration::from_secs(rng.below(200).cast_signed());
    let kind = match rng.below(12) {
        0 | 1 => PortErrorKind::RateLimited { until },
        2 => PortErrorKind::Auth,
        _ => PortErrorKind::Transient,
    };
    match rng.below(10) {
        0..=2 => Fate::Before(kind),
        3..=5 => Fate::After(kind),
        6 => Fate::Stale,
        7 => Fate::DiesBefore,
        _ => Fate::DiesAfter,
    }
}

fn happens(rng: &mut Rng, repos: &[&'static str], planes: usize) -> Happens {
    let repo = rng.pick(repos);
    let issue = format!("{repo}#{}", 1 + rng.below(3));
    let who = rng.pick(&["ann", "ann", "bob", "mallory"]);
    let on = rng.chance(50);
    match rng.below(22) {
        0 | 1 => Happens::Label(issue, "ready-for-agent", on, who),
        2 => Happens::Label(issue, "agent-in-progress", on, who),
        3 => Happens::Open(issue, on, who),
        4 | 5 => Happens::Edit(issue, rng.pick(&["Other work.", "Blocked by #1"]), who),
        6 => Happens::Push(repo, "src/other", rng.pick(&["fine", "BREAKS-CI"])),
        7 => Happens::Push(repo, "src/two", "theirs"),
        8 | 9 => Happens::Halt(on || rng.chance(40)),
        10 => Happens::Pause(on),
        11 => Happens::Freeze(repo, on),
        12 => Happens::Kill(on),
        13 => Happens::Enroll(repo, on),
        14 => Happens::Bad(on),
        15 => Happens::Unreadable(on),
        16 => Happens::Fate(rng.pick(&[
            PushFate::Overtaken(vec![("src/other", "first")]),
            PushFate::LandedUnknown,
            PushFate::LostUnknown,
            PushFate::Refused("protected"),
        ])),
        17 => Happens::LoseTurns,
        18 => Happens::LoseJobs,
        19 if on => Happens::Bells(rng.chance(50)),
        19 => Happens::Mute(repo, rng.chance(60)),
        20 => Happens::Jump(rng.pick(&[7, 35, 70, 400, 5_000])),
        _ => Happens::Crash(rng.below(planes as u64) as usize),
    }
}

/// The repos that a world may have.
pub(super) fn all_repos() -> Vec<RepoName> {
    REPOS.iter().map(|name| story::repo(name)).collect()
}
