//! Draws a scenario from a seed.
//!
//! Everything but the interleaving is drawn up front, so that an act or a fault can be left out
//! without changing the rest.

use super::rng::{Purpose, Rng};
use super::scenario::{
    Call, DECISIONS, Decided, Delivery, Error, Fault, Happens, IssueSetting, Lie, PushEnd,
    RepoSetting, Scenario, Setting, When,
};
use super::scripts::{Does, Work};
use crate::fakes::{FAR, LATE, MANY};
use crate::world::{Claimed, Says};
use afk_core::verdict::StageAnswer;

/// Steps in which people act and ports fail; afterwards they do not.
pub(super) const STEPS: u64 = 700;

/// Number of webhooks in a flood.
pub(super) const FLOOD: u64 = 1_000;

const REPOS: [&str; 3] = ["o/r", "o/s", "p/q"];

impl Scenario {
    /// The scenario of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, Purpose::Acts);
        let planes = if rng.chance(40) { 2 } else { 1 };
        let repos = &REPOS[..=Rng::new(seed, Purpose::Repos).below(3) as usize];
        let calm = rng.chance(10);
        let count = if calm { 0 } else { rng.below(10) };
        let mut acts: Vec<_> =
            (0..count).map(|_| (rng.below(STEPS), happens(&mut rng, repos, planes))).collect();
        acts.sort_by_key(|(step, _)| *step);
        let count = if calm { 0 } else { rng.below(14) };
        let faults = (0..count).map(|_| {
            let fault = fault(&mut rng);
            (suffers(&mut rng, fault), fault)
        });
        let faults: Vec<_> = faults.collect();
        let polled = Rng::new(seed, Purpose::Polled).chance(25);
        let mut people = Rng::new(seed, Purpose::People);
        let pulls = people.chance(20);
        if pulls {
            acts.extend((0..4).map(|_| decides(&mut people, repos)));
            acts.sort_by_key(|(step, _)| *step);
        }
        let mut acts: Vec<_> =
            acts.into_iter().map(|(step, act)| (When::Step(step), act)).collect();
        acts.extend(before_a_push(&mut Rng::new(seed, Purpose::BeforePush), repos));
        acts.extend(red_base(&mut Rng::new(seed, Purpose::RedBase), repos));
        acts.extend(permits(&mut Rng::new(seed, Purpose::Permits), repos));
        acts.extend(retries(&mut Rng::new(seed, Purpose::Retries), repos));
        let mut far = Rng::new(seed, Purpose::Far);
        let (is_far, lingering) = (far.chance(25), far.chance(50));
        acts.extend(flakes(&mut Rng::new(seed, Purpose::Flakes)));
        if !is_far && !pulls {
            acts.extend(rewrites(&mut Rng::new(seed, Purpose::Rewrites), repos));
        }
        if !is_far {
            acts.extend(claims(&mut Rng::new(seed, Purpose::Claims), repos));
        }
        let mut drawn = setting(&mut Rng::new(seed, Purpose::Setting), repos);
        if is_far {
            for turn in drawn.repos.iter_mut().flat_map(|repo| &mut repo.turns) {
                turn.unmarked = far.chance(8);
            }
        }
        acts.extend(limits(&mut Rng::new(seed, Purpose::Limits), repos));
        let mut hears = Audience::new(&mut Rng::new(seed, Purpose::Audience), repos, planes);
        if hears.quiet {
            // Nothing disturbs the loop, so that what must happen within a time can be judged.
            acts.retain(|(_, act)| !act.disturbs());
        }
        acts.append(&mut hears.acts);
        if hears.hears && (pulls || polled) {
            let mut later = Rng::new(seed, Purpose::Deliveries);
            let mut fate = |_| (DECISIONS + later.below(10), delivery(&mut later));
            hears.hooks.extend((0..4).map(&mut fate));
            acts.extend((0..later.below(3)).map(|_| lies(&mut later, repos)));
        }
        let mut rebases = Rng::new(seed, Purpose::Rebases);
        for turn in drawn.repos.iter_mut().flat_map(|repo| &mut repo.turns) {
            if turn.does == Does::LeavesDirt && rebases.chance(50) {
                turn.does = Does::LeavesRebase;
            }
        }
        let mut floods = Rng::new(seed, Purpose::Floods);
        for turn in drawn.repos.iter_mut().flat_map(|repo| &mut repo.turns) {
            if turn.does == Does::Breaks && floods.chance(25) {
                turn.does = Does::Floods;
            }
        }
        Self {
            about: String::new(),
            seed: Some(seed),
            planes,
            setting: Setting {
                daemon: hears.daemon,
                hears: hears.hears,
                buries: Rng::new(seed, Purpose::Buries).chance(50),
                polled,
                pulls,
                far: is_far,
                lingering: is_far && lingering,
                fetches: Rng::new(seed, Purpose::Fetches).chance(25),
                says: if polled { says(&mut Rng::new(seed, Purpose::Answers)) } else { Vec::new() },
                dead_webhook: Rng::new(seed, Purpose::DeadWebhook).chance(3),
                spelled: Rng::new(seed, Purpose::Spelled).chance(25),
                base_waits: Rng::new(seed, Purpose::BaseHealth).chance(10),
                ..drawn
            },
            acts,
            faults: if hears.quiet { Vec::new() } else { faults },
            hooks: hears.hooks,
        }
    }
}

