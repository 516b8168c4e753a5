//! Gives polled stages access to the forges, to read a commit's checks.

use afk_core::ids::{AdapterName, RepoName};
use afk_engine::ports::{PortError, PortResult};

use super::Forges;
use super::settings::GITHUB;
use crate::stages::{ChecksOf, Forge, ForgesOfStages};

impl ForgesOfStages for Forges {
    fn forge(&self, name: Option<&AdapterName>, repo: &RepoName) -> PortResult<Forge> {
        let state = self.state();
        let name = name.or_else(|| state.pulls.get(repo));
        let made = name.and_then(|name| Some((name, state.forges.get(name)?)));
        let (name, made) = made.ok_or_else(|| {
            PortError::permanent(format!(
                "no forge is asked for the checks of {repo}; set the stage's forge, or the repo's \
                 tracker, to one of [forges]"
            ))
        })?;
        let checks =
            if made.table.kind(name) == GITHUB { ChecksOf::GitHub } else { ChecksOf::Forgejo };
        let (account, root) = (made.forge.account().clone(), made.forge.root().to_vec());
        Ok(Forge { checks, account, root, repo: made.places.of(repo) })
    }
}
