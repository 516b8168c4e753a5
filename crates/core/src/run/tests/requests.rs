//! People's requests to a run: taken once, and what follows.

use super::*;
use crate::plan::{self, Work};

fn say(text: &str) -> Request {
    Request::Say { text: text.to_owned() }
}

fn look(run: &Run, requests: Vec<PersonRequest>) -> Vec<Transition> {
    let names = Names { ready: "ready", in_progress: "busy" };
    record(run, &Observation { requests, ..Observation::default() }, names, &limits(), at(50))
}

/// Lets `run` take these requests, pass by pass; returns how many it takes.
fn take(run: &mut Run, asked: &[PersonRequest]) -> usize {
    for taken in 0.. {
        let found = look(run, asked.to_vec());
        if found.is_empty() {
            return taken;
        }
        for transition in found {
            run.apply(at(50), transition);
        }
    }
    unreachable!()
}

#[test]
fn a_request_is_taken_once_however_often_it_is_seen() {
    let mut run = run(&[(1, begun(TurnCause::Opening))]);
    let budget = request("a", Request::Budget { usd: Usd::dollars(30) });
    assert_eq!(take(&mut run, &[budget.clone(), budget.clone()]), 1);
    assert_eq!(take(&mut run, &[budget]), 0);
    assert_eq!(run.budget, Usd::dollars(30));
    assert_eq!(run.requests.len(), 1);
}

#[test]
fn a_stop_cancels_by_name_and_nothing_is_taken_after_it() {
    let mut run = run(&[(1, begun(TurnCause::Opening))]);
    let asked = [request("a", Request::Stop), request("b", say("wait"))];
    assert_eq!(take(&mut run, &asked), 1);
    let cancel = run.cancel.clone().unwrap();
    assert_eq!((cancel.how, cancel.by), (CancelHow::Stopped, Some(who("ann"))));
    assert!(
        crate::request::answer(&run, &request("b", say("wait")), None)
            .unwrap_err()
            .contains("stopped")
    );
}

#[test]
fn an_ended_run_takes_nothing_more() {
    let end = Transition::Concluded { end: End::NeedsHuman, why: String::new(), charged: None };
    let mut run = run(&[(1, end)]);
    let budget = Request::Budget { usd: Usd::dollars(30) };
    for what in [Request::Stop, Request::Retry, budget, say("hello")] {
        assert_eq!(take(&mut run, &[request("a", what)]), 0);
    }
    assert_eq!(run.cancel, None);
}

#[test]
fn a_raised_budget_lets_a_spent_run_go_on() {
    let spent = |run: &Run| run.situation(&Observation::default(), &limits(), at(60)).spent;
    let mut run = run(&[(1, begun(TurnCause::Opening)), (2, paid(10, 1))]);
    assert!(spent(&run));
    assert_eq!(take(&mut run, &[request("a", Request::Budget { usd: Usd::dollars(11) })]), 1);
    assert!(!spent(&run));
    assert_eq!(take(&mut run, &[request("b", Request::Budget { usd: Usd::dollars(9) })]), 1);
    assert!(spent(&run));
}

#[test]
fn what_a_turn_may_spend_stays_reserved_until_it_ends_whatever_the_budget_is_lowered_to() {
    let stands = |run: &Run| {
        let situation = run.situation(&Observation::default(), &limits(), at(60));
        (run.reserved(), situation.lowered)
    };
    let mut run = run(&[(1, begun(TurnCause::Opening))]);
    assert_eq!(stands(&run), (Usd::dollars(10), false));
    for (id, budget, expected) in [
        ("a", 4, (Usd::dollars(10), true)),
        ("b", 12, (Usd::dollars(12), false)),
        ("c", 10, (Usd::dollars(10), false)),
        ("d", 4, (Usd::dollars(10), true)),
    ] {
        let usd = Usd::dollars(budget);
        assert_eq!(take(&mut run, &[request(id, Request::Budget { usd })]), 1);
        assert_eq!(stands(&run), expected, "{id}");
    }
    run.apply(at(61), paid(3, 1));
    assert_eq!(stands(&run), (Usd::dollars(1), false));
}

