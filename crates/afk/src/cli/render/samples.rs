//! Sample runs for the snapshots, made by the same transitions as real ones.

use afk_app::views::RunView;
use afk_core::checkout::Checkout;
use afk_core::config::Policy;
use afk_core::digest::Digest;
use afk_core::gates::Dispatcher;
use afk_core::ids::{Actor, At, Oid, RunId};
use afk_core::plan::{End, Refusal, TurnCause};
use afk_core::request::{PersonRequest, Request};
use afk_core::run::{
    AttemptRefusal, Candidate, Pinned, Run, StageRecord, Start, Transition, TurnEnd, TurnFacts,
    TurnSeen, WorkspaceInspection,
};
use afk_core::spend::Usage;
use afk_core::usd::Usd;
use afk_core::verdict::StageAnswer;
use afk_core::workflow::Workflow;
use afk_engine::ports::{JournalRow, Requested, TurnReport};
use uuid::Uuid;

/// The time `second` seconds after the samples begin.
pub(crate) fn at(second: i64) -> At {
    At::from_second(1_770_000_000 + second).unwrap()
}

fn oid(digit: char) -> Oid {
    digit.to_string().repeat(40).parse().unwrap()
}

/// A run that was just admitted.
pub(crate) fn admitted() -> Run {
    let id = RunId::new(Uuid::from_u128(0x0199_d3c2_0000_7000_8000_0000_0000_0007));
    let issue = "o/web#7".parse().unwrap();
    let pinned = Pinned {
        title: "Add a door\u{1b}[2J".to_owned(),
        body: "It opens inwards.".to_owned(),
        digest: Digest::of_list(&["Add a door"]),
    };
    Run {
        enrolled: true,
        ..Run::new(id, issue, Dispatcher::Person, pinned, Usd::dollars(20), at(0))
    }
}

