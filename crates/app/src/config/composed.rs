//! The whole configuration: each crate's part, read from one document.
//!
//! The keys of a new adapter are added as a part of their own, and its names in
//! [`Config::executors`], [`Config::trackers`], [`stages`] or [`DOORBELLS`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use afk_core::config::{Landing, Mistake, Policy};
use afk_core::forms;
use afk_core::ids::{AdapterName, RepoName};
use afk_gateway::{GatewayPart, GatewaySettings};
use afk_local::{AgentTable, LocalSettings};
use afk_remote::{NTFY, RemoteSettings, SLACK, WEBHOOK};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fleet::pattern_matches;
use super::load::{Compose, PartError, part};
use super::published;
use crate::terminal::TERMINAL;

/// The name of this machine's own tracker; every other tracker has the name of its forge.
pub const LOCAL_TRACKER: &str = "local";

/// Returns the known kinds of stages: the one that runs a command, and those that are polled.
pub fn stages() -> impl Iterator<Item = &'static str> {
    [COMMAND].into_iter().chain(afk_remote::STAGES)
}

/// The kind of a stage that runs a command.
const COMMAND: &str = "command";
/// The kinds of stages that ask one of the configured forges.
const CHECKS: [&str; 2] = ["checks", "forgejo-status"];

/// The known kinds of doorbells.
pub const DOORBELLS: [&str; 4] = [TERMINAL, WEBHOOK, SLACK, NTFY];

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The part of `core`: what decides about runs.
    pub policy: Arc<Policy>,
    /// The part of `local`: this machine, its agents, and each repo's remote.
    pub local: Arc<LocalSettings>,
    /// The part of `remote`: systems that are reached over HTTP.
    pub remote: Arc<RemoteSettings>,
    /// The part of `gateway`: the agent as a service.
    pub gateway: Arc<GatewaySettings>,
    /// The app's own part.
    pub own: AppSettings,
}

/// The app's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AppSettings {
    /// The owner of repos that are named on the command line without one, as in `afk run web#7`. If
    /// unset, names there need their owner.
    pub default_owner: Option<String>,
    /// A folder whose `*.toml` files are read as well, in the order of their names. They may have
    /// `repos`, `repos_like` and `allowlist`. A relative path starts at this file's folder. If
    /// unset, no further file is read.
    pub include_dir: Option<PathBuf>,
    /// Settings shared by repos whose names match a pattern; the repos' own tables have been
    /// completed from it.
    #[schemars(skip)]
    pub repos_like: BTreeMap<String, Value>,
    /// What `afk serve` serves over HTTP.
    pub http: HttpSettings,
}

/// What `afk serve` serves over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// The address and port that `afk serve` listens on, such as "127.0.0.1:8790". If unset,
    /// nothing is served. A change takes effect at the next start.
    #[schemars(with = "Option<String>", regex(pattern = forms::socket_address()))]
    pub listen: Option<SocketAddr>,
    /// The URL at which forges reach this server, such as `https://afk.example`. `afk doctor --fix`
    /// enters it in the webhooks that it makes. If unset, `afk doctor` does not look at webhooks.
    pub url: Option<String>,
}

impl Compose for Config {
    fn schema() -> Value {
        // Joining the parts costs more than reading a small file.
        static SCHEMA: LazyLock<Value> = LazyLock::new(published::schema);
        SCHEMA.clone()
    }

    fn compose(tree: &Value) -> Result<Self, PartError> {
        Ok(Self {
            policy: Arc::new(part(tree)?),
            local: Arc::new(part(tree)?),
            remote: Arc::new(part(tree)?),
            gateway: Arc::new(part::<GatewayPart>(tree)?.gateway),
            own: part(tree)?,
        })
    }

    fn complete_repo(table: &mut Map<String, Value>) {
        let stage = json!([{ "name": "ci", "command": ["true"] }]);
        for (key, value) in [("remote", json!("/")), ("verify", json!("none")), ("stages", stage)] {
            table.entry(key).or_insert(value);
        }
    }
}

/// Whether the issues of `repo` are in the local tracker, and not on a forge.
pub fn is_local(policy: &Policy, repo: &RepoName) -> bool {
    policy.tracker_of(repo).as_str() == LOCAL_TRACKER
}

