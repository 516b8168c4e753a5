//! A run that has spent 99 % of its budget can overspend by one call at most, which the CLI
//! cannot stop, whichever way it counts and whichever process takes the next turn.

use afk_stand_ins::model_api::{Reply, Script, Tokens};
use rustix::process::Signal;

use crate::common::{BOUND, ISSUE, Plan, until};
use crate::held::{HELD_VERIFY, Thread, VERSIONS, WRONG, attached, micros, place, story, work};

/// Which process takes the second turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The process of the first turn.
    Warm,
    /// A new one, which resumes the conversation: the first was killed.
    Resumed,
}

/// A first turn of two calls whose work is refused, and a second that wants many.
fn script(usage: Tokens) -> Script {
    let wants = (0..5).map(|n| Reply::bash(format!("true {n}"))).chain([Reply::text("More.")]);
    let turns = Script::turns([vec![work(WRONG), Reply::text("Done.")], wants.collect()]);
    Script { usage, ..turns }
}

/// Tells the story with calls of `usage`, which cost `prices` in the versions, in millionths of a
/// dollar.
fn overspend(way: Way, usage: Tokens, prices: [u64; 2]) {
    for ((version, _), price) in VERSIONS.into_iter().zip(prices) {
        let test = "a_run_near_its_budget_overspends_by_one_call_at_most";
        let before = 2 * price;
        let budget = (before * 100).div_ceil(99);
        let config = format!("budget_usd = {}.{:06}", budget / 1_000_000, budget % 1_000_000);
        let verify = HELD_VERIFY.to_owned();
        let plan = Plan { verify, config, ..Plan::default() };
        let Some(thread) = Thread::with_key(test, version, script(usage), plan) else { continue };
        let world = &thread.world;
        let control = attached(world);
        let first = world.job("thread");
        world.job("verify");
        assert_eq!(thread.charged(), before, "{version} {way:?}: spent before");
        if way == Way::Resumed {
            first.host.signal(Signal::KILL);
            until("its end", BOUND, || (!first.root.unwrap().is_alive()).then_some(()));
        }
        world.open("verify");
        control.wait(BOUND);
        let (page, turns, calls) = (world.show(), thread.turns(), thread.calls());
        let summary = &page["summary"];
        let second = turns.get(1).unwrap_or_else(|| panic!("{version} {way:?}: {page:#}"));
        let cap = micros(&second["reserved"]);
        let charged = thread.charged();
        let over = charged.saturating_sub(budget);
        println!(
            "{version} {way:?}: budget {budget}, spent before {before}, cap of the turn {cap}, \
             calls {}, charged {charged}, overspent {over}, price of a call {price} (millionths of \
             a dollar)",
            calls.len()
        );
        assert_eq!(
            place(second),
            if way == Way::Warm { (1, 2) } else { (2, 1) },
            "{version}: {second:#}"
        );
        assert_eq!(cap, budget - before, "{version} {way:?}");
        assert!(over <= price, "{version} {way:?}: {over} over");
        let real = calls.len() as u64 * price;
        assert_eq!(charged, real, "{version} {way:?}: what the stand-in answered: {page:#}");
        // It ends there, and a person is told why.
        assert_eq!(turns.len(), 2, "{version} {way:?}: {turns:#?}");
        assert_eq!(story(&turns), [("opening", "finished"), ("refused", "failed")], "{turns:#?}");
        assert_eq!(summary["outcome"], "needs-human", "{summary:#}");
        let why = summary["why"].as_str().unwrap();
        assert!(why.contains("budget"), "{why}");
        assert_eq!(calls.len(), 3, "{version} {way:?}: one call, and no further one");
        let issue = world.json(&["issue", "show", ISSUE]);
        assert!(issue["issue"]["labels"].to_string().contains("ready-for-human"), "{issue:#}");
        until("nothing of it is left", BOUND, || world.processes(&[]).is_empty().then_some(()));
    }
}

#[test]
fn near_its_budget_a_living_process_overspends_by_one_call_at_most() {
    overspend(Way::Warm, Tokens::default(), VERSIONS.map(|(_, price)| price));
}

#[test]
fn near_its_budget_a_resumed_process_overspends_by_one_call_at_most() {
    overspend(Way::Resumed, Tokens::default(), VERSIONS.map(|(_, price)| price));
}

/// So small that a cap rounded to cents, or to hundredths of one, would let many through.
const SMALL: (Tokens, [u64; 2]) = (Tokens { input: 10, output: 0 }, [40, 50]);

#[test]
fn a_living_process_overspends_by_one_call_at_most_also_of_small_ones() {
    overspend(Way::Warm, SMALL.0, SMALL.1);
}

#[test]
fn a_resumed_process_overspends_by_one_call_at_most_also_of_small_ones() {
    overspend(Way::Resumed, SMALL.0, SMALL.1);
}
