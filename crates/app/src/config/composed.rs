//! The whole configuration: each crate's part, read from one document.
//!
//! A new adapter's keys come in here by a part of their own, and its names by a line in
//! [`Config::executors`], [`TRACKERS`], [`STAGES`] or [`DOORBELLS`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use afk_core::config::{Mistake, Policy, Repo};
use afk_core::ids::{AdapterName, RepoName};
use afk_core::shared::Shared;
use afk_local::LocalSettings;
use afk_remote::{RemoteSettings, WEBHOOK};
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fleet::{REPOS, REPOS_LIKE, is_like};
use super::load::{Compose, PartError, part};
use crate::terminal::TERMINAL;

/// Maximum number of different tables that are compared in search of equal ones.
const ALIKE: usize = 64;

/// The known trackers.
pub const TRACKERS: [&str; 1] = ["local"];

/// The known kinds of stages: those that run a command, and those that are polled.
pub const STAGES: [&str; 1] = ["command"];

/// The kinds of doorbells that there are.
pub const DOORBELLS: [&str; 2] = [TERMINAL, WEBHOOK];

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The engine's part: the policy.
    pub policy: Arc<Policy>,
    /// This machine's part.
    pub local: Arc<LocalSettings>,
    /// What is configured of systems that are reached over HTTP.
    pub remote: Arc<RemoteSettings>,
    /// What is ours.
    pub own: AppSettings,
}

/// The app's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AppSettings {
    /// The owner of repo names that are written without one.
    pub default_owner: Option<String>,
    /// A folder beside the file whose `*.toml` files are read too, in the order of their names:
    /// they hold `repos`, `repos_like` and `allowlist`.
    pub include_dir: Option<PathBuf>,
    /// Settings shared by repos whose names match a pattern; the repos' own tables have been
    /// completed from it.
    #[schemars(skip)]
    pub repos_like: BTreeMap<String, Value>,
}

impl Compose for Config {
    fn schema() -> Value {
        let parts = [
            schema_for!(Policy),
            schema_for!(LocalSettings),
            schema_for!(RemoteSettings),
            schema_for!(AppSettings),
        ];
        let mut whole = json!({});
        for part in parts {
            merge(&mut whole, part.to_value());
        }
        // A pattern may supply what a repo's own table omits.
        for part in ["Repo", "LocalRepo"] {
            if let Some(part) = whole["$defs"][part].as_object_mut() {
                part.remove("required");
            }
        }
        let mut like = whole["properties"][REPOS].clone();
        like["description"] = "Settings shared by repos whose names match a pattern such as \
                               \"owner/*\"; a repo's own table wins, then the longer pattern."
            .into();
        whole["properties"][REPOS_LIKE] = like;
        whole["title"] = "Config".into();
        whole["description"] = "Everything that can be configured.".into();
        whole["additionalProperties"] = false.into();
        whole
    }

    fn compose(tree: &Value) -> Result<Self, PartError> {
        let mut policy: Policy = part(tree)?;
        share(&mut policy);
        Ok(Self {
            policy: Arc::new(policy),
            local: Arc::new(part(tree)?),
            remote: Arc::new(part(tree)?),
            own: part(tree)?,
        })
    }
}

impl Config {
    /// The names that a repo's `agent` may be.
    pub fn executors(&self) -> BTreeSet<AdapterName> {
        self.local.executors().collect()
    }

    /// Whether `repo` is configured, or would be if it were enrolled.
    pub fn knows(&self, repo: &RepoName) -> bool {
        let like = |pattern: &String| is_like(pattern, repo.as_str());
        self.policy.repos.contains_key(repo) || self.own.repos_like.keys().any(like)
    }

    /// What is wrong with it beyond its types; empty if it is valid.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut found = self.policy.mistakes();
        found.extend(self.local.mistakes(&self.policy));
        let executors = self.executors();
        let nameless = self.local.agents.keys().filter(|name| !executors.contains(*name));
        found.extend(nameless.map(|name| {
            let what = "is of an unknown kind; set kind to \"claude\" or \"scripted\"";
            Mistake::at(&["agents", name.as_str()], what)
        }));
        found.extend(self.remote.mistakes());
        let known = |names: &[&'static str]| -> BTreeSet<_> {
            names.iter().copied().map(AdapterName::known).collect()
        };
        let (trackers, stages) = (known(&TRACKERS), known(&STAGES));
        let doorbells = known(&DOORBELLS);
        for (n, doorbell) in self.policy.notify.iter().enumerate() {
            found.extend(unknown(&["notify", &n.to_string(), "kind"], &doorbell.kind, &doorbells));
        }
        for (name, repo) in self.policy.repos.iter() {
            let unknown = |key: &[&str], chosen: &AdapterName, known: &BTreeSet<AdapterName>| {
                let mistake = unknown(key, chosen, known);
                mistake.map(|mistake| mistake.below(&["repos", name.as_str()]))
            };
            found.extend(unknown(&["agent"], &repo.agent, &executors));
            found.extend(unknown(&["tracker"], &repo.tracker, &trackers));
            for (n, stage) in repo.stages.iter().enumerate() {
                found.extend(unknown(&["stages", &n.to_string(), "kind"], &stage.kind, &stages));
            }
        }
        found
    }
}

