//! The ledger's rules: what each version's counter means, and what it adds up to.

use proptest::prelude::*;

use super::*;

const NEW: &str = "2.1.329";
const OLD: &str = "2.1.197";

fn run(n: u128) -> RunId {
    RunId::new(uuid::Uuid::from_u128(n))
}

fn key(process: u32, turn: u32) -> TurnKey {
    TurnKey { session: "s".into(), process, turn }
}

fn entry(version: &str, cost: Cost) -> Entry {
    Entry {
        run: run(1),
        repo: "o/r".parse().unwrap(),
        at: "2026-03-01T23:30:00Z".parse().unwrap(),
        cli_version: version.into(),
        cost,
    }
}

fn total(dollars: u64) -> Cost {
    Cost::Reported { total: Usd::dollars(dollars), delta: None, cut: None }
}

/// Turns `(process, turn, version, cost)` and what each is charged, in dollars.
fn check(turns: &[(u32, u32, &str, Cost)], expected: &[(u64, Basis)]) {
    let turns = turns.iter().cloned();
    let entries = turns.map(|(p, t, version, cost)| (key(p, t), entry(version, cost)));
    let mut ledger = Ledger::default();
    for (key, entry) in entries.clone().chain(entries.clone()) {
        ledger.record(key, entry);
    }
    let seen: Vec<_> = ledger.charges().map(|(_, _, c)| (c.amount, c.basis)).collect();
    let expected: Vec<_> = expected.iter().map(|(d, basis)| (Usd::dollars(*d), *basis)).collect();
    assert_eq!(seen, expected);
    let other_order: Ledger = entries.rev().collect();
    assert_eq!(other_order, ledger);
}

#[test]
fn what_a_counter_means_hangs_on_the_version() {
    use Basis::{Delta, Difference, Whole};
    let measured = [NEW, OLD, "2.1.329 (Claude Code)", "2.1.330", ""].map(is_measured);
    assert_eq!(measured, [true, true, true, false, false]);
    // One counter for all turns and processes of a session.
    check(
        &[(0, 0, NEW, total(2)), (0, 1, NEW, total(5)), (1, 0, NEW, total(9))],
        &[(2, Whole), (3, Difference), (4, Difference)],
    );
    // One counter for each process.
    check(
        &[(0, 0, OLD, total(2)), (0, 1, OLD, total(5)), (1, 0, OLD, total(9))],
        &[(2, Whole), (3, Difference), (9, Whole)],
    );
    for version in ["", "3.0.0", "2.1.250", "2.1.330", "2.1.329.1", "nonsense"] {
        check(&[(0, 0, version, total(2)), (0, 1, version, total(5))], &[(2, Whole), (5, Whole)]);
    }
    check(
        &[(0, 0, NEW, total(2)), (0, 1, "2.1.329 (Claude Code)", total(5))],
        &[(2, Whole), (3, Difference)],
    );
    // Counters of different meaning are not subtracted, nor is one that started over.
    check(&[(0, 0, OLD, total(2)), (1, 0, NEW, total(5))], &[(2, Whole), (5, Whole)]);
    check(&[(0, 0, NEW, total(5)), (1, 0, NEW, total(2))], &[(5, Whole), (2, Whole)]);
    // The turn's own cost, where it is given; the counter still counts for the next.
    let own = Cost::Reported { total: Usd::dollars(7), delta: Some(Usd::dollars(1)), cut: None };
    check(
        &[(0, 0, NEW, total(2)), (0, 1, NEW, own), (0, 2, NEW, total(8))],
        &[(2, Whole), (1, Delta), (1, Difference)],
    );
}

