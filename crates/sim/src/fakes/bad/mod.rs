//! Known-bad loops: each changes what one call sees or does, as a loop with that fault would. The
//! explorer must catch every one of them, or its invariants prove nothing.
//!
//! A bad loop is made by changing the world around a call and restoring it; the loop's own code
//! does not know of it.

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
    /// Every pass that sees a red or refused commit begins a turn for it.
    CorrectiveTurnEveryPass,
    /// The ready label stays when a run has ended.
    ReadyLabelLeftOn,
    /// Which runs are live is read from labels.
    LockReadFromLabels,
    /// A turn that ended well counts as success.
    CompletedIsSuccess,
    /// The comment is not found again.
    CommentReposted,
    /// The bell rings before its outcome is stored, and storing it then fails.
    DoorbellBeforeCommit,
    /// The fix-forward clock runs from dispatch.
    ClockFromDispatch,
    /// A proof that ended is run again.
    ProvesForEver,
    /// What lands is not what was proved.
    LandsUnproved,
    /// Freezes are forgotten.
    FreezeForgotten,
    /// Admission checks nothing again.
    AdmitsUnchecked,
    /// What turns cost is not counted.
    SpendIgnored,
    /// A halt is not seen.
    HaltIgnored,
    /// Whoever labels an issue counts as trusted.
    TrustsAnyone,
    /// Retries follow at once.
    RetriesAtOnce,
    /// No issue blocks another.
    BlockersIgnored,
    /// The kill switch is not seen.
    KillSwitchIgnored,
    /// Every repo counts as enrolled.
    AllowlistIgnored,
    /// Outcomes are stored while agents are alive.
    ConcludesOverTheLiving,
    /// Bells that did not ring are removed.
    BellsLost,
    /// When one bell rang, the others are removed, too.
    BellsAsOne,
    /// Bells that never ring are never given up.
    BellsForEver,
    /// An end rings two bells.
    BellsTwice,
    /// The in-progress label is not put on.
    LockNotShown,
    /// Leases are not released.
    LeasesKept,
    /// Branches of candidates stay on the remote.
    TriesLeft,
    /// A comment that is not shown is posted at once.
    CommentUnsettled,
    /// Switches that cannot be read count as off.
    UnreadableIsOff,
    /// A stage that could not run counts as green.
    VoidIsGreen,
    /// No issue is ever found.
    DispatchesNothing,
    /// An issue that is handed back counts as labelled for people already.
    HumanLabelLeftOff,
    /// An issue whose run is done counts as closed already.
    LeftOpen,
    /// The comment carries no marker.
    CommentUnmarked,
    /// The last text of the comment is not the final one.
    BoxesLeftOpen,
    /// An end freezes no repo.
    FreezeNotKept,
    /// Answers to requests are lost.
    RequestsUnanswered,
    /// Evidence is not kept.
    BundleLost,
    /// What is pushed does not say by which run.
    PushesUnmarked,
    /// A lock that somebody else put on is not seen.
    ForeignLockIgnored,
    /// Whoever asks may lift a freeze.
    StrangersUnfreeze,
    /// A stage that failed counts as green.
    RedIsGreen,
    /// A push is not remembered.
    PushForgotten,
    /// An issue whose run was stopped counts as not ready any more.
    StoppedStaysReady,
    /// A second release for a comment is not noticed.
    ReleasesForEver,
    /// A port's error ends the run without a plan.
    ErrorEndsTheRun,
    /// A stage that is pending counts as green.
    PendingIsGreen,
    /// A failure counts the first time.
    BelievesOneFailure,
    /// Stages are polled without a pause.
    PollsAllTheTime,
    /// What a machine lacks is not noticed.
    MachineIgnored,
    /// That what a machine lacks was told is not remembered.
    MachineBellEveryTick,
    /// That a run waits for its agent holds no other back.
    HoldIgnored,
    /// A pull request is not found again.
    OpensAnotherPull,
    /// That a pull request may be open is not remembered.
    PullForgotten,
    /// The last check before a push does not see a freeze.
    PushesUnderAFreeze,
    /// The last check before a push does not renew the lease.
    PushesWithoutALease,
    /// Whether a turn far away is alive is told from the processes of this machine.
    FarTurnBelievedDead,
    /// What an agent lands by itself counts as proved.
    AgentLandingUnproved,
    /// What an agent lands by itself is not looked for.
    AgentLandingUnread,
    /// A base is taken to pass before the first turn is paid for.
    SpendsOnARedBase,
    /// That what landed was taken out again is not seen.
    ClosesOnADroppedCommit,
    /// That the default branch was rewritten is not seen.
    MergesAPurgedBase,
    /// A run that stepped aside goes on whoever is at work.
    TakesUpUnchecked,
    /// That somebody pushes in a run's name is not seen.
    BuildsOnForeign,
    /// What a tree needs from outside is taken to be there.
    JudgesUnfetched,
    /// What a webhook says of a label is believed.
    WebhookBelieved,
    /// What a webhook says of a stage is believed.
    StageHookBelieved,
    /// A webhook of anything but a released issue wakes nobody.
    WakesNoRun,
    /// A repo that has sent a webhook is read only after webhooks.
    PollsNoMore,
    /// That a tracker's account is limited is not noticed.
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

    /// The configuration as this loop sees it.
    pub(super) fn config(self, config: &mut Policy) {
        match self {
            Self::KillSwitchIgnored => config.kill_switch = false,
            Self::AllowlistIgnored => *config.allowlist = config.repos.keys().cloned().collect(),
            _ => {}
        }
    }

    /// The call `name`, as this loop makes it.
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
