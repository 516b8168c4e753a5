//! Known-bad loops: each fault changes what one call sees or does, as a loop with that fault
//! would. The explorer must catch every one of them, or its invariants prove nothing.
//!
//! A fault is made by changing the world around a call and restoring it afterwards; the loop's
//! own code does not know of it.

mod bends;
mod outside;
mod store;
mod tracker;

use afk_core::config::Policy;

use crate::world::World;

/// A fault that a loop may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// The agent is started before its turn is recorded.
    DispatchBeforeRecord,
    /// The in-progress label is added before there is a thread.
    LabelBeforeThread,
    /// Every pass that sees a red or refused commit begins another turn for it.
    CorrectiveTurnEveryPass,
    /// The ready label stays when a run has ended.
    ReadyLabelLeftOn,
    /// Which runs are live is read from the in-progress label, and not from the store.
    LockReadFromLabels,
    /// A turn that ended well counts as success.
    CompletedIsSuccess,
    /// The run's comment is never found again, so that it is posted anew.
    CommentReposted,
    /// A doorbell rings before the outcome is committed, and committing it then fails.
    DoorbellBeforeCommit,
    /// The time for fixing forward counts from admission, and not from the first red stage.
    ClockFromDispatch,
    /// A proof that has ended is run again, for ever.
    ProvesForEver,
    /// What lands is not what was proved.
    LandsUnproved,
    /// Freezes are not seen, at admission either.
    FreezeForgotten,
    /// Admission sees no other run, so that neither the lock of a repo nor a limit holds.
    AdmitsUnchecked,
    /// What turns cost is not counted.
    SpendIgnored,
    /// A halt is not seen.
    HaltIgnored,
    /// Whoever put the ready label on an issue counts as trusted.
    TrustsAnyone,
    /// A retry follows at once, without the pause after a failed turn.
    RetriesAtOnce,
    /// No issue blocks another.
    BlockersIgnored,
    /// The kill switch is not seen.
    KillSwitchIgnored,
    /// Every repo counts as enrolled.
    AllowlistIgnored,
    /// Outcomes are stored while agents are alive.
    ConcludesOverTheLiving,
    /// A doorbell that did not ring counts as delivered.
    BellsLost,
    /// When one doorbell rang, the others count as delivered, too.
    BellsAsOne,
    /// Doorbells that never ring are never given up.
    BellsForEver,
    /// The end of a run rings two doorbells that contradict each other.
    BellsTwice,
    /// The in-progress label is not put on the issue.
    LockNotShown,
    /// Leases are not released.
    LeasesKept,
    /// The branches of candidates stay on the remote.
    TriesLeft,
    /// A comment that the tracker does not show yet is posted again at once.
    CommentUnsettled,
    /// Switches that cannot be read count as off.
    UnreadableIsOff,
    /// A stage that could not run counts as green.
    VoidIsGreen,
    /// No released issue is ever found.
    DispatchesNothing,
    /// An issue that is handed back counts as having the human label already, so that it never gets
    /// it.
    HumanLabelLeftOff,
    /// An issue whose run is done counts as closed already, so that it stays open.
    LeftOpen,
    /// The run's comment carries no marker.
    CommentUnmarked,
    /// The checklist in the final text of the comment is left open.
    BoxesLeftOpen,
    /// An end that should freeze its repo does not.
    FreezeNotKept,
    /// Answers to requests are lost.
    RequestsUnanswered,
    /// Evidence is not kept.
    BundleLost,
    /// What is pushed does not carry the trailer of its run.
    PushesUnmarked,
    /// An in-progress label that somebody else put on is not seen.
    ForeignLockIgnored,
    /// Anybody who asks may lift a freeze.
    StrangersUnfreeze,
    /// A stage that failed counts as green.
    RedIsGreen,
    /// That a candidate was sent is not remembered, so that it is pushed again.
    PushForgotten,
    /// An issue whose run was stopped counts as not ready any more, so that the label stays on.
    StoppedStaysReady,
    /// That a comment has released an issue already is not noticed, so that it does so again.
    ReleasesForEver,
    /// An impediment that may pass ends the run, without a plan.
    ErrorEndsTheRun,
    /// A stage that is pending counts as green.
    PendingIsGreen,
    /// A stage that failed once counts as red, without a second run.
    BelievesOneFailure,
    /// Stages are polled without a pause.
    PollsAllTheTime,
    /// A missing agent program is not noticed.
    MachineIgnored,
    /// That a hold of dispatch was told is not remembered, so that it is told at every tick.
    MachineBellEveryTick,
    /// A run that waits for its agent holds no other run back.
    HoldIgnored,
    /// The branch's pull request is not found again, so that another is opened.
    OpensAnotherPull,
    /// That a pull request may have been opened is not remembered.
    PullForgotten,
    /// The last check before a push does not see a freeze.
    PushesUnderAFreeze,
    /// The last check before a push does not renew the lease.
    PushesWithoutALease,
    /// An agent on another machine counts as dead, because no process of this machine shows its
    /// turn.
    FarTurnBelievedDead,
    /// What an agent lands by itself counts as proved.
    AgentLandingUnproved,
    /// The default branch is not read for what an agent landed by itself.
    AgentLandingUnread,
    /// The base counts as passing before the first turn is paid for.
    SpendsOnARedBase,
    /// That people took out of the branch what had landed is not seen.
    ClosesOnADroppedCommit,
    /// That the default branch was rewritten is not seen.
    MergesAPurgedBase,
    /// A run that stepped aside goes on while another run works in its repo.
    TakesUpUnchecked,
    /// That somebody pushes under a run's trailer is not seen.
    BuildsOnForeign,
    /// What a tree needs from outside counts as fetched.
    JudgesUnfetched,
    /// What a webhook says of a label is believed.
    WebhookBelieved,
    /// What a webhook says of a stage is believed.
    StageHookBelieved,
    /// A webhook of anything but a released issue wakes nobody.
    WakesNoRun,
    /// A repo that has sent a webhook is read only after webhooks.
    PollsNoMore,
    /// A limit of the tracker's account is not noticed.
    LimitIgnored,
    /// An issue that cannot be read because of a limit counts as closed by somebody.
    LimitIsAbsence,
}

