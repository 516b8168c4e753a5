//! What a turn is about, which is repeated until a turn that says it finishes.

use super::*;

/// The end of a turn that its executor had received.
fn broke(how: TurnEnd) -> Transition {
    let facts = TurnFacts { transcript: Some(Digest::of("transcript")), ..TurnFacts::default() };
    Transition::TurnEnded { how, facts: Box::new(facts) }
}

#[test]
fn a_turn_tells_what_the_ones_before_it_did_not_come_to() {
    let check = |steps: Vec<(i64, Transition)>, broken, about| {
        let run = run(&steps);
        let told = run.prompt_context().unwrap();
        assert_eq!((told.broken, told.about.cause), (broken, about), "{steps:?}");
    };
    assert_eq!(run(&[]).prompt_context(), None);
    let undelivered = || (20, ended(TurnEnd::Interrupted));
    let interrupted = || (20, broke(TurnEnd::Interrupted));
    let again = || (30, begun(TurnCause::Interrupted));
    for cause in [
        TurnCause::Opening,
        TurnCause::Refused,
        TurnCause::FixForward,
        TurnCause::CommitOrDiscard,
        TurnCause::Said,
    ] {
        let first = || vec![(1, begun(TurnCause::Opening)), (2, finished()), (10, begun(cause))];
        check(first(), None, cause);
        check(with(first(), vec![undelivered(), again()]), None, cause);
        check(with(first(), vec![undelivered(), again(), undelivered(), again()]), None, cause);
        let late = with(first(), vec![undelivered(), again(), interrupted(), again()]);
        check(late, Some(TurnCause::Interrupted), cause);
        let limited = (20, broke(TurnEnd::Limited { resets_at: None }));
        let reset = with(first(), vec![limited, (30, begun(TurnCause::LimitReset))]);
        check(reset, Some(TurnCause::LimitReset), cause);
        let retried = with(first(), vec![(20, failed()), (25, begun(TurnCause::Retry))]);
        check(retried.clone(), Some(TurnCause::Retry), cause);
        // The agent has still to be told of the error.
        check(with(retried, vec![undelivered(), again()]), Some(TurnCause::Retry), cause);
    }
}

#[test]
fn paths_that_a_turn_was_to_commit_are_kept_for_the_one_after_it() {
    let steps = vec![
        (1, begun(TurnCause::Opening)),
        (2, finished()),
        (3, left('1', &["a"])),
        (4, begun(TurnCause::CommitOrDiscard)),
        (5, ended(TurnEnd::Interrupted)),
        (6, begun(TurnCause::Interrupted)),
    ];
    assert_eq!(run(&steps).attempts[0].dirty, ["a"]);
    let more = vec![(7, finished()), (8, left('1', &[])), (9, begun(TurnCause::Said))];
    assert!(run(&with(steps, more)).attempts[0].dirty.is_empty());
}

#[test]
fn words_are_told_once_a_turn_that_goes_on_with_them_finishes() {
    let what = Request::Say { text: "one".to_owned() };
    let steps = vec![
        (1, begun(TurnCause::Opening)),
        (2, asked("a", what)),
        (3, finished()),
        (4, begun(TurnCause::Said)),
        (5, ended(TurnEnd::Interrupted)),
        (6, begun(TurnCause::Interrupted)),
        (7, finished()),
    ];
    let unsaid = |steps: &[(i64, Transition)]| run(steps).undelivered_messages().count();
    assert_eq!((unsaid(&steps[..5]), unsaid(&steps[..6]), unsaid(&steps)), (1, 0, 0));
    assert_eq!(unsaid(&with(steps[..6].to_vec(), vec![(7, failed())])), 1);
    // A turn for another purpose does not pass them on.
    let other = vec![(6, begun(TurnCause::CommitOrDiscard)), (7, finished())];
    assert_eq!(unsaid(&with(steps[..5].to_vec(), other)), 1);
}
