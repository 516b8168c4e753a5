//! A run's impediments: which are recorded, how long they count, what people are told.

use super::situation::situation;
use super::*;
use crate::plan::{Landed, Obstacle, Plan, Waiting, plan};

fn port(fault: Fault, error: &str) -> Impediment {
    Impediment::port(fault, error)
}

#[test]
fn an_impediment_is_recorded_where_it_is_news() {
    let check = |steps: &[(i64, Transition)], now, by: &Impediment, news: bool| {
        let found = run(steps).impeded_by(by.clone(), at(now));
        assert_eq!(found.is_some(), news, "{by:?} at {now} after {:?}", steps.last());
    };
    let away = port(Fault::Transient, "no way to the remote");
    let other = port(Fault::Transient, "the disk is full");
    let refused = port(Fault::Auth, "not let in");
    let forged = Impediment::Forged { commit: oid('f'), branch: "main".to_owned() };
    check(&[], 1, &away, true);
    let known = [(10, impeded(Fault::Transient))];
    check(&known, 11, &away, false);
    check(&known, 11, &other, true);
    check(&known, 11, &refused, true);
    // An impediment that comes and goes is recorded every few minutes at most.
    let over = with(known.to_vec(), vec![(20, Transition::Unimpeded)]);
    check(&over, 319, &away, false);
    check(&over, 319, &other, false);
    check(&over, 320, &away, true);
    check(&over, 21, &refused, true);
    // An impediment that needs a person stays.
    let lasts = [(10, impeded(Fault::Permanent))];
    check(&lasts, 999, &away, false);
    check(&lasts, 999, &forged, false);
    // After the end, an impediment that needs a person can be replaced like any.
    let ended = Transition::Concluded { end: End::NeedsHuman, why: String::new(), charged: None };
    let ended = with(lasts.to_vec(), vec![(30, ended)]);
    check(&ended, 400, &refused, true);
    let settling = with(ended, vec![(400, impeded(Fault::Auth))]);
    check(&settling, 401, &port(Fault::Auth, "no way to the remote"), false);
    check(&settling, 401, &away, true);
}

#[test]
fn a_pass_that_goes_well_takes_away_what_passes_by_itself() {
    let unimpeded = |steps: &[(i64, Transition)]| run(steps).unimpeded();
    assert_eq!(unimpeded(&[]), None);
    assert_eq!(unimpeded(&[(1, impeded(Fault::Transient))]), Some(Transition::Unimpeded));
    assert_eq!(unimpeded(&[(1, impeded(Fault::Transient)), (2, Transition::Unimpeded)]), None);
    assert_eq!(unimpeded(&[(1, impeded(Fault::Auth))]), None);
    let landing = with(to_landing(), vec![(90, impeded(Fault::Auth)), (91, landed('c'))]);
    assert_eq!(run(&landing).impediment(), None, "what landed all the same is not in the way");
}

#[test]
fn the_comment_shows_an_error_that_lasts() {
    let other = Impediment::port(Fault::Transient, "the disk is full");
    let steps = [(10, impeded(Fault::Transient)), (200, Transition::Impeded { by: other })];
    let shown = |steps: &[(i64, Transition)], now| run(steps).lasting_error(at(now));
    assert_eq!(shown(&steps, 309), None);
    assert_eq!(shown(&steps, 310).as_deref(), Some("the disk is full"), "the newest");
    let over = with(steps.to_vec(), vec![(400, Transition::Unimpeded)]);
    assert_eq!(shown(&over, 999), None);
    let again = with(over, vec![(1_000, impeded(Fault::Transient))]);
    assert_eq!(shown(&again, 1_299), None, "it lasts anew");
    let by = Impediment::Minor { error: "not shown".to_owned() };
    assert_eq!(shown(&[(10, Transition::Impeded { by })], 999), None);
}

