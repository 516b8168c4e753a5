//! JavaScript and TypeScript: the package manager whose lock file is there, and the tests that
//! `package.json` names or `node --test` finds by itself.

use serde_json::Value;

use super::tree::Tree;
use super::{Part, argv};

/// Part of the script that `npm init` writes in place of tests.
const NO_TEST: &str = "no test specified";
/// Endings of the names of tests that `node --test` finds by itself.
const ENDINGS: [&str; 3] = [".test.js", ".test.mjs", ".test.cjs"];

pub(super) fn part(tree: &Tree) -> Option<Part> {
    let package: Value = serde_json::from_str(tree.text("package.json")).ok()?;
    let script = package["scripts"]["test"].as_str();
    let script = script.filter(|script| !script.contains(NO_TEST));
    let manager = Manager::of(tree);
    let name = manager.program();
    let verify = if script.is_some() {
        argv(&[name, "test"])
    } else if package.get("workspaces").is_some() && name == "npm" {
        argv(&["npm", "test", "--workspaces", "--if-present"])
    } else if tree.files().any(|(path, _)| ENDINGS.iter().any(|end| path.ends_with(end))) {
        argv(&["node", "--test"])
    } else {
        return None;
    };
    let needs = tree.files().any(|(path, text)| {
        path.rsplit('/').next() == Some("package.json") && asks_for_packages(text)
    });
    let fetch = needs.then(|| argv(manager.fetch()));
    let before_ci = needs.then(|| argv(manager.install()));
    let mut programs = vec!["node"];
    if verify.first().is_some_and(|word| word == name) || needs {
        programs.insert(0, name);
    }
    let by = "package.json".to_owned();
    Some(Part { by, verify, fetch, before_ci, programs, ..Part::default() })
}

fn asks_for_packages(text: &str) -> bool {
    let Ok(package) = serde_json::from_str::<Value>(text) else { return false };
    ["dependencies", "devDependencies", "optionalDependencies"]
        .iter()
        .any(|key| package[*key].as_object().is_some_and(|list| !list.is_empty()))
}

/// A package manager, with or without a lock file, as the repository uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    NpmLocked,
    Npm,
    Pnpm,
    Yarn,
    YarnBerry,
}

impl Manager {
    fn of(tree: &Tree) -> Self {
        if tree.has("pnpm-lock.yaml") {
            Self::Pnpm
        } else if tree.has("yarn.lock") && tree.has(".yarnrc.yml") {
            Self::YarnBerry
        } else if tree.has("yarn.lock") {
            Self::Yarn
        } else if tree.first(&["package-lock.json", "npm-shrinkwrap.json"]).is_some() {
            Self::NpmLocked
        } else {
            Self::Npm
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::NpmLocked | Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn | Self::YarnBerry => "yarn",
        }
    }

    /// The command that fetches packages without running any of their code.
    const fn fetch(self) -> &'static [&'static str] {
        match self {
            Self::NpmLocked => &["npm", "ci", "--ignore-scripts", "--no-audit"],
            Self::Npm => &["npm", "install", "--ignore-scripts", "--no-audit", "--no-package-lock"],
            Self::Pnpm => &["pnpm", "install", "--frozen-lockfile", "--ignore-scripts"],
            Self::Yarn => &["yarn", "install", "--frozen-lockfile", "--ignore-scripts"],
            Self::YarnBerry => &["yarn", "install", "--immutable", "--mode=skip-build"],
        }
    }

    /// The command that installs packages in a stage, where their code may run.
    const fn install(self) -> &'static [&'static str] {
        match self {
            Self::NpmLocked => &["npm", "ci", "--no-audit"],
            Self::Npm => &["npm", "install", "--no-audit", "--no-package-lock"],
            Self::Pnpm => &["pnpm", "install", "--frozen-lockfile"],
            Self::Yarn => &["yarn", "install", "--frozen-lockfile"],
            Self::YarnBerry => &["yarn", "install", "--immutable"],
        }
    }
}
