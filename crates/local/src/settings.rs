//! This crate's part of the configuration: where things are on this machine, how much of them is
//! kept, each repo's git remote, and the local agents.
//!
//! It is read from the same document as the policy (`afk_core::config`); keys of other crates are
//! ignored. The app composes the parts, refuses unknown keys, and passes on changes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use afk_core::ask::Permissions;
use afk_core::config::{Mistake, Policy};
use afk_core::ids::{AdapterName, RepoName};
use afk_core::network::AgentNetwork;
use afk_core::secret::SecretSource;
use afk_core::usd::Usd;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::git::RemoteUrl;

/// The kind of the Claude CLI, and its name without a table.
const CLAUDE: &str = "claude";
/// The kind of the scripted agent, and its name without a table.
const SCRIPTED: &str = "scripted";
/// The kind of Codex, and its name without a table.
const CODEX: &str = "codex";
/// The kind of agents that speak the Agent Client Protocol.
const ACP: &str = "acp";
/// The kind of any other program.
const COMMAND: &str = "command";
/// The kinds of local agents; a table of another kind is another crate's.
const KINDS: [&str; 5] = [CLAUDE, CODEX, ACP, COMMAND, SCRIPTED];

/// The configuration of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LocalSettings {
    /// The folder of the store, the workspaces and everything else that is kept; an absolute path.
    /// If unset, it is the platform's data folder, such as `~/.local/share/afk`.
    pub data_dir: Option<PathBuf>,
    /// Disk space for the workspaces of ended runs that are kept for inspection, in GiB. Beyond
    /// that, the oldest are removed, but none of a repo that is frozen.
    pub kept_workspaces_gib: u64,
    /// Disk space for the build caches of agents and stages, in GiB. Beyond that, the caches that
    /// were not used for longest are removed, but none of a repo in which a run is at work.
    pub kept_caches_gib: u64,
    /// Disk space for the compressed transcripts of runs whose workspaces are gone, in MiB. Beyond
    /// that, the oldest are removed.
    pub kept_transcripts_mib: u64,
    /// The private key (Ed25519, PKCS#8 in PEM) that signs the evidence. If unset, evidence is not
    /// signed. While the key cannot be read, no run can finish.
    pub evidence_key: Option<SecretSource>,
    /// The agents, by the names that repos choose them by. "claude", "codex" and "scripted" also
    /// exist without a table.
    #[schemars(schema_with = "agents_schema")]
    pub agents: BTreeMap<AdapterName, AgentTable>,
    /// The repos, by `owner/name`.
    pub repos: BTreeMap<RepoName, LocalRepo>,
}

/// What this machine must know about a repo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalRepo {
    /// The repo's git remote: a URL or a path.
    pub remote: String,
    /// The token with which git reads and pushes to an https remote. If unset, the token of the
    /// forge in `forges` at that address is used, if there is one.
    #[serde(default)]
    pub remote_token: Option<SecretSource>,
    /// The user name that is sent with `remote_token`. If unset, it is "x-access-token", which
    /// servers accept that only look at the token.
    #[serde(default)]
    pub remote_user: Option<String>,
    /// The absolute path of the script that a scripted agent follows on this repo. If unset, the
    /// `script` in the agent's table is used.
    #[serde(default)]
    pub script: Option<PathBuf>,
}