impl Config {
    /// Returns the names that a repo's `agent` may have: local agents and T3 Code servers.
    pub fn executors(&self) -> BTreeSet<AdapterName> {
        self.local.executors().chain(self.remote.t3_servers()).collect()
    }

    /// Returns the names that a repo's `tracker` may have: the local one and the forges.
    pub fn trackers(&self) -> BTreeSet<AdapterName> {
        let here = std::iter::once(AdapterName::known(LOCAL_TRACKER));
        here.chain(self.remote.forges.keys().cloned()).collect()
    }

    /// Whether `repo` is configured, or would be once enrolled, because a pattern matches it.
    pub fn knows(&self, repo: &RepoName) -> bool {
        let like = |pattern: &String| pattern_matches(pattern, repo.as_str());
        self.policy.repos.contains_key(repo) || self.own.repos_like.keys().any(like)
    }

    /// Lists what is wrong with the configuration beyond its types; empty if it is valid.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut found = self.policy.mistakes();
        if let Some(owner) = &self.own.default_owner
            && RepoName::complete("name", Some(owner)).is_err()
        {
            let what = "is not the name of an owner; write what comes before the slash of \
                        owner/name";
            found.push(Mistake::at(&["default_owner"], what));
        }
        found.extend(self.local.mistakes(&self.policy));
        let executors = self.executors();
        let nameless = self.local.agents.keys().filter(|name| !executors.contains(*name));
        found.extend(nameless.map(|name| {
            let what = "is of an unknown kind; set kind to \"claude\", \"codex\", \"acp\", \
                        \"command\", \"scripted\" or \"t3\"";
            Mistake::at(&["agents", name.as_str()], what)
        }));
        found.extend(self.remote.mistakes());
        let of_gateway = self.gateway.mistakes().into_iter();
        found.extend(of_gateway.map(|(key, what)| Mistake::at(&["gateway", key], what)));
        found.extend(self.beside_t3());
        if self.remote.forges.contains_key(LOCAL_TRACKER) {
            let what = "is the name of the tracker of this machine; give the forge another one";
            found.push(Mistake::at(&["forges", LOCAL_TRACKER], what));
        }
        if self.remote.vault.is_none() {
            found.extend(self.without_vault());
        }
        let known = |names: &[&'static str]| -> BTreeSet<_> {
            names.iter().copied().map(AdapterName::known).collect()
        };
        let (trackers, stages) = (self.trackers(), stages().map(AdapterName::known).collect());
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
            let own = self.remote.forge_of(name, &repo.tracker);
            if repo.landing == Landing::PullRequest && own.is_none() {
                let what = "\"pull-request\" needs a forge to open them on: set tracker or forge to \
                            one of [forges], or landing to \"direct\" or \"tested\"";
                found.push(Mistake::at(&["repos", name.as_str(), "landing"], what));
            }
            for (n, stage) in repo.stages.iter().enumerate() {
                let nth = n.to_string();
                found.extend(unknown(&["stages", &nth, "kind"], &stage.kind, &stages));
                let named = self.remote.repos.get(name).and_then(|table| table.stages.get(n));
                let named = named.is_some_and(|stage| stage.forge.is_some());
                if CHECKS.contains(&stage.kind.as_str()) && !named && own.is_none() {
                    let what = "asks no forge: set its forge, or the repo's tracker, to one of \
                                [forges]";
                    found.push(Mistake::at(&["repos", name.as_str(), "stages", &nth], what));
                }
            }
        }
        found
    }
}

impl Config {
    /// A mistake for each key of a local agent that a T3 Code server's table sets.
    fn beside_t3(&self) -> Vec<Mistake> {
        const SHARED: [&str; 4] = ["kind", "model", "permissions", "turn_usd"];
        let keys = |table: &AgentTable| {
            let value = serde_json::to_value(table).unwrap_or_default();
            value.as_object().cloned().unwrap_or_default()
        };
        let unset = keys(&AgentTable::default());
        let mut found = Vec::new();
        for name in self.remote.t3_servers() {
            let given = self.local.agents.get(&name).map(keys).unwrap_or_default();
            for (key, value) in given {
                if !SHARED.contains(&key.as_str()) && unset.get(&key) != Some(&value) {
                    let what = "does not apply to agents of kind \"t3\"; omit it";
                    found.push(Mistake::at(&["agents", name.as_str(), &key], what));
                }
            }
        }
        found
    }

