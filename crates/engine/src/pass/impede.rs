//! Records what impedes a pass, so that it is shown to people and planned on.
//!
//! Nothing here ends a run. An impediment that needs a person is in the record before the next
//! step, whose plan decides; one that may pass by itself stays in the record while it lasts.

use afk_core::impediment::{self, Impediment};

use super::act::STOPPING;
use super::{Acted, Next, Pass, Wait, Watch};
use crate::bounds::later;
use crate::ports::{PortError, PortErrorKind, PortResult};

impl Pass<'_> {
    /// Records the impediment and looks again: the plan decides what happens.
    pub(super) async fn impede(&mut self, by: Impediment) -> PortResult<Acted> {
        let Some(transition) = self.run.impeded_by(by.clone(), self.now()) else {
            return Err(PortError::permanent(by.sentence()));
        };
        self.commit(transition).await?;
        Ok(Acted::Again)
    }

    /// Records a step that succeeded: once it came to rest, the run has no impediment any more,
    /// except what the step noted.
    pub(super) async fn went_well(&mut self, acted: Acted) -> PortResult<Acted> {
        if matches!(acted, Acted::Again) || self.run.settled_at.is_some() {
            return Ok(acted);
        }
        let transition = match self.noted.take() {
            Some(by) => self.run.impeded_by(by, self.now()),
            None => self.run.unimpeded(),
        };
        if let Some(transition) = transition {
            self.commit(transition).await?;
        }
        Ok(acted)
    }

    /// Records a step that failed. Returns the error, and so ends the pass, unless the record shows
    /// an obstacle that the next step can plan on.
    pub(super) async fn went_wrong(&mut self, error: PortError) -> PortResult<Acted> {
        if error.kind == PortErrorKind::Cancelled {
            return Ok(Acted::Rest(self.soon()));
        }
        let fault = error.fault().map(|fault| self.run.fault_at(fault, self.now()));
        let by = fault.map(|fault| Impediment::port(fault, &error.chain()));
        let Some(transition) = by.and_then(|by| self.run.impeded_by(by, self.now())) else {
            return Err(error);
        };
        match self.commit(transition).await {
            Ok(()) if self.run.is_at_an_obstacle() => Ok(Acted::Again),
            Ok(()) => Err(error),
            Err(second) => {
                let second = second.chain();
                tracing::warn!(run.id = %self.run.id, error = second, "impediment not recorded");
                Err(error)
            }
        }
    }

    /// Logs a failure that holds nothing up, and keeps the first of them for the record.
    pub(super) fn note(&mut self, error: &PortError, what: &str) {
        tracing::warn!(run.id = %self.run.id, error = error.chain(), "{what}");
        let error = impediment::kept(&error.chain());
        self.noted.get_or_insert(Impediment::Minor { error });
    }

    pub(super) fn soon(&self) -> Next {
        let until = Some(later(self.now(), STOPPING));
        Next::Wait(Wait { until, watch: Watch::Nothing })
    }
}
