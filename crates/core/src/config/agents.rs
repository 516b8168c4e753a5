//! Which agent works, and how it is run.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::Permissions;
use crate::secret::SecretSource;

/// An agent that a repo can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentName {
    /// The Claude CLI.
    #[default]
    Claude,
    /// The scripted agent of demo and tests: it follows a script and thinks nothing.
    Scripted,
}

/// How the agents are run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// The Claude CLI.
    pub claude: Claude,
    /// The scripted agent.
    pub scripted: Scripted,
}

/// The Claude CLI.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Claude {
    /// The program; none is `claude` on the path.
    pub program: Option<PathBuf>,
    /// The model; none is the CLI's own default.
    pub model: Option<String>,
    /// Where its API key comes from; none copies the sign-in of `home`.
    pub api_key: Option<SecretSource>,
    /// The folder that holds its sign-in; none is the home of whoever runs afk.
    pub home: Option<PathBuf>,
    /// Another address for the model's API.
    pub base_url: Option<String>,
    /// What it may do without asking: "full-access", or "ask" for each tool.
    pub permissions: Permissions,
}

/// The scripted agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scripted {
    /// Its script.
    pub script: Option<PathBuf>,
}
