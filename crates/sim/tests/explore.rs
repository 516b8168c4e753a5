//! Tests of the explorer: a fixed number of seeds, the stories that once found something, and for
//! each known-bad loop the story that catches it.
//!
//! `cargo xtask sim` runs many more seeds, and `cargo xtask sim --bad` shows how many it takes to
//! catch each known-bad loop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::mem::discriminant;
use std::path::Path;

use afk_core::plan::End;
use afk_sim::explore::scenario::{Call, Delivery, Error, Fault, When};
use afk_sim::explore::{Hooked, Scenario, explore, run, run_bad, shrink};
use afk_sim::fakes::Bad;
use afk_sim::sites::CALLS;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Number of seeds that are run each time.
const SEEDS: u64 = 120;

/// The story that is kept in `path`, under `seeds/`.
fn kept(path: &Path) -> Scenario {
    let text = std::fs::read_to_string(path).unwrap();
    let told: Scenario =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let acts = told.acts.iter().map(|(when, _)| when);
    let after =
        acts.filter_map(|when| if let When::After(call, _) = when { Some(call) } else { None });
    let named = told.faults.iter().map(|(call, _)| call);
    let named =
        named.filter_map(|call| if let Call::Named(name, _) = call { Some(name) } else { None });
    for name in after.chain(named) {
        let known = CALLS.iter().any(|(call, _)| call == name);
        assert!(known, "{}: no call is named {name}", path.display());
    }
    told
}

#[test]
fn no_seed_breaks_an_invariant() {
    let (mut failed, mut suffered, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let (mut runs, mut faults, mut crashes) = (0, 0, 0);
    let (mut received, mut astray, mut limited) = (0, 0, 0);
    let mut of_kinds = [0; 4];
    for seed in 0..SEEDS {
        let told = explore(seed);
        (runs, faults) = (runs + told.runs, faults + told.faults);
        crashes += told.crashes;
        (received, astray) = (received + told.received, astray + told.astray);
        limited += told.limited;
        let Hooked { received: pulls, astray: pulls_astray } = told.pulls;
        let Hooked { received: stages, astray: stages_astray } = told.stages;
        for (sum, more) in of_kinds.iter_mut().zip([pulls, pulls_astray, stages, stages_astray]) {
            *sum += more;
        }
        suffered.extend(told.suffered);
        ends.extend(told.ends);
        if let Some(wrong) = told.wrong {
            let (small, told) = shrink(&Scenario::new(seed), None);
            let text = serde_json::to_string_pretty(&small).unwrap();
            println!("seed {seed}: {wrong}\n{}\ncut down: {text}", told.tail);
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?}");
    println!("{runs} runs, {faults} faults, {crashes} crashes");
    assert!(
        runs > 0 && faults > 0 && crashes > 0,
        "{runs} runs, {faults} faults, {crashes} crashes"
    );
    assert!(
        received > 0 && astray > 0 && limited > 0,
        "{received} webhooks, {astray} astray, {limited} calls refused because of a limit"
    );
    println!("webhooks of pulls, astray, of stages, astray: {of_kinds:?}");
    assert!(of_kinds.iter().all(|sum| *sum > 0), "webhooks of pulls and stages: {of_kinds:?}");
    for end in [End::Done, End::NeedsHuman, End::Frozen, End::Withdrawn] {
        assert!(ends.contains(&end), "no run ends as {end:?}");
    }
    for fault in [
        Fault::Fails(Error::Transient),
        Fault::AnswerLost(Error::Transient),
        Fault::Late,
        Fault::Stale,
        Fault::Twice,
        Fault::DiesBefore,
        Fault::DiesAfter,
        Fault::DiesLate,
    ] {
        let is = |one: &Fault| discriminant(one) == discriminant(&fault);
        assert!(suffered.iter().any(is), "no call suffers {fault:?}");
    }
}

#[test]
fn no_kept_story_breaks_an_invariant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut told = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "json") {
            let story = kept(&path);
            let report = run(&story);
            assert_eq!(report.wrong, None, "{}: {}\n{}", path.display(), story.about, report.tail);
            assert!(report.runs > 0, "{} tells nothing", path.display());
            told += 1;
        }
    }
    assert!(told > 0, "no story is kept");
}

/// Fault 13 of other bots: what three webhooks cause depended on their order.
#[test]
fn three_webhooks_in_every_order_cause_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let story = kept(&folder.join("three-webhooks.json"));
    let told = |late: [u64; 3]| {
        let hooks = (0..).zip(late.map(Delivery::Late)).collect();
        let report = run(&Scenario { hooks, ..story.clone() });
        assert_eq!(report.wrong, None, "{late:?}\n{}", report.tail);
        assert_eq!(report.astray, 3, "{late:?}");
        (report.runs, report.ends)
    };
    let first = told([1, 2, 3]);
    assert_eq!(first, (1, vec![End::Done]));
    for late in [[1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        assert_eq!(told(late), first, "{late:?}");
    }
}

#[test]
fn the_same_seed_twice_tells_the_same_story() {
    for seed in 0..3 {
        let first = explore(seed);
        assert_eq!(first, explore(seed), "seed {seed}");
        assert_ne!(first.hash, explore(seed + 1).hash, "seed {seed}");
    }
}