#[test]
fn what_a_counter_leaves_out_of_a_turn_that_was_cut_is_charged_once() {
    let cut = |total, delta: Option<u64>| Cost::Reported {
        total: Usd::dollars(total),
        delta: delta.map(Usd::dollars),
        cut: Some(Usd::dollars(3)),
    };
    // The next turn's difference is taken from the counter, which never had the cut call.
    check(
        &[(0, 1, OLD, total(2)), (0, 2, OLD, cut(2, None)), (0, 3, OLD, total(4))],
        &[(2, Basis::Whole), (3, Basis::Estimated), (2, Basis::Difference)],
    );
    // A turn's own cost includes the answer that was cut off.
    check(
        &[(0, 1, NEW, total(2)), (0, 2, NEW, cut(3, Some(1)))],
        &[(2, Basis::Whole), (1, Basis::Delta)],
    );
}

#[test]
fn a_turn_without_a_result_is_charged_by_its_estimate() {
    let mut ledger = Ledger::default();
    ledger.record(key(0, 0), entry(NEW, Cost::Estimated { amount: Usd::dollars(4) }));
    assert!(ledger.has_estimates());
    ledger.record(key(1, 0), entry(NEW, total(6)));
    assert_eq!(ledger.total(), Usd::dollars(10));
    ledger.record(key(0, 0), entry(NEW, total(5)));
    assert!(!ledger.has_estimates(), "what it was charged by before is gone");
    assert_eq!(ledger.total(), Usd::dollars(6));
}

#[test]
fn a_day_is_utcs() {
    let day = |at: &str| day_of(at.parse().unwrap()).to_string();
    assert_eq!(day("2026-03-01T23:30:00Z"), "2026-03-01");
    assert_eq!(day("2026-03-01T23:30:00-02:00"), "2026-03-02");
}

#[test]
fn sessions_do_not_mix() {
    let mut ledger = Ledger::default();
    ledger.record(key(0, 0), entry(NEW, total(5)));
    let other = TurnKey { session: "t".into(), process: 0, turn: 0 };
    ledger.record(other, entry(NEW, total(6)));
    assert_eq!(ledger.total(), Usd::dollars(11));
}

#[test]
fn entries_are_read_back() {
    let cost = Cost::Reported { total: Usd::micros(5), delta: None, cut: None };
    for cost in [cost, Cost::Estimated { amount: Usd::ZERO }, total(1)] {
        let entry = entry(NEW, cost);
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry, "{json}");
    }
}

fn cost() -> impl Strategy<Value = Cost> {
    let amount = || (0u64..50).prop_map(Usd::dollars);
    prop_oneof![
        amount().prop_map(|amount| Cost::Estimated { amount }),
        (amount(), proptest::option::of(amount())).prop_map(|(total, delta)| Cost::Reported {
            total,
            delta,
            cut: None
        }),
    ]
}

proptest! {
    /// Another turn never lowers the total, and it does not matter in which order, or how often,
    /// turns are recorded.
    #[test]
    fn the_total_only_grows(
        turns in proptest::collection::vec(
            (prop_oneof![Just(NEW), Just(OLD), Just("9")], cost(), any::<bool>()), 0..20),
        order in any::<prop::sample::Index>(),
    ) {
        let mut process = 0;
        let mut ledger = Ledger::default();
        let mut all = Vec::new();
        for (turn, (version, cost, restart)) in (0u32..).zip(turns) {
            process += u32::from(restart);
            let before = ledger.total();
            ledger.record(key(process, turn), entry(version, cost.clone()));
            all.push((key(process, turn), entry(version, cost)));
            prop_assert!(ledger.total() >= before);
        }
        if !all.is_empty() {
            let mid = order.index(all.len());
            all.rotate_left(mid);
            let (key, entry) = all[0].clone();
            all.push((key, entry));
        }
        prop_assert_eq!(all.into_iter().collect::<Ledger>(), ledger);
    }

    /// A session with one counter for all turns costs what that counter says, if no result is
    /// missing.
    #[test]
    fn differences_add_up_to_the_counter(steps in proptest::collection::vec(0u64..9, 1..10)) {
        let mut sum = 0;
        let ledger: Ledger = (0u32..).zip(&steps).map(|(turn, step)| {
            sum += step;
            (key(turn / 2, turn), entry(NEW, total(sum)))
        }).collect();
        prop_assert_eq!(ledger.total(), Usd::dollars(sum));
    }
}
