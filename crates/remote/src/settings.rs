//! The part of the configuration that this crate reads: doorbells, forges, polled stages, T3 Code
//! executors, and Vault.
//!
//! It is read from the same document as the policy (`afk_core::config`); keys of others are
//! ignored. What a kind of doorbell needs of its table is checked in that doorbell's file, and what
//! Vault needs in Vault's.

use std::collections::BTreeMap;

use afk_core::config::{Mistake, doorbell_names};
use afk_core::ids::{AdapterName, RepoName};
use afk_core::secret::SecretSource;
use afk_core::shared::{Shared, alike};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::doorbells;
use crate::forges::ForgeTable;
use crate::stages::StageTable;
use crate::t3::T3Table;
use crate::vault::VaultSettings;

/// What is configured of systems that are reached over HTTP.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RemoteSettings {
    /// The doorbells, which tell people how runs end and what waits for them.
    pub notify: Vec<DoorbellTable>,
    /// How Vault or `OpenBao` is reached. Only needed for secrets whose source is `vault`.
    pub vault: Option<VaultSettings>,
    /// The accounts at forges (GitHub, Forgejo, Gitea), by the names that repos choose them by as
    /// their `tracker` or `forge`.
    pub forges: BTreeMap<AdapterName, ForgeTable>,
    /// The agents, by the names that repos choose them by. Only those of kind "t3" are read here.
    pub agents: BTreeMap<AdapterName, T3Table>,
    /// The repos, by `owner/name`.
    #[serde(deserialize_with = "alike")]
    pub repos: BTreeMap<RepoName, Shared<RemoteRepo>>,
}

/// A repo's settings for systems that are reached over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RemoteRepo {
    /// The name in `forges` of the forge on which the repo's pull requests are opened and its
    /// checks are read. If unset, it is the repo's `tracker`.
    pub forge: Option<AdapterName>,
    /// The repo's name on forges where it is not the name of this table, by the forge's name in
    /// `forges`: `{ github = "Acme/Site" }`.
    pub names: BTreeMap<AdapterName, RepoName>,
    /// The stages that a landed commit must pass, in order.
    pub stages: Vec<StageTable>,
}

/// A doorbell. Its kind decides which further keys apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoorbellTable {
    /// The doorbell's name. If unset, it is made from the kind.
    #[serde(default)]
    #[schemars(skip)]
    pub name: Option<AdapterName>,
    /// The way in which people are told, such as "webhook".
    #[schemars(skip)]
    pub kind: AdapterName,
    /// Of "webhook": the URL that messages are posted to. Of "ntfy": the server; if unset,
    /// `https://ntfy.sh`.
    #[serde(default)]
    pub url: Option<String>,
    /// Of "webhook": the key that signs each message (HMAC-SHA256 of the body, in the header
    /// `X-Afk-Signature-256`).
    #[serde(default)]
    pub secret: Option<SecretSource>,
    /// Of "slack": the URL of an incoming webhook. It is a secret, because whoever knows it can
    /// post.
    #[serde(default)]
    pub webhook: Option<SecretSource>,
    /// Of "slack": the token of a bot, if there is no `webhook`. Of "ntfy": an access token; if
    /// unset, none is sent.
    #[serde(default)]
    pub token: Option<SecretSource>,
    /// Of "slack": the id or the name of the channel that the bot of `token` posts to.
    #[serde(default)]
    pub channel: Option<String>,
    /// Of "ntfy": the topic that messages are published to.
    #[serde(default)]
    pub topic: Option<String>,
}

impl RemoteSettings {
    /// The doorbell of that name, if it is of `kind`.
    pub(crate) fn doorbell(&self, name: &str, kind: &str) -> Option<&DoorbellTable> {
        let given = self.notify.iter().map(|one| (one.name.as_ref(), &one.kind));
        let nth = doorbell_names(given).iter().position(|known| known.as_str() == name)?;
        self.notify.get(nth).filter(|table| table.kind.as_str() == kind)
    }

    /// The stage of that name of a repo, if it is polled here.
    pub(crate) fn stage(&self, repo: &RepoName, name: &str) -> Option<&StageTable> {
        let stages = &self.repos.get(repo)?.stages;
        stages.iter().find(|stage| stage.name.as_deref() == Some(name))
    }