/// How an agent is run. Its kind decides which keys apply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AgentTable {
    /// The kind of agent: "claude", "codex", "acp", "command", "scripted" or "t3". If unset, it is
    /// the name of the table.
    pub kind: Option<AdapterName>,
    /// The program of the Claude CLI or of Codex. If unset, `claude` or `codex` is looked for on
    /// the search path.
    pub program: Option<PathBuf>,
    /// The model that the agent uses; of "command", only its prices are used. If unset, it is the
    /// agent's own default, and for "t3" `claude-sonnet-4-6`.
    pub model: Option<String>,
    /// The key for the model's API. If unset, the Claude CLI and Codex use the sign-in in `home`.
    pub api_key: Option<SecretSource>,
    /// The folder with the sign-in of the Claude CLI or of Codex. If unset, it is the home of the
    /// user who runs afk, and for Codex `.codex` in it.
    pub home: Option<PathBuf>,
    /// The URL of the model's API; for Codex up to and including `/v1`. If unset, it is the
    /// vendor's own.
    pub base_url: Option<String>,
    /// What the agent may reach on the network: "open" (if unset) for everything, "model" for the
    /// model's API alone, a list of hosts that it may reach besides that API, or "none". With any
    /// but "open", the key of the model's API stays outside of the sandbox. A repo can only narrow
    /// it.
    pub network: Option<AgentNetwork>,
    /// Of "acp" and "command": which model's API the agent calls, "anthropic" or "openai". It gets
    /// `api_key` and `base_url` in that API's usual variables. If unset, it gets neither.
    pub api: Option<ModelApi>,
    /// What the agent may do without asking a person: "full-access" (if unset) for everything that
    /// the sandbox allows, or "ask" to ask before each tool call that needs a permission.
    pub permissions: Option<Permissions>,
    /// Of "scripted": the absolute path of the script that the agent follows, unless the repo has
    /// one.
    pub script: Option<PathBuf>,
    /// Of "acp" and "command": the absolute path of the agent's program, and its arguments. A
    /// "command" agent reads the prompt on its standard input, or from the file whose path replaces
    /// `{prompt_file}` in an argument.
    pub command: Vec<String>,
    /// Of "acp": the mode of the agent's sessions, by the id that the agent gives it. If unset, one
    /// is chosen that fits `permissions`.
    pub mode: Option<String>,
    /// Of "acp": the id of the sign-in method, among those that the agent offers, that is used if
    /// the agent demands a sign-in. If unset, a turn fails where the agent demands one.
    pub auth_method: Option<String>,
    /// Of "acp" and "command": environment variables for the agent, by name.
    pub env: BTreeMap<String, String>,
    /// Of "acp" and "command": environment variables for the agent whose values are secrets, by
    /// name. The agent can read them.
    pub secret_env: BTreeMap<String, SecretSource>,
    /// Of "acp" and "command": absolute paths of folders and files that the agent may read besides
    /// its program, such as its interpreter.
    pub read: Vec<PathBuf>,
    /// Of "acp", "command" and "t3": the cost of a turn that is assumed, in US dollars, where the
    /// agent or the server does not report what it used. If unset, such a turn of "acp" or
    /// "command" is charged all that is left of its run's budget, and on a T3 Code server that
    /// reports nothing (protocol 2) no turn is begun. With 0, such turns have no budget.
    pub turn_usd: Option<Usd>,
}

/// A model's API, by the vendor whose protocol it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelApi {
    /// Anthropic's Messages API; the agent gets `ANTHROPIC_API_KEY` and `ANTHROPIC_BASE_URL`.
    Anthropic,
    /// OpenAI's Responses and chat completions; the agent gets `OPENAI_API_KEY` and
    /// `OPENAI_BASE_URL`.
    Openai,
}

/// A local agent with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// The Claude CLI.
    Claude(Claude),
    /// The Codex CLI.
    Codex(Codex),
    /// An agent that speaks the Agent Client Protocol.
    Acp(Acp),
    /// Any other program.
    Command(Command),
    /// The scripted agent for demo and tests, which calls no model.
    Scripted(Scripted),
}

/// The settings of Codex.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Codex {
    /// The program, or npm's script that starts it; `None` uses `codex` on the search path.
    pub program: Option<PathBuf>,
    /// The model; `None` uses Codex's own default.
    pub model: Option<String>,
    /// Where its API key comes from; `None` copies the sign-in of `home`.
    pub api_key: Option<SecretSource>,
    /// The folder with its sign-in; `None` uses `.codex` in the home of whoever runs afk.
    pub home: Option<PathBuf>,
    /// Another URL for the Responses API, up to and including its `/v1`.
    pub base_url: Option<String>,
    /// What it may reach on the network.
    pub network: AgentNetwork,
    /// What it may do without asking.
    pub permissions: Permissions,
}

/// The settings of an agent that speaks the Agent Client Protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acp {
    /// How the agent's program is started.
    pub process: Process,
    /// The model, in the agent's own words; `None` uses its default.
    pub model: Option<String>,
    /// The mode of its sessions, in its own words; `None` chooses by `permissions`.
    pub mode: Option<String>,
    /// How it signs in if it asks for that: the id of a method that it offers.
    pub auth_method: Option<String>,
    /// What it may do without asking.
    pub permissions: Permissions,
    /// What a turn is charged of which it does not report what it used; `None` charges all that was
    /// reserved for it.
    pub turn_usd: Option<Usd>,
}

