//! The agent's questions: recorded once, answered once, and which one an answer means.

use super::*;

/// A person's request, said at `second`.
fn said(second: i64, what: Request) -> PersonRequest {
    PersonRequest { at: at(second), ..request(&format!("{second}"), what) }
}

fn allow(ask: Option<u32>) -> Request {
    Request::Allow { ask }
}

fn deny(ask: Option<u32>) -> Request {
    Request::Deny { ask, why: String::new() }
}

fn reply(ask: Option<u32>) -> Request {
    Request::Answer { ask, text: "The first.".to_owned() }
}

/// A turn under way with these questions: (id, whether it is an open question, second).
fn asking(asked: &[(&str, bool, i64)]) -> Run {
    let questions = asked
        .iter()
        .map(|(id, question, second)| (*second, questioned(id, *question, second + 300)));
    let steps: Vec<_> = [(10, begun(TurnCause::Opening))].into_iter().chain(questions).collect();
    run(&steps)
}

/// The run after it has taken the request at `second`; fails if it does not take it.
#[track_caller]
fn taken(run: &Run, second: i64, asked: &PersonRequest) -> Run {
    let names = Names { ready: "ready", in_progress: "busy" };
    let seen = Observation { requests: vec![asked.clone()], ..Observation::default() };
    let found = record(run, &seen, names, &limits(), at(second));
    assert_eq!(found.len(), 1, "{found:?}");
    let mut after = run.clone();
    for transition in found {
        after.apply(at(second), transition);
    }
    after
}

#[test]
fn what_is_asked_is_recorded_when_it_is_first_seen_and_no_more() {
    let names = Names { ready: "ready", in_progress: "busy" };
    let look = |run: &Run, halted: bool| {
        let asks = vec![ask("a", false), ask("b", true)];
        let turn = TurnSeen::Running { last_event_at: at(100), tool_open: false, asks };
        let seen = Observation { turn: Some(turn), halted, ..Observation::default() };
        record(run, &seen, names, &limits(), at(100))
    };
    let mut now = asking(&[]);
    assert_eq!(look(&now, true), [], "what is about to be stopped asks nobody");
    let found = look(&now, false);
    assert_eq!(found, [questioned("a", false, 400), questioned("b", true, 400)]);
    for transition in found {
        now.apply(at(100), transition.clone());
        now.apply(at(101), transition);
    }
    assert_eq!(look(&now, false), []);
    let numbers: Vec<_> = now.questions().map(|one| (one.n, one.asked.id.as_str())).collect();
    assert_eq!(numbers, [(1, "a"), (2, "b")]);
    let cancel = Cancel { by: None, how: CancelHow::Closed, at: at(102) };
    let mut other = asking(&[]);
    other.apply(at(102), Transition::Cancelled { cancel });
    assert_eq!(look(&other, false), []);
}

