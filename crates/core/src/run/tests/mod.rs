//! Tests of the record: what is recorded, what is derived, and that nothing panics.

mod asks;
mod bundle;
mod claimed;
mod derived;
mod impeded;
mod landing;
mod lock;
mod prompt_context;
mod record;
mod replay;
mod requests;
mod resumed;
mod sentences;
mod situation;
mod totality;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::ask::{self, Answer};
use crate::change::Tally;
use crate::comment::{self, Progress};
use crate::config;
use crate::elapsed::{Pause, Standstill};
use crate::evidence::SandboxStrength;
use crate::ids::{Actor, RepoName};
use crate::impediment::{Fault, Impediment};
use crate::phase::Phase;
use crate::proof::{ProofOutcome, ProofRefusal, Strength};
use crate::request::{PersonRequest, Request};
use crate::spend::{Cost, Entry, TurnKey, Usage};
use crate::verdict::{StageAnswer, StageNames};

/// So many seconds after the admission.
fn at(second: i64) -> At {
    At::from_second(1_000_000 + second).unwrap()
}

fn who(id: &str) -> Actor {
    Actor { id: id.to_owned(), login: id.to_owned(), bot: false }
}

fn oid(digit: char) -> Oid {
    digit.to_string().repeat(40).parse().unwrap()
}

fn repo() -> RepoName {
    "o/r".parse().unwrap()
}

/// A run that was admitted at second 0.
fn admitted() -> Run {
    let id = "00000001-0000-0000-0000-000000000007".parse().unwrap();
    let issue = "o/r#7".parse().unwrap();
    let digest = Digest::of("Say two");
    let pinned = Pinned { title: "Say two".to_owned(), body: String::new(), digest };
    Run {
        release: Some(super::Release {
            by: who("ann"),
            at: at(-60),
            permission: Some(Permission::Write),
            label: "ready".to_owned(),
            request_id: None,
        }),
        enrolled: true,
        labels_seen: LabelsSeen { ready: true, in_progress: false },
        ..Run::new(id, issue, Dispatcher::Loop, pinned, Usd::dollars(10), at(0))
    }
}

/// `admitted` and these transitions, at their seconds.
fn run(steps: &[(i64, Transition)]) -> Run {
    let mut run = admitted();
    for (second, transition) in steps {
        run.apply(at(*second), transition.clone());
    }
    run
}

fn opened() -> Transition {
    Transition::Opened {
        start: Start {
            branch: "main".to_owned(),
            base: oid('b'),
            workflow: None,
            checkout: Checkout::Ours,
            machine: None,
            head: None,
        },
    }
}

fn begun(cause: TurnCause) -> Transition {
    let attempt = matches!(cause, TurnCause::Opening | TurnCause::Refused | TurnCause::FixForward);
    Transition::TurnBegun { cause, reserved: Usd::dollars(10), attempt }
}

/// What an agent asks under `id`.
fn ask(id: &str, question: bool) -> ask::PendingQuestion {
    ask::PendingQuestion::new(id.to_owned(), question, &format!("Bash: {id}"), at(100))
}

fn questioned(id: &str, question: bool, until: i64) -> Transition {
    Transition::Questioned { asked: ask(id, question), until: at(until) }
}

fn ended(how: TurnEnd) -> Transition {
    Transition::TurnEnded { how, facts: Box::default() }
}

fn finished() -> Transition {
    ended(TurnEnd::Finished { message: "Done.".to_owned() })
}

/// A port call failed with this fault.
fn impeded(fault: Fault) -> Transition {
    Transition::Impeded { by: Impediment::port(fault, "no way to the remote") }
}

fn failed() -> Transition {
    ended(TurnEnd::Failed { message: "overloaded".to_owned() })
}

