//! This crate's part of the configuration: where things are on this machine, how much is kept of
//! them, each repo's git remote, and the local agents.
//!
//! Read from the one document beside the policy (`afk_core::config`); keys of other crates are
//! ignored. The app composes the parts, refuses unknown keys, and passes on changes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use afk_core::ask::Permissions;
use afk_core::config::{Mistake, Policy};
use afk_core::ids::{AdapterName, RepoName};
use afk_core::secret::SecretSource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::git::RemoteUrl;

/// The kind of the Claude CLI, and the name of the executor that exists without a table.
const CLAUDE: &str = "claude";
/// The kind of the scripted agent, and its name without a table.
const SCRIPTED: &str = "scripted";

/// The configuration of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LocalSettings {
    /// Where store and workspaces are kept; none uses the platform's data folder.
    pub data_dir: Option<PathBuf>,
    /// Disk space for workspaces kept for forensics, in GiB; the oldest are removed first.
    pub kept_workspaces_gib: u64,
    /// Disk space for compressed transcripts of runs whose workspace is gone, in MiB; the oldest
    /// are removed first.
    pub kept_transcripts_mib: u64,
    /// Where the key comes from that signs evidence: an Ed25519 private key in PEM (PKCS#8); none
    /// signs nothing. While it cannot be read no run settles.
    pub evidence_key: Option<SecretSource>,
    /// The agents, by the names that repos choose them by. "claude" and "scripted" exist without a
    /// table.
    #[schemars(schema_with = "agents_schema")]
    pub agents: BTreeMap<AdapterName, AgentTable>,
    /// The repos, by `owner/name`.
    pub repos: BTreeMap<RepoName, LocalRepo>,
}

/// What this machine must know about a repo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalRepo {
    /// Its git remote: a URL or a path.
    pub remote: String,
    /// The token that opens it over https; none uses the account of the forge where it is.
    #[serde(default)]
    pub remote_token: Option<SecretSource>,
    /// The user of that token, where the remote cares.
    #[serde(default)]
    pub remote_user: Option<String>,
}

/// How an agent is run. Its kind decides which keys apply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AgentTable {
    /// "claude" or "scripted"; none takes the table's name.
    pub kind: Option<AdapterName>,
    /// The program of the Claude CLI; none uses `claude` on the path.
    pub program: Option<PathBuf>,
    /// The model; none uses the CLI's own default.
    pub model: Option<String>,
    /// Where its API key comes from; none copies the sign-in of `home`.
    pub api_key: Option<SecretSource>,
    /// The folder with its sign-in; none uses the home of whoever runs afk.
    pub home: Option<PathBuf>,
    /// Another URL for the model's API.
    pub base_url: Option<String>,
    /// What it may do without asking: "full-access", or "ask" for each tool.
    pub permissions: Option<Permissions>,
    /// The script of a scripted agent.
    pub script: Option<PathBuf>,
}

/// A local agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// The Claude CLI.
    Claude(Claude),
    /// The scripted agent for demo and tests, which calls no model.
    Scripted(Scripted),
}

/// The Claude CLI.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Claude {
    /// The program; none uses `claude` on the path.
    pub program: Option<PathBuf>,
    /// The model; none uses the CLI's own default.
    pub model: Option<String>,
    /// Where its API key comes from; none copies the sign-in of `home`.
    pub api_key: Option<SecretSource>,
    /// The folder with its sign-in; none uses the home of whoever runs afk.
    pub home: Option<PathBuf>,
    /// Another URL for the model's API.
    pub base_url: Option<String>,
    /// What it may do without asking.
    pub permissions: Permissions,
}

/// The scripted agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scripted {
    /// Its script.
    pub script: Option<PathBuf>,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            data_dir: None,
            kept_workspaces_gib: 20,
            kept_transcripts_mib: 1024,
            evidence_key: None,
            agents: BTreeMap::new(),
            repos: BTreeMap::new(),
        }
    }
}

impl LocalSettings {
    /// The names of the executors that are local agents.
    pub fn executors(&self) -> impl Iterator<Item = AdapterName> {
        let named = self.agents.iter().filter(|(name, table)| table.is_ours(name));
        let shipped = [CLAUDE, SCRIPTED].map(AdapterName::known);
        let shipped = shipped.into_iter().filter(|name| !self.agents.contains_key(name));
        named.map(|(name, _)| name.clone()).chain(shipped)
    }

    /// The agent of that name; none if it is not a local one.
    pub fn agent(&self, name: &AdapterName) -> Option<Agent> {
        match self.agents.get(name) {
            Some(table) => table.agent(name),
            None => AgentTable::default().agent(name),
        }
    }

    /// The Claude CLI with the settings in the table of its own name.
    pub fn shipped_claude(&self) -> Claude {
        match self.agent(&AdapterName::known(CLAUDE)) {
            Some(Agent::Claude(claude)) => claude,
            Some(Agent::Scripted(_)) | None => Claude::default(),
        }
    }

    /// Every configured Claude CLI, including the one that exists without a table.
    pub fn all_claudes(&self) -> Vec<Claude> {
        let agents = self.executors().filter_map(|name| self.agent(&name));
        let claude = |agent| match agent {
            Agent::Claude(claude) => Some(claude),
            Agent::Scripted(_) => None,
        };
        agents.filter_map(claude).collect()
    }