impl Bad {
    /// All of them.
    pub const ALL: [Self; 72] = [
        Self::DispatchBeforeRecord,
        Self::LabelBeforeThread,
        Self::CorrectiveTurnEveryPass,
        Self::ReadyLabelLeftOn,
        Self::LockReadFromLabels,
        Self::CompletedIsSuccess,
        Self::CommentReposted,
        Self::DoorbellBeforeCommit,
        Self::ClockFromDispatch,
        Self::ProvesForEver,
        Self::LandsUnproved,
        Self::FreezeForgotten,
        Self::AdmitsUnchecked,
        Self::SpendIgnored,
        Self::HaltIgnored,
        Self::TrustsAnyone,
        Self::RetriesAtOnce,
        Self::BlockersIgnored,
        Self::KillSwitchIgnored,
        Self::AllowlistIgnored,
        Self::ConcludesOverTheLiving,
        Self::BellsLost,
        Self::BellsAsOne,
        Self::BellsForEver,
        Self::BellsTwice,
        Self::LockNotShown,
        Self::LeasesKept,
        Self::TriesLeft,
        Self::CommentUnsettled,
        Self::UnreadableIsOff,
        Self::VoidIsGreen,
        Self::DispatchesNothing,
        Self::HumanLabelLeftOff,
        Self::LeftOpen,
        Self::CommentUnmarked,
        Self::BoxesLeftOpen,
        Self::FreezeNotKept,
        Self::RequestsUnanswered,
        Self::BundleLost,
        Self::PushesUnmarked,
        Self::ForeignLockIgnored,
        Self::StrangersUnfreeze,
        Self::RedIsGreen,
        Self::PushForgotten,
        Self::StoppedStaysReady,
        Self::ReleasesForEver,
        Self::ErrorEndsTheRun,
        Self::PendingIsGreen,
        Self::BelievesOneFailure,
        Self::PollsAllTheTime,
        Self::MachineIgnored,
        Self::MachineBellEveryTick,
        Self::HoldIgnored,
        Self::OpensAnotherPull,
        Self::PullForgotten,
        Self::PushesUnderAFreeze,
        Self::PushesWithoutALease,
        Self::FarTurnBelievedDead,
        Self::AgentLandingUnproved,
        Self::AgentLandingUnread,
        Self::SpendsOnARedBase,
        Self::ClosesOnADroppedCommit,
        Self::MergesAPurgedBase,
        Self::TakesUpUnchecked,
        Self::BuildsOnForeign,
        Self::JudgesUnfetched,
        Self::WebhookBelieved,
        Self::StageHookBelieved,
        Self::WakesNoRun,
        Self::PollsNoMore,
        Self::LimitIgnored,
        Self::LimitIsAbsence,
    ];

    /// Changes the configuration to what this loop sees of it.
    pub(super) fn config(self, config: &mut Policy) {
        match self {
            Self::KillSwitchIgnored => config.kill_switch = false,
            Self::AllowlistIgnored => *config.allowlist = config.repos.keys().cloned().collect(),
            _ => {}
        }
    }

    /// Makes the call `name` as this loop makes it.
    pub(super) fn around<T>(
        self,
        world: &mut World,
        name: &str,
        act: impl FnOnce(&mut World) -> T,
    ) -> T {
        if name.starts_with("store.") {
            self.around_store(world, name, act)
        } else if name.starts_with("tracker.") {
            self.around_tracker(world, name, act)
        } else {
            self.around_outside(world, name, act)
        }
    }
}
