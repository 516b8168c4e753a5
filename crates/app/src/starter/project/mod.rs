//! The kind of project in a repository, recognised by its files, and the commands that judge a
//! change of it.
//!
//! Pure: a list of files in, commands out. The language's own tests win over a wrapper around them,
//! and a project at the root over projects in folders. Without a sign of either nothing is
//! proposed.

mod jvm;
mod node;
mod python;
mod ruby;
mod tree;

use serde::Serialize;

pub use tree::{CONTENT, Tree};

/// How many levels of folders are searched for projects.
const DEPTH: usize = 3;
/// Maximum number of projects that one command tests.
const PARTS: usize = 12;
/// Names of folders whose projects are not the repository's own.
const NOT_OURS: [&str; 8] = [
    "examples",
    "fixtures",
    "node_modules",
    "templates",
    "testdata",
    "third_party",
    "vendor",
    ".github",
];
/// Customary paths of scripts that run tests.
const SCRIPTS: [&str; 10] = [
    "test.sh",
    "tests.sh",
    "run_tests.sh",
    "run-tests.sh",
    "tests/run.sh",
    "test/run.sh",
    "scripts/test.sh",
    "script/test",
    "bin/test",
    ".ci/test",
];

/// How a project is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The files that it was recognised by.
    pub by: String,
    /// The command (argv) that judges a tree.
    pub verify: Vec<String>,
    /// The command (argv) that builds the tests without running them, if the tool has one.
    pub build: Option<Vec<String>>,
    /// The command (argv) that a landed commit must pass.
    pub ci: Vec<String>,
    /// The command (argv) that fetches what `verify` needs from outside; none if it needs nothing.
    /// `ci` fetches by itself, over the network.
    pub fetch: Option<Vec<String>>,
    /// Whether `verify` downloads what it needs by itself.
    pub network: bool,
    /// Programs that must exist inside a box.
    pub programs: Vec<&'static str>,
}

/// What a proposal depends on beside the repository's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether this machine's Python has pytest, outside the user's own packages.
    pub pytest: bool,
}

/// One project: the repository, or a folder of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Part {
    by: String,
    verify: Vec<String>,
    build: Option<Vec<String>>,
    fetch: Option<Vec<String>>,
    /// What the `ci` stage runs before `verify`, such as an installation.
    before_ci: Option<Vec<String>>,
    /// Whether `verify` uses the network.
    network: bool,
    programs: Vec<&'static str>,
}

/// Proposes how to judge a repository with these files; none if they are of no known kind.
pub fn proposal(tree: &Tree, facts: Facts) -> Option<Proposal> {
    let part = language(tree, facts).or_else(|| {
        let inside = inside(tree, facts);
        match wrapper(tree) {
            Some(wrapper) => Some(wrapped(wrapper, &inside)),
            None => joined(&inside),
        }
    })?;
    let Part { by, verify, build, fetch, before_ci, network, programs } = part;
    let ci = if tree.has("ci.sh") {
        argv(&["sh", "ci.sh"])
    } else if let Some(before) = before_ci {
        argv(&["sh", "-c", &format!("{} && {}", script(&before), script(&verify))])
    } else {
        verify.clone()
    };
    Some(Proposal { by, verify, build, ci, fetch, network, programs })
}

/// The project at the root of `tree`, by its language.
fn language(tree: &Tree, facts: Facts) -> Option<Part> {
    cargo(tree)
        .or_else(|| go(tree))
        .or_else(|| node::part(tree))
        .or_else(|| python::part(tree, facts))
        .or_else(|| jvm::part(tree))
        .or_else(|| ruby::part(tree))
}

fn cargo(tree: &Tree) -> Option<Part> {
    let manifest = tree.has("Cargo.toml").then(|| tree.text("Cargo.toml"))?;
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    let mut test = argv(&["cargo", "test", "--quiet"]);
    if manifest.contains_key("workspace") {
        test.push("--workspace".to_owned());
    }
    let locked = tree.has("Cargo.lock");
    let manifests = tree.files().filter(|(path, _)| path.ends_with("Cargo.toml"));
    let outside = if locked {
        tree.text("Cargo.lock").lines().any(|line| line.starts_with("source = "))
    } else {
        manifests.into_iter().any(|(_, text)| needs_crates(text))
    };
    let fetch = (outside && !tree.has_folder("vendor"))
        .then(|| argv(if locked { &["cargo", "fetch", "--locked"] } else { &["cargo", "fetch"] }));
    let mut build = test.clone();
    build.push("--no-run".to_owned());
    let programs = vec!["cargo", "cc"];
    let by = "Cargo.toml".to_owned();
    Some(Part { by, verify: test, build: Some(build), fetch, programs, ..Part::default() })
}