/// The settings of an agent that is any other program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// How the agent's program is started.
    pub process: Process,
    /// The model by which its usage is priced; used for nothing else.
    pub model: Option<String>,
    /// What a turn is charged; `None` charges all that was reserved for it.
    pub turn_usd: Option<Usd>,
}

/// How an agent is started whose program is not known to afk, so that everything is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// The absolute path of its program, and its arguments.
    pub command: Vec<String>,
    /// Its environment variables, by name.
    pub env: BTreeMap<String, String>,
    /// Its secret environment variables, by name, and where each comes from.
    pub secret_env: BTreeMap<String, SecretSource>,
    /// The folders and files that its box shows besides its program.
    pub read: Vec<PathBuf>,
    /// What it may reach on the network.
    pub network: AgentNetwork,
    /// The model's API that it calls, if that is configured.
    pub api: Option<Api>,
}

/// The model's API that a [`Process`] calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Whose API it is.
    pub kind: ModelApi,
    /// Where the API's key comes from.
    pub key: SecretSource,
    /// Another URL for the API.
    pub base_url: Option<String>,
}

/// The settings of the Claude CLI.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Claude {
    /// The program; `None` uses `claude` on the search path.
    pub program: Option<PathBuf>,
    /// The model; `None` uses the CLI's own default.
    pub model: Option<String>,
    /// Where its API key comes from; `None` uses the sign-in of `home`.
    pub api_key: Option<SecretSource>,
    /// The folder with its sign-in; `None` uses the home of whoever runs afk.
    pub home: Option<PathBuf>,
    /// Another URL for the model's API.
    pub base_url: Option<String>,
    /// What it may reach on the network.
    pub network: AgentNetwork,
    /// What it may do without asking.
    pub permissions: Permissions,
}

/// The settings of the scripted agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scripted {
    /// The file of its script.
    pub script: Option<PathBuf>,
    /// What it may reach on the network.
    pub network: AgentNetwork,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            data_dir: None,
            kept_workspaces_gib: 20,
            kept_caches_gib: 20,
            kept_transcripts_mib: 1024,
            evidence_key: None,
            agents: BTreeMap::new(),
            repos: BTreeMap::new(),
        }
    }
}

impl LocalSettings {
    /// Returns the names of the executors that are local agents, also of those without a table.
    pub fn executors(&self) -> impl Iterator<Item = AdapterName> {
        let named = self.agents.iter().filter(|(name, table)| table.is_ours(name));
        let shipped = [CLAUDE, CODEX, SCRIPTED].map(AdapterName::known);
        let shipped = shipped.into_iter().filter(|name| !self.agents.contains_key(name));
        named.map(|(name, _)| name.clone()).chain(shipped)
    }

    /// Returns the agent of that name; `None` if it is not a local one.
    pub fn agent(&self, name: &AdapterName) -> Option<Agent> {
        match self.agents.get(name) {
            Some(table) => table.agent(name),
            None => AgentTable::default().agent(name),
        }
    }

    /// Returns the agent of that name as it works on `repo`, which may have a script of its own.
    pub fn agent_on(&self, repo: &RepoName, name: &AdapterName) -> Option<Agent> {
        let own = self.repos.get(repo).and_then(|table| table.script.clone());
        Some(match self.agent(name)? {
            Agent::Scripted(scripted) => {
                let script = own.or_else(|| scripted.script.clone());
                Agent::Scripted(Scripted { script, ..scripted })
            }
            other => other,
        })
    }

    /// Returns the Claude CLI with the settings of the table `claude`, or with the defaults.
    pub fn shipped_claude(&self) -> Claude {
        match self.agent(&AdapterName::known(CLAUDE)) {
            Some(Agent::Claude(claude)) => claude,
            Some(_) | None => Claude::default(),
        }
    }

    /// Returns every local agent, including those that exist without a table.
    pub fn all_agents(&self) -> Vec<Agent> {
        self.executors().filter_map(|name| self.agent(&name)).collect()
    }

