//! Why a run ends, as people read it: each reason with its whole text.

use super::*;
use crate::guardrails::Breach;

/// Why a run with these steps ends as `end` at second 150, by a pass that saw `seen`.
fn why(steps: &[(i64, Transition)], end: End, seen: &Observation, limits: &Limits) -> String {
    let run = run(steps);
    run.ended_because(end, seen, limits, &run.situation(seen, limits, at(150)))
}

/// Checks why a run with these steps is handed to a person.
#[track_caller]
fn check(steps: &[(i64, Transition)], expected: &str) {
    assert_eq!(why(steps, End::NeedsHuman, &Observation::default(), &limits()), expected);
}

fn cancelled(how: CancelHow) -> (i64, Transition) {
    (140, Transition::Cancelled { cancel: Cancel { by: None, how, at: at(140) } })
}

/// What landed has passed both of its stages.
fn green(steps: Vec<(i64, Transition)>) -> Vec<(i64, Transition)> {
    let passed = |name, second| (second, stage(name, StageAnswer::Success, second));
    with(steps, vec![passed("ci", 110), passed("more", 120)])
}

/// A guardrail is breached.
fn breached() -> Transition {
    let path = crate::change::TreePath::new(b"key.pem").unwrap();
    let breaches = vec![Breach::CredentialFile { path }];
    Transition::Guarded {
        report: GuardrailReport { breaches, further: 0, stats: Tally::default() },
    }
}

/// The proof refuses the candidate. `permit` is the label that would allow it, and `unheeded` is
/// why that has no effect.
fn disproved_with(permit: Option<&str>, unheeded: Option<&str>) -> Transition {
    let Transition::Proved { mut report } = disproved() else { panic!("a proof") };
    (report.permit, report.unheeded) = (permit.map(str::to_owned), unheeded.map(str::to_owned));
    Transition::Proved { report }
}

/// The newest attempt was refused with this detail.
fn refused_as(detail: &str) -> Transition {
    let (why, detail, output) = (Refusal::Proof, detail.to_owned(), String::new());
    Transition::Refused { refused: AttemptRefusal { why, detail, output, conflict: None } }
}

#[test]
fn a_run_that_is_done_or_withdrawn_says_by_what() {
    let nothing = Observation::default();
    let done = why(&green(to_landing()), End::Done, &nothing, &limits());
    assert_eq!(done, "cccccccc landed on main, proved and green");
    let withdrawn = |steps: &[(i64, Transition)], expected: &str| {
        assert_eq!(why(steps, End::Withdrawn, &nothing, &limits()), expected);
    };
    withdrawn(&[], "a gate closed before the first turn");
    let fails = Transition::BaseFails { why: "verify fails on main".to_owned() };
    withdrawn(&[(1, fails)], "verify fails on main");
    for (how, expected) in [
        (CancelHow::Closed, "the issue was closed"),
        (CancelHow::Unreadied, "the ready label was removed"),
        (CancelHow::Unlocked, "the in-progress label was removed"),
        (CancelHow::Unenrolled, "the repository was taken off the allowlist"),
        (CancelHow::Stopped, "the run was stopped by a person"),
        (CancelHow::PullClosed, "the pull request was closed without being merged"),
    ] {
        withdrawn(&[cancelled(how)], expected);
        check(&with(to_landing(), vec![cancelled(how)]), expected);
    }
    let steps = with(to_landing(), vec![cancelled(CancelHow::Unenrolled)]);
    let dropped = Observation { dropped: true, ..Observation::default() };
    assert_eq!(
        why(&steps, End::NeedsHuman, &dropped, &limits()),
        "the repository is no longer configured, so that nobody follows what landed as cccccccc: \
         see what its stages say"
    );
}

