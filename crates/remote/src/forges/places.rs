//! Where repos live on one forge, if not under their own names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use afk_core::ids::RepoName;

/// The names of repos on one forge; replaced when the configuration changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<RwLock<Names>>);

#[derive(Debug, Default)]
struct Names {
    /// Of repos that have another name there.
    other: BTreeMap<RepoName, RepoName>,
    /// All repos that are configured.
    repos: BTreeSet<RepoName>,
}

impl Places {
    /// The name of `repo` on the forge.
    pub(crate) fn of(&self, repo: &RepoName) -> RepoName {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.other.get(repo).unwrap_or(repo).clone()
    }

    /// The repo that the forge calls `place`; forges ignore the case of names.
    pub(crate) fn at(&self, place: &RepoName) -> RepoName {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is = |name: &RepoName| name.as_str().eq_ignore_ascii_case(place.as_str());
        let other = names.other.iter().find(|(_, at)| is(at)).map(|(repo, _)| repo);
        let own = || names.repos.get(place).or_else(|| names.repos.iter().find(|repo| is(repo)));
        other.or_else(own).unwrap_or(place).clone()
    }

    /// Replaces all: the repos that have another name on the forge, and all that are configured.
    pub(crate) fn replace(&self, other: BTreeMap<RepoName, RepoName>, repos: BTreeSet<RepoName>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Names { other, repos };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repo_may_have_another_name_on_its_forge() {
        let name = |text: &str| text.parse::<RepoName>().unwrap();
        let places = Places::default();
        let other = [(name("acme/web"), name("Acme/Site"))];
        places.replace(other.into(), [name("acme/web"), name("acme/api")].into());
        assert_eq!(places.of(&name("acme/web")), name("Acme/Site"));
        assert_eq!(places.of(&name("acme/api")), name("acme/api"));
        assert_eq!(places.at(&name("acme/site")), name("acme/web"));
        assert_eq!(places.at(&name("acme/api")), name("acme/api"));
        // The name is the forge's own spelling, which the configuration need not have.
        assert_eq!(places.at(&name("Acme/API")), name("acme/api"));
        assert_eq!(places.at(&name("Other/Repo")), name("Other/Repo"));
    }
}