    /// Returns the local agents that repos of `policy` use, by their names.
    pub fn agents_of(&self, policy: &Policy) -> BTreeMap<AdapterName, Agent> {
        let names = policy.repos.values().map(|repo| &repo.agent);
        names.filter_map(|name| Some((name.clone(), self.agent(name)?))).collect()
    }

    /// Returns the mistakes that the types do not rule out, for repos that choose their agents
    /// according to `policy`.
    pub fn mistakes(&self, policy: &Policy) -> Vec<Mistake> {
        let mut found = Vec::new();
        if self.data_dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
            // Each command would otherwise have a store of its own, below the folder it is run in.
            found.push(Mistake::at(&["data_dir"], "must be an absolute path; ~ is not expanded"));
        }
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
            let script = self.repos.get(name).and_then(|table| table.script.as_ref());
            let wrong = |key, what: &str| Mistake::at(&["repos", name.as_str(), key], what);
            match (self.agent_on(name, &repo.agent), script) {
                (Some(Agent::Scripted(Scripted { script: None, .. })), _) => found.push(wrong(
                    "agent",
                    "the scripted agent needs a script: set `script` here or in its table of \
                     `agents`; \"claude\" needs none",
                )),
                (Some(Agent::Scripted(_)) | None, None) => {}
                (Some(Agent::Scripted(_)) | None, Some(script)) if script.is_absolute() => {}
                (Some(Agent::Scripted(_)) | None, Some(_)) => {
                    found.push(wrong("script", "must be an absolute path"));
                }
                (
                    Some(Agent::Claude(_) | Agent::Codex(_) | Agent::Acp(_) | Agent::Command(_)),
                    Some(_),
                ) => found.push(wrong(
                    "script",
                    "only applies to a scripted agent; omit it, or set agent = \"scripted\"",
                )),
                (
                    Some(Agent::Claude(_) | Agent::Codex(_) | Agent::Acp(_) | Agent::Command(_)),
                    None,
                ) => {}
            }
        }
        found
    }
}

impl Agent {
    /// Returns what the agent may reach on the network according to its own table.
    pub fn network(&self) -> &AgentNetwork {
        match self {
            Self::Claude(claude) => &claude.network,
            Self::Codex(codex) => &codex.network,
            Self::Acp(Acp { process, .. }) | Self::Command(Command { process, .. }) => {
                &process.network
            }
            Self::Scripted(scripted) => &scripted.network,
        }
    }

    /// Returns what a turn is charged of which the agent does not report what it used, if its table
    /// says that.
    pub fn turn_usd(&self) -> Option<Usd> {
        match self {
            Self::Acp(acp) => acp.turn_usd,
            Self::Command(command) => command.turn_usd,
            Self::Claude(_) | Self::Codex(_) | Self::Scripted(_) => None,
        }
    }

    /// Whether the agent can read a credential, such as that of its model, if `allowed` is what it
    /// may reach.
    pub fn holds_key(&self, allowed: &AgentNetwork) -> bool {
        match self {
            Self::Claude(_) => allowed.is_open(),
            // With a sign-in, no proxy can hold the credential for it.
            Self::Codex(codex) => allowed.is_open() || codex.api_key.is_none(),
            Self::Acp(Acp { process, .. }) | Self::Command(Command { process, .. }) => {
                !process.secret_env.is_empty() || (allowed.is_open() && process.api.is_some())
            }
            Self::Scripted(_) => false,
        }
    }
}

impl AgentTable {
    fn kind<'a>(&'a self, name: &'a AdapterName) -> &'a str {
        self.kind.as_ref().unwrap_or(name).as_str()
    }

    fn is_ours(&self, name: &AdapterName) -> bool {
        KINDS.contains(&self.kind(name))
    }

    fn agent(&self, name: &AdapterName) -> Option<Agent> {
        match self.kind(name) {
            CLAUDE => Some(Agent::Claude(Claude {
                program: self.program.clone(),
                model: self.model.clone(),
                api_key: self.api_key.clone(),
                home: self.home.clone(),
                base_url: self.base_url.clone(),
                network: self.network(),
                permissions: self.permissions.unwrap_or_default(),
            })),
            CODEX => Some(Agent::Codex(Codex {
                program: self.program.clone(),
                model: self.model.clone(),
                api_key: self.api_key.clone(),
                home: self.home.clone(),
                base_url: self.base_url.clone(),
                network: self.network(),
                permissions: self.permissions.unwrap_or_default(),
            })),
            ACP => Some(Agent::Acp(Acp {
                process: self.process(),
                model: self.model.clone(),
                mode: self.mode.clone(),
                auth_method: self.auth_method.clone(),
                permissions: self.permissions.unwrap_or_default(),
                turn_usd: self.turn_usd,
            })),
            COMMAND => Some(Agent::Command(Command {
                process: self.process(),
                model: self.model.clone(),
                turn_usd: self.turn_usd,
            })),
            SCRIPTED => {
                let (script, network) = (self.script.clone(), self.network());
                Some(Agent::Scripted(Scripted { script, network }))
            }
            _ => None,
        }
    }

