//! What is in the way of a run: what of it is worth a row, and what of it decides.

use jiff::SignedDuration;

use super::{Run, Transition};
use crate::ids::At;
use crate::impediment::{Impeded, Impediment};
use crate::plan::Obstacle;

/// How long after one that passed by itself another is not recorded, and how long one lasts
/// before the comment shows it: passes that fail now and then must fill neither the journal
/// nor people's inboxes.
const QUIET: SignedDuration = SignedDuration::from_mins(5);

impl Run {
    /// What is in its way now, and since when.
    pub fn impeded(&self) -> Option<&Impeded> {
        self.impeded.as_ref().filter(|impeded| impeded.over.is_none())
    }

    /// What is in its way now.
    pub fn impediment(&self) -> Option<&Impediment> {
        self.impeded().map(|impeded| &impeded.by)
    }

    /// The error that its comment shows at `now`: one that has lasted for a while. One of
    /// the tracker itself is not shown there.
    pub fn lasting_error(&self, now: At) -> Option<String> {
        let shown = |by: &Impediment| !matches!(by, Impediment::Minor { .. });
        let minor = self.impediment().is_some_and(|by| !shown(by));
        let (what, since) = self.held_up(now).filter(|_| !minor)?;
        (now.duration_since(since) >= QUIET).then_some(what)
    }

    /// What holds it up now, in a sentence, and since when: what is in the way of its passes,
    /// else that its agent cannot work.
    pub fn held_up(&self, now: At) -> Option<(String, At)> {
        let impeded = self.impeded().map(|impeded| (impeded.by.sentence(), impeded.since));
        let agent = || self.waits_for_agent(now);
        impeded.or_else(|| agent().map(|found| (found.message.to_owned(), found.since)))
    }

    /// The transition that records `by`, which a pass met at `now`; none where it is no
    /// news. What needs a person stays until the run has ended.
    pub fn impeded_by(&self, by: Impediment, now: At) -> Option<Transition> {
        let ends = |one: &Impediment| one.needs_a_person() && self.conclusion.is_none();
        let news = match (self.impediment(), &self.impeded) {
            (Some(known), _) => !ends(known) && by.is_news_after(known),
            (None, Some(Impeded { over: Some(over), .. })) => {
                ends(&by) || now.duration_since(*over) >= QUIET
            }
            (None, _) => true,
        };
        news.then_some(Transition::Impeded { by })
    }

    /// The transition after a pass that nothing was in the way of; none where that is no
    /// news, or not enough.
    pub fn unimpeded(&self) -> Option<Transition> {
        let passing = self.impediment().is_some() && !self.is_at_an_obstacle();
        passing.then_some(Transition::Unimpeded)
    }

    /// Whether what is in its way ends it.
    pub fn is_at_an_obstacle(&self) -> bool {
        self.conclusion.is_none() && self.obstacle() != Obstacle::Nothing
    }

    /// The same in the only differences that decide.
    pub(super) fn obstacle(&self) -> Obstacle {
        match self.impediment() {
            Some(Impediment::Forged { .. }) => Obstacle::Forged,
            Some(other) if other.needs_a_person() => Obstacle::NeedsAPerson,
            Some(_) | None => Obstacle::Nothing,
        }
    }
}