#[test]
fn only_what_needs_a_person_is_an_obstacle() {
    let obstacle = |steps: &[(i64, Transition)]| situation(steps, 50).obstacle;
    assert_eq!(obstacle(&[]), Obstacle::Nothing);
    assert_eq!(obstacle(&[(1, impeded(Fault::Transient))]), Obstacle::Nothing);
    assert_eq!(obstacle(&[(1, impeded(Fault::RateLimited))]), Obstacle::Nothing);
    assert_eq!(obstacle(&[(1, impeded(Fault::NotFound))]), Obstacle::NeedsAPerson);
    let by = Impediment::Minor { error: "not shown".to_owned() };
    assert_eq!(obstacle(&[(1, Transition::Impeded { by })]), Obstacle::Nothing);
    let by = Impediment::Forged { commit: oid('f'), branch: "main".to_owned() };
    assert_eq!(obstacle(&[(1, Transition::Impeded { by })]), Obstacle::Forged);
    let by = Impediment::TakenOut { commit: oid('f'), branch: "main".to_owned() };
    assert_eq!(obstacle(&[(1, Transition::Impeded { by })]), Obstacle::TakenOut);
    let [from, to, remote] = ["main", "trunk", "the remote"].map(str::to_owned);
    let by = Impediment::SwitchedAway { commit: oid('f'), from, to, remote };
    assert_eq!(obstacle(&[(1, Transition::Impeded { by })]), Obstacle::TakenOut);
    let by = Impediment::MergedElsewhere { commit: oid('f'), branch: "main".to_owned() };
    assert_eq!(obstacle(&[(1, Transition::Impeded { by })]), Obstacle::TakenOut);
}

#[test]
fn another_default_branch_is_read_and_told_as_it_was_recorded() {
    let stored = r#"{"impediment":"switched","from":"main","to":"trunk","remote":"the remote"}"#;
    let by: Impediment = serde_json::from_str(stored).unwrap();
    assert!(by.sentence().contains("so that nothing was pushed;"), "{}", by.sentence());
    assert_eq!(serde_json::to_string(&by).unwrap(), stored);
    let steps = [(1, Transition::Impeded { by })];
    assert_eq!(situation(&steps, 50).obstacle, Obstacle::NeedsAPerson);
    let [from, to, remote] = ["main", "trunk", "the remote"].map(str::to_owned);
    let by = Impediment::Switched { from, to, remote, landed: true };
    assert!(by.sentence().contains("so that nothing more was pushed;"), "{}", by.sentence());
}

/// A candidate whose push was begun.
fn sent() -> Vec<(i64, Transition)> {
    with(to_landing()[..7].to_vec(), vec![(60, Transition::PushBegun)])
}

/// A push of its candidate did not arrive.
fn unpushed(branch: &str, how: PushFailure) -> Transition {
    Transition::Unpushed { branch: branch.to_owned(), why: "no entry".to_owned(), how }
}

#[test]
fn a_push_that_does_not_arrive_is_shown_while_it_is_tried_again() {
    let shown =
        |steps: &[(i64, Transition)]| run(steps).current_error(at(99)).map(|(what, _)| what);
    assert_eq!(shown(&sent()), None);
    let once = with(sent(), vec![(61, unpushed("main", PushFailure::Refused))]);
    let short = oid('c').short().to_owned();
    let what = format!("the push of {short} to main did not arrive: no entry");
    assert_eq!(shown(&once), Some(what));
    let twice = with(once.clone(), vec![(75, unpushed("main", PushFailure::Lost))]);
    let what = format!("the push of {short} to main did not arrive, 2 times: no entry");
    assert_eq!(shown(&twice), Some(what.clone()));
    // The reason for the end names it, if the run's time is up before it arrives.
    let why = format!("the run's deadline has passed; the last error was: {what}");
    assert_eq!(ending(&twice, &Observation::default(), 43_200), (End::NeedsHuman, why));
    // A refused push cannot arrive any more; one whose answer was lost may.
    let is_sent = |steps: &[(i64, Transition)]| run(steps).unconfirmed_push().is_some();
    assert!(is_sent(&sent()) && !is_sent(&once));
    let begun =
        with(once, vec![(75, Transition::PushBegun), (76, unpushed("main", PushFailure::Lost))]);
    assert!(is_sent(&begun));
    // A push that has arrived holds nothing up any more.
    assert_eq!(shown(&with(twice.clone(), vec![(99, landed('c'))])), None);
    let tried = with(sent(), vec![(61, unpushed("afk/try/1", PushFailure::Refused))]);
    assert_eq!(shown(&with(tried, vec![(70, Transition::TryPushed)])), None);
    // Nor does the push of a candidate that was replaced.
    assert_eq!(shown(&with(twice, vec![(99, integrated('1', 'd'))])), None);
}

