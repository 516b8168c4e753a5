//! The kind of project in a folder, recognised by its files, and the commands that judge a change
//! of it.

use std::collections::BTreeMap;

use serde::Serialize;

/// How a kind of project is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The name of the file that it was recognised by.
    pub by: &'static str,
    /// The command (argv) that judges a tree.
    pub verify: Vec<String>,
    /// The command (argv) that only builds the tests, where there is one.
    pub build: Option<Vec<String>>,
    /// The command (argv) that a landed commit must pass.
    pub ci: Vec<String>,
    /// Whether `verify` must download dependencies.
    pub network: bool,
    /// Programs that must exist inside a box.
    pub programs: Vec<&'static str>,
}

/// The proposal for a folder with these files: names, and the contents of those in [`READ`].
pub fn proposal(files: &BTreeMap<String, String>) -> Option<Proposal> {
    let has = |name: &str| files.contains_key(name);
    let says = |name: &str, what: &str| files.get(name).is_some_and(|text| text.contains(what));
    let kind = |by, verify: &[&str], build: Option<&[&str]>, network, programs: &[&'static str]| {
        let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let verify = argv(verify);
        let ci = if has("ci.sh") { argv(&["sh", "ci.sh"]) } else { verify.clone() };
        Some(Proposal {
            by,
            verify,
            build: build.map(argv),
            ci,
            network,
            programs: programs.to_vec(),
        })
    };
    if has("Cargo.toml") {
        let build: &[&str] = &["cargo", "test", "--quiet", "--no-run"];
        let vendored = has("vendor");
        let verify = &["cargo", "test", "--quiet"];
        return kind("Cargo.toml", verify, Some(build), !vendored, &["cargo", "cc"]);
    }
    if has("go.mod") {
        let build: &[&str] = &["go", "test", "-run=^$", "./..."];
        return kind("go.mod", &["go", "test", "./..."], Some(build), has("go.sum"), &["go"]);
    }
    if has("package.json") && says("package.json", "\"test\"") {
        let locked = has("package-lock.json");
        let both: &[&str] = &["sh", "-c", "npm ci --prefer-offline --no-audit && npm test"];
        let verify: &[&str] = if locked { both } else { &["npm", "test"] };
        return kind("package.json", verify, None, locked, &["npm", "node"]);
    }
    let python = ["pytest.ini", "conftest.py", "tox.ini", "setup.cfg", "pyproject.toml"];
    if let Some(by) = python.into_iter().find(|name| has(name)) {
        let verify = &["python3", "-m", "pytest", "-q"];
        return kind(by, verify, None, false, &["python3"]);
    }
    for name in ["Makefile", "makefile", "GNUmakefile"] {
        let target = |target: &str| {
            let text = files.get(name).map_or("", String::as_str);
            text.lines().any(|line| {
                line.strip_prefix(target).is_some_and(|rest| rest.trim_start().starts_with(':'))
            })
        };
        if let Some(target) = ["test", "check"].into_iter().find(|word| target(word)) {
            return kind("Makefile", &["make", target], None, false, &["make"]);
        }
    }
    if has("test.sh") {
        return kind("test.sh", &["sh", "test.sh"], None, false, &["sh"]);
    }
    None
}

/// Files whose content says more than their name.
pub const READ: [&str; 4] = ["package.json", "Makefile", "makefile", "GNUmakefile"];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Option<Proposal> {
        let owned = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        proposal(&owned.collect())
    }

    #[test]
    fn each_kind_of_project_is_told_by_its_files() {
        let check = |files: &[(&str, &str)], verify: &[&str], network: bool| {
            let found = of(files).unwrap_or_else(|| panic!("nothing for {files:?}"));
            assert_eq!((found.verify.as_slice(), found.network), (&*own(verify), network));
        };
        let npm = "npm ci --prefer-offline --no-audit && npm test";
        let package = ("package.json", "{\"scripts\": {\"test\": \"node --test\"}}");
        check(&[("Cargo.toml", "")], &["cargo", "test", "--quiet"], true);
        check(&[("Cargo.toml", ""), ("vendor", "")], &["cargo", "test", "--quiet"], false);
        check(&[("go.mod", "")], &["go", "test", "./..."], false);
        check(&[package], &["npm", "test"], false);
        check(&[package, ("package-lock.json", "")], &["sh", "-c", npm], true);
        check(&[("pyproject.toml", "")], &["python3", "-m", "pytest", "-q"], false);
        check(&[("Makefile", "all:\n\ntest: all\n\tx\n")], &["make", "test"], false);
        check(&[("Makefile", "tests:\ncheck :\n")], &["make", "check"], false);
        check(&[("test.sh", "")], &["sh", "test.sh"], false);
        // The language's own tests before a wrapper around them.
        check(&[("Makefile", "test:\n"), ("go.mod", "")], &["go", "test", "./..."], false);
    }

    #[test]
    fn nothing_is_guessed_where_nothing_tells() {
        for files in
            [&[("README.md", "")][..], &[("package.json", "{}")], &[("Makefile", "all:\n")], &[]]
        {
            assert_eq!(of(files), None, "{files:?}");
        }
    }

    #[test]
    fn a_script_for_ci_is_the_stage_and_else_verify_is() {
        let with = of(&[("test.sh", ""), ("ci.sh", "")]).unwrap();
        assert_eq!(with.ci, own(&["sh", "ci.sh"]));
        assert_eq!(of(&[("test.sh", "")]).unwrap().ci, own(&["sh", "test.sh"]));
    }

    fn own(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}
