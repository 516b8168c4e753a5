//! `cargo xtask tidy`: house rules that no compiler checks.
//!
//! [`code`] checks the text of files, [`docs`] the documents. Rules are functions from text to
//! problems, so that each is tested against a bad sample; this file reads the files and reports.
//! Which crate may use which is decided by each Cargo.toml alone.

mod code;
mod docs;

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::run;

/// One file of the workspace.
#[derive(Debug, Clone)]
struct Source {
    /// Its path from the root of the workspace, with `/`.
    path: String,
    /// Its content.
    text: String,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    /// Where it is broken, as `path` or `path:line`.
    place: String,
    /// What is wrong, and how to fix it.
    what: String,
}

impl Problem {
    fn at(source: &Source, line: usize, what: impl Into<String>) -> Self {
        Self { place: format!("{}:{line}", source.path), what: what.into() }
    }

    fn of(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

/// Checks everything; fails if a rule is broken.
pub(crate) fn tidy(root: &Path) -> anyhow::Result<()> {
    let sources = sources(root)?;
    if !sources.iter().any(|source| source.path == "xtask/src/tidy/mod.rs") {
        bail!("tidy: {} does not look like the workspace", root.display());
    }
    let mut found: Vec<Problem> = sources.iter().flat_map(check).collect();
    found.extend(docs::decisions(&sources));
    found.extend(docs::links(&sources, |path| root.join(path).exists()));
    for problem in &found {
        run::print(&format!("error: {}: {}", problem.place, problem.what));
    }
    if !found.is_empty() {
        bail!("tidy: {} rules broken in {} files", found.len(), sources.len());
    }
    run::say(&format!("tidy: {} files, nothing wrong", sources.len()));
    Ok(())
}

/// Checks the rules for one file.
fn check(source: &Source) -> Vec<Problem> {
    let mut found = code::whitespace(source);
    if has_extension(&source.path, "rs") {
        found.extend(code::head(source));
        found.extend(code::length(source));
    }
    found
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// Every file that the rules apply to, sorted by path.
fn sources(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let listed = || format!("cannot list {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(listed)? {
            let entry = entry.with_context(listed)?;
            let (path, kind) = (entry.path(), entry.file_type().with_context(listed)?);
            let name = entry.file_name();
            if kind.is_dir() && !["target", ".git", "node_modules"].iter().any(|skip| name == *skip)
            {
                folders.push(path);
            } else if kind.is_file() && is_ours(&path) {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let path = path.strip_prefix(root)?.to_string_lossy().into_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Whether the rules apply to a file, by its extension. They do not to recorded fixtures and
/// snapshots, which stay as they were recorded.
fn is_ours(path: &Path) -> bool {
    let ours = ["rs", "md", "toml", "sql", "sh", "yml", "yaml"];
    path.extension().and_then(|one| one.to_str()).is_some_and(|one| ours.contains(&one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_build_output_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["src/a.rs", "target/b.rs", ".git/c.rs", "x/node_modules/d.rs", "e.jsonl"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found: Vec<_> =
            sources(folder.path()).unwrap().into_iter().map(|one| one.path).collect();
        assert_eq!(found, ["src/a.rs"]);
    }

    #[test]
    fn a_folder_that_is_no_workspace_is_not_tidy() {
        assert!(tidy(tempfile::tempdir().unwrap().path()).is_err());
    }

    #[test]
    fn every_rule_is_checked_on_a_rust_file() {
        let text = format!("fn a() {{}} \n{}", "\n".repeat(800));
        let source = Source { path: "crates/store/src/a.rs".to_owned(), text };
        let found: Vec<_> = check(&source).into_iter().map(|one| one.what).collect();
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