/// An observation that broke off; with `unread`, the remote cannot be read for a push either.
fn broken(unread: bool) -> Observation {
    let error = || Some("no way to the remote".to_owned());
    let unread = error().filter(|_| unread);
    Observation {
        broke_off: error(),
        remote_unreadable: unread,
        alive: true,
        working: true,
        ..Observation::default()
    }
}

#[test]
fn an_unobserved_run_stays_paused_until_its_recorded_reason_expires() {
    let stands =
        |steps: Vec<(i64, Transition)>, frozen, now| run(&steps).standstill_unseen(frozen, at(now));
    let turn = |end: Transition, why| {
        vec![(10, begun(TurnCause::Opening)), (20, end), (30, Transition::Paused { why })]
    };
    let limited = || ended(TurnEnd::Limited { resets_at: Some(at(500)) });
    let wait = Some(Standstill::Wait);
    assert_eq!(stands(turn(limited(), Standstill::Wait), true, 499), wait);
    assert_eq!(stands(turn(limited(), Standstill::Wait), true, 500), None);
    let away = TurnEnd::Unavailable { what: AgentNeed::Model, message: "away".to_owned() };
    assert_eq!(stands(turn(ended(away.clone()), Standstill::Wait), true, 49), wait);
    assert_eq!(stands(turn(ended(away), Standstill::Wait), true, 50), None);
    let asked = || questioned("a", true, 300);
    assert_eq!(stands(turn(asked(), Standstill::Wait), true, 299), wait);
    assert_eq!(stands(turn(asked(), Standstill::Wait), true, 300), None);
    // The clocks stand still for as long as a person holds the run.
    let held = turn(ended(TurnEnd::Lost), Standstill::ByPerson);
    assert_eq!(stands(held.clone(), true, 9_000), Some(Standstill::ByPerson));
    assert_eq!(stands(held, false, 31), None);
    // Clocks that run are not stopped.
    let goes = turn(limited(), Standstill::Wait);
    assert_eq!(stands(with(goes, vec![(40, Transition::Unpaused)]), true, 50), None);
}

#[test]
fn what_cannot_be_seen_is_waited_for_until_time_is_over() {
    let blind = |steps: &[(i64, Transition)], now| {
        run(steps).situation(&broken(false), &limits(), at(now)).blind
    };
    assert!(blind(&[], 43_199) && !blind(&[], 43_200));
    // While the clocks stand still, the time is never over.
    assert!(blind(&[(100, Transition::Paused { why: Standstill::Wait })], 1_000_000));
    // After a landing, its stages have their time, too.
    let late = with(to_landing(), vec![(43_000, landed('c'))]);
    let stage = i64::try_from(limits().stage.as_secs()).unwrap();
    assert!(blind(&late, 43_000 + stage - 1) && !blind(&late, 43_000 + stage));
}

#[test]
fn a_push_that_cannot_be_read_about_is_handed_over_when_time_is_over() {
    let steps = sent();
    let seen = Observation { broke_off: None, alive: false, working: false, ..broken(true) };
    let unread =
        |seen: &Observation, now| run(&steps).situation(seen, &limits(), at(now)).remote_unreadable;
    assert!(!unread(&seen, 43_199) && unread(&seen, 43_200));
    assert!(!unread(&Observation::default(), 99_999));
    let dropped = Observation { dropped: true, ..seen };
    assert!(unread(&dropped, 100));
}

/// How the plan ends the run at `now`, and why.
#[track_caller]
fn ending(steps: &[(i64, Transition)], seen: &Observation, now: i64) -> (End, String) {
    let run = run(steps);
    let situation = run.situation(seen, &limits(), at(now));
    let Plan::Conclude { end } = plan(&situation) else {
        panic!("{:?} in {situation:#?}", plan(&situation))
    };
    (end, run.ended_because(end, seen, &limits(), &situation))
}

