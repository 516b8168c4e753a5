//! The agent definition that ships with the program, and where the CLI finds it.
//!
//! Installed into the folder in which each turn works: the CLI looks for agents in
//! `.claude/agents` there, and nothing outside of our own folders is written to.

use std::io;
use std::path::Path;

/// The name of the agent whose definition ships with the program.
pub const AGENT: &str = "breakglass";
/// The text of that definition, as a file of the CLI's.
pub const DEFINITION: &str = include_str!("../agents/breakglass.md");

/// Writes the definition to `.claude/agents` below `folder`, and creates missing folders.
pub fn install(folder: &Path) -> io::Result<()> {
    let agents = folder.join(".claude/agents");
    std::fs::create_dir_all(&agents)?;
    let path = agents.join(format!("{AGENT}.md"));
    match std::fs::read(&path) {
        Ok(found) if found == DEFINITION.as_bytes() => Ok(()),
        Ok(_) | Err(_) => std::fs::write(path, DEFINITION),
    }
}