#[test]
fn an_answer_means_what_was_open_when_it_was_given() {
    let check = |run: &Run, second: i64, what: Request, expected: Result<u32, &str>| {
        let asked = said(second, what);
        let found = crate::request::answer(run, &asked, None);
        match (&found, expected) {
            (Ok(_), Ok(n)) => {
                let after = taken(run, 500, &asked);
                let given: Vec<_> =
                    after.questions().filter(|one| one.given.is_some()).map(|one| one.n).collect();
                assert_eq!(given, [n], "{asked:?}");
            }
            (Err(why), Err(words)) => assert!(why.contains(words), "{asked:?}: {why}"),
            (found, expected) => panic!("{asked:?}: {found:?}, and not {expected:?}"),
        }
    };
    let none = asking(&[]);
    check(&none, 200, allow(None), Err("does not ask for a permission"));
    check(&none, 200, reply(None), Err("has no open question"));
    check(&none, 200, allow(Some(1)), Err("no question 1"));

    let permission = asking(&[("a", false, 100)]);
    check(&permission, 200, allow(None), Ok(1));
    check(&permission, 200, deny(None), Ok(1));
    check(&permission, 200, allow(Some(1)), Ok(1));
    check(&permission, 200, reply(None), Err("`afk allow` or `afk deny`"));
    check(&permission, 200, reply(Some(1)), Err("`afk allow` or `afk deny`"));
    check(&permission, 200, allow(Some(2)), Err("no question 2"));
    // Said before the question came up, it was about something else unless it gives the number.
    check(&permission, 99, allow(None), Err("does not ask for a permission"));
    check(&permission, 99, allow(Some(1)), Ok(1));

    let question = asking(&[("a", true, 100)]);
    check(&question, 200, reply(None), Ok(1));
    check(&question, 200, allow(None), Err("use `afk answer`"));

    let both = asking(&[("a", true, 100), ("b", false, 110)]);
    check(&both, 200, reply(None), Ok(1));
    check(&both, 200, deny(None), Ok(2));

    let two = asking(&[("a", false, 100), ("b", false, 110)]);
    check(&two, 200, allow(None), Err("name one: `--ask 1` (Bash: a), `--ask 2` (Bash: b)"));
    check(&two, 105, allow(None), Ok(1));
    check(&two, 200, allow(Some(2)), Ok(2));
    let answered = taken(&two, 150, &said(140, allow(Some(1))));
    let open = |second| crate::request::answer(&answered, &said(second, allow(None)), None);
    assert!(open(149).is_err() && open(150).is_ok(), "from its answer on it is open no more");
}

#[test]
fn the_first_answer_stays_whoever_gives_it() {
    let policy = || Transition::Answered { n: 1, answer: Answer::Deny { why: "late".to_owned() } };
    let asked = asking(&[("a", false, 100)]);
    let mut person = taken(&asked, 150, &said(140, allow(None)));
    person.apply(at(400), policy());
    let given = person.questions().next().unwrap().given.clone().unwrap();
    assert_eq!((given.answer, given.by, given.at), (Answer::Allow, Some(who("ann")), at(150)));

    let mut late = asked;
    late.apply(at(400), policy());
    // A question that came up since is not meant by an answer given before.
    late.apply(at(405), questioned("b", false, 705));
    for what in [allow(None), allow(Some(1)), deny(None)] {
        let why = crate::request::answer(&late, &said(390, what), None).unwrap_err();
        assert!(why.contains("already answered by policy"), "{why}");
    }
    late.apply(
        at(410),
        Transition::Asked { request: said(390, allow(None)), answer: String::new() },
    );
    let given: Vec<_> = late.questions().map(|one| one.given.clone()).collect();
    assert!(matches!(
        &given[0],
        Some(RecordedAnswer { by: None, answer: Answer::Deny { .. }, .. })
    ));
    assert_eq!(given[1], None);
}

#[test]
fn clocks_stand_still_to_the_last_answer() {
    let mut now = asking(&[("a", false, 100), ("b", true, 100)]);
    now.apply(at(100), Transition::Paused { why: Standstill::Wait });
    let now = taken(&now, 150, &said(150, deny(None)));
    assert_eq!(
        now.pauses,
        [Pause { from: at(100), to: None, why: Standstill::Wait }],
        "a question is open"
    );
    let now = taken(&now, 180, &said(180, reply(None)));
    assert_eq!(now.pauses, [Pause { from: at(100), to: Some(at(180)), why: Standstill::Wait }]);
    assert_eq!(now.open_questions().count(), 0);
    let told = now.questions().map(|one| one.given.clone().unwrap().answer).collect::<Vec<_>>();
    assert!(matches!(&told[0], Answer::Deny { why } if why.contains("A person has refused")));
    assert_eq!(told[1], Answer::Say { text: "The first.".to_owned() });

    let mut policy = asking(&[("a", false, 100)]);
    policy.apply(at(100), Transition::Paused { why: Standstill::Wait });
    policy.apply(at(400), Transition::Answered { n: 1, answer: Answer::Allow });
    assert_eq!(policy.pauses, [Pause { from: at(100), to: Some(at(400)), why: Standstill::Wait }]);
}