/// What the judge must say of each known-bad loop. If it were caught for another reason, it would
/// not show that the invariant it is there for can fail.
fn says(bad: Bad) -> &'static str {
    match bad {
        Bad::DispatchBeforeRecord => "was started and is not recorded",
        Bad::LabelBeforeThread => "was locked before its thread",
        Bad::CorrectiveTurnEveryPass => "begins while another is under way",
        Bad::ReadyLabelLeftOn => "is ready still",
        Bad::LockReadFromLabels => "never ended",
        Bad::CompletedIsSuccess => "was closed without its evidence",
        Bad::CommentReposted => "has 2 comments",
        // Every pass begins to post again.
        Bad::CommentUnsettled => "has no end",
        Bad::DoorbellBeforeCommit => "a bell rang before its outcome was kept",
        Bad::ClockFromDispatch => "a fix-forward was withheld",
        Bad::ProvesForEver => "was started 13 times",
        Bad::LandsUnproved => "unproved",
        Bad::FreezeForgotten => "although the gate freeze",
        Bad::AdmitsUnchecked => "2 runs are live",
        Bad::SpendIgnored => "reserves more than is left",
        Bad::HaltIgnored => "although a halt was known",
        Bad::TrustsAnyone => "although the gate trust",
        Bad::RetriesAtOnce => "beyond the limit of retries or before its time",
        Bad::BlockersIgnored => "although the gate blockers",
        Bad::KillSwitchIgnored => "although the gate kill switch",
        Bad::AllowlistIgnored => "although the gate allowlist",
        Bad::ConcludesOverTheLiving => "an outcome while",
        Bad::BellsLost | Bad::BellsAsOne => "was rung or left silent by mistake",
        Bad::BellsForEver => "was rung 151 times",
        Bad::BellsTwice => "is queued or left out by mistake",
        Bad::LockNotShown => "is not locked after a whole tick",
        Bad::LeasesKept => "is settled and still leased",
        Bad::TriesLeft => "left a branch of its own on the remote",
        Bad::UnreadableIsOff => "although a halt was known",
        Bad::VoidIsGreen => "was closed and what landed is not green",
        Bad::DispatchesNothing => "could be dispatched and is not",
        Bad::HumanLabelLeftOff => "is settled and its issue is not given to people",
        Bad::LeftOpen => "is settled and its issue is not closed",
        Bad::CommentUnmarked => "ended as Done and has no comment",
        Bad::BoxesLeftOpen => "ended as Done and its comment does not say so",
        Bad::FreezeNotKept => "ends as Frozen and its repo is not",
        Bad::MachineIgnored | Bad::HoldIgnored => "although the gate machine",
        Bad::MachineBellEveryTick => "times that dispatch was held",
        Bad::RequestsUnanswered => "was never answered",
        Bad::BundleLost => "left no evidence",
        Bad::PushesUnmarked => "was pushed and does not say by which run",
        Bad::ForeignLockIgnored => "although the gate repo lock",
        Bad::StrangersUnfreeze => "was lifted, but ann did not request it",
        Bad::StoppedStaysReady => "is settled and its issue is ready still",
        Bad::ReleasesForEver => "was released again more often than was asked",
        Bad::RedIsGreen => "although its candidate was not green",
        Bad::PushForgotten => "does not know of it",
        Bad::ErrorEndsTheRun => "and what was planned is ",
        Bad::PendingIsGreen => "was closed and what landed is not green",
        Bad::BelievesOneFailure => "that it saw only once",
        Bad::PollsAllTheTime => "again at once",
        Bad::OpensAnotherPull => "a candidate has two pull requests",
        Bad::PullForgotten => "ends and its pull request is open",
        Bad::PushesUnderAFreeze => "was pushed under a freeze",
        Bad::PushesWithoutALease => "had lost its lease",
        Bad::FarTurnBelievedDead => "an outcome while",
        Bad::AgentLandingUnproved => "was closed without its evidence",
        Bad::AgentLandingUnread => "does not know of it",
        Bad::SpendsOnARedBase => "although verify fails on its base",
        Bad::ClosesOnADroppedCommit => "had been taken out again",
        Bad::MergesAPurgedBase => "which was taken out",
        Bad::TakesUpUnchecked => "two runs are live on one repo",
        Bad::BuildsOnForeign => "which somebody pushed in a run's name",
        Bad::WebhookBelieved => "although the gate",
        Bad::StageHookBelieved => "was closed and what landed is not green",
        Bad::WakesNoRun => "waits although a webhook told",
        Bad::PollsNoMore => "and no poll finds it",
        Bad::LimitIgnored => "was called before the time it was told",
        Bad::LimitIsAbsence => "is withdrawn as Closed, which nobody did",
        Bad::JudgesUnfetched => "was started without what it needs",
    }
}

#[test]
fn every_known_bad_loop_is_caught() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/bad");
    let mut missed = Vec::new();
    for bad in Bad::ALL {
        let story = kept(&folder.join(format!("{bad:?}.json")));
        assert_eq!(run(&story).wrong, None, "{bad:?}: the good loop fails, too");
        let wrong = run_bad(&story, Some(bad)).wrong;
        println!("{bad:?}: {}", wrong.as_deref().unwrap_or("NOT CAUGHT"));
        if !wrong.is_some_and(|wrong| wrong.contains(says(bad))) {
            missed.push(bad);
        }
    }
    assert!(missed.is_empty(), "not caught for what they are: {missed:?}");
}
