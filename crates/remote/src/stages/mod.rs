//! The stages that are polled over HTTP: what CI and deployment say about a commit.
//!
//! Each kind is a folder or file: a pure fold over what its system sends, with tables as tests, and
//! a thin part that fetches it. No stage decides what follows from its answer, and none changes
//! anything elsewhere but by a restart that a query asks for. "Could not run" is void, never
//! failure; an answer that cannot be read is an error, never a failure of the commit.

mod chance;
mod checks;
mod commit;
mod endpoint;
mod forgejo;
mod forges;
mod homes;
mod rollout;
mod set;
mod started;
mod table;
mod tail;
#[cfg(test)]
pub(crate) mod testing;
mod woodpecker;

use std::sync::{Arc, PoisonError, RwLock};

use afk_core::verdict::StageAnswer;
use afk_engine::ports::{Clock, PortError, PortResult, Secrets, StageQuery, StageReport, Stages};
use async_trait::async_trait;

use crate::settings::RemoteSettings;
pub(crate) use forges::{ChecksOf, Forge, ForgesOfStages};
use homes::Homes;
use started::Started;
use table::Polled;
pub use table::{STAGES, StageTable};

/// Tells whether one commit contains another. A port, because this crate has no access to git.
#[async_trait]
pub trait Ancestry: Send + Sync {
    /// Whether `digits`, at least seven, begin the id of a commit on the default branch after the
    /// query's commit. False if that is not known.
    async fn is_descendant(&self, query: &StageQuery, digits: &str) -> PortResult<bool>;
}

/// The stages of every kind in [`STAGES`].
pub struct PolledStages {
    clock: Arc<dyn Clock>,
    homes: Homes,
    forges: Arc<dyn ForgesOfStages>,
    rules: checks::Rules,
    started: Started,
    ancestry: Arc<dyn Ancestry>,
    settings: RwLock<Arc<RemoteSettings>>,
}

impl PolledStages {
    /// Stages of which none is configured yet. Their credentials are read by `secrets`; checks are
    /// read with the accounts of `forges`.
    pub fn new(
        secrets: Arc<dyn Secrets>,
        clock: Arc<dyn Clock>,
        ancestry: Arc<dyn Ancestry>,
        forges: Arc<crate::Forges>,
    ) -> Self {
        Self::asking(secrets, clock, ancestry, forges)
    }

    fn asking(
        secrets: Arc<dyn Secrets>,
        clock: Arc<dyn Clock>,
        ancestry: Arc<dyn Ancestry>,
        forges: Arc<dyn ForgesOfStages>,
    ) -> Self {
        Self {
            clock: clock.clone(),
            homes: Homes::new(secrets, clock),
            forges,
            rules: checks::Rules::default(),
            started: Started::default(),
            ancestry,
            settings: RwLock::default(),
        }
    }

    /// Replaces the configuration; it takes effect with the next poll.
    pub fn configure(&self, settings: Arc<RemoteSettings>) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Reads the table of the query's stage.
    fn polled(&self, query: &StageQuery) -> PortResult<Polled> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        let table = settings.stage(&query.repo, &query.stage.name).ok_or_else(|| {
            let name = &query.stage.name;
            PortError::permanent(format!("no stage named {name:?} is configured any more"))
        })?;
        table.polled(&query.repo).map_err(|mistake| PortError::permanent(mistake.to_string()))
    }
}

#[async_trait]
impl Stages for PolledStages {
    async fn poll(&self, query: &StageQuery) -> PortResult<StageReport> {
        let with = checks::PollContext {
            forges: self.forges.as_ref(),
            clock: self.clock.as_ref(),
            started: &self.started,
            rules: &self.rules,
        };
        match self.polled(query)? {
            Polled::Checks(settings) => checks::poll(&with, &settings, query).await,
            Polled::ForgejoStatus(settings) => forgejo::poll(&with, &settings, query).await,
            Polled::Woodpecker(settings) => {
                woodpecker::poll(&self.homes, &self.started, &settings, query).await
            }
            Polled::Rollout(settings) => {
                rollout::poll(&self.homes, self.ancestry.as_ref(), &settings, query).await
            }
            Polled::Http(settings) => endpoint::poll(&self.homes, &settings, query).await,
        }
    }
}

/// The report of a stage that has nothing to say about the commit yet.
const fn nothing_there() -> StageReport {
    StageReport { answer: StageAnswer::None, link: None, tail: None, next_look: None }
}
