//! Records a pass's impediment, so that it is shown and planned on.
//!
//! Nothing here ends a run. An impediment that needs a person is in the record before the next
//! step, whose plan decides; one that may pass by itself is kept while it lasts.

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

    /// A step succeeded; if it came to rest, there is no impediment any more.
    pub(super) async fn went_well(&mut self, acted: Acted) -> PortResult<Acted> {
        if matches!(acted, Acted::Again) || self.run.settled_at.is_some() {
            return Ok(acted);
        }
        let transition = match self.noted.take() {
            Some(error) => {
                let by = Impediment::Minor { error: impediment::kept(&error.chain()) };
                self.run.impeded_by(by, self.now())
            }
            None => self.run.unimpeded(),
        };
        if let Some(transition) = transition {
            self.commit(transition).await?;
        }
        Ok(acted)
    }

    /// A step failed. If it may succeed later, the next pass tries again.
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

    /// Records a failure that holds nothing up.
    pub(super) fn note(&mut self, error: PortError, what: &str) {
        tracing::warn!(run.id = %self.run.id, error = error.chain(), "{what}");
        self.noted.get_or_insert(error);
    }

    pub(super) fn soon(&self) -> Next {
        let until = Some(later(self.now(), STOPPING));
        Next::Wait(Wait { until, watch: Watch::Nothing })
    }
}
