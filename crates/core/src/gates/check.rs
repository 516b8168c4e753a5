//! The predicate: one gate queried for one issue. It allocates nothing, because it runs for every
//! repo of every tick; its reasons borrow and become text only when somebody reads them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::facts::{
    BaseHealth, DispatchPolicy, Dispatcher, Fact, Fleet, Needed, PausedBy, RemoteFacts, RepoFacts,
    SwitchReading,
};
use crate::ids::{IssueRef, RunId};
use crate::issue::BlockerState;
use crate::trust::{ReleaseRefusal, Trust};
use crate::verdict::Verdict;

/// How the reason begins with which [`Gate::KillSwitch`] refuses while everything is halted.
pub(super) const HALTED: &str = "everything is halted";
/// How it begins while dispatch is paused.
pub(super) const PAUSED: &str = "paused by ";

/// One condition that an issue must pass to be dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The kill switch is off, and nothing is halted or paused.
    KillSwitch,
    /// The repo is enrolled.
    Allowlist,
    /// The repo is not frozen.
    Freeze,
    /// What a run needs is available: agent, sign-in, sandbox, disk, remote.
    Machine,
    /// No run is live on the repo, and nobody else holds an issue of it.
    RepoLock,
    /// There is room for one more run and its budget.
    Capacity,
    /// A trusted actor released the issue as it is now.
    Trust,
    /// No issue that blocks it is open.
    Blockers,
    /// The default branch is healthy enough.
    BaseHealth,
}

impl Gate {
    /// All of them, the cheap ones first.
    pub const ALL: [Self; 9] = [
        Self::KillSwitch,
        Self::Allowlist,
        Self::Freeze,
        Self::Machine,
        Self::RepoLock,
        Self::Capacity,
        Self::Trust,
        Self::Blockers,
        Self::BaseHealth,
    ];
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KillSwitch => "kill switch",
            Self::Allowlist => "allowlist",
            Self::Freeze => "freeze",
            Self::Machine => "machine",
            Self::RepoLock => "repo lock",
            Self::Capacity => "capacity",
            Self::Trust => "trust",
            Self::Blockers => "blockers",
            Self::BaseHealth => "base health",
        })
    }
}

/// A gate's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// It lets the issue pass.
    Passed,
    /// It refuses.
    Failed,
    /// It needs a fact that was not read yet.
    NotAsked,
    /// It could not be decided, which refuses for now.
    Unknown,
}

impl fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotAsked => "not asked",
            Self::Unknown => "unknown",
        })
    }
}

/// Everything known about dispatching one issue.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) policy: &'a DispatchPolicy,
    pub(super) fleet: &'a Fleet,
    pub(super) dispatcher: Dispatcher,
    pub(super) repo: Option<&'a RepoFacts>,
    pub(super) remote: Option<&'a RemoteFacts>,
}

/// The answer of all gates together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// At least one refuses.
    Refused,
    /// None refuses, but some need remote facts.
    Open,
    /// All pass.
    Eligible,
}

/// A gate's verdict with its reason.
pub(super) struct Finding<'a> {
    pub(super) verdict: GateVerdict,
    pub(super) why: Why<'a>,
}

