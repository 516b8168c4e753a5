//! Walks through every situation there is, and checks what must hold in each.

use super::*;

fn every_landed() -> Vec<Landed> {
    let mut all = vec![Landed::Nothing, GREEN, Landed::Green { evidence: EvidenceState::Refused }];
    for flag in BOTH {
        all.push(Landed::Pending { overdue: flag });
        all.push(Landed::Void { overdue: flag });
        all.push(Landed::Green { evidence: EvidenceState::Missing { judging: flag } });
        all.push(Landed::Red { cause: RedCause::Ours, overdue: flag });
        all.push(Landed::Red { cause: RedCause::NotOurs, overdue: flag });
    }
    all
}

fn every_turn() -> Vec<TurnState> {
    let mut work = vec![
        Work::Nothing,
        Work::New(CandidateState::Unmerged),
        Work::New(CandidateState::Breached),
        Work::New(CandidateState::Refused(Refusal::Conflict)),
        Work::New(CandidateState::Refused(Refusal::Verify)),
        Work::New(CandidateState::Refused(Refusal::Proof)),
        Work::New(CandidateState::Refused(Refusal::Setup)),
        Work::New(CandidateState::Refused(Refusal::Stage)),
        Work::New(CandidateState::Refused(Refusal::Message)),
        Work::New(CandidateState::Untried),
        Work::New(CandidateState::Clear),
        Work::New(CandidateState::PullRequestOpen),
        Work::New(CandidateState::PullRequestMerged),
        Work::New(CandidateState::PullRequestUnopened),
    ];
    let mut all = vec![TurnState::Unknown, TurnState::Interrupted];
    all.extend(
        [Gates::Open, Gates::Refused, Gates::Unreadable].map(|gates| TurnState::None { gates }),
    );
    for flag in BOTH {
        all.push(TurnState::NotStarted { reset: flag });
        all.push(TurnState::Asking { due: flag });
        all.push(TurnState::Limited { reset: flag });
        all.extend(BOTH.map(|overdue| TurnState::Unavailable { again: flag, overdue }));
        all.push(TurnState::Running { stalled: flag });
        all.push(TurnState::Failed { backoff_over: flag });
        work.push(Work::New(CandidateState::Unjudged { judging: flag }));
        work.push(Work::New(CandidateState::Pushed { overdue: flag }));
        work.push(Work::New(CandidateState::Excused { overdue: flag }));
    }
    let spaces = [
        WorkspaceState::Clean,
        WorkspaceState::Unreadable,
        WorkspaceState::Unfinished,
        WorkspaceState::Dirty { asked: false },
        WorkspaceState::Dirty { asked: true },
    ];
    for workspace in spaces {
        all.extend(work.iter().map(|&work| TurnState::Finished { workspace, work }));
    }
    all
}

/// What may be in the way: whether the pass was blind, the obstacle, and whether the remote is
/// unread; and whether the agent lands by itself.
const WAYS: [(bool, Obstacle, bool, bool); 10] = [
    (false, Obstacle::Nothing, false, false),
    (false, Obstacle::Nothing, false, true),
    (true, Obstacle::Nothing, false, false),
    (false, Obstacle::NeedsAPerson, false, false),
    (true, Obstacle::NeedsAPerson, false, false),
    (false, Obstacle::Forged, false, false),
    (false, Obstacle::TakenOut, false, false),
    (false, Obstacle::TakenOut, true, false),
    (false, Obstacle::Nothing, true, false),
    (false, Obstacle::NeedsAPerson, true, false),
];