/// What is drawn about daemons and webhooks.
struct Audience {
    daemon: bool,
    hears: bool,
    quiet: bool,
    acts: Vec<(When, Happens)>,
    hooks: Vec<(u64, Delivery)>,
}

impl Audience {
    fn new(rng: &mut Rng, repos: &[&str], planes: usize) -> Self {
        let daemon = rng.chance(20);
        let hears = daemon && rng.chance(90) || rng.chance(25);
        let quiet = daemon && rng.chance(50);
        let mut drawn = Self { daemon, hears, quiet, acts: Vec::new(), hooks: Vec::new() };
        if hears {
            drawn.hooks = (0..rng.below(12)).map(|_| (rng.below(40), delivery(rng))).collect();
            drawn.acts = (0..rng.below(4)).map(|_| forged(rng, repos)).collect();
            if rng.chance(20) {
                let (plane, from) = (rng.below(planes as u64) as usize, rng.below(STEPS));
                let until = from + rng.below(STEPS);
                drawn.acts.push((When::Step(from), Happens::Deaf(plane, true)));
                drawn.acts.push((When::Step(until), Happens::Deaf(plane, false)));
            }
        }
        if rng.chance(60) {
            drawn.acts.extend(released_late(rng, repos));
        }
        drawn
    }
}

fn delivery(rng: &mut Rng) -> Delivery {
    match rng.below(3) {
        0 => Delivery::Lost,
        1 => Delivery::Late(rng.below(20)),
        _ => Delivery::Twice(rng.below(20)),
    }
}

/// Somebody sends webhooks that the forge did not send, now and then a flood of them.
fn forged(rng: &mut Rng, repos: &[&str]) -> (When, Happens) {
    let repo = rng.pick(repos);
    let about = match rng.below(4) {
        0 => "x/stranger".to_owned(),
        1 => repo.to_owned(),
        _ => format!("{repo}#{}", 1 + rng.below(3)),
    };
    let count = rng.pick(&[1, 1, 3, FLOOD]);
    (When::Step(rng.below(STEPS)), Happens::Hook(about, count))
}

/// Somebody sends a webhook that says that every open pull request was merged, or that every stage
/// has passed.
fn lies(rng: &mut Rng, repos: &[&str]) -> (When, Happens) {
    let (repo, lie) = (rng.pick(repos).to_owned(), rng.pick(&[Lie::Merged, Lie::Passed]));
    let when = match rng.below(3) {
        0 => When::Step(rng.below(STEPS)),
        1 => When::After("stages.poll".to_owned(), 1 + rng.below(4)),
        _ => When::After("pullrequests.open".to_owned(), 1 + rng.below(2)),
    };
    (when, Happens::HookLie(repo, lie))
}

/// An issue is unreleased at the start, and mostly released later.
fn released_late(rng: &mut Rng, repos: &[&str]) -> Vec<(When, Happens)> {
    let issue = format!("{}#{}", rng.pick(repos), 1 + rng.below(3));
    let ready =
        |on| Happens::Label(issue.clone(), "ready-for-agent".to_owned(), on, "ann".to_owned());
    let mut acts = vec![(When::Step(0), ready(false))];
    if rng.chance(70) {
        acts.push((When::Step(1 + rng.below(STEPS)), ready(true)));
    }
    acts
}