/// Why a gate answered as it did.
pub(super) enum Why<'a> {
    SwitchOff,
    KillSwitchOn,
    KillSwitchUnreadable,
    Halted,
    HaltUnreadable,
    Paused(&'a PausedBy),
    PersonPasses,
    NothingKnown,
    Enrolled,
    NotEnrolled,
    NotFrozen,
    Frozen(Option<&'a str>),
    FreezeUnreadable,
    AllThere,
    Missing(&'a str),
    NotFoundOut(&'a str),
    NoLock,
    LiveRun(RunId),
    Aside(RunId),
    ForeignLabel(&'a IssueRef),
    Room { live: u32, max: u32 },
    NoRoom { live: u32, max: u32 },
    NoMoney { whose: &'static str, left: u64, budget: u64 },
    Released(&'a Trust),
    Distrusted(&'a ReleaseRefusal),
    NoBlockers,
    BlockersClosed(usize),
    Blocked(&'a [(IssueRef, BlockerState)]),
    BaseRecorded,
    BaseNotRed,
    BaseRed,
    BaseFails(&'a str),
    BaseNotRead,
    Unreadable(&'a str),
    NotLookedAt,
    NotWhileHalted,
}

impl<'a> Case<'a> {
    /// Queries all gates, stopping at the first that refuses.
    pub(super) fn standing(&self) -> Standing {
        let mut standing = Standing::Eligible;
        for gate in Gate::ALL {
            match self.query(gate).verdict {
                GateVerdict::Passed => {}
                GateVerdict::NotAsked => standing = Standing::Open,
                GateVerdict::Failed | GateVerdict::Unknown => return Standing::Refused,
            }
        }
        standing
    }

    /// Queries one gate.
    pub(super) fn query(&self, gate: Gate) -> Finding<'a> {
        match gate {
            Gate::KillSwitch => self.kill_switch(),
            Gate::Allowlist => self.allowlist(),
            Gate::Freeze => self.freeze(),
            Gate::Machine => self.machine(),
            Gate::RepoLock => self.repo_lock(),
            Gate::Capacity => self.capacity(),
            Gate::Trust => self.trust(),
            Gate::Blockers => self.blockers(),
            Gate::BaseHealth => self.base_health(),
        }
    }

    fn kill_switch(&self) -> Finding<'a> {
        match self.fleet.halt {
            SwitchReading::On => return failed(Why::Halted),
            SwitchReading::Unreadable => return unknown(Why::HaltUnreadable),
            SwitchReading::Off => {}
        }
        if let Some(pause) = &self.fleet.pause {
            return failed(Why::Paused(pause));
        }
        match (self.dispatcher, self.fleet.kill_switch) {
            (Dispatcher::Person, _) => passed(Why::PersonPasses),
            (Dispatcher::Loop, SwitchReading::Off) => passed(Why::SwitchOff),
            (Dispatcher::Loop, SwitchReading::On) => failed(Why::KillSwitchOn),
            (Dispatcher::Loop, SwitchReading::Unreadable) => unknown(Why::KillSwitchUnreadable),
        }
    }

    fn allowlist(&self) -> Finding<'a> {
        match (self.dispatcher, self.repo) {
            (Dispatcher::Person, _) => passed(Why::PersonPasses),
            (Dispatcher::Loop, Some(repo)) if repo.enrolled => passed(Why::Enrolled),
            (Dispatcher::Loop, Some(_) | None) => failed(Why::NotEnrolled),
        }
    }

    fn freeze(&self) -> Finding<'a> {
        let Some(repo) = self.repo else { return unknown(Why::NothingKnown) };
        match repo.freeze {
            SwitchReading::Off => passed(Why::NotFrozen),
            SwitchReading::On => failed(Why::Frozen(repo.freeze_why.as_deref())),
            SwitchReading::Unreadable => unknown(Why::FreezeUnreadable),
        }
    }

    /// Asks about the agent and the machine first, and about the remote only if those are fine.
    fn machine(&self) -> Finding<'a> {
        let Some(repo) = self.repo else { return unknown(Why::NothingKnown) };
        let here = repo.machine.as_ref();
        let Some(here) = here else { return not_asked() };
        let found = match needed(here) {
            found if found.verdict != GateVerdict::Passed => found,
            _ => self.remote(|facts| needed(&facts.remote)),
        };
        if found.verdict == GateVerdict::Unknown && self.fleet.halt == SwitchReading::On {
            // The halt cuts off every look.
            return Finding { verdict: GateVerdict::NotAsked, why: Why::NotWhileHalted };
        }
        found
    }

    fn repo_lock(&self) -> Finding<'a> {
        let Some(repo) = self.repo else { return unknown(Why::NothingKnown) };
        if let Some(run) = repo.live {
            return failed(Why::LiveRun(run));
        }
        if let Some(run) = self.remote.and_then(|remote| remote.aside) {
            return failed(Why::Aside(run));
        }
        self.remote(|remote| match &remote.foreign_lock {
            Fact::Known(None) => passed(Why::NoLock),
            Fact::Known(Some(issue)) => failed(Why::ForeignLabel(issue)),
            Fact::Unreadable(why) => unknown(Why::Unreadable(why)),
        })
    }

    fn capacity(&self) -> Finding<'a> {
        let Some(repo) = self.repo else { return unknown(Why::NothingKnown) };
        let (live, max) = (self.fleet.busy_repos, self.policy.max_concurrent_runs);
        if live >= max {
            return failed(Why::NoRoom { live, max });
        }
        let caps =
            [("the repository", repo.spend_left), ("all repositories", self.fleet.spend_left)];
        for (whose, left) in caps {
            if let Some(left) = left.filter(|left| *left < repo.run_budget) {
                return failed(Why::NoMoney { whose, left, budget: repo.run_budget });
            }
        }
        passed(Why::Room { live, max })
    }

    fn trust(&self) -> Finding<'a> {
        self.remote(|remote| match &remote.trust {
            Fact::Known(trust @ Trust::Trusted { .. }) => passed(Why::Released(trust)),
            Fact::Known(Trust::Refused { why }) if why.is_unknown() => {
                unknown(Why::Distrusted(why))
            }
            Fact::Known(Trust::Refused { why }) => failed(Why::Distrusted(why)),
            Fact::Unreadable(why) => unknown(Why::Unreadable(why)),
        })
    }

    fn blockers(&self) -> Finding<'a> {
        self.remote(|remote| match &remote.blockers {
            Fact::Unreadable(why) => unknown(Why::Unreadable(why)),
            Fact::Known(all) if all.is_empty() => passed(Why::NoBlockers),
            Fact::Known(all) => {
                let any = |state| all.iter().any(|(_, is)| *is == state);
                if any(BlockerState::Open) {
                    failed(Why::Blocked(all))
                } else if any(BlockerState::Unreadable) || any(BlockerState::Gone) {
                    unknown(Why::Blocked(all))
                } else {
                    passed(Why::BlockersClosed(all.len()))
                }
            }
        })
    }

    fn base_health(&self) -> Finding<'a> {
        if let Some(why) = self.remote.and_then(|remote| remote.base_fails.as_deref()) {
            return failed(Why::BaseFails(why));
        }
        match self.policy.base_health {
            BaseHealth::Attribute => passed(Why::BaseRecorded),
            BaseHealth::Wait => self.remote(|remote| match &remote.base {
                Some(Fact::Known(Verdict::Red)) => failed(Why::BaseRed),
                Some(Fact::Known(Verdict::Green | Verdict::Pending)) => passed(Why::BaseNotRed),
                Some(Fact::Unreadable(why)) => unknown(Why::Unreadable(why)),
                None => unknown(Why::BaseNotRead),
            }),
        }
    }

    fn remote(&self, ask: impl Fn(&'a RemoteFacts) -> Finding<'a>) -> Finding<'a> {
        match self.remote {
            Some(remote) => ask(remote),
            None => not_asked(),
        }
    }
}