#[test]
fn why_a_run_ends_names_what_was_in_its_way() {
    let check = |steps: &[(i64, Transition)], seen: &Observation, now, end, why: &str| {
        assert_eq!(ending(steps, seen, now), (end, why.to_owned()));
    };
    let nothing = Observation::default();
    let over = 43_200;
    let passed = "the run's deadline has passed";
    check(&[], &nothing, over, End::NeedsHuman, passed);
    let error = "the last error was: no way to the remote";
    let failing = [(10, impeded(Fault::Transient))];
    check(&failing, &nothing, over, End::NeedsHuman, &format!("{passed}; {error}"));
    let well = [(10, impeded(Fault::Transient)), (11, Transition::Unimpeded)];
    check(&well, &nothing, over, End::NeedsHuman, passed);
    let turn = [(10, begun(TurnCause::Opening)), (11, failed())];
    let overloaded = format!("{passed}; the last error was: overloaded");
    check(&turn, &nothing, over, End::NeedsHuman, &overloaded);
    let still = Observation { alive: false, working: false, ..broken(false) };
    check(&[], &still, over, End::NeedsHuman, &format!("{passed}; {error}"));
    let stopping = [(over - 100, Transition::Stopping)];
    let unstoppable = format!("{passed}; what the run had started could not be stopped; {error}");
    check(&stopping, &broken(false), over, End::Frozen, &unstoppable);
    // An impediment that needs a person is the whole reason, whatever the clock says.
    let lasts = [(10, impeded(Fault::Auth))];
    check(&lasts, &nothing, 50, End::NeedsHuman, "no way to the remote");
    check(&lasts, &nothing, over, End::NeedsHuman, "no way to the remote");
    let by = Impediment::Overtaken { times: 10, minutes: 0 };
    let overtaken = [(10, Transition::Impeded { by })];
    let moved = "the default branch moved 10 times while the change was being judged";
    check(&overtaken, &nothing, 50, End::NeedsHuman, moved);
    let unread = Observation {
        remote_unreadable: Some("no way to the remote".to_owned()),
        ..Observation::default()
    };
    let unknown = format!(
        "{passed}; it is not known whether {} landed on main: look there first; {error}",
        oid('c').short()
    );
    check(&sent(), &unread, over, End::NeedsHuman, &unknown);
}

#[test]
fn a_run_that_fails_to_look_waits() {
    let situation = run(&[]).situation(&broken(false), &limits(), at(50));
    assert_eq!(situation.landed, Landed::Nothing);
    assert_eq!(plan(&situation), Plan::Wait { reason: Waiting::Ports });
}

#[test]
fn what_a_run_has_used_before_may_be_away_for_a_moment() {
    let counts = |steps: &[(i64, Transition)], fault, now| run(steps).fault_at(fault, at(now));
    let open = [(0, opened())];
    // A remote that was never there is a mistake in the configuration.
    assert_eq!(counts(&[], Fault::NotFound, 50), Fault::NotFound);
    for fault in [Fault::NotFound, Fault::Auth] {
        assert_eq!(counts(&open, fault, 50), Fault::Transient);
        let since = with(open.to_vec(), vec![(50, impeded(Fault::Transient))]);
        assert_eq!(counts(&since, fault, 649), Fault::Transient);
        assert_eq!(counts(&since, fault, 650), fault);
        let better = with(since, vec![(640, Transition::Unimpeded)]);
        assert_eq!(counts(&better, fault, 650), Fault::Transient);
    }
    for fault in [Fault::Transient, Fault::RateLimited, Fault::Permanent] {
        assert_eq!(counts(&open, fault, 50), fault);
    }
}

#[test]
fn while_people_decide_a_run_waits_however_long_it_is_not_let_in() {
    let counts = |steps: &[(i64, Transition)], fault| run(steps).fault_at(fault, at(9_000));
    let seen = |state| {
        let link = "https://code/1".to_owned();
        Transition::PullSeen { seen: PullSeen { link, state } }
    };
    let open = vec![(30, Transition::PullBegun), (31, seen(PullState::Open))];
    let open = with(to_landing()[..7].to_vec(), open);
    let denied = |steps| with(steps, vec![(50, impeded(Fault::Transient))]);
    let aside = with(open.clone(), vec![(40, Transition::SteppedAside)]);
    let merged = PullState::Merged { commit: oid('d') };
    let merged = with(aside.clone(), vec![(45, seen(merged))]);
    for fault in [Fault::Auth, Fault::Permanent] {
        assert_eq!(counts(&denied(open.clone()), fault), fault);
        assert_eq!(counts(&denied(aside.clone()), fault), Fault::Transient);
        assert_eq!(counts(&denied(merged.clone()), fault), fault);
    }
    // That the pull request is gone says the forge itself.
    assert_eq!(counts(&denied(aside), Fault::NotFound), Fault::NotFound);
}
