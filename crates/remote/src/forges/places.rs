//! Where repos live on one forge, if not under their own names.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use afk_core::ids::RepoName;

/// The names of repos on one forge; replaced when the configuration changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<RwLock<BTreeMap<RepoName, RepoName>>>);

impl Places {
    /// The name of `repo` on the forge.
    pub(crate) fn of(&self, repo: &RepoName) -> RepoName {
        let places = self.0.read().unwrap_or_else(PoisonError::into_inner);
        places.get(repo).unwrap_or(repo).clone()
    }

    /// The repo that the forge calls `place`; forges ignore the case of names.
    pub(crate) fn at(&self, place: &RepoName) -> RepoName {
        let places = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = places.iter().find(|(_, at)| at.as_str().eq_ignore_ascii_case(place.as_str()));
        found.map_or(place, |(repo, _)| repo).clone()
    }

    /// Replaces all.
    pub(crate) fn replace(&self, places: BTreeMap<RepoName, RepoName>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = places;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repo_may_have_another_name_on_its_forge() {
        let name = |text: &str| text.parse::<RepoName>().unwrap();
        let places = Places::default();
        places.replace([(name("acme/web"), name("Acme/Site"))].into());
        assert_eq!(places.of(&name("acme/web")), name("Acme/Site"));
        assert_eq!(places.of(&name("acme/api")), name("acme/api"));
        assert_eq!(places.at(&name("acme/site")), name("acme/web"));
        assert_eq!(places.at(&name("acme/api")), name("acme/api"));
    }
}