/// Calls `check` with every situation. Where an impediment decides, one turn and workspace stands
/// for all that make no difference.
fn every_situation(mut check: impl FnMut(Situation)) -> u32 {
    let alive = [
        Alive::Nothing,
        Alive::Stages { grace_over: false },
        Alive::Stages { grace_over: true },
        Alive::Something { grace_over: false },
        Alive::Something { grace_over: true },
    ];
    let (landed, turns) = (every_landed(), every_turn());
    let fewer: Vec<TurnState> = turns.iter().copied().step_by(9).collect();
    let mut count = 0;
    for (bits, (blind, obstacle, remote_unreadable, agent_lands)) in
        WAYS.iter().flat_map(|way| (0_u32..1024).map(move |bits| (bits, *way)))
    {
        let flag = |n: u32| bits & (1 << n) != 0;
        let frozen = flag(3);
        if agent_lands && !frozen {
            // Without a freeze it makes no difference who lands.
            continue;
        }
        let open = !blind && !remote_unreadable && obstacle == Obstacle::Nothing;
        for &landed in &landed {
            for &turn in if open { &turns } else { &fewer } {
                for alive in alive {
                    count += 1;
                    check(Situation {
                        blind,
                        obstacle,
                        remote_unreadable,
                        // Varies with the flags, so that it does not double the situations.
                        landing_confirmed: bits.count_ones() % 2 == 0,
                        concluded: flag(0),
                        cancelled: flag(1),
                        halted: flag(2),
                        frozen,
                        frozen_out: frozen && agent_lands,
                        aside: false,
                        spent: flag(4),
                        out_of_money: flag(4) && bits.count_ones() % 3 == 0,
                        lowered: bits % 3 == 0,
                        retries_left: flag(5),
                        refusals_left: flag(6),
                        fixes_left: flag(7),
                        message_waiting: flag(8),
                        push_unconfirmed: flag(9),
                        alive,
                        landed,
                        turn,
                    });
                }
            }
        }
    }
    count
}

/// The same situation after all the time has passed: every deadline and grace is over, and nothing
/// that cannot be observed or read is waited for any longer.
fn later(now: Situation) -> Situation {
    let landed = match now.landed {
        Landed::Pending { .. } => Landed::Pending { overdue: true },
        Landed::Void { .. } => Landed::Void { overdue: true },
        Landed::Red { cause, .. } => Landed::Red { cause, overdue: true },
        Landed::Nothing | Landed::Green { .. } => now.landed,
    };
    let alive = match now.alive {
        Alive::Nothing => Alive::Nothing,
        Alive::Stages { .. } => Alive::Stages { grace_over: true },
        Alive::Something { .. } => Alive::Something { grace_over: true },
    };
    let remote_unreadable = now.push_unconfirmed || now.landed != Landed::Nothing;
    let (spent, out_of_money, blind) = (true, false, false);
    Situation { spent, out_of_money, remote_unreadable, blind, alive, landed, ..now }
}

/// Whether the wait is for a person; the policy answers a question that nobody answers in time.
fn on_people(reason: Waiting) -> bool {
    match reason {
        Waiting::Halt | Waiting::Freeze | Waiting::Question | Waiting::PullRequest => true,
        Waiting::UsageLimit
        | Waiting::Agent
        | Waiting::Gates
        | Waiting::Turn
        | Waiting::Executor
        | Waiting::Backoff
        | Waiting::Workspace
        | Waiting::Judgement
        | Waiting::Ports => false,
    }
}

#[test]
fn a_still_world_brings_every_run_to_its_end_unless_people_are_waited_for() {
    let count = every_situation(|now| {
        let waits_for_people = match plan(&now) {
            Plan::Wait { reason } => on_people(reason),
            next => next == Plan::StepAside,
        };
        let released = now.cancelled && now.landed == Landed::Nothing;
        let released = released || now.obstacle == Obstacle::Forged;
        let halted = now.halted && !now.concluded && !released;
        match plan(&later(now)) {
            Plan::Settle | Plan::Conclude { .. } => {}
            _ if waits_for_people || halted => {}
            other => panic!("{other:?} for ever in {now:#?}"),
        }
    });
    assert!(count > 500_000, "{count}");
}

