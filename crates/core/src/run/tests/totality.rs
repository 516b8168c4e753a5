//! No sequence of transitions panics, and what is written is read again.

use proptest::prelude::*;

use super::*;
use crate::plan::{Plan, plan};

fn turn_ends() -> impl Strategy<Value = TurnEnd> {
    prop_oneof![
        Just(TurnEnd::Finished { message: "Done.".to_owned() }),
        Just(TurnEnd::Failed { message: "no".to_owned() }),
        Just(TurnEnd::Hopeless { message: "no".to_owned() }),
        Just(TurnEnd::Unavailable { what: AgentNeed::Model, message: "away".to_owned() }),
        Just(TurnEnd::Stalled),
        Just(TurnEnd::Lost),
        Just(TurnEnd::Interrupted),
        proptest::option::of(0..9_000_i64)
            .prop_map(|second| TurnEnd::Limited { resets_at: second.map(at) }),
    ]
}

fn asks(id: &str, what: usize) -> Transition {
    let what = [
        Request::Stop,
        Request::Retry,
        Request::Unfreeze,
        Request::Budget { usd: Usd::dollars(3) },
        Request::Release,
        Request::Unclear { why: "what?".to_owned() },
        Request::Say { text: "mind it".to_owned() },
        Request::Allow { ask: None },
        Request::Deny { ask: Some(1), why: String::new() },
        Request::Answer { ask: None, text: "the first".to_owned() },
    ][what]
        .clone();
    asked(id, what)
}

const ASIDE: [Transition; 2] =
    [Transition::SteppedAside, Transition::TookUp { budget: Usd::dollars(2) }];

const PUSH_FAILURES: [PushFailure; 3] =
    [PushFailure::Refused, PushFailure::Lost, PushFailure::Taken];

fn transitions() -> impl Strategy<Value = Transition> {
    let causes = prop::sample::select(vec![
        TurnCause::Opening,
        TurnCause::Retry,
        TurnCause::Interrupted,
        TurnCause::LimitReset,
        TurnCause::CommitOrDiscard,
        TurnCause::Refused,
        TurnCause::FixForward,
        TurnCause::Said,
    ]);
    let digits = prop::sample::select(vec!['1', '2', 'b', 'c']);
    let answers = prop::sample::select(vec![
        StageAnswer::None,
        StageAnswer::Pending,
        StageAnswer::Success,
        StageAnswer::Failure,
        StageAnswer::Void,
    ]);
    let refusals = prop::sample::select(vec![
        Refusal::Conflict,
        Refusal::Verify,
        Refusal::Proof,
        Refusal::Setup,
        Refusal::Stage,
        Refusal::Message,
    ]);
    let seconds = 0..9_000_i64;
    prop_oneof![
        Just(Transition::Admitted { run: Box::new(admitted()) }),
        Just(opened()),
        causes.prop_map(begun),
        any::<bool>().prop_map(|stalled| Transition::TurnInterrupted { stalled }),
        turn_ends().prop_map(ended),
        (0..20_u64, 0..4_u32).prop_map(|(dollars, n)| paid(dollars, n)),
        (digits.clone(), any::<bool>())
            .prop_map(|(head, dirty)| left(head, if dirty { &["a"] } else { &[] })),
        (digits.clone(), digits.clone()).prop_map(|(head, commit)| integrated(head, commit)),
        Just(guarded()),
        Just(proved()),
        Just(disproved()),
        refusals.prop_map(refused),
        digits.clone().prop_map(reset),
        digits.clone().prop_map(|head| Transition::Resumed {
            resumed: ResumedHead {
                from: admitted().id,
                head: oid(head),
                base: oid('a'),
                transcript: Digest::of("transcript"),
                sandbox: SandboxStrength::Full,
            }
        }),
        digits.prop_map(landed),
        (prop::sample::select(vec!["ci", "more"]), answers, seconds.clone())
            .prop_map(|(name, answer, second)| stage(name, answer, second)),
        prop::sample::select(vec![RedCause::Ours, RedCause::NotOurs])
            .prop_map(|cause| Transition::Attributed { cause }),
        (any::<bool>(), any::<bool>()).prop_map(|(ready, in_progress)| Transition::LabelsSeen {
            labels: LabelsSeen { ready, in_progress }
        }),
        Just(Transition::Cancelled {
            cancel: Cancel { by: Some(who("ann")), how: CancelHow::Stopped, at: at(1) }
        }),
        Just(Transition::PushBegun),
        Just(Transition::NotLanded),
        prop::sample::select(PUSH_FAILURES.to_vec()).prop_map(|how| {
            Transition::Unpushed { branch: "main".to_owned(), why: "no entry".to_owned(), how }
        }),
        Just(Transition::TryBegun),
        Just(Transition::TryPushed),
        Just(Transition::BaseRed { commit: oid('b') }),
        (0..4_u32).prop_map(|n| Transition::TryRemoved { n }),
        Just(candidate_stage()),
        Just(Transition::Stopping),
        Just(Transition::CommentBegun),
        Just(Transition::CommentPosted { id: "7".to_owned() }),
        Just(Transition::Stopped),
        (0..4_u32, 0..8_usize).prop_map(|(id, what)| asks(&id.to_string(), what)),
        (0..3_u32, any::<bool>(), 0..9_000_i64).prop_map(|(id, question, until)| questioned(
            &id.to_string(),
            question,
            until
        )),
        (0..4_u32).prop_map(|n| Transition::Answered { n, answer: Answer::Allow }),
        Just(Transition::ThreadLinked { link: "https://t3.example/e/t".to_owned() }),
        prop::sample::select(vec![Standstill::Wait, Standstill::ByPerson])
            .prop_map(|why| Transition::Paused { why }),
        prop::sample::select(vec![Transition::Unpaused, Transition::ClockSetBack]),
        prop::sample::select(ASIDE.to_vec()),
        (seconds.clone(), seconds)
            .prop_map(|(from, to)| Transition::Away { from: at(from), to: at(to) }),
        prop::sample::select(vec![End::Done, End::NeedsHuman, End::Frozen, End::Withdrawn])
            .prop_map(|end| Transition::Concluded { end, why: "why".to_owned(), charged: None }),
        any::<bool>().prop_map(|ours| impeded(if ours {
            Fault::Permanent
        } else {
            Fault::Transient
        })),
        Just(Transition::Unimpeded),
        Just(Transition::Settled),
    ]
}