    fn process(&self) -> Process {
        Process {
            command: self.command.clone(),
            env: self.env.clone(),
            secret_env: self.secret_env.clone(),
            read: self.read.clone(),
            network: self.network(),
            api: self.api.zip(self.api_key.clone()).map(|(kind, key)| {
                let base_url = self.base_url.clone();
                Api { kind, key, base_url }
            }),
        }
    }

    fn network(&self) -> AgentNetwork {
        self.network.clone().unwrap_or_default()
    }

    /// Returns the keys that do not apply to an agent of this kind, and what is wrong with a
    /// process.
    fn mistakes(&self, name: &AdapterName) -> Vec<Mistake> {
        const CLI: &[&str] = &[CLAUDE, CODEX];
        const PROCESS: &[&str] = &[ACP, COMMAND];
        const MODEL: &[&str] = &[CLAUDE, CODEX, ACP, COMMAND];
        // Servers of T3 Code may have it, too.
        const PRICED: &[&str] = &[ACP, COMMAND, "t3"];
        let keys: [(&str, bool, &[&str]); 15] = [
            ("program", self.program.is_some(), CLI),
            ("model", self.model.is_some(), MODEL),
            ("api_key", self.api_key.is_some(), MODEL),
            ("home", self.home.is_some(), CLI),
            ("base_url", self.base_url.is_some(), MODEL),
            ("api", self.api.is_some(), PROCESS),
            ("permissions", self.permissions.is_some(), &[CLAUDE, CODEX, ACP]),
            ("script", self.script.is_some(), &[SCRIPTED]),
            ("command", !self.command.is_empty(), PROCESS),
            ("mode", self.mode.is_some(), &[ACP]),
            ("auth_method", self.auth_method.is_some(), &[ACP]),
            ("env", !self.env.is_empty(), PROCESS),
            ("secret_env", !self.secret_env.is_empty(), PROCESS),
            ("read", !self.read.is_empty(), PROCESS),
            ("turn_usd", self.turn_usd.is_some(), PRICED),
        ];
        let kind = self.kind(name);
        if !KINDS.contains(&kind) {
            return Vec::new();
        }
        let others = keys.iter().filter(|(_, given, kinds)| *given && !kinds.contains(&kind));
        let mut found: Vec<Mistake> = others
            .map(|(key, _, kinds)| {
                let kinds: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
                let what = format!("only applies to agents of kind {}; omit it", kinds.join(", "));
                Mistake::at(&[key], what)
            })
            .collect();
        if PROCESS.contains(&kind) {
            found.extend(self.process_mistakes());
        }
        found
    }

    fn process_mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        match self.command.first() {
            None => found.push(Mistake::at(&["command"], "is missing: name the agent's program")),
            Some(program) if !PathBuf::from(program).is_absolute() => {
                found
                    .push(Mistake::at(&["command"], "must begin with the program's absolute path"));
            }
            Some(_) => {}
        }
        let names = self.env.keys().map(|name| ("env", name));
        for (key, name) in names.chain(self.secret_env.keys().map(|name| ("secret_env", name))) {
            if name.is_empty() || name.contains(['=', '\0']) {
                found.push(Mistake::at(&[key, name], "is not the name of a variable"));
            }
        }
        for name in self.secret_env.keys().filter(|name| self.env.contains_key(*name)) {
            found.push(Mistake::at(&["secret_env", name], "is in env, too; omit one"));
        }
        match (self.api, &self.api_key) {
            (Some(_), None) => {
                found.push(Mistake::at(&["api_key"], "is missing: `api` says what it is for"));
            }
            (None, Some(_)) => found.push(Mistake::at(
                &["api"],
                "is missing: \"anthropic\" or \"openai\" says how the agent takes its key",
            )),
            (None, None) if self.base_url.is_some() => {
                found.push(Mistake::at(&["base_url"], "only applies beside `api`; omit it"));
            }
            (None, None) if self.network == Some(AgentNetwork::Model) => found.push(Mistake::at(
                &["network"],
                "is the model's API alone, and nothing says which that is: set api and api_key, or \
                 list hosts",
            )),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if self.read.iter().any(|path| !path.is_absolute()) {
            found.push(Mistake::at(&["read"], "must be absolute paths"));
        }
        found
    }
}

