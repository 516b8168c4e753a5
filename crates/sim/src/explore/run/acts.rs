//! Applies the acts of a scenario to the world and the control planes, and turns its faults into
//! the fates of calls.

use afk_engine::ports::PortErrorKind;
use jiff::SignedDuration;

use super::super::scenario::{Error, Fault, Happens, When};
use super::Story;
use crate::fakes::Fate;
use crate::story;
use crate::world::World;

impl Story<'_> {
    /// Does the acts that are due now.
    pub(super) fn due(&mut self) {
        let (step, made) = (self.step, &self.made);
        let due = |when: &When| match when {
            When::Step(at) => *at <= step,
            When::After(name, n) => made.get(name.as_str()).is_some_and(|made| made >= n),
        };
        let due: Vec<_> = self.acts.extract_if(.., |(_, when, _)| due(when)).collect();
        for (n, _, act) in due {
            let after = self.newest.map_or(When::Step(0), |name| {
                When::After(name.to_owned(), self.made.get(name).copied().unwrap_or_default())
            });
            self.report.done.push((n, after));
            self.happens(act);
        }
    }

    fn happens(&mut self, act: &Happens) {
        self.note(&format!("{act:?}"));
        for plane in &mut self.planes {
            plane.whole = None;
        }
        if act.disturbs() {
            self.disturbed();
        }
        match act {
            Happens::Hook(about, times) => self.forges(about, *times),
            Happens::HookLie(about, lie) => self.lies(about, *lie),
            Happens::Deaf(plane, true) => {
                self.deaf.insert(*plane);
            }
            Happens::Deaf(plane, false) => {
                self.deaf.remove(plane);
            }
            Happens::Crash(plane) => self.crash(*plane),
            Happens::Jump(seconds) => {
                let by = SignedDuration::from_secs(*seconds);
                // Our clock may be set back; a tracker's is not.
                let back = SignedDuration::ZERO.max(-by);
                self.sim.with(|world| world.tracker.skew += back);
                // Late effects arrive in less time than a jump may take.
                self.sim.happen_late();
                self.time_passes(by);
                // In that time no control plane could do anything.
                self.disturbed();
            }
            act => self.sim.with(|world| act.on(world)),
        }
        let limits = self.sim.with(|world| world.tracker.limited.values().max().copied());
        if let Some(until) = limits {
            self.limited = self.limited.max(until);
        }
        self.look(None);
    }
}

impl Happens {
    /// Whether this excuses the loop from what must happen within a time.
    pub(in super::super) fn disturbs(&self) -> bool {
        !matches!(
            self,
            Self::Label(..)
                | Self::Open(..)
                | Self::Edit(..)
                | Self::Comment(..)
                | Self::Limit(..)
                | Self::Quota(..)
                | Self::Slow(_)
                | Self::Hook(..)
                | Self::HookLie(..)
                | Self::Deaf(..)
                | Self::Decide(..)
        )
    }
}

impl Fault {
    pub(super) fn fate(self) -> Fate {
        let kind = |error| match error {
            Error::Transient => PortErrorKind::Transient,
            Error::Auth => PortErrorKind::Auth,
            Error::Permanent => PortErrorKind::Permanent,
            Error::Limited(seconds) => {
                let until = story::start() + SignedDuration::from_secs(seconds.cast_signed());
                PortErrorKind::RateLimited { until }
            }
        };
        match self {
            Self::Fails(error) => Fate::Before(kind(error)),
            Self::AnswerLost(error) => Fate::After(kind(error)),
            Self::Late => Fate::Late,
            Self::Stale => Fate::Stale,
            Self::Twice => Fate::Twice,
            Self::DiesBefore => Fate::DiesBefore,
            Self::DiesAfter => Fate::DiesAfter,
            Self::DiesLate => Fate::DiesLate,
        }
    }
}

/// Caps what turns cost at their budget: an agent that reaches it is stopped by its own process.
pub(super) fn capped(world: &mut World) {
    for turn in world.agents.turns.values_mut() {
        turn.script.cost = turn.script.cost.min(turn.request.budget);
    }
}