/// Sometimes an account asks too much: its quota is used up, or it asked too fast.
fn limits(rng: &mut Rng, repos: &[&str]) -> Vec<(When, Happens)> {
    if !rng.chance(25) {
        return Vec::new();
    }
    let one = |rng: &mut Rng| {
        let repo = rng.pick(repos).to_owned();
        let act = if rng.chance(60) {
            Happens::Quota(repo, rng.below(30), rng.pick(&[10, 60, 200]))
        } else {
            Happens::Slow(repo)
        };
        (When::Step(rng.below(STEPS)), act)
    };
    (0..=rng.below(2)).map(|_| one(rng)).collect()
}

fn setting(rng: &mut Rng, repos: &[&str]) -> Setting {
    let mut setting = Setting {
        runs: 1 + rng.below(2) as u32,
        retries: 1 + rng.below(2) as u32,
        day: rng.chance(30).then_some(7),
        merge: rng.chance(20),
        alone: rng.chance(15),
        tested: rng.chance(25),
        fetches: false,
        hooks: rng.chance(15),
        unruly: rng.chance(20),
        daemon: false,
        hears: false,
        buries: false,
        polled: false,
        pulls: false,
        far: false,
        lingering: false,
        says: Vec::new(),
        webhook: rng.chance(50),
        dead_webhook: false,
        spelled: false,
        base_waits: false,
        shared: rng.chance(50),
        repos: Vec::new(),
    };
    for repo in repos {
        let turns = (0..rng.below(9)).map(|n| work(rng, n as usize)).collect();
        let issues = 1..=rng.below(3) + u64::from(*repo == "o/r");
        let issues = issues.map(|number| issue(rng, number)).collect();
        setting.repos.push(RepoSetting { name: (*repo).to_owned(), turns, issues });
    }
    setting
}

/// Sometimes something happens between a candidate's last read of the remote and its push: a
/// freeze, or so much time that the run's lease expires.
fn before_a_push(rng: &mut Rng, repos: &[&str]) -> Option<(When, Happens)> {
    let when = When::After("git.landed".to_owned(), 1 + rng.below(4));
    let act = match rng.below(12) {
        0 => Happens::Freeze(rng.pick(repos).to_owned(), true),
        1 => Happens::Jump(rng.pick(&[35, 70])),
        _ => return None,
    };
    Some((when, act))
}

/// Sometimes somebody breaks the default branch for `verify`, and mostly fixes it later.
fn red_base(rng: &mut Rng, repos: &[&str]) -> Vec<(When, Happens)> {
    if !rng.chance(15) {
        return Vec::new();
    }
    let (repo, from) = (rng.pick(repos).to_owned(), rng.below(STEPS / 2));
    let push =
        |path: &str, text: &str| Happens::Push(repo.clone(), path.to_owned(), text.to_owned());
    let broken = push("tests/theirs", "expect src/theirs whole");
    let mut acts = vec![(When::Step(from), broken)];
    if rng.chance(80) {
        let to = from + 1 + rng.below(STEPS / 2);
        acts.push((When::Step(to), push("src/theirs", "whole")));
    }
    acts
}

/// Sometimes a stage fails by chance, mostly right after a landing.
fn flakes(rng: &mut Rng) -> Vec<(When, Happens)> {
    if !rng.chance(20) {
        return Vec::new();
    }
    let when = match rng.below(3) {
        0 => When::Step(rng.below(STEPS)),
        _ => When::After("git.push".to_owned(), 1 + rng.below(2)),
    };
    vec![(when, Happens::Flake)]
}

/// Sometimes people rewrite a default branch, mostly while a turn starts or right after a push; and
/// sometimes a remote refuses pushes for a while.
fn rewrites(rng: &mut Rng, repos: &[&str]) -> Vec<(When, Happens)> {
    let mut acts = Vec::new();
    if rng.chance(25) {
        let repo = rng.pick(repos).to_owned();
        let n = 1 + rng.below(3);
        let when = match rng.below(4) {
            0 => When::Step(rng.below(STEPS)),
            1 => When::After("executor.start".to_owned(), n),
            _ => When::After("git.push".to_owned(), n),
        };
        // The first commit cannot be taken out, so there must be one on top of it.
        let own = ("src/other".to_owned(), "fine".to_owned());
        acts.push((When::Step(0), Happens::Push(repo.clone(), own.0, own.1)));
        acts.push((when, Happens::Rewind(repo)));
    }
    if rng.chance(15) {
        let (repo, from) = (rng.pick(repos).to_owned(), rng.below(STEPS));
        acts.push((When::Step(from), Happens::RefusePushes(repo.clone(), true)));
        let until = from + rng.below(STEPS);
        acts.push((When::Step(until), Happens::RefusePushes(repo, false)));
    }
    acts
}