/// A repository's policy that tightens, tries to loosen, and adds to the prompt.
fn workflow() -> Box<Workflow> {
    let file = b"+++\nbudget_usd = 12.5\n[guardrails]\ndeny = [\"infra/**\"]\n+++\nMind the gap.\n";
    let ignored = vec!["run_timeout_seconds = 90000 would loosen the configured 43200".to_owned()];
    Box::new(Workflow { ignored, ..Workflow::parse(file).unwrap() })
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

fn candidate(commit: char, second: i64) -> Box<Candidate> {
    Box::new(Candidate::new(oid('a'), oid('b'), oid(commit), oid('d'), at(second)))
}

fn finished_turn(message: &str) -> Transition {
    let refused = vec!["evil.example:443: the host is not on the list (2 times)".to_owned()];
    let facts = TurnFacts { usage: usage(12_000, 900), refused, ..TurnFacts::default() };
    let how = TurnEnd::Finished { message: message.to_owned() };
    Transition::TurnEnded { how, facts: Box::new(facts) }
}

fn left() -> Transition {
    Transition::Inspected {
        left: WorkspaceInspection {
            head: oid('b'),
            dirty: Vec::new(),
            elsewhere: Vec::new(),
            unfinished: Vec::new(),
        },
    }
}

fn begun(cause: TurnCause, attempt: bool) -> Transition {
    Transition::TurnBegun { cause, reserved: Usd::dollars(19), attempt }
}

/// The transitions of the sample run, with the second at which each happens.
pub(crate) fn story() -> Vec<(i64, Transition)> {
    let stage = |answer, link: Option<&str>| Transition::StageAnswered {
        stage: StageRecord {
            link: link.map(str::to_owned),
            ..StageRecord::new("ci", answer, at(300))
        },
    };
    vec![
        (
            2,
            Transition::Opened {
                start: Start {
                    branch: "main".to_owned(),
                    base: oid('a'),
                    workflow: Some(workflow()),
                    checkout: Checkout::Ours,
                    machine: None,
                    head: None,
                },
            },
        ),
        (3, begun(TurnCause::Opening, true)),
        (95, finished_turn("A door\nthat opens.")),
        (96, left()),
        (97, Transition::Integrated { candidate: candidate('c', 97) }),
        (
            120,
            Transition::Refused {
                refused: AttemptRefusal {
                    why: Refusal::Proof,
                    detail: "the test passes without the change".to_owned(),
                    output: "test door ... ok\n".to_owned(),
                    conflict: None,
                },
            },
        ),
        (121, begun(TurnCause::Refused, true)),
        (200, finished_turn("Now it fails first.")),
        (201, left()),
        (202, Transition::Integrated { candidate: candidate('e', 202) }),
        (240, Transition::Landed { commit: oid('e') }),
        (250, stage(StageAnswer::Pending, None)),
        (300, stage(StageAnswer::Success, Some("file:///var/log/ci.log"))),
        (
            310,
            Transition::Concluded {
                end: End::Done,
                why: "landed as eeeeeeee, every stage succeeded".to_owned(),
                charged: None,
            },
        ),
        (312, Transition::Settled),
    ]
}

/// The sample run after the first `steps` of its story.
pub(crate) fn after(steps: usize) -> Run {
    let mut run = admitted();
    for (second, transition) in story().into_iter().take(steps) {
        run.apply(at(second), transition);
    }
    run
}

/// The journal of the whole story.
pub(crate) fn journal() -> Vec<JournalRow> {
    let opened = (0, Transition::Admitted { run: Box::new(admitted()) });
    let rows = std::iter::once(opened).chain(story()).zip(1..);
    rows.map(|((second, transition), seq)| JournalRow {
        seq,
        at: at(second),
        kind: transition.kind().to_owned(),
        body: serde_json::json!({ "transition": transition, "context": null }),
        hash: "0".repeat(64),
    })
    .collect()
}

/// A run whose agent is at work, at a glance.
pub(crate) fn working() -> RunView {
    let turn = TurnReport {
        seen: TurnSeen::Running { last_event_at: at(60), tool_open: true, asks: Vec::new() },
        tokens: (45_678, 1_234),
        cost: Some(Usd::micros(420_000)),
        streamed: None,
        last: Some("Bash: cargo test\u{7} --all".to_owned()),
        link: None,
        transcript: None,
    };
    RunView::new(&after(2), &Policy::default(), Some(&turn), at(61))
}

/// A run whose agent waits for two answers, at a glance.
pub(crate) fn asking() -> RunView {
    let asked = |id: &str, question, what: &str| {
        afk_core::ask::PendingQuestion::new(id.to_owned(), question, what, at(30))
    };
    let mut run = after(2);
    for asked in [
        asked("r-1", false, "Bash: {\"command\":\"cargo add serde\"}"),
        asked("r-2", true, "Which way? (inwards / outwards)"),
    ] {
        run.apply(at(30), Transition::Questioned { asked, until: at(3_630) });
    }
    RunView::new(&run, &Policy::default(), None, at(61))
}

/// A run that is over, at a glance.
pub(crate) fn finished() -> RunView {
    RunView::new(&after(usize::MAX), &Policy::default(), None, at(9_999))
}

/// A request that was carried out, and one that is pending.
pub(crate) fn requests() -> Vec<Requested> {
    let asked = |id: &str, second, what| PersonRequest {
        id: id.to_owned(),
        by: Actor { id: "user:ann".to_owned(), login: "ann".to_owned(), bot: false },
        at: at(second),
        what,
    };
    let budget = asked("a", 70, Request::Budget { usd: Usd::dollars(20) });
    let said = asked("b", 80, Request::Say { text: "Mind the\nhinges.".to_owned() });
    let answer = Some((at(71), "the budget is $20.00, of which $0.42 is spent".to_owned()));
    vec![
        Requested { request: budget, answered: answer },
        Requested { request: said, answered: None },
    ]
}
