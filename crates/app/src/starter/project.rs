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
    /// The command (argv) that brings what `verify` needs from outside, where there is something.
    /// The stage brings it by itself, over the network.
    pub fetch: Option<Vec<String>>,
    /// Programs that must exist inside a box.
    pub programs: Vec<&'static str>,
}

/// The proposal for a folder with these files: names, and the contents of those in [`READ`].
pub fn proposal(files: &BTreeMap<String, String>) -> Option<Proposal> {
    let has = |name: &str| files.contains_key(name);
    let says = |name: &str, what: &str| files.get(name).is_some_and(|text| text.contains(what));
    let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let kind = |by, verify: &[&str], programs: &[&'static str]| {
        let verify = argv(verify);
        let ci = if has("ci.sh") { argv(&["sh", "ci.sh"]) } else { verify.clone() };
        Proposal { by, verify, build: None, ci, fetch: None, programs: programs.to_vec() }
    };
    // What the stage must do by itself before its tests.
    let ci_after = |ci: Vec<String>, script: &str| {
        if has("ci.sh") { ci } else { argv(&["sh", "-c", script]) }
    };
    if has("Cargo.toml") {
        let base = kind("Cargo.toml", &["cargo", "test", "--quiet"], &["cargo", "cc"]);
        let fetch: &[&str] =
            if has("Cargo.lock") { &["cargo", "fetch", "--locked"] } else { &["cargo", "fetch"] };
        let fetch = (!has("vendor")).then(|| argv(fetch));
        let build = Some(argv(&["cargo", "test", "--quiet", "--no-run"]));
        return Some(Proposal { build, fetch, ..base });
    }
    if has("go.mod") {
        let base = kind("go.mod", &["go", "test", "./..."], &["go"]);
        let fetch = has("go.sum").then(|| argv(&["go", "mod", "download"]));
        let build = Some(argv(&["go", "test", "-run=^$", "./..."]));
        return Some(Proposal { build, fetch, ..base });
    }
    if has("package.json") && says("package.json", "\"test\"") {
        let base = kind("package.json", &["npm", "test"], &["npm", "node"]);
        if !has("package-lock.json") {
            return Some(base);
        }
        let fetch = Some(argv(&["npm", "ci", "--ignore-scripts", "--no-audit"]));
        let ci = ci_after(base.ci, "npm ci --no-audit && npm test");
        return Some(Proposal { ci, fetch, ..base });
    }
    let python = ["pytest.ini", "conftest.py", "tox.ini", "setup.cfg", "pyproject.toml"];
    if let Some(by) = python.into_iter().find(|name| has(name)) {
        if !has("requirements.txt") {
            return Some(kind(by, &["python3", "-m", "pytest", "-q"], &["python3"]));
        }
        let test = "PYTHONPATH=.packages python3 -m pytest -q";
        let install = "python3 -m pip install -q --target .packages -r requirements.txt";
        let base = kind(by, &["sh", "-c", test], &["python3"]);
        let fetch = Some(install.split(' ').map(str::to_owned).collect());
        let ci = ci_after(base.ci, &format!("{install} && {test}"));
        return Some(Proposal { ci, fetch, ..base });
    }
    for name in ["Makefile", "makefile", "GNUmakefile"] {
        let target = |target: &str| {
            let text = files.get(name).map_or("", String::as_str);
            text.lines().any(|line| {
                line.strip_prefix(target).is_some_and(|rest| rest.trim_start().starts_with(':'))
            })
        };
        if let Some(target) = ["test", "check"].into_iter().find(|word| target(word)) {
            return Some(kind("Makefile", &["make", target], &["make"]));
        }
    }
    has("test.sh").then(|| kind("test.sh", &["sh", "test.sh"], &["sh"]))
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
        let check = |files: &[(&str, &str)], verify: &[&str], fetch: &str| {
            let found = of(files).unwrap_or_else(|| panic!("nothing for {files:?}"));
            assert_eq!(found.verify, own(verify));
            assert_eq!(found.fetch.unwrap_or_default().join(" "), fetch, "{files:?}");
        };
        let package = ("package.json", "{\"scripts\": {\"test\": \"node --test\"}}");
        let cargo = ["cargo", "test", "--quiet"];
        check(&[("Cargo.toml", "")], &cargo, "cargo fetch");
        check(&[("Cargo.toml", ""), ("Cargo.lock", "")], &cargo, "cargo fetch --locked");
        check(&[("Cargo.toml", ""), ("vendor", "")], &cargo, "");
        check(&[("go.mod", "")], &["go", "test", "./..."], "");
        check(&[("go.mod", ""), ("go.sum", "")], &["go", "test", "./..."], "go mod download");
        check(&[package], &["npm", "test"], "");
        let npm = "npm ci --ignore-scripts --no-audit";
        check(&[package, ("package-lock.json", "")], &["npm", "test"], npm);
        check(&[("pyproject.toml", "")], &["python3", "-m", "pytest", "-q"], "");
        let pip = "python3 -m pip install -q --target .packages -r requirements.txt";
        let pytest = ["sh", "-c", "PYTHONPATH=.packages python3 -m pytest -q"];
        check(&[("pyproject.toml", ""), ("requirements.txt", "")], &pytest, pip);
        check(&[("Makefile", "all:\n\ntest: all\n\tx\n")], &["make", "test"], "");
        check(&[("Makefile", "tests:\ncheck :\n")], &["make", "check"], "");
        check(&[("test.sh", "")], &["sh", "test.sh"], "");
        // The language's own tests before a wrapper around them.
        check(&[("Makefile", "test:\n"), ("go.mod", "")], &["go", "test", "./..."], "");
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
        // A stage has nothing that was fetched for proofs.
        let npm = [("package.json", "\"test\""), ("package-lock.json", "")];
        assert_eq!(of(&npm).unwrap().ci, own(&["sh", "-c", "npm ci --no-audit && npm test"]));
    }

    fn own(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}