/// Sometimes somebody pushes under the trailer of a run, mostly while its repo is being worked on.
fn claims(rng: &mut Rng, repos: &[&str]) -> Option<(When, Happens)> {
    if !rng.chance(15) {
        return None;
    }
    let repo = rng.pick(repos).to_owned();
    let kinds =
        [Claimed::Run, Claimed::OtherAttempt, Claimed::Unknown, Claimed::Picked, Claimed::Picked];
    let (how, n) = (rng.pick(&kinds), 1 + rng.below(3));
    let when = match rng.below(5) {
        0 => When::Step(rng.below(STEPS)),
        1 => When::After("executor.start".to_owned(), n),
        2 => When::After("git.merge".to_owned(), n),
        3 => When::After("git.landed".to_owned(), n),
        _ => When::After("git.push".to_owned(), n),
    };
    Some((when, Happens::Claim(repo, how)))
}

/// Sometimes somebody says by a label that a change needs no test.
fn permits(rng: &mut Rng, repos: &[&str]) -> Option<(When, Happens)> {
    if !rng.chance(25) {
        return None;
    }
    let issue = format!("{}#{}", rng.pick(repos), 1 + rng.below(3));
    let who = rng.pick(&["ann", "ann", "mallory"]).to_owned();
    let label = rng.pick(&["no-test-needed", "tests-may-change"]).to_owned();
    Some((When::Step(rng.below(STEPS)), Happens::Label(issue, label, true, who)))
}

/// Sometimes a retry is requested again and again, with or without a label that allows what a run
/// left.
fn retries(rng: &mut Rng, repos: &[&str]) -> Vec<(When, Happens)> {
    if !rng.chance(30) {
        return Vec::new();
    }
    let issue = format!("{}#{}", rng.pick(repos), 1 + rng.below(3));
    let mut step = rng.below(STEPS / 2);
    let mut acts = Vec::new();
    if rng.chance(60) {
        let label = "no-test-needed".to_owned();
        let by = rng.pick(&["ann", "ann", "mallory"]).to_owned();
        acts.push((When::Step(step), Happens::Label(issue.clone(), label, true, by)));
    }
    for _ in 0..3 {
        step += rng.below(STEPS / 6);
        let said = Happens::Comment(issue.clone(), "/afk retry".to_owned(), "ann".to_owned());
        acts.push((When::Step(step), said));
    }
    acts
}

/// People decide on what is open at that step.
fn decides(rng: &mut Rng, repos: &[&str]) -> (u64, Happens) {
    let decided =
        rng.pick(&[Decided::Merged, Decided::Merged, Decided::Closed, Decided::Superseded]);
    (rng.below(STEPS), Happens::Decide(rng.pick(repos).to_owned(), decided))
}

/// Sometimes a stage gives other answers than its commit deserves, but never that it has passed.
fn says(rng: &mut Rng) -> Vec<Says> {
    let one = |rng: &mut Rng| match rng.below(8) {
        0 => Says::Answer(StageAnswer::None),
        1 => Says::Answer(StageAnswer::Pending),
        2 | 3 => Says::Answer(StageAnswer::Failure),
        4 => Says::Answer(StageAnswer::Void),
        5 => Says::Look(rng.below(100).cast_signed()),
        6 => Says::Limited(rng.below(100).cast_signed()),
        _ => Says::Down,
    };
    (0..rng.below(12)).map(|_| one(rng)).collect()
}

fn issue(rng: &mut Rng, number: u64) -> IssueSetting {
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
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    IssueSetting { number, body: body.to_owned(), labels, by: by.to_owned() }
}

fn work(rng: &mut Rng, feature: usize) -> Work {
    let does = match rng.below(24) {
        0..=6 => Does::Good,
        7 | 8 => Does::Breaks,
        9 | 10 => Does::Fixes,
        11 => Does::Untested,
        12 => Does::Unpassable,
        13 => Does::Hangs,
        14 => Does::ServiceAway,
        15 => Does::BreaksOff,
        16 => Does::Limited,
        17 => Does::LeavesDirt,
        18 => Does::SkipsCi,
        19 => Does::Voids,
        20 => Does::HangsInTool,
        21 => Does::Hopeless,
        22 => Does::CannotWork,
        _ => Does::Nothing,
    };
    let (cost, asks) = (rng.pick(&[100_000, 400_000, 2_000_000]), rng.chance(8));
    Work { does, feature, cost, asks, unmarked: false }
}