fn needed(one: &Needed) -> Finding<'_> {
    match one {
        Needed::There => passed(Why::AllThere),
        Needed::Missing(what) => failed(Why::Missing(what)),
        Needed::Unknown(why) => unknown(Why::NotFoundOut(why)),
    }
}

fn not_asked<'a>() -> Finding<'a> {
    Finding { verdict: GateVerdict::NotAsked, why: Why::NotLookedAt }
}

fn passed(why: Why<'_>) -> Finding<'_> {
    Finding { verdict: GateVerdict::Passed, why }
}

fn failed(why: Why<'_>) -> Finding<'_> {
    Finding { verdict: GateVerdict::Failed, why }
}

fn unknown(why: Why<'_>) -> Finding<'_> {
    Finding { verdict: GateVerdict::Unknown, why }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchOff => f.write_str("it is off"),
            Self::KillSwitchOn => f.write_str("it is on; `afk arm` turns it off"),
            Self::KillSwitchUnreadable => {
                f.write_str("the configuration could not be read, so it counts as on")
            }
            Self::Halted => write!(f, "{HALTED}; `afk resume` lifts it"),
            Self::HaltUnreadable => {
                f.write_str("whether a halt is on could not be read, so it counts as on")
            }
            Self::Paused(PausedBy { by, why }) => {
                write!(f, "{PAUSED}{by}")?;
                if !why.trim().is_empty() {
                    write!(f, ": {why}")?;
                }
                f.write_str("; `afk resume` lifts it")
            }
            Self::PersonPasses => f.write_str("does not apply to a person's own dispatch"),
            Self::NothingKnown => f.write_str("this repository is not configured"),
            Self::Enrolled => f.write_str("the repository is enrolled"),
            Self::NotEnrolled => {
                f.write_str("the repository is not enrolled; `afk enroll` enrolls it")
            }
            Self::NotFrozen => f.write_str("the repository is not frozen"),
            Self::Frozen(why) => {
                f.write_str("the repository is frozen")?;
                if let Some(why) = why.filter(|why| !why.trim().is_empty()) {
                    write!(f, " ({why})")?;
                }
                f.write_str("; `afk unfreeze` lifts it")
            }
            Self::FreezeUnreadable => f.write_str(
                "whether the repository is frozen could not be read, so it counts as frozen",
            ),
            Self::AllThere => f.write_str("agent, sandbox, disk and remote are available"),
            Self::Missing(what) => f.write_str(what),
            Self::NotFoundOut(why) => write!(f, "could not be checked: {why}"),
            Self::NoLock => f.write_str("no run is live on the repository"),
            Self::LiveRun(run) => write!(f, "run {run} is live on the repository"),
            Self::Aside(run) => {
                write!(f, "run {run} waits for its pull request to be merged or closed")
            }
            Self::ForeignLabel(issue) => write!(
                f,
                "{issue} has an in-progress label that is not ours; `afk release {issue}` takes it off"
            ),
            Self::Room { live, max } => write!(f, "{live} of {max} runs are live"),
            Self::NoRoom { live, max } => {
                write!(f, "{live} of {max} runs are live; wait for one to end")
            }
            Self::NoMoney { whose, left, budget } => write!(
                f,
                "{whose} may spend {} more today, but a run needs {}",
                Dollars(*left),
                Dollars(*budget)
            ),
            Self::Released(Trust::Trusted { by, at, ground, request_id }) => {
                let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
                write!(f, "released by {} ({ground}) at {at}", by.login)?;
                if request_id.is_some() { f.write_str(", by a comment") } else { Ok(()) }
            }
            Self::Released(Trust::Refused { why }) => why.fmt(f),
            Self::Distrusted(why) if matches!(why, ReleaseRefusal::LabelOff { .. }) => write!(
                f,
                "{why}; release it again with `afk issue label` or, after a run, `afk retry`"
            ),
            Self::Distrusted(why) => why.fmt(f),
            Self::NoBlockers => f.write_str("it names none"),
            Self::BlockersClosed(count) => write!(f, "all {count} are closed"),
            Self::Blocked(all) => {
                let mut gap = "";
                for (issue, state) in *all {
                    let word = match state {
                        BlockerState::Open => "is open",
                        BlockerState::Unreadable => "could not be read",
                        BlockerState::Gone => {
                            "is gone or hidden (take it out of the issue if it does not count)"
                        }
                        BlockerState::Closed => continue,
                    };
                    write!(f, "{gap}{issue} {word}")?;
                    gap = ", ";
                }
                Ok(())
            }
            Self::BaseRecorded => f.write_str("a red default branch is recorded, not waited for"),
            Self::BaseNotRed => f.write_str("the default branch is not red"),
            Self::BaseRed => f.write_str("the default branch is red"),
            Self::BaseFails(why) => f.write_str(why),
            Self::BaseNotRead => f.write_str("the default branch's verdict was not read"),
            Self::Unreadable(why) => write!(f, "could not be read: {why}"),
            Self::NotLookedAt => f.write_str("not checked"),
            Self::NotWhileHalted => f.write_str("not checked while everything is halted"),
        }
    }
}

/// Millionths of a dollar, shown in dollars and cents.
struct Dollars(u64);

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.0 / 10_000;
        write!(f, "{}.{:02} USD", cents / 100, cents % 100)
    }
}