    /// The forge on which pull requests of `repo` are opened, whose tracker is `tracker`.
    pub fn forge_of<'a>(
        &'a self,
        repo: &RepoName,
        tracker: &'a AdapterName,
    ) -> Option<&'a AdapterName> {
        let named = self.repos.get(repo).and_then(|table| table.forge.as_ref()).unwrap_or(tracker);
        self.forges.contains_key(named).then_some(named)
    }

    /// The names of the executors that are T3 Code servers.
    pub fn t3_servers(&self) -> impl Iterator<Item = AdapterName> {
        let named = self.agents.iter().filter(|(name, table)| table.is_t3(name));
        named.map(|(name, _)| name.clone())
    }

    /// The repos that have another name on this forge.
    pub(crate) fn places_at(&self, forge: &AdapterName) -> BTreeMap<RepoName, RepoName> {
        let named = |(repo, table): (&RepoName, &Shared<RemoteRepo>)| {
            Some((repo.clone(), table.names.get(forge)?.clone()))
        };
        self.repos.iter().filter_map(named).collect()
    }

    /// What is wrong with it beyond its shape.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let tables = self.notify.iter().enumerate();
        let doorbells = tables.flat_map(|(n, table)| {
            let below = move |mistake: Mistake| mistake.below(&["notify", &n.to_string()]);
            doorbells::mistakes(table).into_iter().map(below)
        });
        let vault = self.vault.iter().flat_map(VaultSettings::mistakes);
        let vault = vault.map(|mistake| mistake.below(&["vault"]));
        let mut found: Vec<Mistake> = doorbells.chain(vault).collect();
        for (name, forge) in &self.forges {
            let below = |mistake: Mistake| mistake.below(&["forges", name.as_str()]);
            found.extend(forge.mistakes(name).into_iter().map(below));
        }
        for (name, table) in &self.agents {
            let below = |mistake: Mistake| mistake.below(&["agents", name.as_str()]);
            found.extend(table.mistakes(name).into_iter().map(below));
        }
        for (repo, table) in &self.repos {
            let named = table.forge.iter().map(|forge| ("forge", forge));
            let named = named.chain(table.names.keys().map(|forge| ("names", forge)));
            for (key, _) in named.filter(|(_, forge)| !self.forges.contains_key(*forge)) {
                // A value is never told: it may be a misplaced secret.
                let what =
                    "names a forge that is not in [forges]; add it there, or correct the name";
                found.push(Mistake::at(&["repos", repo.as_str(), key], what));
            }
        }
        for (repo, table) in &self.repos {
            for (n, stage) in table.stages.iter().enumerate() {
                let nth = n.to_string();
                let key = ["repos", repo.as_str(), "stages", &nth];
                let unknown = stage.forge.as_ref().filter(|name| !self.forges.contains_key(*name));
                let unknown = unknown.map(|_| Mistake::at(&["forge"], "is not in [forges]"));
                let wrong = stage.mistakes(repo).into_iter().chain(unknown);
                found.extend(wrong.map(|mistake| mistake.below(&key)));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbells::WEBHOOK;

    #[test]
    fn a_doorbell_is_found_by_its_name() {
        let found: RemoteSettings = serde_json::from_str(
            r#"{ "notify": [
                { "kind": "webhook", "url": "http://a/", "secret": { "env": "A" } },
                { "kind": "terminal" },
                { "kind": "webhook", "url": "http://b/", "secret": { "env": "B" } },
                { "kind": "webhook", "name": "ops", "url": "http://c/", "secret": { "env": "C" } }
            ] }"#,
        )
        .unwrap();
        assert_eq!(found.mistakes(), []);
        let url = |name: &str| found.doorbell(name, WEBHOOK).and_then(|table| table.url.clone());
        let urls = ["webhook", "webhook-2", "ops", "webhook-3", "terminal"].map(url);
        let expected = [Some("http://a/"), Some("http://b/"), Some("http://c/"), None, None];
        assert_eq!(urls, expected.map(|url| url.map(str::to_owned)));
    }
}