/// A turn's end with everything that evidence needs of it.
fn paid(dollars: u64, n: u32) -> Transition {
    let cost = Usd::dollars(dollars);
    let key = TurnKey { session: "s".to_owned(), process: n, turn: 1 };
    let entry = Entry {
        run: admitted().id,
        repo: repo(),
        at: at(0),
        cli_version: "test".to_owned(),
        cost: Cost::Reported { total: cost, delta: Some(cost), cut: None },
    };
    let facts = TurnFacts {
        cost: Some(TurnCost { key, entry }),
        usage: Usage::default(),
        transcript: Some(Digest::of("transcript")),
        sandbox: Some(SandboxStrength::Full),
        refused: Vec::new(),
    };
    let how = TurnEnd::Finished { message: "Done.".to_owned() };
    Transition::TurnEnded { how, facts: Box::new(facts) }
}

fn left(head: char, dirty: &[&str]) -> Transition {
    let dirty = dirty.iter().map(|path| (*path).to_owned()).collect();
    Transition::Inspected {
        left: WorkspaceInspection {
            head: oid(head),
            dirty,
            elsewhere: Vec::new(),
            unfinished: Vec::new(),
        },
    }
}

/// A candidate of `head` whose commit is `commit`.
fn integrated(head: char, commit: char) -> Transition {
    let candidate = Candidate::new(oid('b'), oid(head), oid(commit), oid('e'), at(0));
    Transition::Integrated { candidate: Box::new(candidate) }
}

fn guarded() -> Transition {
    let stats = Tally::default();
    Transition::Guarded { report: GuardrailReport { breaches: Vec::new(), further: 0, stats } }
}

fn proof(outcome: ProofOutcome) -> Transition {
    let report = ProofReport {
        outcome,
        red_kind: None,
        red_tests: Vec::new(),
        runs: Vec::new(),
        reservations: Vec::new(),
        permit: None,
        unheeded: None,
        no_red: None,
        paths: Vec::new(),
        removed_test_lines: Vec::new(),
    };
    Transition::Proved { report: Box::new(report) }
}

fn proved() -> Transition {
    proof(ProofOutcome::Accepted(Strength::Proven))
}

fn disproved() -> Transition {
    proof(ProofOutcome::Refused(ProofRefusal::NoTest))
}

fn refused(why: Refusal) -> Transition {
    let (detail, output) = ("why".to_owned(), String::new());
    Transition::Refused { refused: AttemptRefusal { why, detail, output, conflict: None } }
}

fn landed(commit: char) -> Transition {
    Transition::Landed { commit: oid(commit) }
}

fn request(id: &str, what: Request) -> PersonRequest {
    PersonRequest { id: id.to_owned(), by: who("ann"), at: at(0), what }
}

fn asked(id: &str, what: Request) -> Transition {
    Transition::Asked { request: request(id, what), answer: "taken".to_owned() }
}

fn reset(onto: char) -> Transition {
    Transition::Reset { reset: super::Reset { onto: oid(onto), leftovers: None } }
}

fn stage(name: &str, answer: StageAnswer, second: i64) -> Transition {
    Transition::StageAnswered { stage: said(name, answer, second, 0) }
}

/// A stage's failure on the newest candidate.
fn candidate_stage() -> Transition {
    Transition::CandidateAnswered { stage: said("ci", StageAnswer::Failure, 5, 0) }
}

fn said(name: &str, answer: StageAnswer, second: i64, again: u32) -> StageRecord {
    StageRecord { again, ..StageRecord::new(name, answer, at(second)) }
}

/// From the admission to a landing at second 100.
fn to_landing() -> Vec<(i64, Transition)> {
    vec![
        (1, opened()),
        (2, begun(TurnCause::Opening)),
        (10, paid(1, 1)),
        (11, left('1', &[])),
        (12, integrated('1', 'c')),
        (13, guarded()),
        (20, proved()),
        (100, landed('c')),
    ]
}

fn with(mut steps: Vec<(i64, Transition)>, more: Vec<(i64, Transition)>) -> Vec<(i64, Transition)> {
    steps.extend(more);
    steps
}