#[test]
fn while_no_control_plane_runs_nobody_can_answer() {
    let until = |now: &Run| {
        now.questions().map(|one| one.until.duration_since(at(0)).as_secs()).collect::<Vec<_>>()
    };
    let mut now = asking(&[("a", false, 100), ("b", true, 200)]);
    assert_eq!(until(&now), [400, 500]);
    now.apply(at(1_150), Transition::Away { from: at(150), to: at(1_150) });
    // By its time the second question came up during the absence, as two machines' clocks differ.
    assert_eq!(until(&now), [1_400, 1_450]);
    now.apply(at(1_200), Transition::Answered { n: 1, answer: Answer::Allow });
    now.apply(at(1_300), Transition::Away { from: at(1_210), to: at(1_300) });
    assert_eq!(until(&now), [1_400, 1_540], "what is answered waits no longer");
    // A question that policy answers at once is not postponed.
    let mut at_once = run(&[(10, begun(TurnCause::Opening)), (100, questioned("a", false, 100))]);
    at_once.apply(at(900), Transition::Away { from: at(100), to: at(900) });
    assert_eq!(until(&at_once), [100]);
}

#[test]
fn what_was_asked_in_a_turn_is_over_with_it() {
    let mut now = asking(&[("a", false, 100)]);
    now.apply(at(120), ended(TurnEnd::Lost));
    assert_eq!(now.open_questions().count(), 0);
    let why = crate::request::answer(&now, &said(130, allow(Some(1))), None).unwrap_err();
    assert!(why.contains("ended with its turn"), "{why}");
    now.apply(at(130), begun(TurnCause::Retry));
    now.apply(at(140), questioned("a", false, 440));
    assert_eq!(now.open_questions().map(|one| one.n).collect::<Vec<_>>(), [2]);
    assert!(crate::request::answer(&now, &said(150, allow(None)), None).is_ok());
}

#[test]
fn what_a_bell_says_names_the_commands_that_answer_it() {
    let now = asking(&[("a", false, 100), ("b", true, 110)]);
    let told: Vec<_> = now.questions().map(|one| one.detail(&now.issue)).collect();
    insta::assert_snapshot!(told.join("\n----\n"), @"
    The agent asks for a permission: Bash: a
    Without an answer until 1970-01-12 13:53:20 UTC it is refused.
    afk allow o/r#7 --ask 1
    afk deny o/r#7 --ask 1 'WHY'
    Or, in a comment on the issue: /afk allow --ask 1, /afk deny --ask 1 WHY
    ----
    The agent asks: Bash: b
    Without an answer until 1970-01-12 13:53:30 UTC it decides by itself.
    afk answer o/r#7 --ask 2 'TEXT'
    Or, in a comment on the issue: /afk answer --ask 2 TEXT
    ");
}

#[test]
fn a_question_is_for_people_where_it_gives_them_time() {
    let until = |second| {
        let run = run(&[(10, begun(TurnCause::Opening)), (100, questioned("a", true, second))]);
        run.questions().next().unwrap().is_for_people()
    };
    assert!(until(101) && !until(100) && !until(99));
}

#[test]
fn a_permission_that_is_not_shown_whole_is_only_refused() {
    let text = format!("Bash: {}; rm -rf /", "x".repeat(ask::LONGEST));
    let asked = ask::PendingQuestion::new("a".to_owned(), false, &text, at(100));
    let until = at(400);
    let steps = [(10, begun(TurnCause::Opening)), (100, Transition::Questioned { asked, until })];
    let run = run(&steps);
    let question = run.questions().next().unwrap();
    let detail = question.detail(&run.issue);
    assert!(detail.contains("It is not shown whole, and so can only be refused."), "{detail}");
    assert!(!detail.contains("afk allow"), "{detail}");
    let refused = crate::request::answer(&run, &said(200, allow(Some(1))), None).unwrap_err();
    assert!(refused.contains("question 1 is not shown whole"), "{refused}");
    let names = Names { ready: "ready", in_progress: "busy" };
    let seen = Observation { requests: vec![said(200, allow(Some(1)))], ..Observation::default() };
    assert_eq!(record(&run, &seen, names, &limits(), at(200)), []);
    let denied = taken(&run, 200, &said(200, deny(Some(1))));
    assert!(denied.questions().next().unwrap().given.is_some());
}