fn fault(rng: &mut Rng) -> Fault {
    let error = match rng.below(12) {
        0 | 1 => Error::Limited(rng.below(200)),
        2 => Error::Auth,
        3 => Error::Permanent,
        _ => Error::Transient,
    };
    match rng.below(13) {
        0..=2 => Fault::Fails(error),
        3..=5 => Fault::AnswerLost(error),
        6 => Fault::Late,
        7 | 8 => Fault::Stale,
        9 => Fault::Twice,
        10 => Fault::DiesBefore,
        11 => Fault::DiesLate,
        _ => Fault::DiesAfter,
    }
}

/// A call that can fail like `fault`. Few calls can fail in some of these ways, and a random call
/// would hardly ever be one of them.
fn suffers(rng: &mut Rng, fault: Fault) -> Call {
    let (names, most): (&[&str], u64) = match fault {
        Fault::Late | Fault::DiesLate => (&LATE, 3),
        Fault::Stale => (&FAR, 12),
        Fault::Twice => (&MANY, 6),
        Fault::Fails(_) | Fault::AnswerLost(_) | Fault::DiesBefore | Fault::DiesAfter => {
            return Call::Any(rng.below(STEPS));
        }
    };
    Call::Named(rng.pick(names).to_owned(), 1 + rng.below(most))
}

fn happens(rng: &mut Rng, repos: &[&str], planes: usize) -> Happens {
    let name = rng.pick(repos);
    let (repo, issue) = (name.to_owned(), format!("{name}#{}", 1 + rng.below(3)));
    let who = rng.pick(&["ann", "ann", "bob", "mallory"]).to_owned();
    let on = rng.chance(50);
    let said = rng.pick(&["stop", "retry", "budget 1", "budget 5", "say mind it", "unfreeze"]);
    match rng.below(33) {
        0 | 1 => Happens::Label(issue, "ready-for-agent".to_owned(), on, who),
        2 => Happens::Label(issue, "agent-in-progress".to_owned(), on, who),
        3 => Happens::Open(issue, on, who),
        4 | 5 => Happens::Edit(issue, rng.pick(&["Other work.", "Blocked by #1"]).to_owned(), who),
        6 => Happens::Push(
            repo,
            "src/other".to_owned(),
            rng.pick(&["fine", "BREAKS-CI", "VOIDS-CI"]).to_owned(),
        ),
        7 => Happens::Push(repo, "src/two".to_owned(), "theirs".to_owned()),
        8 | 9 => Happens::Halt(on || rng.chance(40)),
        10 => Happens::Pause(on),
        11 => Happens::Freeze(repo, on),
        12 => Happens::Kill(on),
        13 => Happens::Enroll(repo, on),
        14 => Happens::Bad(on),
        15 => Happens::Unreadable(on),
        16 => Happens::NextPush(rng.pick(&[
            PushEnd::Overtaken,
            PushEnd::Followed,
            PushEnd::AnswerLost,
            PushEnd::Lost,
            PushEnd::Refused,
        ])),
        17 => Happens::LoseTurns,
        18 => Happens::LoseJobs,
        19 if on => match rng.below(4) {
            0 | 1 => Happens::Bells(rng.chance(50)),
            2 => Happens::Bell("webhook".to_owned(), rng.chance(50)),
            _ => Happens::Bell("terminal".to_owned(), rng.chance(70)),
        },
        19 => Happens::Mute(repo, rng.chance(60)),
        20 => Happens::Jump(rng.pick(&[7, 35, 70, 400, 5_000, -7, -70, -400])),
        21 => Happens::Stubborn(on),
        22..=24 => Happens::Comment(issue, format!("/afk {said}"), who),
        25 => Happens::Ask(issue, format!("/afk {said}")),
        26 => Happens::Limit(repo, rng.pick(&[3, 30, 300])),
        27 => Happens::HangStages(on),
        28 => Happens::NoStages(on),
        29 => Happens::Permit(on),
        30 => Happens::Forge(repo),
        31 => Happens::NoAgent(on),
        _ => Happens::Crash(rng.below(planes as u64) as usize),
    }
}