#[test]
fn a_retry_ends_the_wait_and_only_a_wait() {
    let turn = |run: &Run| run.situation(&Observation::default(), &limits(), at(51)).turn;
    let resets_at = Some(at(9_000));
    for (how, waits, goes_on) in [
        (
            TurnEnd::Failed { message: "busy".to_owned() },
            plan::TurnState::Failed { backoff_over: false },
            plan::TurnState::Failed { backoff_over: true },
        ),
        (
            TurnEnd::Limited { resets_at },
            plan::TurnState::Limited { reset: false },
            plan::TurnState::Limited { reset: true },
        ),
    ] {
        let mut run = run(&[(1, begun(TurnCause::Opening)), (49, ended(how))]);
        assert_eq!(turn(&run), waits);
        assert_eq!(take(&mut run, &[request("a", Request::Retry)]), 1);
        assert_eq!(turn(&run), goes_on);
    }
    let mut working = run(&[(1, begun(TurnCause::Opening))]);
    assert_eq!(take(&mut working, &[request("a", Request::Retry)]), 0);
    // A retry counts for the wait in which it was asked, and for no later one.
    let later = run(&[
        (1, begun(TurnCause::Opening)),
        (2, failed()),
        (3, asked("a", Request::Retry)),
        (4, begun(TurnCause::Retry)),
        (50, failed()),
    ]);
    assert_eq!(turn(&later), plan::TurnState::Failed { backoff_over: false });
}

#[test]
fn words_are_told_together_and_again_where_the_turn_broke_off() {
    let words = |run: &Run| run.undelivered_messages().count();
    let steps = vec![
        (1, begun(TurnCause::Opening)),
        (2, asked("a", say("one"))),
        (3, asked("b", say("two"))),
        (4, finished()),
        (5, left('1', &[])),
        (6, begun(TurnCause::Said)),
    ];
    let telling = run(&steps);
    assert_eq!((words(&run(&steps[..5])), words(&telling)), (2, 0));
    assert_eq!(telling.messages_for(2), "one\n\ntwo");
    assert_eq!(words(&run(&with(steps.clone(), vec![(7, finished())]))), 0);
    let broken = with(steps, vec![(7, ended(TurnEnd::Interrupted))]);
    assert_eq!(words(&run(&broken)), 2);
    let counts = run(&broken);
    assert_eq!((counts.refusals(), counts.fix_forwards(), counts.failures_in_a_row()), (0, 0, 0));
    assert_eq!(counts.attempts.len(), 1);
}

