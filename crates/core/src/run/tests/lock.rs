//! What a run holds while it lives: its repo's lock, money of the day, and the branch of its pull
//! request.

use super::*;

fn over() -> Transition {
    Transition::Concluded { end: End::NeedsHuman, why: String::new(), charged: None }
}

fn budget(dollars: u64) -> Transition {
    asked("budget", Request::Budget { usd: Usd::dollars(dollars) })
}

#[test]
fn a_run_has_the_lock_until_it_steps_aside_or_is_settled() {
    let holds = |steps: &[(i64, Transition)]| run(steps).holds_lock();
    assert!(holds(&[]));
    let aside = [(1, Transition::SteppedAside)];
    assert!(!holds(&aside));
    let back = Transition::TookUp { budget: Usd::dollars(10) };
    assert!(holds(&with(aside.to_vec(), vec![(2, back)])));
    let ended = vec![(1, over())];
    assert!(holds(&ended), "its end does not show on the issue yet");
    assert!(!holds(&with(ended, vec![(2, Transition::Settled)])));
}

#[test]
fn what_a_run_may_still_spend_is_reserved() {
    let check = |steps: &[(i64, Transition)], reserved, left, lowered: bool| {
        let run = run(steps);
        let situation = run.situation(&Observation::default(), &limits(), at(50));
        let found = (run.reserved(), run.budget_left(), situation.lowered);
        assert_eq!(found, (Usd::dollars(reserved), Usd::dollars(left), lowered), "{steps:?}");
    };
    check(&[], 10, 10, false);
    let turn = vec![(1, begun(TurnCause::Opening))];
    check(&turn, 10, 10, false);
    // A turn under way may spend what was reserved for it.
    let lowered = with(turn.clone(), vec![(2, budget(9))]);
    check(&lowered, 10, 9, true);
    check(&with(lowered, vec![(3, paid(4, 1))]), 5, 5, false);
    let spent = with(turn, vec![(2, paid(4, 1))]);
    check(&spent, 6, 6, false);
    check(&with(spent.clone(), vec![(3, Transition::SteppedAside)]), 0, 6, false);
    check(&with(spent, vec![(3, over())]), 0, 6, false);
}

#[test]
fn the_caps_of_a_day_leave_room_for_what_is_reserved_already() {
    let check = |day: Option<u64>, of_repo: Option<u64>, spent: [u64; 2], room: Option<u64>| {
        let policy = config::Policy {
            day_budget_usd: day.map(Usd::dollars),
            repo_day_budget_usd: of_repo.map(Usd::dollars),
            ..config::Policy::default()
        };
        // Three dollars are spent, and seven are reserved.
        let run = run(&[(1, begun(TurnCause::Opening)), (2, paid(3, 1))]);
        let found = policy.budget_room(&run, spent.map(Usd::dollars));
        assert_eq!(found, room.map(Usd::dollars), "{day:?} {of_repo:?} {spent:?}");
    };
    check(None, None, [90, 90], None);
    check(Some(50), None, [45, 90], Some(15));
    check(None, Some(30), [90, 12], Some(28));
    check(Some(50), Some(30), [45, 12], Some(15));
    check(Some(50), Some(30), [20, 27], Some(13));
    check(Some(50), None, [90, 0], Some(3));
}

#[test]
fn a_turn_that_outlives_its_run_is_charged() {
    let turn = vec![(1, opened()), (2, begun(TurnCause::Opening))];
    let open = run(&turn);
    let whole = TurnCost {
        key: TurnKey { session: open.turn_key(1).to_string(), process: 1, turn: 1 },
        entry: Entry {
            run: open.id,
            repo: repo(),
            at: at(2),
            cli_version: String::new(),
            cost: Cost::Estimated { amount: Usd::dollars(10) },
        },
    };
    assert_eq!(open.charge_of_unended(None), Some(whole));
    let Transition::TurnEnded { facts, .. } = paid(1, 7) else { panic!("an end") };
    let streamed = facts.cost.clone();
    assert_eq!(open.charge_of_unended(streamed.clone()), streamed);
    let ended = run(&with(turn, vec![(3, paid(1, 1))]));
    assert_eq!(ended.charge_of_unended(streamed), None);
    assert_eq!(admitted().charge_of_unended(None), None);
}

#[test]
fn a_pull_request_is_found_by_the_branch_of_the_newest_candidate() {
    let branch = |steps: &[(i64, Transition)]| run(steps).pull_branch();
    let of = |n: u32| format!("afk/try/00000001-0000-0000-0000-000000000007/{n}");
    assert_eq!(branch(&[]), of(0));
    assert_eq!(branch(&to_landing()[..6]), of(1));
    let again = with(to_landing()[..6].to_vec(), vec![(30, integrated('1', 'd'))]);
    assert_eq!(branch(&again), of(2));
}
