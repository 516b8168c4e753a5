//! This crate's table of the configuration, and the predecessor's names of variables for it.
//!
//! The program composes it into its one file as `[gateway]`; the gateway alone can also be started
//! from variables. Nothing here is secret: tokens are hashes in the state's folder, the model's
//! credential is the CLI's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The environment variable with the predecessor's one token.
pub const TOKEN_VARIABLE: &str = "API_BEARER_TOKEN";

/// The models that are served if nothing else is configured.
const MODELS: [&str; 6] =
    ["haiku", "sonnet", "opus", "claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-7"];

/// This crate's part of the one configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GatewayPart {
    /// The gateway, which offers the Claude CLI to other programs over HTTP.
    pub gateway: GatewaySettings,
}

/// The gateway, which offers the Claude CLI to other programs over HTTP: as jobs, chat completions
/// and conversations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// Whether `afk serve` also serves the gateway. `afk serve --only gateway` serves it in any
    /// case.
    pub enabled: bool,
    /// The address and port that the gateway listens on. If unset, it is served at `http.listen`.
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
    /// The program of the Claude CLI. If unset, it is `agents.claude.program`, or else `claude` on
    /// the search path.
    pub program: Option<PathBuf>,
    /// The home folder of the gateway's Claude CLI. If unset, it is a folder in the data folder. If
    /// no key is configured, the sign-in of `agents.claude` is copied there.
    pub home: Option<PathBuf>,
    /// The URL of the model's API. If unset, it is `agents.claude.base_url`, or else the vendor's
    /// own.
    pub base_url: Option<String>,
    /// The models that callers may ask for. Requests for another one are refused.
    pub models: Vec<String>,
    /// The model for requests that name none; it must be in `models`.
    pub default_model: String,
    /// Maximum number of agents that run at once.
    #[schemars(range(min = 1))]
    pub max_concurrency: usize,
    /// Maximum number of requests and jobs that run or wait for their turn, together. Further ones
    /// are refused.
    pub max_queue_depth: usize,
    /// Seconds for which a finished job can be read. If there are more than 10,000 jobs or 2 GiB of
    /// output, the jobs that finished first are removed earlier.
    pub job_ttl_seconds: u64,
    /// The git clone of which each job gets a checkout. If unset, each job gets an empty folder.
    pub workspace_dir: Option<PathBuf>,
    /// The folder in which jobs get their checkouts. If unset, it is in the data folder.
    pub jobs_dir: Option<PathBuf>,
    /// The file with the git-crypt key that unlocks the checkouts. If unset or not there, they stay
    /// locked.
    pub git_crypt_key: Option<PathBuf>,
    /// Minimum number of seconds between two updates of the clone in `workspace_dir` from its
    /// remote.
    pub fetch_debounce_seconds: u64,
    /// Time limit of an answer in a stream or a conversation, in seconds.
    pub conversational_timeout_seconds: u64,
    /// Time limit of a chat completion that is not streamed, in seconds.
    pub chat_timeout_seconds: u64,
    /// Maximum cost of a chat completion that an agent answers from a checkout, in US dollars. For
    /// every other answer, this much of a token's dollars of the day is reserved while it is made.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub chat_budget_usd: f64,
    /// The agent definition that answers chat completions from a checkout of `workspace_dir`,
    /// unless the request names another. Streams ignore it. If unset, the model answers without a
    /// checkout.
    pub chat_agent: Option<String>,
    /// Whether the agent of `chat_agent` may use its tools without asking. Callers of chat
    /// completions can then run commands on this machine.
    pub chat_skip_permissions: bool,
    /// Maximum size of the body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Processes of the Claude CLI that are started before there is a request for them.
    pub warm: WarmSettings,
}

/// Processes of the Claude CLI that are started before there is a request for them, so that it is
/// answered sooner. Each takes about 160 MB of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WarmSettings {
    /// Number of processes that always wait for requests for the default model. If both this and
    /// `per_model` are 0, no process is started in advance.
    pub least: usize,
    /// Maximum number of waiting processes for one model, while there are requests for it.
    pub per_model: usize,
    /// Maximum number of waiting processes for all models together.
    pub total: usize,
    /// Seconds after which a waiting process is replaced by a new one. A model without a request
    /// for that long has no waiting processes, apart from `least`.
    pub max_age_seconds: u64,
}

impl Default for WarmSettings {
    fn default() -> Self {
        Self { least: 1, per_model: 2, total: 4, max_age_seconds: 600 }
    }
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: None,
            program: None,
            home: None,
            base_url: None,
            models: MODELS.map(str::to_owned).to_vec(),
            default_model: "sonnet".to_owned(),
            max_concurrency: 10,
            max_queue_depth: 100,
            job_ttl_seconds: 3600,
            workspace_dir: None,
            jobs_dir: None,
            git_crypt_key: None,
            fetch_debounce_seconds: 15,
            conversational_timeout_seconds: 120,
            chat_timeout_seconds: 900,
            chat_budget_usd: 2.0,
            chat_agent: None,
            chat_skip_permissions: false,
            max_body_bytes: 8 * 1024 * 1024,
            warm: WarmSettings::default(),
        }
    }
}