/// A name that none of those has that are known.
fn unknown(key: &[&str], chosen: &AdapterName, known: &BTreeSet<AdapterName>) -> Option<Mistake> {
    let names: Vec<_> = known.iter().map(AdapterName::as_str).collect();
    let what = format!("is unknown; known are {}", names.join(", "));
    (!known.contains(chosen)).then(|| Mistake::at(key, what))
}

/// Lets repos that are alike share one table: a fleet of thousands says a few things.
fn share(policy: &mut Policy) {
    let mut known: Vec<Shared<Repo>> = Vec::new();
    for table in policy.repos.values_mut() {
        match known.iter().find(|other| *other == table) {
            Some(other) => *table = other.clone(),
            None if known.len() < ALIKE => known.push(table.clone()),
            None => {}
        }
    }
}

/// Adds what another part of the schema says. Where both speak of the entries of one table,
/// such as a repo's, or of one list, such as a doorbell, an entry is both.
fn merge(whole: &mut Value, part: Value) {
    let (Value::Object(whole), Value::Object(part)) = (whole, part) else { return };
    for (key, theirs) in part {
        match (key.as_str(), whole.get_mut(&key)) {
            ("properties" | "$defs" | "repos" | "notify", Some(ours)) => merge(ours, theirs),
            ("additionalProperties" | "items", Some(ours)) => {
                let mut all = ours["allOf"].as_array().cloned().unwrap_or_default();
                if all.is_empty() {
                    all.push(ours.clone());
                }
                all.push(theirs);
                *ours = json!({ "allOf": all, "unevaluatedProperties": false });
            }
            (_, Some(_)) => {}
            (_, None) => drop(whole.insert(key, theirs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_describes_every_key_and_takes_no_other() {
        let schema = Config::schema();
        let keys = schema["properties"].as_object().unwrap();
        let mut written = serde_json::to_value(Policy::default()).unwrap();
        for part in [
            serde_json::to_value(LocalSettings::default()).unwrap(),
            serde_json::to_value(RemoteSettings::default()).unwrap(),
            serde_json::to_value(AppSettings::default()).unwrap(),
        ] {
            written.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        for key in written.as_object().unwrap().keys() {
            assert!(keys[key].get("description").is_some(), "{key} is not described");
        }
        assert_eq!(keys.len(), written.as_object().unwrap().len());
        assert_eq!(schema["additionalProperties"], false);
        let repo = &keys["repos"]["additionalProperties"];
        assert_eq!(repo["allOf"].as_array().unwrap().len(), 2, "{repo}");
        assert_eq!(repo["unevaluatedProperties"], false);
        let doorbell = &keys["notify"]["items"];
        assert_eq!(doorbell["allOf"].as_array().unwrap().len(), 2, "{doorbell}");
        assert_eq!(doorbell["unevaluatedProperties"], false);
    }

    #[test]
    fn adapters_are_named_that_are_there() {
        let check = |text: &str, expected: &[&str]| {
            let table: toml::Table = text.parse().unwrap();
            let config = Config::compose(&serde_json::to_value(table).unwrap()).unwrap();
            let told: Vec<_> = config.mistakes().iter().map(ToString::to_string).collect();
            assert_eq!(told, expected, "{text}");
        };
        let repo = |more: &str| {
            format!(
                "[repos.\"o/r\"]\nremote = '/srv/r'\nverify = ['true']\n\
                 stages = [{{ name = 'ci', command = ['ci'] }}]\n{more}"
            )
        };
        check(&repo(""), &[]);
        check(&repo("agent = 'strong'\n[agents.strong]\nkind = 'claude'"), &[]);
        check(
            &repo("agent = 'strong'"),
            &["repos.\"o/r\".agent: is unknown; known are claude, scripted"],
        );
        check(&repo("tracker = 'forge'"), &["repos.\"o/r\".tracker: is unknown; known are local"]);
        check(
            &repo("").replace("command = ['ci']", "kind = 'checks'"),
            &["repos.\"o/r\".stages.0.kind: is unknown; known are command"],
        );
        check("notify = [{ kind = 'terminal', name = 'here' }]", &[]);
        check(
            "notify = [{ kind = 'terminal' }, { kind = 'smoke' }]",
            &["notify.1.kind: is unknown; known are terminal, webhook"],
        );
        check(
            "notify = [{ kind = 'webhook' }]",
            &[
                "notify.0: a webhook needs a url; add it",
                "notify.0: a webhook needs a secret; add it",
            ],
        );
        check(
            "notify = [{ kind = 'terminal' }, { kind = 'terminal', name = 'terminal' }]",
            &["notify.1.name: has the name of one before it; give each a name of its own"],
        );
        check(
            "[agents.strong]\nmodel = 'x'",
            &["agents.strong: is of an unknown kind; set kind to \"claude\" or \
               \"scripted\""],
        );
    }
}
