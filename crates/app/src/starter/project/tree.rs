//! The files of a repository, as far as they tell how it is tested: every path, and the beginning
//! of files whose name alone does not say enough.

use std::collections::BTreeMap;

/// Maximum number of bytes read of one file.
pub const CONTENT: usize = 64 << 10;
/// Names of files whose content is read.
const TELLING: [&str; 18] = [
    "Cargo.lock",
    "Cargo.toml",
    "GNUmakefile",
    "Makefile",
    "Rakefile",
    "conftest.py",
    "makefile",
    "package.json",
    "pyproject.toml",
    "pytest.ini",
    "rakefile",
    "run-tests.sh",
    "run_tests.sh",
    "setup.cfg",
    "setup.py",
    "test.sh",
    "tests.sh",
    "tox.ini",
];

/// Paths relative to the repository's root, each with what was read of the file; empty if nothing
/// was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, String>);

impl Tree {
    /// Creates the tree of these paths; `read` returns the beginning of a file that is worth
    /// reading.
    pub fn of(
        paths: impl IntoIterator<Item = String>,
        mut read: impl FnMut(&str) -> String,
    ) -> Self {
        let content = |path: String| {
            let text = if tells(&path) { read(&path) } else { String::new() };
            (path, text)
        };
        Self(paths.into_iter().map(content).collect())
    }

    /// Whether there is a file at this path, or a folder with files.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path) || self.has_folder(path)
    }

    /// Whether there is a folder with files at this path.
    pub(super) fn has_folder(&self, name: &str) -> bool {
        self.under(name).next().is_some()
    }

    /// The content of a file; empty if it was not read.
    pub(super) fn text(&self, path: &str) -> &str {
        self.0.get(path).map_or("", String::as_str)
    }

    /// All files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The first of these paths that is a file.
    pub(super) fn first<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|name| self.0.contains_key(*name))
    }

    /// The tree below a folder, with paths relative to the folder.
    pub(super) fn below(&self, folder: &str) -> Self {
        let prefix = format!("{folder}/");
        let inside = self.under(folder).filter_map(|(path, text)| {
            Some((path.strip_prefix(&prefix)?.to_owned(), text.to_owned()))
        });
        Self(inside.collect())
    }

    /// The folders with files up to `depth` levels down, each before those inside it.
    pub(super) fn folders(&self, depth: usize) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for (path, _) in self.files() {
            let ends = path.match_indices('/').take(depth).map(|(end, _)| end);
            for folder in ends.filter_map(|end| path.get(..end)) {
                if !found.iter().any(|one| one == folder) {
                    found.push(folder.to_owned());
                }
            }
        }
        found.sort();
        found
    }

    fn under(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{folder}/");
        let from = self.0.range(prefix.clone()..);
        let inside = from.take_while(move |(path, _)| path.starts_with(&prefix));
        inside.map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// Whether the content of a file is worth reading.
fn tells(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    TELLING.contains(&name) || is_requirements(path) || is_python_test(path)
}

/// Whether a file lists requirements for pip: `requirements.txt`, `dev-requirements.txt`,
/// `requirements/test.txt`.
pub(super) fn is_requirements(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_text = |name: &str| name.to_ascii_lowercase().ends_with(".txt");
    is_text(name) && (name.contains("requirements") || folder.ends_with("requirements"))
}

/// Whether a file has the name of a test in Python.
pub(super) fn is_python_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some(stem) = name.strip_suffix(".py") else { return false };
    stem.starts_with("test_") || stem.ends_with("_test") || stem == "tests"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_found_and_looked_into() {
        let paths = ["a/b/c/x", "a/y", "z", "ab/w"].map(str::to_owned);
        let tree = Tree::of(paths, |_| panic!("none of these tells anything"));
        assert_eq!(tree.folders(2), ["a", "a/b", "ab"]);
        assert!(tree.has("a") && tree.has("z") && !tree.has("b") && !tree.has_folder("z"));
        let below: Vec<_> = tree.below("a").files().map(|(path, _)| path.to_owned()).collect();
        assert_eq!(below, ["b/c/x", "y"]);
    }

    #[test]
    fn what_tells_is_read() {
        for (path, read) in [
            ("web/package.json", true),
            ("requirements.txt", true),
            ("requirements/dev.txt", true),
            ("tests/test_a.py", true),
            ("a_test.py", true),
            ("notes.txt", false),
            ("src/a.py", false),
        ] {
            assert_eq!(tells(path), read, "{path}");
        }
    }
}
