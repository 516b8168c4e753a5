//! The agent that writes the demo's code, and its table in the demo's configuration.
//!
//! Real agents are those of this machine: found on the path, with the key in the variable that each
//! would read itself, or the sign-in of whoever runs the demo. Variables of the configuration
//! (`AFK_AGENTS__…`) override all of that.

use std::path::{Path, PathBuf};

use afk_app::adapters::on_path;
use clap::ValueEnum;
use serde::Serialize;

/// Who writes the demo's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DemoAgent {
    /// A script with fixed steps, which calls no model
    Scripted,
    /// The Claude CLI of this machine, which must be signed in
    Claude,
    /// Codex of this machine, which must be signed in
    Codex,
    /// The first of claude-agent-acp, codex-acp, gemini and opencode (agents that speak the Agent
    /// Client Protocol) that is on the search path; its key must be in its usual variable
    Acp,
}

/// An agent that speaks the Agent Client Protocol: its program, its arguments, and the variables
/// that may have its key.
type Known = (&'static str, &'static [&'static str], &'static [&'static str]);

/// The agents of that protocol that are looked for, in this order.
const KNOWN: [Known; 4] = [
    ("claude-agent-acp", &[], &["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"]),
    ("codex-acp", &[], &["CODEX_API_KEY", "OPENAI_API_KEY"]),
    ("gemini", &["--acp"], &["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
    ("opencode", &["acp"], &["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"]),
];
/// The variable that gives the command of another agent.
const COMMAND: &str = "AFK_AGENTS__ACP__COMMAND";

/// The error that no agent of the Agent Client Protocol was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no agent of the Agent Client Protocol was found on PATH: install one, such as \
     @agentclientprotocol/claude-agent-acp from npm, or name its command in {COMMAND}"
)]
pub struct NoAgent;

impl DemoAgent {
    /// The agent's name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scripted => "scripted",
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Acp => "acp",
        }
    }

    /// Returns the agent's table in the demo's configuration; empty if it needs none.
    pub(super) fn table(self) -> Result<String, NoAgent> {
        let given = |name: &str| std::env::var_os(name).is_some();
        match self {
            Self::Scripted => Ok(String::new()),
            Self::Claude if given("ANTHROPIC_API_KEY") => {
                let mut text =
                    "\n[agents.claude]\napi_key = { env = \"ANTHROPIC_API_KEY\" }\n".to_owned();
                if let Ok(url) = std::env::var("ANTHROPIC_BASE_URL") {
                    text.extend(["base_url = ", &toml::Value::String(url).to_string(), "\n"]);
                }
                Ok(text)
            }
            Self::Codex if given("CODEX_API_KEY") => {
                Ok("\n[agents.codex]\napi_key = { env = \"CODEX_API_KEY\" }\n".to_owned())
            }
            Self::Claude | Self::Codex => Ok(String::new()),
            Self::Acp if given(COMMAND) => Ok("\n[agents.acp]\n".to_owned()),
            Self::Acp => {
                let found = KNOWN.iter().find_map(|known| Some((known, on_path(known.0)?)));
                let ((_, args, keys), program) = found.ok_or(NoAgent)?;
                Ok(acp_table(&program, args, keys.iter().copied().filter(|name| given(name))))
            }
        }
    }
}

/// Makes the table of an agent that was found. A script that npm installed is started by node, and
/// its sandbox shows the packages beside it.
fn acp_table<'a>(program: &Path, args: &[&str], keys: impl Iterator<Item = &'a str>) -> String {
    let program = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let script = program.extension().is_some_and(|last| last == "js" || last == "mjs");
    let node = on_path("node").filter(|_| script).and_then(|node| node.canonicalize().ok());
    let packages = program.ancestors().find(|folder| folder.ends_with("node_modules"));
    let text = |path: &Path| toml::Value::String(path.to_string_lossy().into_owned());
    let mut command: Vec<toml::Value> = node.iter().map(|node| text(node)).collect();
    command.push(text(&program));
    command.extend(args.iter().map(|arg| toml::Value::String((*arg).to_owned())));
    let read: Vec<PathBuf> = node.iter().cloned().chain(packages.map(Path::to_owned)).collect();
    let read: Vec<toml::Value> = read.iter().map(|path| text(path)).collect();
    let keys: Vec<String> = keys.map(|name| format!("{name} = {{ env = \"{name}\" }}")).collect();
    format!(
        "\n[agents.acp]\ncommand = {}\nread = {}\nsecret_env = {{ {} }}\n",
        toml::Value::Array(command),
        toml::Value::Array(read),
        keys.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_and_a_script_of_npm_are_configured_to_be_started() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let script = root.join("node_modules/agent/dist/index.js");
        std::fs::create_dir_all(script.parent().unwrap()).unwrap();
        std::fs::write(&script, "").unwrap();
        let read = |text: &str| -> toml::Table { toml::from_str(text).unwrap() };
        let table = read(&acp_table(&script, &["--acp"], ["KEY"].into_iter()));
        let acp = table["agents"]["acp"].as_table().unwrap();
        let command = acp["command"].as_array().unwrap();
        assert_eq!(command[command.len() - 2].as_str(), script.to_str());
        assert_eq!(command[command.len() - 1].as_str(), Some("--acp"));
        let packages = acp["read"].as_array().unwrap().last().unwrap().as_str();
        assert_eq!(packages, root.join("node_modules").to_str());
        assert_eq!(acp["secret_env"]["KEY"]["env"].as_str(), Some("KEY"));
        let plain = root.join("agent");
        std::fs::write(&plain, "").unwrap();
        let table = read(&acp_table(&plain, &[], std::iter::empty()));
        let acp = table["agents"]["acp"].as_table().unwrap();
        assert_eq!(acp["command"].as_array().unwrap().len(), 1);
        assert!(acp["read"].as_array().unwrap().is_empty());
    }
}
