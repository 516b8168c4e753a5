//! The names of repos on one forge, where they differ from those in the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use afk_core::ids::RepoName;

/// The names of repos on one forge; replaced when the configuration changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct RepoNames(Arc<RwLock<Names>>);

#[derive(Debug, Default)]
struct Names {
    /// The name on the forge of each repo whose name differs there.
    other: BTreeMap<RepoName, RepoName>,
    /// All repos of the configuration.
    repos: BTreeSet<RepoName>,
}

impl RepoNames {
    /// The name of `repo` on the forge.
    pub(crate) fn of(&self, repo: &RepoName) -> RepoName {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.other.get(repo).unwrap_or(repo).clone()
    }

    /// The repo that the forge calls `place`, whatever the case: forges ignore the case of names. A
    /// repo that is not configured keeps the name `place`.
    pub(crate) fn at(&self, place: &RepoName) -> RepoName {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is = |name: &RepoName| name.as_str().eq_ignore_ascii_case(place.as_str());
        let other = names.other.iter().find(|(_, at)| is(at)).map(|(repo, _)| repo);
        let own = || names.repos.get(place).or_else(|| names.repos.iter().find(|repo| is(repo)));
        other.or_else(own).unwrap_or(place).clone()
    }

    /// Replaces the names on the forge of repos whose names differ there, and the configured repos.
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
        let places = RepoNames::default();
        let other = [(name("acme/web"), name("Acme/Site"))];
        places.replace(other.into(), [name("acme/web"), name("acme/api")].into());
        assert_eq!(places.of(&name("acme/web")), name("Acme/Site"));
        assert_eq!(places.of(&name("acme/api")), name("acme/api"));
        assert_eq!(places.at(&name("acme/site")), name("acme/web"));
        assert_eq!(places.at(&name("acme/api")), name("acme/api"));
        // The forge spells the name its own way, which need not be the configuration's.
        assert_eq!(places.at(&name("Acme/API")), name("acme/api"));
        assert_eq!(places.at(&name("Other/Repo")), name("Other/Repo"));
    }
}
