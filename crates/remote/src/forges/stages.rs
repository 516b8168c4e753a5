//! The forges as stages ask them for a commit's checks.

use afk_core::ids::{AdapterName, RepoName};
use afk_engine::ports::{PortError, PortResult};

use super::Forges;
use crate::stages::{Forge, ForgesOfStages};

impl ForgesOfStages for Forges {
    fn forge(&self, name: Option<&AdapterName>, repo: &RepoName) -> PortResult<Forge> {
        let state = self.state();
        let made = name.or_else(|| state.pulls.get(repo)).and_then(|name| state.forges.get(name));
        let made = made.ok_or_else(|| {
            PortError::permanent(format!(
                "no forge is asked for the checks of {repo}; set the stage's forge, or the repo's \
                 tracker, to one of [forges]"
            ))
        })?;
        let (account, root) = made.forge.api();
        Ok(Forge { account, root, repo: made.places.of(repo) })
    }
}