/// The stages that the repo configures: CI, and a rollout.
fn stages() -> Vec<config::Stage> {
    let stages = serde_json::json!([
        { "name": "ci", "command": ["ci"] },
        { "name": "more", "kind": "checks" },
        { "name": "rollout", "kind": "rollout" },
    ]);
    serde_json::from_value(stages).unwrap()
}

fn limits() -> Limits {
    Limits {
        landing_refusals: 3,
        fix_forwards: 2,
        fix_forward_clock: Duration::from_hours(1),
        executor_retries: 3,
        stall: Duration::from_mins(30),
        tool: Duration::from_hours(2),
        stage: Duration::from_mins(10),
        question: Duration::from_mins(5),
        run: Duration::from_hours(12),
        stop_grace: Duration::from_secs(30),
        stages: StageNames::new(vec!["ci".to_owned(), "more".to_owned()]).ok(),
        candidate: Duration::from_mins(10),
        before_landing: None,
        pull_request: false,
        race: Duration::from_mins(30),
    }
}

#[test]
fn phases_are_reached_by_evidence_alone() {
    let check = |steps: &[(i64, Transition)], expected| {
        assert_eq!(run(steps).phase(&stages()), expected, "{:?}", steps.last());
    };
    let whole = to_landing();
    let expected = BTreeMap::from([
        (0, Phase::Worktree),
        (1, Phase::TestsRed),
        (2, Phase::TestsRed),
        (3, Phase::TestsRed),
        (4, Phase::TestsRed),
        (5, Phase::TestsRed),
        (6, Phase::TestsRed),
        (7, Phase::Pushed),
        (8, Phase::Ci),
    ]);
    for (steps, phase) in expected {
        check(&whole[..steps], phase);
    }
    let one = with(to_landing(), vec![(110, stage("ci", StageAnswer::Success, 110))]);
    check(&one, Phase::Ci);
    let green = with(one.clone(), vec![(120, stage("more", StageAnswer::Success, 120))]);
    check(&green, Phase::Deployed);
    let rollout = |answer| {
        let steps = with(green.clone(), vec![(130, stage("rollout", answer, 130))]);
        check(&steps, Phase::Deployed);
    };
    rollout(StageAnswer::Pending);
    rollout(StageAnswer::Success);
    // Without stages CI is never green, and without one that deploys nothing is ever deployed.
    let phase = |stages: &[config::Stage]| run(&green).phase(stages);
    assert_eq!([phase(&stages()[2..]), phase(&stages()[..2]), phase(&[])], [Phase::Ci; 3]);
    let red = with(one, vec![(120, stage("more", StageAnswer::Failure, 120))]);
    check(&red, Phase::Ci);
    let disproved = with(whole[..6].to_vec(), vec![(20, disproved())]);
    check(&disproved, Phase::TestsRed);
    let end = |end| Transition::Concluded { end, why: String::new(), charged: None };
    check(&with(to_landing(), vec![(130, end(End::Done))]), Phase::Done);
    check(&with(to_landing(), vec![(130, end(End::NeedsHuman))]), Phase::Ci);
    check(&[(130, end(End::Withdrawn))], Phase::Worktree);
}

