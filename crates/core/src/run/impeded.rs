//! A run's impediments: which are worth a journal row, and which decide.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Run, Transition};
use crate::elapsed::waited;
use crate::ids::At;
use crate::impediment::{Fault, Impediment, RecordedImpediment};
use crate::plan::Obstacle;

/// How long after an impediment that passed by itself another one is not recorded, and how long one
/// must last before the comment shows it: occasional failures must fill neither the journal nor
/// people's inboxes.
const QUIET: SignedDuration = SignedDuration::from_mins(5);

/// How long a remote that was there before may seem gone, or deny access, before that is believed:
/// a disk may be mounted again, a forge may answer wrongly, a key agent may be restarted.
const AWAY: Duration = Duration::from_mins(10);

impl Run {
    /// How a failed port call counts at `now`: what the run has used before may come back by
    /// itself, so that its absence counts as transient for a while. While people decide on its pull
    /// request, a run keeps waiting however long the forge refuses its account, because ending it
    /// would close the pull request.
    pub fn fault_at(&self, fault: Fault, now: At) -> Fault {
        let since = self.impeded().map_or(now, |impeded| impeded.since);
        let short = waited(since, now, &self.pauses) < AWAY;
        match fault {
            Fault::NotFound | Fault::Auth if self.start.is_some() && short => Fault::Transient,
            Fault::Auth | Fault::Permanent if self.awaits_people() => Fault::Transient,
            Fault::NotFound
            | Fault::Auth
            | Fault::Transient
            | Fault::RateLimited
            | Fault::Permanent => fault,
        }
    }

    /// The current impediment, and since when.
    pub fn impeded(&self) -> Option<&RecordedImpediment> {
        self.impeded.as_ref().filter(|impeded| impeded.over.is_none())
    }

    /// The current impediment.
    pub fn impediment(&self) -> Option<&Impediment> {
        self.impeded().map(|impeded| &impeded.by)
    }

    /// The error that its comment shows at `now`: one that has lasted for a while, and for which
    /// something waits.
    pub fn lasting_error(&self, now: At) -> Option<String> {
        let shown = |by: &Impediment| !matches!(by, Impediment::Minor { .. });
        let minor = self.impediment().is_some_and(|by| !shown(by));
        let (what, since) = self.current_error(now).filter(|_| !minor)?;
        (now.duration_since(since) >= QUIET).then_some(what)
    }

    /// What holds it up now, in a sentence, and since when: an impediment of its passes, a push
    /// that does not arrive, or an agent that cannot work.
    pub fn current_error(&self, now: At) -> Option<(String, At)> {
        let impeded = self.impeded().map(|impeded| (impeded.by.sentence(), impeded.since));
        let impeded = impeded.or_else(|| self.unpushed());
        let agent = || self.waits_for_agent(now);
        impeded.or_else(|| agent().map(|found| (found.message.to_owned(), found.since)))
    }

    /// The transition that records `by`, which a pass met at `now`; none if it is not news. An
    /// impediment that needs a person stays until the run has ended.
    pub fn impeded_by(&self, by: Impediment, now: At) -> Option<Transition> {
        let ends = |one: &Impediment| one.needs_a_person() && self.conclusion.is_none();
        let news = match (self.impediment(), &self.impeded) {
            (Some(known), _) => !ends(known) && by.is_news_after(known),
            (None, Some(RecordedImpediment { over: Some(over), .. })) => {
                ends(&by) || now.duration_since(*over) >= QUIET
            }
            (None, _) => true,
        };
        news.then_some(Transition::Impeded { by })
    }

    /// The transition after a pass without an impediment; none if that is not news.
    pub fn unimpeded(&self) -> Option<Transition> {
        let passing = self.impediment().is_some() && !self.is_at_an_obstacle();
        passing.then_some(Transition::Unimpeded)
    }

    /// Whether it has an impediment that ends it.
    pub fn is_at_an_obstacle(&self) -> bool {
        self.conclusion.is_none() && self.obstacle() != Obstacle::Nothing
    }

    /// The impediment, reduced to what decides.
    pub(super) fn obstacle(&self) -> Obstacle {
        match self.impediment() {
            Some(Impediment::Forged { .. }) => Obstacle::Forged,
            Some(
                Impediment::TakenOut { .. }
                | Impediment::SwitchedAway { .. }
                | Impediment::MergedElsewhere { .. },
            ) => Obstacle::TakenOut,
            Some(other) if other.needs_a_person() => Obstacle::NeedsAPerson,
            Some(_) | None => Obstacle::Nothing,
        }
    }
}