#[test]
fn a_turn_that_failed_says_how() {
    let turn = |how| vec![(1, begun(TurnCause::Opening)), (100, ended(how))];
    let again = |how| vec![(110, begun(TurnCause::Retry)), (120, ended(how))];
    let failed = || TurnEnd::Failed { message: "overloaded".to_owned() };
    check(&turn(failed()), "overloaded");
    check(&with(turn(failed()), again(failed())), "overloaded (2 times in a row)");
    check(&turn(TurnEnd::Hopeless { message: "no such model".to_owned() }), "no such model");
    check(&turn(TurnEnd::Stalled), "the agent went silent and was stopped");
    check(&turn(TurnEnd::Lost), "the agent's process was lost");
    let message = "the API does not answer".to_owned();
    check(
        &turn(TurnEnd::Unavailable { what: AgentNeed::Model, message }),
        "the API does not answer (waited for since 1970-01-12T13:48:20Z)",
    );
    let limited = || TurnEnd::Limited { resets_at: None };
    check(
        &with(turn(limited()), again(limited())),
        "a usage limit ended 2 consecutive turns: check what the account may use, or give the \
         agent another credential, then label the issue again",
    );
    check(&[(1, begun(TurnCause::Opening)), (2, paid(10, 1))], "the budget of $10.00 is spent");
}

#[test]
fn a_turn_that_brought_nothing_says_what_it_left() {
    let start = |checkout| {
        let Transition::Opened { start } = opened() else { panic!("a start") };
        (1, Transition::Opened { start: Start { checkout, ..start } })
    };
    let turn = |checkout, message: &str, elsewhere: &[&str]| {
        let message = message.to_owned();
        let left = WorkspaceInspection {
            head: oid('b'),
            dirty: Vec::new(),
            elsewhere: elsewhere.iter().map(|one| (*one).to_owned()).collect(),
            unfinished: Vec::new(),
        };
        vec![
            start(checkout),
            (2, begun(TurnCause::Opening)),
            (3, ended(TurnEnd::Finished { message })),
            (4, Transition::Inspected { left }),
        ]
    };
    check(&turn(Checkout::Ours, " \n", &[]), "the agent stopped without a commit");
    check(
        &turn(Checkout::Ours, " Done.\n", &[]),
        "the agent stopped without a commit and said: Done.",
    );
    check(
        &turn(Checkout::Ours, "", &["fix", "try"]),
        "the agent stopped without a commit on the branch that it had checked out (its work on \
         fix, try does not count)",
    );
    check(
        &turn(Checkout::Own, "", &[]),
        "the agent stopped, and no commit on main carries the trailer AFK-Run: \
         00000001-0000-0000-0000-000000000007",
    );
    let unfinished = vec![
        UnfinishedWork::Operation { what: "a rebase".to_owned() },
        UnfinishedWork::OwnBranch { branch: "afk/7-1".to_owned() },
        UnfinishedWork::Branch { branch: "try".to_owned() },
        UnfinishedWork::Stash,
    ];
    let left = |second| {
        let (head, dirty, elsewhere) = (oid('1'), Vec::new(), Vec::new());
        let unfinished = unfinished.clone();
        let left = WorkspaceInspection { head, dirty, elsewhere, unfinished };
        (second, Transition::Inspected { left })
    };
    let opening = vec![(1, opened()), (2, begun(TurnCause::Opening)), (3, finished()), left(4)];
    let asked = vec![(5, begun(TurnCause::CommitOrDiscard)), (6, finished()), left(7)];
    check(
        &with(opening, asked),
        "the agent was asked to finish its work in git or to drop it, and did neither (a rebase is \
         under way, the run's own branch afk/7-1 has commits that HEAD does not have, the branch \
         try has commits that HEAD does not have, work was put aside with git stash); nothing of \
         it landed, and its workspace is kept",
    );
}

#[test]
fn a_candidate_that_is_refused_says_why_and_what_allows_it() {
    let judged = |n: usize| to_landing()[..n].to_vec();
    let steps = with(judged(5), vec![(13, breached())]);
    check(&steps, "a guardrail is breached:\n- key.pem is a file for credentials");
    let refused =
        |proof, detail: &str| with(judged(6), vec![(20, proof), (21, refused_as(detail))]);
    let once = refused(disproved(), "no test");
    check(&once, "no test");
    let again = vec![
        (30, begun(TurnCause::Refused)),
        (31, finished()),
        (32, left('2', &[])),
        (33, integrated('2', 'd')),
        (34, guarded()),
        (35, disproved()),
        (36, refused_as("still no test")),
    ];
    check(&with(once, again), "still no test (refused 2 times)");
    let retry = "; then `/afk retry` goes on from the same head without another paid turn";
    let label = Some("no-test");
    check(
        &refused(disproved_with(label, None), "why"),
        &format!("why; to let it land as it is, put the label no-test on the issue{retry}"),
    );
    check(
        &refused(disproved_with(label, None), "why; put the label no-test on it"),
        &format!("why; put the label no-test on it{retry}"),
    );
    check(
        &refused(disproved_with(label, Some("a bot put it on")), "why"),
        &format!(
            "why; the label no-test is on the issue and allows nothing, because a bot put it on: a \
             trusted person has to put it on{retry}"
        ),
    );
}