#[test]
fn in_every_situation_the_promises_hold() {
    every_situation(|now| {
        let plan = plan(&now);
        let next_turn =
            matches!(plan, Plan::Turn { .. } | Plan::Open | Plan::Reset | Plan::StartTurn);
        let lands = matches!(plan, Plan::Try | Plan::CheckCandidate | Plan::CheckBase | Plan::Land);
        let acts = next_turn || lands || matches!(plan, Plan::Judge | Plan::Integrate);
        if acts {
            assert!(!now.halted, "acts under a halt: {plan:?} in {now:#?}");
            assert!(!now.cancelled, "acts for a cancelled run: {plan:?} in {now:#?}");
            assert!(!now.spent, "spends what is spent: {plan:?} in {now:#?}");
            assert!(!now.concluded, "acts after the end: {plan:?} in {now:#?}");
            assert!(!now.blind, "acts on what was not seen: {plan:?} in {now:#?}");
            let free = now.obstacle == Obstacle::Nothing;
            assert!(free, "acts past an obstacle: {plan:?} in {now:#?}");
        }
        let stops = matches!(
            now.alive,
            Alive::Stages { grace_over: false } | Alive::Something { grace_over: false }
        );
        if now.halted && stops && !now.concluded {
            assert_eq!(plan, Plan::Interrupt, "alive under a halt: {now:#?}");
        }
        if now.frozen_out && !now.concluded {
            let works = matches!(plan, Plan::Wait { reason: Waiting::Turn | Waiting::Question });
            assert!(!next_turn, "an agent may land: {plan:?} in {now:#?}");
            assert!(!works || !stops, "an agent may land: {plan:?} in {now:#?}");
        }
        if now.lowered {
            let pays = matches!(
                plan,
                Plan::StartTurn | Plan::Answer | Plan::Wait { reason: Waiting::Turn }
            );
            assert!(!pays, "spends beyond a lowered budget: {plan:?} in {now:#?}");
        }
        if plan == Plan::Try {
            assert!(!now.frozen, "tries on a frozen repo: {now:#?}");
        }
        if plan == Plan::Land {
            assert!(!now.frozen, "lands on a frozen repo: {now:#?}");
            assert_eq!(now.turn, finished(CandidateState::Clear).with_space(now.turn), "{now:#?}");
        }
        if let Plan::Conclude { end } = plan {
            if end == End::Done {
                assert_eq!(now.landed, GREEN, "done without green and evidence: {now:#?}");
                assert!(now.landing_confirmed, "done without a look whether it is there: {now:#?}");
                assert!(now.obstacle != Obstacle::TakenOut, "done without it: {now:#?}");
            }
            if end == End::Withdrawn {
                assert_eq!(now.landed, Landed::Nothing, "let go of: {now:#?}");
                assert!(!now.push_unconfirmed, "let go of what may have landed: {now:#?}");
            }
            let alive = now.alive != Alive::Nothing;
            let unstoppable = matches!(
                now.alive,
                Alive::Stages { grace_over: true } | Alive::Something { grace_over: true }
            );
            assert!(!alive || (unstoppable && end == End::Frozen), "left alive: {now:#?}");
        }
        let goes_on = matches!(plan, Plan::Conclude { .. } | Plan::Turn { .. } | Plan::Integrate);
        let unknown =
            now.push_unconfirmed && !now.remote_unreadable && now.obstacle != Obstacle::Forged;
        assert!(!(unknown && goes_on), "a push is left behind: {plan:?} in {now:#?}");
        if matches!(now.turn, TurnState::Unknown) && !now.concluded {
            let by_turn =
                !(now.cancelled || now.spent || matches!(now.landed, Landed::Green { .. }))
                    && now.obstacle == Obstacle::Nothing;
            let closes = matches!(plan, Plan::Conclude { .. } | Plan::Turn { .. });
            assert!(!(by_turn && closes), "concludes on unknown: {now:#?}");
        }
    });
}

#[test]
fn a_run_that_stepped_aside_does_nothing_in_the_repo() {
    every_situation(|now| {
        let aside = plan(&Situation { aside: true, ..now });
        assert!(!needs_the_lock(aside), "without the lock: {aside:?} in {now:#?}");
        assert!(aside != Plan::StepAside, "twice: {now:#?}");
        let with = plan(&now);
        if matches!(with, Plan::Conclude { .. } | Plan::Settle | Plan::Interrupt) {
            assert_eq!(aside, with, "{now:#?}");
        }
    });
}

impl TurnState {
    /// This turn with the workspace of `other`, where both are finished.
    fn with_space(self, other: Self) -> Self {
        match (self, other) {
            (Self::Finished { work, .. }, Self::Finished { workspace, .. }) => {
                Self::Finished { workspace, work }
            }
            _ => self,
        }
    }
}
