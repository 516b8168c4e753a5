//! Two adapters that make Claude and Codex agents of the Agent Client Protocol, pinned, for tests,
//! and the Node that they need.
//!
//! For the tests of `agent` and `afk` that drive them, around the real CLIs, against stand-ins for
//! their models. Installed from npm once into the target folder; nothing is installed for the user.

use std::path::PathBuf;

use crate::tools::from_npm;

/// The version of Claude's adapter that the tests use.
pub const CLAUDE_VERSION: &str = "0.101.0";
/// The version of Codex's adapter that the tests use.
pub const CODEX_VERSION: &str = "2.6.0";
/// The version of Node; the machine's own may be too old for the adapters.
const NODE_VERSION: &str = "24.21.0";

/// An installed adapter.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// The Node that runs it.
    pub node: PathBuf,
    /// The adapter's script.
    pub script: PathBuf,
    /// The `node_modules` folder with the adapter and its dependencies.
    pub packages: PathBuf,
}

impl Adapter {
    /// The program and the arguments that start the adapter.
    pub fn command(&self) -> Vec<String> {
        [&self.node, &self.script].map(|path| path.to_string_lossy().into_owned()).to_vec()
    }
}

/// Claude's adapter; `None`, with a printed notice, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set.
pub fn claude(test: &str) -> Option<Adapter> {
    adapter(test, "claude-agent-acp", CLAUDE_VERSION)
}

/// Codex's adapter, which brings a Codex of its own; `None`, with a printed notice, if it
/// is not available.
///
/// # Panics
///
/// As [`claude`] does.
pub fn codex(test: &str) -> Option<Adapter> {
    adapter(test, "codex-acp", CODEX_VERSION)
}

/// The pinned Node; `None`, with a printed notice, if it is not available.
pub(crate) fn node(test: &str) -> Option<PathBuf> {
    from_npm(test, &format!("node@{NODE_VERSION}"), "bin/node")?.canonicalize().ok()
}

fn adapter(test: &str, name: &str, version: &str) -> Option<Adapter> {
    let node = node(test)?;
    let package = format!("@agentclientprotocol/{name}@{version}");
    let script = from_npm(test, &package, "dist/index.js")?.canonicalize().ok()?;
    let packages = script.ancestors().find(|folder| folder.ends_with("node_modules"))?.to_owned();
    Some(Adapter { node, script, packages })
}