/// Whether a manifest names a dependency that is neither a path nor inherited from the workspace.
fn needs_crates(manifest: &str) -> bool {
    let Ok(manifest) = manifest.parse::<toml::Table>() else { return false };
    let outside = |table: &toml::Value| {
        let all = table.as_table().into_iter().flatten();
        all.into_iter().any(|(_, of)| {
            let has = |key| of.as_table().is_some_and(|of| of.contains_key(key));
            !has("path") && !has("workspace")
        })
    };
    let named = |table: &toml::Table| {
        let keys = ["dependencies", "dev-dependencies", "build-dependencies"];
        keys.iter().filter_map(|key| table.get(*key)).any(outside)
    };
    let workspace = manifest.get("workspace").and_then(toml::Value::as_table);
    named(&manifest) || workspace.is_some_and(named)
}

fn go(tree: &Tree) -> Option<Part> {
    tree.has("go.mod").then(|| Part {
        by: "go.mod".to_owned(),
        verify: argv(&["go", "test", "./..."]),
        build: Some(argv(&["go", "test", "-run=^$", "./..."])),
        fetch: (tree.has("go.sum") && !tree.has_folder("vendor"))
            .then(|| argv(&["go", "mod", "download"])),
        programs: vec!["go"],
        ..Part::default()
    })
}

/// A make file or a script at the root that runs the tests.
fn wrapper(tree: &Tree) -> Option<Part> {
    let part = |by: &str, verify: Vec<String>, programs| Part {
        by: by.to_owned(),
        verify,
        programs,
        ..Part::default()
    };
    if let Some(name) = tree.first(&["GNUmakefile", "makefile", "Makefile"]) {
        let target = |target: &str| {
            tree.text(name).lines().any(|line| {
                line.strip_prefix(target).is_some_and(|rest| {
                    let rest = rest.trim_start();
                    rest.starts_with(':') && !rest.starts_with(":=")
                })
            })
        };
        if let Some(target) = ["test", "check"].into_iter().find(|word| target(word)) {
            return Some(part(name, argv(&["make", target]), vec!["make"]));
        }
    }
    let script = tree.first(&SCRIPTS)?;
    let first = tree.text(script).lines().next().unwrap_or_default();
    let shell = if first.starts_with("#!") && first.ends_with("bash") { "bash" } else { "sh" };
    Some(part(script, argv(&[shell, script]), vec![shell]))
}

/// The projects in folders of `tree`; none inside another.
fn inside(tree: &Tree, facts: Facts) -> Vec<(String, Part)> {
    let mut found: Vec<(String, Part)> = Vec::new();
    for folder in tree.folders(DEPTH) {
        let ours = folder.split('/').all(|name| !NOT_OURS.contains(&name));
        let covered = found.iter().any(|(outer, _)| folder.starts_with(&format!("{outer}/")));
        if !ours || covered || found.len() == PARTS {
            continue;
        }
        let below = tree.below(&folder);
        if let Some(part) = language(&below, facts).or_else(|| wrapper(&below)) {
            found.push((folder, part));
        }
    }
    found
}

/// The root's own command, with the packages and programs of the projects in its folders.
fn wrapped(wrapper: Part, inside: &[(String, Part)]) -> Part {
    let fetch = each(inside, |part| part.fetch.as_ref());
    let before_ci = each(inside, |part| part.before_ci.as_ref());
    let mut programs = wrapper.programs.clone();
    extend(&mut programs, inside);
    let network = inside.iter().any(|(_, part)| part.network);
    Part { fetch, before_ci, network, programs, ..wrapper }
}

/// One command that tests all projects, one after another.
fn joined(inside: &[(String, Part)]) -> Option<Part> {
    let verify = each(inside, |part| Some(&part.verify))?;
    let named = |(folder, part): &(String, Part)| format!("{folder}/{}", part.by);
    let by = inside.iter().map(named).collect::<Vec<_>>().join(", ");
    let fetch = each(inside, |part| part.fetch.as_ref());
    let before_ci = each(inside, |part| part.before_ci.as_ref());
    let mut programs = Vec::new();
    extend(&mut programs, inside);
    let network = inside.iter().any(|(_, part)| part.network);
    Some(Part { by, verify, fetch, before_ci, network, programs, ..Part::default() })
}

fn extend(programs: &mut Vec<&'static str>, inside: &[(String, Part)]) {
    for program in inside.iter().flat_map(|(_, part)| &part.programs) {
        if !programs.contains(program) {
            programs.push(program);
        }
    }
}

/// Joins the command that `command` picks of each project, each run in its folder; none if no
/// project has one.
fn each(
    inside: &[(String, Part)],
    command: impl Fn(&Part) -> Option<&Vec<String>>,
) -> Option<Vec<String>> {
    let line = |(folder, part): &(String, Part)| {
        Some(format!("(cd {} && {})", quoted(folder), script(command(part)?)))
    };
    let lines: Vec<String> = inside.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| argv(&["sh", "-c", &lines.join(" && ")]))
}

/// The command as a line for a shell.
fn script(argv: &[String]) -> String {
    match argv {
        [sh, flag, line] if sh == "sh" && flag == "-c" => line.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

/// Returns the word quoted for a shell, if it must be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests;