#[test]
fn the_checklist_of_a_run_in_every_phase() {
    let answers = stages().into_iter().map(|one| {
        let answered = StageRecord::new(&one.name, StageAnswer::Success, at(120));
        (
            120,
            Transition::StageAnswered { stage: StageRecord { deploys: one.deploys(), ..answered } },
        )
    });
    let end = Transition::Concluded { end: End::Done, why: String::new(), charged: None };
    let all = [to_landing(), answers.collect(), vec![(130, end)]].concat();
    let shown = (0..=all.len()).map(|n| {
        let run = run(&all[..n]);
        comment::checklist(&Progress {
            run: run.id,
            issue: run.issue.clone(),
            thread: run.turn().map(|_| run.id.thread()),
            thread_link: None,
            branch: "master".to_owned(),
            phase: run.phase(&stages()),
            deploys: run.deploys(&stages()),
            fix_forwards: run.fix_forwards(),
            goes_on: None,
            error: None,
            told: Vec::new(),
            closing: None,
        })
    });
    let mut shown: Vec<String> = shown.collect();
    shown.dedup();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn backoff_doubles_to_five_minutes() {
    let seconds: Vec<_> = (0..9).map(|n| Run::backoff(n).as_secs()).collect();
    assert_eq!(seconds, [10, 10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(Run::backoff(u32::MAX).as_secs(), 300);
}

#[test]
fn evidence_is_complete_only_when_every_stage_succeeded() {
    let stages = limits().stages;
    let both = vec![
        (110, stage("ci", StageAnswer::Success, 110)),
        (120, stage("more", StageAnswer::Success, 120)),
    ];
    let full = run(&with(to_landing(), both.clone()));
    assert_eq!(full.evidence(stages.as_ref()).is_complete(), Ok(()));
    let lacks = |run: &Run, text: &str| {
        let missing = run.evidence(stages.as_ref()).is_complete().unwrap_err().to_string();
        assert!(missing.contains(text), "{missing}");
    };
    lacks(&run(&with(to_landing(), both[..1].to_vec())), "success of stage \"more\"");
    lacks(&Run { release: None, ..full.clone() }, "who released");
    assert!(full.evidence(None).is_complete().is_err(), "no stage is never green");
    let mut bare = full.clone();
    bare.attempts[0].turns[0].ended.as_mut().unwrap().facts = TurnFacts::default();
    lacks(&bare, "transcript");
    lacks(&bare, "sandbox");
    let mut unproved = full.clone();
    unproved.attempts[0].candidates[0].proof = None;
    lacks(&unproved, "the proof");
    let mut unguarded = full;
    unguarded.attempts[0].candidates[0].guardrails = None;
    lacks(&unguarded, "guardrails");
    lacks(&admitted(), "the landed commit");
}

#[test]
fn a_red_of_ours_must_be_fixed_by_a_later_landing() {
    let stages = limits().stages;
    let red = with(
        to_landing(),
        vec![
            (110, stage("ci", StageAnswer::Failure, 110)),
            (111, Transition::Attributed { cause: RedCause::Ours }),
        ],
    );
    let bundle = run(&red).evidence(stages.as_ref());
    assert_eq!(bundle.reds.len(), 1);
    assert_eq!(bundle.reds[0].fixed_by, None);
    let fixed = with(
        red,
        vec![
            (112, begun(TurnCause::FixForward)),
            (120, paid(1, 2)),
            (121, left('2', &[])),
            (122, integrated('2', 'd')),
            (123, guarded()),
            (124, proved()),
            (125, landed('d')),
            (130, stage("ci", StageAnswer::Success, 130)),
            (131, stage("more", StageAnswer::Success, 131)),
        ],
    );
    let fixed = run(&fixed);
    let bundle = fixed.evidence(stages.as_ref());
    assert_eq!(bundle.reds[0].fixed_by, Some(2));
    assert_eq!(bundle.is_complete(), Ok(()));
    assert_eq!(bundle.landed, Some(oid('d')));
    assert_eq!(fixed.spent(), Usd::dollars(2));
}

#[test]
fn a_pass_looks_at_what_its_decision_needs() {
    let look = |steps: &[(i64, Transition)]| run(steps).observation_scope();
    let whole = to_landing();
    assert!(look(&[]).gates && look(&whole[..1]).gates);
    let turn = look(&whole[..2]);
    assert_eq!((turn.gates, turn.turn, turn.workspace), (false, Some(1), None));
    assert_eq!(look(&whole[..3]).workspace, Some(1));
    assert_eq!(look(&whole[..4]).workspace, None);
    let end = Transition::Concluded { end: End::Done, why: String::new(), charged: None };
    let over = with(whole, vec![(200, end)]);
    assert_eq!(look(&over), ObservationScope { issue: true, ..ObservationScope::default() });
    assert_eq!(look(&with(over, vec![(201, Transition::Settled)])), ObservationScope::default());
}