#[test]
fn a_candidate_that_no_stage_passes_says_which_and_where() {
    let tested =
        Limits { before_landing: limits().stages, candidate: Duration::from_mins(5), ..limits() };
    let check = |more: Vec<(i64, Transition)>, expected: &str| {
        let pushed = vec![(30, Transition::TryBegun), (40, Transition::TryPushed)];
        let steps = with(with(to_landing()[..7].to_vec(), pushed), more);
        let told = why(&steps, End::NeedsHuman, &Observation::default(), &tested);
        let here = "cccccccc on afk/try/00000001-0000-0000-0000-000000000007/1";
        assert_eq!(told, expected.replace("HERE", here));
    };
    let answered = |name, answer, again| {
        let mut stage = said(name, answer, 100, again);
        stage.tail = Some("no runner\n".to_owned());
        (100, Transition::CandidateAnswered { stage })
    };
    let silent = |name: &str| {
        format!(
            "stage {name} gave no answer within 5 minutes about HERE, so it did not land: nothing \
             of it was ever there"
        )
    };
    check(vec![], &silent("ci"));
    check(vec![answered("ci", StageAnswer::Success, 0)], &silent("more"));
    check(
        vec![answered("ci", StageAnswer::Void, 2)],
        "stage ci could not run on HERE, tried 3 times, so it did not land: no runner",
    );
    check(
        vec![answered("ci", StageAnswer::Pending, 0)],
        "stage ci did not finish within 10 minutes on HERE, so it did not land",
    );
    let red = answered("ci", StageAnswer::Failure, 1);
    check(
        vec![red.clone()],
        "stage ci fails on HERE, and it is not known whether it fails on its base, too, so it did \
         not land",
    );
    let base = |digit| (110, Transition::BaseRed { commit: oid(digit) });
    check(
        vec![red, base('b'), base('d')],
        "stage ci fails on HERE, and on dddddddd of main, too, which nobody fixed within 10 \
         minutes, so it did not land: mend main, then label the issue again",
    );
}

#[test]
fn what_landed_says_what_is_wrong_with_it() {
    let answered = |name, answer| (110, stage(name, answer, 110));
    check(&to_landing(), "the stages never answered for the landed commit cccccccc");
    let passed = answered("ci", StageAnswer::Success);
    let red = vec![passed, answered("more", StageAnswer::Failure)];
    check(&with(to_landing(), red), "stage more is red on the landed commit cccccccc");
    check(&green(to_landing()), "cccccccc landed and is green");
    let instead = |at: usize, what| {
        let mut steps = to_landing();
        steps[at].1 = what;
        green(steps)
    };
    check(
        &instead(5, breached()),
        "cccccccc landed and is green, but a guardrail is breached:\n- key.pem is a file for \
         credentials",
    );
    check(
        &instead(6, proof(ProofOutcome::Refused(ProofRefusal::NoRedTest))),
        "cccccccc landed and is green, but not proved: by the test reports, no test fails without \
         the change and passes with it",
    );
    // Its turn has no transcript, and no sandbox.
    check(
        &instead(2, finished()),
        "cccccccc landed and is green, but the evidence lacks the transcript's digest, the \
         sandbox's strength",
    );
    // The default branch cannot be read any more when the time is over.
    let remote_unreadable = Some("no way to the remote".to_owned());
    let seen = Observation { remote_unreadable, ..Observation::default() };
    let run = run(&to_landing());
    let situation = run.situation(&seen, &limits(), at(43_300));
    assert_eq!(
        run.ended_because(End::NeedsHuman, &seen, &limits(), &situation),
        "the run's deadline has passed; it could not be read whether cccccccc still stands on main; \
         the last error was: no way to the remote"
    );
}
