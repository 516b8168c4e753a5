//! The agent definitions that are shipped, and how they get to where the CLI looks.
//!
//! The gateway installs them in its own home at every start; `afk agents install` does the same in
//! the home of a person.

use std::io;
use std::path::{Path, PathBuf};

use crate::tokens::replace;

/// The definitions: each file's name and its text.
const AGENTS: [(&str, &str); 2] = [
    ("conversational.md", include_str!("../agents/conversational.md")),
    ("structured.md", include_str!("../agents/structured.md")),
];

/// Writes the definitions to `.claude/agents` below `home`, and returns their paths.
pub fn install(home: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = home.join(".claude/agents");
    let mut installed = Vec::new();
    for (name, text) in AGENTS {
        let path = folder.join(name);
        if std::fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
            replace(&path, text.as_bytes())?;
        }
        installed.push(path);
    }
    Ok(installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_agents_reach_nothing_and_are_installed_once() {
        let home = tempfile::tempdir().unwrap();
        let installed = install(home.path()).unwrap();
        let names = ["conversational.md", "structured.md"];
        assert_eq!(installed, names.map(|name| home.path().join(".claude/agents").join(name)));
        let text = std::fs::read_to_string(&installed[0]).unwrap();
        assert!(
            text.starts_with("---\nname: conversational\n") && text.contains("\ntools: \"\"\n")
        );
        let structured = std::fs::read_to_string(&installed[1]).unwrap();
        assert!(structured.contains("\ntools: StructuredOutput\n"));
        std::fs::write(&installed[0], "changed").unwrap();
        install(home.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&installed[0]).unwrap(), text);
    }
}