fn json<T: Serialize + for<'a> Deserialize<'a>>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn any_journal_gives_a_record_that_can_be_read_and_planned_on(
        steps in prop::collection::vec((0..9_000_i64, transitions()), 0..40),
        now in 0..90_000_i64,
    ) {
        let mut live = admitted();
        for (second, transition) in &steps {
            live.apply(at(*second), transition.clone());
        }
        prop_assert_eq!(&json(&live), &live);
        // The journal as it was written gives the same record.
        let mut replayed = admitted();
        replayed.apply(at(0), json(&Transition::Admitted { run: Box::new(admitted()) }));
        for (second, transition) in &steps {
            let written = json(transition);
            prop_assert_eq!(&written, transition);
            replayed.apply(at(*second), written);
        }
        prop_assert_eq!(&replayed, &live);
        // Whatever the record says, deriving from it does not panic.
        let _ = (live.observation_scope(), live.phase(&stages()), live.base(), live.candidate());
        let _ = live.needs_reset();
        let _ = live.evidence(limits().stages.as_ref()).is_complete();
        let situation = live.situation(&Observation::default(), &limits(), at(now));
        if let Plan::Conclude { end } = plan(&situation) {
            let why = live.ended_because(end, &Observation::default(), &limits(), &situation);
            prop_assert!(!why.is_empty(), "{situation:#?}");
        }
    }

    #[test]
    fn nothing_lands_that_was_not_proved(
        steps in prop::collection::vec((0..9_000_i64, transitions()), 0..40),
    ) {
        let run = run(&steps);
        let situation = run.situation(&Observation::default(), &limits(), at(10_000));
        if plan(&situation) == Plan::Land {
            let candidate = run.candidate().unwrap();
            prop_assert!(candidate.proof.as_ref().unwrap().accepted());
            prop_assert!(candidate.guardrails.as_ref().unwrap().passed());
        }
    }

    #[test]
    fn time_alone_brings_nothing_back(
        steps in prop::collection::vec((0..9_000_i64, transitions()), 0..40),
        sooner in 9_000..50_000_i64,
        later in 0..50_000_i64,
    ) {
        let run = run(&steps);
        let situation = |now| run.situation(&Observation::default(), &limits(), at(now));
        let (before, after) = (situation(sooner), situation(sooner + later));
        prop_assert!(!before.spent || after.spent);
        prop_assert!(before.fixes_left || !after.fixes_left);
    }
}

#[test]
fn transitions_are_named_as_they_are_written() {
    let paused = Transition::Paused { why: Standstill::Wait };
    for transition in
        [opened(), finished(), proved(), Transition::Settled, paused, Transition::ClockSetBack]
    {
        let written = serde_json::to_value(&transition).unwrap();
        assert_eq!(written["transition"], transition.kind());
    }
}

#[test]
fn a_transition_that_does_not_fit_changes_nothing() {
    let before = admitted();
    for stray in [
        finished(),
        reset('d'),
        left('1', &[]),
        integrated('1', 'c'),
        guarded(),
        proved(),
        Transition::PushBegun,
        Transition::NotLanded,
        landed('c'),
    ] {
        let mut run = before.clone();
        run.apply(at(1), stray.clone());
        assert_eq!(run, before, "{}", stray.kind());
    }
}