#[test]
fn a_message_turn_with_a_new_head_needs_a_new_candidate() {
    let told = with(
        vec![
            (1, begun(TurnCause::Opening)),
            (2, finished()),
            (3, left('1', &[])),
            (4, integrated('1', 'c')),
            (5, guarded()),
            (6, proved()),
        ],
        vec![(7, asked("a", say("x"))), (8, begun(TurnCause::Said)), (9, finished())],
    );
    let work = |head| {
        let run = run(&with(told.clone(), vec![(10, left(head, &[]))]));
        match run.situation(&Observation::default(), &limits(), at(60)).turn {
            plan::TurnState::Finished { work, .. } => work,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(work('1'), Work::New(plan::CandidateState::Clear));
    assert_eq!(work('2'), Work::New(plan::CandidateState::Unmerged));
}

#[test]
fn an_answer_says_what_will_be_done_or_why_nothing_will() {
    let check = |steps: &[(i64, Transition)], what: Request, expected: Result<&str, &str>| {
        let found = crate::request::answer(&run(steps), &request("a", what), None);
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found, expected, "{:?}", steps.last());
    };
    let turn = vec![(1, begun(TurnCause::Opening))];
    let after = |how| with(turn.clone(), vec![(2, ended(how))]);
    let budget = |dollars| Request::Budget { usd: Usd::dollars(dollars) };
    check(&turn, Request::Stop, Ok("stopped"));
    check(&turn, budget(30), Ok("the budget is $30.00, of which $0.00 is spent"));
    check(&turn, say("x"), Ok("the agent gets the message after its turn"));
    check(&turn, Request::Unfreeze, Err("freezes belong to a repository: `afk unfreeze`"));
    let release = "the run has not ended: there is nothing to release";
    check(&turn, Request::Release, Err(release));
    let unclear = || Request::Unclear { why: "what?".to_owned() };
    check(&turn, unclear(), Err("what?"));
    let nothing = Err("the run is in progress: there is nothing to retry");
    check(&turn, Request::Retry, nothing);
    let message = || "x".to_owned();
    check(&after(TurnEnd::Finished { message: message() }), Request::Retry, nothing);
    check(&after(TurnEnd::Interrupted), Request::Retry, nothing);
    check(&after(TurnEnd::Lost), Request::Retry, Ok("the run retries now"));
    let limited = TurnEnd::Limited { resets_at: None };
    check(&after(limited), Request::Retry, Ok("the run tries the usage limit now"));
    let away = TurnEnd::Unavailable { what: AgentNeed::Model, message: message() };
    check(&after(away), Request::Retry, Ok("the run tries its agent now"));
    let decided = with(to_landing()[..7].to_vec(), vec![(30, Transition::PullBegun)]);
    let people = "people decide on its pull request, so its agent gets no message: to have the \
                  work changed, close the pull request, add what you want to the issue, and \
                  release the issue again";
    check(&decided, say("x"), Err(people));
    let cancel = Cancel { by: None, how: CancelHow::Closed, at: at(2) };
    let cancelled = with(turn.clone(), vec![(2, Transition::Cancelled { cancel })]);
    let no_more = "the run starts no more work: the issue was closed";
    check(&cancelled, Request::Stop, Err(no_more));
    let end = Transition::Concluded { end: End::Done, why: String::new(), charged: None };
    let over = with(turn.clone(), vec![(2, end)]);
    let ended = "the run had ended; `/afk retry` releases the issue again";
    check(&over, Request::Stop, Err(ended));
    check(&over, unclear(), Err("what?"));
    let asked = |question| with(turn.clone(), vec![(100, questioned("a", question, 400))]);
    let answer = Request::Answer { ask: Some(1), text: "x".to_owned() };
    check(&asked(true), answer, Ok("the agent gets this as the answer to question 1"));
    let allow = Request::Allow { ask: Some(1) };
    check(&asked(false), allow, Ok("allowed once: Bash: a"));
    let deny = Request::Deny { ask: Some(1), why: String::new() };
    check(&asked(false), deny, Ok("refused: Bash: a"));
}

#[test]
fn a_budget_is_raised_as_far_as_the_caps_of_a_day_have_room() {
    let run = run(&[(1, begun(TurnCause::Opening))]);
    let check = |dollars, room, most: Option<u64>| {
        let asked = request("a", Request::Budget { usd: Usd::dollars(dollars) });
        let found = crate::request::answer(&run, &asked, Some(Usd::dollars(room)));
        let usd = Usd::dollars(dollars);
        let expected = match most.map(Usd::dollars) {
            None => Ok(format!("the budget is {usd}, of which $0.00 is spent")),
            Some(most) => Err(format!(
                "the caps of a day (`day_budget_usd`, `repo_day_budget_usd`) have no room for a \
                 budget of {usd}, only for one of {most}; it stays at $10.00"
            )),
        };
        assert_eq!(found, expected);
    };
    check(20, 20, None);
    check(30, 20, Some(20));
    // What the run has already is never taken away.
    check(30, 5, Some(10));
    check(10, 5, None);
    check(8, 5, None);
}