/// Returns the schema of the agents' tables. It names those of all kinds, because only a key that
/// the schema names can be set by an environment variable.
fn agents_schema(generator: &mut SchemaGenerator) -> Schema {
    let table = generator.subschema_for::<AgentTable>();
    json_schema!({
        "type": "object",
        "properties": { ACP: table, CLAUDE: table, CODEX: table, COMMAND: table, SCRIPTED: table },
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
    fn an_agent_is_what_its_kind_says_and_three_are_there_without_a_table() {
        let name = |text: &str| text.parse::<AdapterName>().unwrap();
        let given = settings(
            r#"{ "agents": {
                "strong": { "kind": "claude", "model": "opus" },
                "claude": { "permissions": "ask" },
                "far": { "kind": "t3" }
            } }"#,
        );
        let names: Vec<_> = given.executors().map(String::from).collect();
        assert_eq!(names, ["claude", "strong", "codex", "scripted"]);
        let model = |agent| match agent {
            Some(Agent::Claude(Claude { model, .. })) => model,
            other => panic!("{other:?}"),
        };
        assert_eq!(model(given.agent(&name("strong"))).as_deref(), Some("opus"));
        assert_eq!(model(given.agent(&name("claude"))), None);
        let scripted = Agent::Scripted(Scripted::default());
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
        check(
            r#"{ "agents": { "codex": { "script": "/x", "mode": "m" } } }"#,
            &["agents.codex.script", "agents.codex.mode"],
        );
        let acp = |keys: &str| format!(r#"{{ "agents": {{ "a": {{ "kind": "acp"{keys} }} }} }}"#);
        check(&acp(""), &["agents.a.command"]);
        check(&acp(r#", "command": ["gemini"]"#), &["agents.a.command"]);
        check(&acp(r#", "command": ["/bin/x", "--acp"], "mode": "m", "env": { "A": "b" }"#), &[]);
        let both =
            r#", "command": ["/x"], "env": { "A": "b" }, "secret_env": { "A": { "env": "B" } }"#;
        check(&acp(both), &["agents.a.secret_env.A"]);
        check(&acp(r#", "command": ["/x"], "env": { "A=": "b" }"#), &["agents.a.env.A="]);
        check(&acp(r#", "command": ["/x"], "read": ["y"]"#), &["agents.a.read"]);
        let with = |keys: &str| acp(&format!(r#", "command": ["/x"]{keys}"#));
        let key = r#", "api_key": { "env": "K" }"#;
        check(&with(r#", "network": "model""#), &["agents.a.network"]);
        check(&with(r#", "network": ["a.b"]"#), &[]);
        check(&with(r#", "api": "openai""#), &["agents.a.api_key"]);
        check(&with(key), &["agents.a.api"]);
        check(&with(r#", "base_url": "http://x""#), &["agents.a.base_url"]);
        check(&with(&format!(r#"{key}, "api": "openai", "network": "model""#)), &[]);
        check(r#"{ "agents": { "claude": { "api": "openai" } } }"#, &["agents.claude.api"]);
        let command = r#"{ "agents": { "command": { "command": ["/x"], "permissions": "ask" } } }"#;
        check(command, &["agents.command.permissions"]);
        check(&with(r#", "turn_usd": 2"#), &[]);
        check(r#"{ "agents": { "claude": { "turn_usd": 2 } } }"#, &["agents.claude.turn_usd"]);
        check(r#"{ "agents": { "codex": { "turn_usd": 2 } } }"#, &["agents.codex.turn_usd"]);
        check(r#"{ "repos": { "o/r": { "remote": "relative" } } }"#, &["repos.o/r.remote"]);
    }
}