    /// A mistake for each secret that comes from Vault, although none is configured.
    fn without_vault(&self) -> Vec<Mistake> {
        let parts = [
            ("notify", serde_json::to_value(&self.remote.notify)),
            ("forges", serde_json::to_value(&self.remote.forges)),
            ("agents", serde_json::to_value(&self.local.agents)),
            ("agents", serde_json::to_value(&self.remote.agents)),
            ("evidence_key", serde_json::to_value(&self.local.evidence_key)),
        ];
        let mut found = Vec::new();
        for (key, part) in parts {
            vault_sources(&part.unwrap_or_default(), &mut vec![key.to_owned()], &mut found);
        }
        found
    }
}

/// Adds a mistake for each secret's source below `key` that is in Vault.
fn vault_sources(part: &Value, key: &mut Vec<String>, found: &mut Vec<Mistake>) {
    let mut below = |word: String, part: &Value| {
        key.push(word);
        vault_sources(part, key, found);
        key.pop();
    };
    match part {
        Value::Object(table)
            if table.len() == 1 && table.get("vault").is_some_and(Value::is_string) =>
        {
            let what = "comes from Vault, which is not configured; add a table `vault` with its url, \
                        and a token or kubernetes";
            found.push(Mistake { key: key.clone(), what: what.to_owned() });
        }
        Value::Object(table) => table.iter().for_each(|(word, part)| below(word.clone(), part)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, part)| below(n.to_string(), part));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A mistake if `chosen` is not among `known`.
fn unknown(key: &[&str], chosen: &AdapterName, known: &BTreeSet<AdapterName>) -> Option<Mistake> {
    if known.contains(chosen) {
        return None;
    }
    let names: Vec<_> = known.iter().map(AdapterName::as_str).collect();
    Some(Mistake::at(key, format!("is unknown; known are {}", names.join(", "))))
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
        // The gateway's part is read and never written.
        written["gateway"] = json!({});
        for key in written.as_object().unwrap().keys() {
            assert!(keys[key].get("description").is_some(), "{key} is not described");
        }
        assert_eq!(keys.len(), written.as_object().unwrap().len());
        assert_eq!(schema["additionalProperties"], false);
        let repo = &keys["repos"]["additionalProperties"];
        assert_eq!(repo["allOf"].as_array().unwrap().len(), 3, "{repo}");
        assert_eq!(repo["unevaluatedProperties"], false);
        let stage = &schema["$defs"]["Repo"]["properties"]["stages"]["items"];
        assert_eq!(stage["allOf"].as_array().unwrap().len(), 2, "{stage}");
        assert_eq!(stage["unevaluatedProperties"], false);
        let doorbell = &keys["notify"]["items"];
        assert_eq!(doorbell["allOf"].as_array().unwrap().len(), 2, "{doorbell}");
        assert_eq!(doorbell["unevaluatedProperties"], false);
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let table: toml::Table = text.parse().unwrap();
        let config = Config::compose(&serde_json::to_value(table).unwrap()).unwrap();
        let told: Vec<_> = config.mistakes().iter().map(ToString::to_string).collect();
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn a_t3_server_has_keys_of_its_own() {
        let far = "[agents.far]\nkind = 't3'\nurl = 'http://127.0.0.1:3773'\nmodel = 'x'\n\
                   token = { env = 'T' }\npermissions = 'ask'\n";
        check(
            &format!(
                "{far}[repos.'o/r']\nremote = '/r'\nverify = 'none'\nagent = 'far'\n\
                 stages = [{{ name = 'ci', command = ['true'] }}]"
            ),
            &[],
        );
        check(
            &format!("{far}base_url = 'http://x'"),
            &["agents.far.base_url: does not apply to agents of kind \"t3\"; omit it"],
        );
        check(
            "[agents.claude]\nlands = 'agent'",
            &["agents.claude.lands: only applies to agents of kind \"t3\"; omit it"],
        );
        check(&format!("{far}turn_usd = 3"), &[]);
        check(
            "[agents.claude]\nturn_usd = 3",
            &["agents.claude.turn_usd: only applies to agents of kind \"acp\", \"command\", \
               \"t3\"; omit it"],
        );
    }

    #[test]
    fn a_value_that_nothing_could_be_done_with_is_refused() {
        check("poll_seconds = 1\ndefault_owner = 'acme'", &[]);
        check("poll_seconds = 0", &["poll_seconds: must be at least 1"]);
        let what = "default_owner: is not the name of an owner; write what comes before the slash \
                    of owner/name";
        check("default_owner = 'a/b'", &[what]);
        check("default_owner = ''", &[what]);
    }

    #[test]
    fn adapters_are_named_that_are_there() {
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
            &["repos.\"o/r\".agent: is unknown; known are claude, codex, scripted"],
        );
        check(&repo("tracker = 'forge'"), &["repos.\"o/r\".tracker: is unknown; known are local"]);
        check(
            &repo("").replace("command = ['ci']", "kind = 'smoke'"),
            &[
                "repos.\"o/r\".stages.0.kind: is unknown; known are checks, command, forgejo-status, http, rollout, woodpecker",
            ],
        );
        check(
            &repo("").replace("command = ['ci']", "kind = 'checks'"),
            &[
                "repos.\"o/r\".stages.0: asks no forge: set its forge, or the repo's tracker, to one \
               of [forges]",
            ],
        );
        check(
            &repo("").replace("command = ['ci']", "kind = 'checks', forge = 'hub'"),
            &["repos.\"o/r\".stages.0.forge: is not in [forges]"],
        );
        check(
            &repo("").replace("command = ['ci']", "command = ['ci'], url = 'https://a'"),
            &["repos.\"o/r\".stages.0.url: only applies to stages of kind \"woodpecker\", \
               \"rollout\" or \"http\"; omit it"],
        );
        check(
            &repo("").replace("command", "kind = 'http', url = 'https://a', command"),
            &["repos.\"o/r\".stages.0.command: only applies to stages of kind \"command\"; \
               omit it"],
        );
        check("notify = [{ kind = 'terminal', name = 'here' }]", &[]);
        check(
            "notify = [{ kind = 'terminal' }, { kind = 'smoke' }]",
            &["notify.1.kind: is unknown; known are ntfy, slack, terminal, webhook"],
        );
        check(
            "notify = [{ kind = 'webhook' }]",
            &[
                "notify.0: a webhook needs a url; add it",
                "notify.0: a webhook needs a secret; add it",
            ],
        );
        check("notify = [{ kind = 'slack', webhook = { env = 'W' } }]", &[]);
        check("notify = [{ kind = 'ntfy', topic = 'builds', token = { env = 'T' } }]", &[]);
        let from_vault = "notify = [{ kind = 'slack', webhook = { vault = 'secret/afk#hook' } }]\n\
                          evidence_key = { vault = 'secret/afk#key' }\n";
        let missing = "comes from Vault, which is not configured; add a table `vault` with its url, \
                       and a token or kubernetes";
        check(
            from_vault,
            &[&format!("notify.0.webhook: {missing}"), &format!("evidence_key: {missing}")],
        );
        check(
            &format!("{from_vault}[vault]\nurl = 'https://v:8200'\nkubernetes.role = 'afk'"),
            &[],
        );
        check(
            &format!("{from_vault}[vault]\nurl = 'https://v:8200'"),
            &["vault: needs a token, or kubernetes with a role; add one"],
        );
        check(
            "notify = [{ kind = 'slack' }]",
            &["notify.0: slack needs a webhook, or a token and a channel; add them"],
        );
        check(
            "notify = [{ kind = 'terminal' }, { kind = 'terminal', name = 'terminal' }]",
            &["notify.1.name: has the name of one before it; give each a name of its own"],
        );
        check(
            "[agents.strong]\nmodel = 'x'",
            &["agents.strong: is of an unknown kind; set kind to \"claude\", \"codex\", \"acp\", \
               \"command\", \"scripted\" or \"t3\""],
        );
    }
}