/// A variable of the predecessor that should be a whole number and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value:?}, which is not a whole number: correct it or unset it")]
pub struct VariableError {
    /// The variable's name.
    pub name: &'static str,
    /// The variable's value, as it was given.
    pub value: String,
}

impl GatewaySettings {
    /// Takes over the predecessor's variables, which `variable` looks up; ignores blank ones.
    pub fn apply_variables(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(), VariableError> {
        let given = |name: &'static str| variable(name).filter(|value| !value.trim().is_empty());
        let number = |name: &'static str| match given(name) {
            None => Ok(None),
            Some(value) => match value.trim().parse::<u64>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(VariableError { name, value }),
            },
        };
        if let Some(path) = given("WORKSPACE_DIR") {
            self.workspace_dir = Some(path.into());
        }
        if let Some(path) = given("JOBS_DIR") {
            self.jobs_dir = Some(path.into());
        }
        if let Some(path) = given("GIT_CRYPT_KEY") {
            self.git_crypt_key = Some(path.into());
        }
        if let Some(n) = number("MAX_CONCURRENCY")? {
            self.max_concurrency = n as usize;
        }
        if let Some(n) = number("MAX_QUEUE_DEPTH")? {
            self.max_queue_depth = n as usize;
        }
        if let Some(n) = number("JOB_TTL_SECONDS")? {
            self.job_ttl_seconds = n;
        }
        if let Some(n) = number("FETCH_DEBOUNCE_SECONDS")? {
            self.fetch_debounce_seconds = n;
        }
        if let Some(n) = number("CONVERSATIONAL_TIMEOUT_SECONDS")? {
            self.conversational_timeout_seconds = n;
        }
        Ok(())
    }

    /// Returns the settings that cannot work: each one's key, and what is wrong and what to do.
    pub fn mistakes(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        if self.max_concurrency == 0 {
            found.push(("max_concurrency", "is 0: at least one agent must run"));
        }
        if self.max_queue_depth < self.max_concurrency {
            found.push((
                "max_queue_depth",
                "counts those that run, too: set it to max_concurrency or more",
            ));
        }
        if !self.models.contains(&self.default_model) {
            found.push((
                "default_model",
                "is not among models: add it there, or choose one of them",
            ));
        }
        if !(self.chat_budget_usd.is_finite() && self.chat_budget_usd > 0.0) {
            found.push(("chat_budget_usd", "must be above 0"));
        }
        if self.chat_skip_permissions && self.chat_agent.is_none() {
            found.push(("chat_skip_permissions", "applies to chat_agent alone: set that, too"));
        }
        found
    }

    pub(crate) fn turn_timeout(&self) -> Duration {
        Duration::from_secs(self.conversational_timeout_seconds)
    }

    pub(crate) fn chat_timeout(&self) -> Duration {
        Duration::from_secs(self.chat_timeout_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_predecessors_variables_keep_working() {
        let variables = [
            ("WORKSPACE_DIR", "/srv/base"),
            ("JOBS_DIR", "/srv/jobs"),
            ("GIT_CRYPT_KEY", "/run/key"),
            ("MAX_CONCURRENCY", "3"),
            ("MAX_QUEUE_DEPTH", " 30 "),
            ("JOB_TTL_SECONDS", "60"),
            ("FETCH_DEBOUNCE_SECONDS", "5"),
            ("CONVERSATIONAL_TIMEOUT_SECONDS", "90"),
        ];
        let variable =
            |name: &str| Some(variables.iter().find(|(known, _)| *known == name)?.1.to_owned());
        let mut settings = GatewaySettings::default();
        settings.apply_variables(variable).unwrap();
        assert_eq!(settings.workspace_dir, Some("/srv/base".into()));
        assert_eq!(settings.jobs_dir, Some("/srv/jobs".into()));
        assert_eq!(settings.git_crypt_key, Some("/run/key".into()));
        assert_eq!((settings.max_concurrency, settings.max_queue_depth), (3, 30));
        assert_eq!((settings.job_ttl_seconds, settings.fetch_debounce_seconds), (60, 5));
        assert_eq!(settings.turn_timeout(), Duration::from_secs(90));
        assert_eq!(settings.mistakes(), []);
    }

    #[test]
    fn a_blank_variable_says_nothing_and_a_wrong_one_is_told() {
        let mut settings = GatewaySettings::default();
        settings.apply_variables(|_| Some(" ".to_owned())).unwrap();
        assert_eq!(settings, GatewaySettings::default());
        let error = settings.apply_variables(|_| Some("many".to_owned())).unwrap_err();
        assert!(error.to_string().contains("MAX_CONCURRENCY is \"many\""), "{error}");
    }

    #[test]
    fn settings_that_cannot_work_are_told() {
        let settings = GatewaySettings {
            max_concurrency: 0,
            default_model: "gpt".into(),
            chat_budget_usd: -1.0,
            chat_skip_permissions: true,
            ..GatewaySettings::default()
        };
        let keys: Vec<_> = settings.mistakes().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            ["max_concurrency", "default_model", "chat_budget_usd", "chat_skip_permissions"]
        );
    }
}