    /// The Claude CLIs that repos of `policy` use.
    pub fn claudes(&self, policy: &Policy) -> Vec<Claude> {
        let mut names: Vec<_> = policy.repos.values().map(|repo| &repo.agent).collect();
        names.sort_unstable();
        names.dedup();
        let used = names.into_iter().filter_map(|name| match self.agent(name) {
            Some(Agent::Claude(claude)) => Some(claude),
            Some(Agent::Scripted(_)) | None => None,
        });
        used.collect()
    }

    /// What is wrong with it beyond its types, for repos that choose their agents according to
    /// `policy`.
    pub fn mistakes(&self, policy: &Policy) -> Vec<Mistake> {
        let mut found = Vec::new();
        for (name, table) in &self.agents {
            let below = |mistake: Mistake| mistake.below(&["agents", name.as_str()]);
            found.extend(table.mistakes(name).into_iter().map(below));
        }
        for (name, repo) in &self.repos {
            if let Err(error) = RemoteUrl::parse(&repo.remote) {
                found.push(Mistake::at(&["repos", name.as_str(), "remote"], error.reason()));
            }
        }
        for (name, repo) in policy.repos.iter() {
            if let Some(Agent::Scripted(Scripted { script: None })) = self.agent(&repo.agent) {
                found.push(Mistake::at(
                    &["repos", name.as_str(), "agent"],
                    "the scripted agent follows the file that the script of its table in agents \
                     names, and none is named; \"claude\" needs no script",
                ));
            }
        }
        found
    }
}

impl AgentTable {
    fn kind<'a>(&'a self, name: &'a AdapterName) -> &'a str {
        self.kind.as_ref().unwrap_or(name).as_str()
    }

    fn is_ours(&self, name: &AdapterName) -> bool {
        matches!(self.kind(name), CLAUDE | SCRIPTED)
    }

    fn agent(&self, name: &AdapterName) -> Option<Agent> {
        match self.kind(name) {
            CLAUDE => Some(Agent::Claude(Claude {
                program: self.program.clone(),
                model: self.model.clone(),
                api_key: self.api_key.clone(),
                home: self.home.clone(),
                base_url: self.base_url.clone(),
                permissions: self.permissions.unwrap_or_default(),
            })),
            SCRIPTED => Some(Agent::Scripted(Scripted { script: self.script.clone() })),
            _ => None,
        }
    }

    /// Keys that do not apply to an agent of this kind.
    fn mistakes(&self, name: &AdapterName) -> Vec<Mistake> {
        let claude = [
            ("program", self.program.is_some()),
            ("model", self.model.is_some()),
            ("api_key", self.api_key.is_some()),
            ("home", self.home.is_some()),
            ("base_url", self.base_url.is_some()),
            ("permissions", self.permissions.is_some()),
        ];
        let scripted = [("script", self.script.is_some())];
        let (others, kind): (&[(&str, bool)], &str) = match self.kind(name) {
            CLAUDE => (&scripted, SCRIPTED),
            SCRIPTED => (&claude, CLAUDE),
            _ => return Vec::new(),
        };
        let given = others.iter().filter(|(_, given)| *given);
        given
            .map(|(key, _)| {
                let what = format!("only applies to agents of kind {kind:?}; omit it");
                Mistake::at(&[key], what)
            })
            .collect()
    }
}

/// The tables of agents, including those that exist without one: a name in the schema can be given
/// by a variable.
fn agents_schema(generator: &mut SchemaGenerator) -> Schema {
    let table = generator.subschema_for::<AgentTable>();
    json_schema!({
        "type": "object",
        "properties": { CLAUDE: table, SCRIPTED: table },
        "additionalProperties": table,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> LocalSettings {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_agent_is_what_its_kind_says_and_two_are_there_without_a_table() {
        let name = |text: &str| text.parse::<AdapterName>().unwrap();
        let given = settings(
            r#"{ "agents": {
                "strong": { "kind": "claude", "model": "opus" },
                "claude": { "permissions": "ask" },
                "far": { "kind": "t3" }
            } }"#,
        );
        let names: Vec<_> = given.executors().map(String::from).collect();
        assert_eq!(names, ["claude", "strong", "scripted"]);
        let model = |agent| match agent {
            Some(Agent::Claude(Claude { model, .. })) => model,
            other => panic!("{other:?}"),
        };
        assert_eq!(model(given.agent(&name("strong"))).as_deref(), Some("opus"));
        assert_eq!(model(given.agent(&name("claude"))), None);
        let scripted = Agent::Scripted(Scripted { script: None });
        assert_eq!(given.agent(&name("scripted")), Some(scripted));
        assert_eq!((given.agent(&name("far")), given.agent(&name("other"))), (None, None));
    }

    #[test]
    fn a_key_of_another_kind_is_a_mistake() {
        let check = |text: &str, expected: &[&str]| {
            let found = settings(text).mistakes(&Policy::default());
            let keys: Vec<_> = found.iter().map(|mistake| mistake.key.join(".")).collect();
            assert_eq!(keys, expected, "{text}");
        };
        check(r#"{ "agents": { "claude": { "model": "x", "permissions": "ask" } } }"#, &[]);
        let script = r#"{ "agents": { "a": { "kind": "claude", "script": "/x" } } }"#;
        check(script, &["agents.a.script"]);
        let model = r#"{ "agents": { "scripted": { "script": "/x", "model": "x" } } }"#;
        check(model, &["agents.scripted.model"]);
        check(r#"{ "repos": { "o/r": { "remote": "relative" } } }"#, &["repos.o/r.remote"]);
    }
}
