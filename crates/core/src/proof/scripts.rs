//! The scripts that `verify` runs although no command names them.
//!
//! `make test` runs what its recipe says, often `sh scripts/run-tests.sh`, and that script chooses
//! the tests as much as the makefile does. Such a file keeps its class, because it may as well hold
//! the tests themselves, but where a change touches it, it counts as a *runner*. The files are found
//! by reading what `verify` names, makefiles and the scripts of `package.json`, as the base has
//! them. A word counts only if it is written as a script, and its name or folder says that it judges
//! the code: the code under test is called from the same places.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::classes::{PathClass, file_at, sent_to, shadows_of};
use super::manifest::is_runner;
use super::policy::ProofPolicy;
use crate::change::{Blobs, Diff, TreePath};

/// Files in which a program that `verify` names looks up what to run, at the root or in the folder
/// that the program is sent to.
const LOOKED_UP: &[&str] =
    &[".justfile", "GNUmakefile", "Justfile", "Makefile", "justfile", "makefile", "package.json"];

/// Programs that run the file that comes next; a version at the end is left out.
const INTERPRETERS: &[&str] = &[
    "ash", "bash", "bun", "dash", "deno", "fish", "include", "ksh", "node", "perl", "php",
    "python", "ruby", "sh", "sinclude", "source", "ts-node", "tsx", "zsh",
];

/// Endings of scripts. A file of a compiled language runs nothing by itself.
const SCRIPTS: &[&str] = &[
    "bash", "cjs", "fish", "js", "ksh", "lua", "mjs", "mts", "php", "pl", "py", "rb", "sh", "ts",
    "zsh",
];

/// Endings of parts of makefiles, which are scripts whatever their name.
const INCLUDED: &[&str] = &["inc", "mak", "make", "mk"];

/// Folders of scripts.
const FOLDERS: &[&[u8]] = &[b"ci", b"hack", b"script", b"scripts", b"tools"];

/// Parts of a script's name which say that it judges the code; so does one that ends in `test` or
/// `tests`.
const JUDGING: &[&str] = &["check", "checks", "ci", "lint", "run", "spec", "verify"];

/// Words that end in `test` and have nothing to do with tests.
const NO_TESTS: &[&str] = &["attest", "contest", "fastest", "greatest", "latest", "protest"];

/// Parts of the names of scripts that make something: what they write is the code under test, so
/// that their folder does not say that they judge it.
const MAKING: &[&str] = &[
    "build", "bundle", "codegen", "compile", "deploy", "docs", "fmt", "format", "gen", "generate",
    "install", "release", "setup",
];

/// The most scripts that one file is searched for: no honest file calls more.
const AT_MOST: usize = 100;

/// About how many shadows one file is searched for.
const MOST_SHADOWS: usize = 20_000;

/// The longest path of a script, in bytes. Git is asked for each of its folders in an argument, and
/// the arguments of a command have a limit.
const LONGEST: usize = 128;

/// The most folders that one line is followed into.
const FOLLOWED: usize = 10;

/// Returns the runners among the changes of `diff`, in path order: judge files that may steer the
/// tests, and scripts that decide what `verify` runs.
pub(super) fn runners(policy: &ProofPolicy, diff: &Diff, blobs: &Blobs) -> Vec<TreePath> {
    let runs = diff.changes.iter().filter(|change| match policy.class(&change.path) {
        PathClass::Protected => false,
        PathClass::Judge => is_runner(change, blobs),
        // Most scripts among the tests are tests.
        PathClass::Test => policy.runs(&change.path) && runs_others(&change.path),
        PathClass::Exempt | PathClass::Code => policy.runs(&change.path),
    });
    runs.map(|change| change.path.clone()).collect()
}

/// Returns the files in which the programs that `verify` names look up what to run.
pub(super) fn looked_up(verify: &[String]) -> BTreeSet<TreePath> {
    let sent = sent_to(verify.iter().flat_map(|arg| words(arg)));
    let all = [""].into_iter().chain(sent);
    all.flat_map(|folder| LOOKED_UP.iter().filter_map(move |name| file_at(folder, name))).collect()
}

/// Returns the scripts that the file at `path` may run for `verify`, and the files in which the
/// programs that it sends to other folders look up what to run.
pub(super) fn scripts_in(path: &TreePath, text: &str, verify: &[String]) -> BTreeSet<TreePath> {
    let folder = path.folders().last().map(String::from_utf8_lossy).unwrap_or_default();
    // A script may be called from the root or from the folder of its caller, or from where the line
    // goes from there.
    let starts = BTreeSet::from(["", &*folder]);
    let (mut scripts, mut looked_up) = (BTreeSet::<TreePath>::new(), BTreeSet::<TreePath>::new());
    for line in &lines_in(path, text, verify) {
        let sent = sent_from(&starts, line);
        let names = sent
            .iter()
            .flat_map(|folder| LOOKED_UP.iter().filter_map(move |name| file_at(folder, name)));
        let names = names.filter(|path| path.bytes().len() <= LONGEST);
        looked_up.extend(names.take(AT_MOST.saturating_sub(looked_up.len())));
        let at: Vec<&str> = starts.iter().copied().chain(sent.iter().map(String::as_str)).collect();
        let found = called(line)
            .into_iter()
            .flat_map(|word| at.iter().filter_map(move |folder| file_at(folder, word)));
        scripts.extend(
            found
                .filter(|path| path.bytes().len() <= LONGEST && judges(path))
                .take(AT_MOST.saturating_sub(scripts.len())),
        );
    }
    // Those that are looked up are runners by their names.
    scripts.extend(looked_up);
    scripts
}

/// Returns the paths at which a new file would be run in place of what the file at `path` names
/// where it runs for `verify`, in the folders where it may run.
pub(super) fn shadows_in(path: &TreePath, text: &str, verify: &[String]) -> BTreeSet<TreePath> {
    let folder = path.folders().last().map(String::from_utf8_lossy).unwrap_or_default();
    let starts = BTreeSet::from(["", &*folder]);
    let mut shadows = BTreeSet::new();
    for line in &lines_in(path, text, verify) {
        let line = line.trim_start().trim_start_matches(['@', '-', '+']);
        if line.starts_with('#') || shadows.len() > MOST_SHADOWS {
            continue;
        }
        let sent = sent_from(&starts, line);
        let at: Vec<&str> = starts.iter().copied().chain(sent.iter().map(String::as_str)).collect();
        for command in line.split([';', '&', '|']) {
            shadows.extend(shadows_of(&[command.to_owned()], &at));
        }
    }
    shadows
}

/// Returns the lines of the file at `path` that count where `verify` is run.
fn lines_in(path: &TreePath, text: &str, verify: &[String]) -> Vec<String> {
    let asked: BTreeSet<&str> = verify.iter().flat_map(|arg| words(arg)).collect();
    match &*String::from_utf8_lossy(path.file_name()) {
        "package.json" => npm(text, asked),
        name if LOOKED_UP.contains(&name) || INCLUDED.contains(&ending(name)) => rules(text, asked),
        _ => text.lines().map(str::to_owned).collect(),
    }
}

/// Returns the folders that a line goes to from one of `starts`.
fn sent_from(starts: &BTreeSet<&str>, line: &str) -> BTreeSet<String> {
    let sent = sent_to(words(line)).into_iter().map(past_variable).take(FOLLOWED);
    let folders = sent.flat_map(|to| starts.iter().filter_map(move |start| file_at(start, to)));
    folders.map(|folder| folder.to_string()).collect()
}

fn cuts(c: char) -> bool {
    c.is_whitespace() || ";&|(){}<>\"'`=,".contains(c)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(cuts).filter(|word| !word.is_empty())
}

/// Returns the words of a line that are written as scripts: with a slash, with a script's ending, or
/// after an interpreter.
fn called(line: &str) -> Vec<&str> {
    let line = line.trim_start().trim_start_matches(['@', '-', '+']);
    if line.starts_with('#') {
        return Vec::new();
    }
    let mut found = Vec::new();
    for command in line.split(|c: char| ";&|(){}<>`=\"'".contains(c)) {
        let mut is_next = false;
        for word in command.split_whitespace() {
            let path = past_variable(word);
            let ending = ending(path);
            let is_script = SCRIPTS.contains(&ending) || INCLUDED.contains(&ending);
            if is_plain(path) && (is_next || is_script || word.contains('/')) {
                found.push(path);
            }
            let program = word.rsplit('/').next().unwrap_or(word);
            let program = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
            let runs_next = word == "." || INTERPRETERS.contains(&program);
            is_next = runs_next || (is_next && word.starts_with('-'));
        }
    }
    found
}

/// Returns the part of a path after a variable that it begins with: `$ROOT/scripts/test.sh`.
fn past_variable(word: &str) -> &str {
    let rest = word.split_once('/').filter(|(head, _)| head.contains('$'));
    rest.map_or(word, |(_, rest)| rest).trim_start_matches('/')
}

/// Whether the word has only characters that are usual in a script's path.
fn is_plain(word: &str) -> bool {
    let usual = |b: u8| b.is_ascii_alphanumeric() || b"_.-+@/".contains(&b);
    !word.is_empty() && word.bytes().all(usual)
}

/// Returns what follows the last dot of a path's last component; empty if it has none.
pub(super) fn ending(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}

/// Whether a script's name or folder says that it judges the code.
fn judges(path: &TreePath) -> bool {
    let name = String::from_utf8_lossy(path.file_name()).to_lowercase();
    let ending = ending(&name);
    if INCLUDED.contains(&ending) {
        return true;
    }
    let stem = name.strip_suffix(ending).unwrap_or(&name);
    let parts: Vec<&str> = stem.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let says = parts.iter().any(|part| {
        let one = part.strip_suffix('s').unwrap_or(part);
        JUDGING.contains(part) || (one.ends_with("test") && !NO_TESTS.contains(&one))
    });
    let in_folder = path
        .folders()
        .last()
        .is_some_and(|folder| folder.split(|b| *b == b'/').any(|part| FOLDERS.contains(&part)));
    let makes = parts.iter().any(|part| MAKING.contains(part));
    (ending.is_empty() || SCRIPTS.contains(&ending)) && (says || (in_folder && !makes))
}

/// Whether a script among the tests runs other tests, by its name.
fn runs_others(path: &TreePath) -> bool {
    let name = String::from_utf8_lossy(path.file_name());
    name.starts_with("run") || INCLUDED.contains(&ending(&name))
}

/// Returns the scripts of a `package.json` that run where those in `asked` or `test` do. If it has
/// none of those in `asked`, another file may ask for any of them, and all count.
fn npm(text: &str, asked: BTreeSet<&str>) -> Vec<String> {
    let Ok(Json::Object(all)) = serde_json::from_str(text) else { return Vec::new() };
    let scripts = all.get("scripts").and_then(Json::as_object);
    let scripts: BTreeMap<&str, &str> = scripts
        .into_iter()
        .flatten()
        .filter_map(|(name, script)| Some((name.as_str(), script.as_str()?)))
        .collect();
    if !asked.iter().any(|name| scripts.contains_key(*name)) {
        return scripts.into_values().map(str::to_owned).collect();
    }
    let mut open: Vec<&str> = asked.into_iter().chain(["test"]).collect();
    let (mut known, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(name) = open.pop() {
        let hooks = ["", "pre", "post"].map(|hook| format!("{hook}{name}"));
        for (name, script) in hooks.iter().filter_map(|hook| scripts.get_key_value(hook.as_str())) {
            if known.insert(*name) {
                open.extend(words(script));
                found.push((*script).to_owned());
            }
        }
    }
    found
}

/// Returns the lines of a makefile or justfile that count where the targets in `asked` are made:
/// their rules and those that these need, and all lines outside of rules. If it has none of these
/// targets, all of its lines count.
fn rules(text: &str, asked: BTreeSet<&str>) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let mut plain = Vec::new();
    let mut rules: Vec<Vec<&str>> = Vec::new();
    // The rules that make a target, and those that make whatever fits a pattern (`test-%`).
    let mut makers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut patterns: Vec<(&str, &str, usize)> = Vec::new();
    for line in text.lines() {
        let rule = line.split_once(':').filter(|(targets, rest)| {
            !targets.contains(['=', '#']) && !rest.starts_with(['=', ':'])
        });
        if line.starts_with([' ', '\t'])
            && let Some(recipe) = rules.last_mut()
        {
            recipe.push(line);
        } else if let Some((targets, needs)) = rule {
            for target in words(targets) {
                match target.split_once('%') {
                    Some((start, end)) => patterns.push((start, end, rules.len())),
                    None => makers.entry(target).or_default().push(rules.len()),
                }
            }
            rules.push(vec![needs]);
        } else {
            plain.push(line);
        }
    }
    let mut open: Vec<&str> = asked.into_iter().collect();
    let mut asked_for: BTreeSet<&str> = BTreeSet::new();
    let mut known: BTreeSet<usize> = BTreeSet::new();
    while let Some(target) = open.pop() {
        if !asked_for.insert(target) {
            continue;
        }
        let fits = patterns.iter().take(AT_MOST).filter_map(|(start, end, at)| {
            let stem = target.strip_prefix(*start)?.strip_suffix(*end)?;
            (!stem.is_empty()).then_some(at)
        });
        for at in makers.get(target).into_iter().flatten().chain(fits) {
            if known.insert(*at) {
                let recipe = rules.get(*at).into_iter().flatten();
                open.extend(recipe.flat_map(|line| words(line)));
            }
        }
    }
    let counts = |at: &usize| known.is_empty() || known.contains(at);
    let made = rules.iter().enumerate().filter(|(at, _)| counts(at)).flat_map(|(_, r)| r);
    plain.iter().chain(made).map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_file_is_searched_for_the_scripts_that_verify_runs() {
        let check = |name: &str, text: &str, expected: &[&str]| {
            let found = scripts_in(&path(name), text, &argv(&["make", "test"]));
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{name}: {text}");
        };
        let recipe = |line: &str, expected: &[&str]| {
            check("Makefile", &format!("test:\n\t{line}\n"), expected);
        };
        recipe("@sh scripts/run-tests.sh", &["scripts/run-tests.sh"]);
        recipe("-set -e; ./check && bash -eu \"tools/a.sh\" x", &["check", "tools/a.sh"]);
        recipe("$(PYTHON) run_tests.py -v", &["run_tests.py"]);
        recipe("python3.12 -u -W error tools/all.py", &["tools/all.py"]);
        recipe("sh run-tests", &["run-tests"]);
        recipe("sh tests/run.sh", &["tests/run.sh"]);
        recipe("${CURDIR}/ci/unit $$HERE/ci/style", &["ci/style", "ci/unit"]);
        recipe("for t in tests/*.sh; do tools/one \"$$t\"; done", &["tools/one"]);
        recipe("./runtests.sh && sh unittest.sh", &["runtests.sh", "unittest.sh"]);
        recipe("sh tools/build_tests.sh", &["tools/build_tests.sh"]);
        // What makes the code, and words that only begin or end like those that count.
        recipe("python3 tools/gen_table.py && sh scripts/build.sh", &[]);
        recipe("node src/runtime.js && sh checksum.sh && node checkout.js latest.js", &[]);
        // The code under test, a program that is built, and files that are only named.
        recipe("sh calc.sh && bin/calc --test && cc -o out tests/check.c", &[]);
        recipe("# sh scripts/old.sh", &[]);
        check("Makefile", "include common.inc\n-include my.mk\n", &["common.inc", "my.mk"]);
        let deep = |n: usize| format!("{}ci/x", "a/".repeat(n));
        recipe(&format!("sh {}; sh {}", deep(62), deep(63)), &[&deep(62)]);
        check("sub/Makefile", "RUN := ./test.sh\n", &["sub/test.sh", "test.sh"]);
        // Only the rules that make what is asked for count, if there are any.
        let two = "all: test\ntest: unit\nunit:\n\tsh ci/unit.sh\nserve:\n\tsh ci/serve.sh\n";
        check("Makefile", two, &["ci/unit.sh"]);
        check("Makefile", &two.replace("test", "tried"), &["ci/serve.sh", "ci/unit.sh"]);
        let npm = r#"{"scripts":{"pretest":"node ci/a.js","test":"npm run unit && mocha",
            "unit":"sh ci/unit.sh","build":"node ci/build.js"}}"#;
        check("package.json", npm, &["ci/a.js", "ci/unit.sh"]);
        check("package.json", "[]", &[]);
        // None of what is asked for is a script, so another file asks for one.
        let ci = r#"{"scripts":{"ci":"node scripts/ci.js","style":"node ci/style.js"}}"#;
        check("package.json", ci, &["ci/style.js", "scripts/ci.js"]);
        // A rule for a pattern.
        let pattern = "test: test-unit\ntest-%:\n\tsh ci/$*.sh ci/unit.sh\nrun-%:\n\tci/run.sh\n";
        check("Makefile", pattern, &["ci/unit.sh"]);
        // A script that `verify` names, or that another calls.
        let calls = ". \"$(dirname \"$0\")/run-one\"\n[ -f x ] || exit 0\n";
        check("test.sh", calls, &["run-one"]);
        let from_root = "ROOT=.\n\"$ROOT\"/ci/unit.sh\nci/../../up.sh\n";
        check("ci/all", from_root, &["ci/ci/unit.sh", "ci/unit.sh"]);
    }

    #[test]
    fn scripts_are_found_where_a_line_goes() {
        let check = |name: &str, line: &str, expected: &[&str], looked_up: &str| {
            let text = format!("test:\n\t{line}\n");
            let found = scripts_in(&path(name), &text, &argv(&["make", "test"]));
            for expected in expected {
                assert!(found.contains(&path(expected)), "{name}: {line}: {expected}: {found:?}");
            }
            assert!(found.contains(&path(looked_up)), "{name}: {line}: {looked_up}: {found:?}");
        };
        let run = "cd scripts && ./run-tests.sh";
        check("Makefile", run, &["scripts/run-tests.sh"], "scripts/Makefile");
        check("app/Makefile", run, &["app/scripts/run-tests.sh"], "app/scripts/Makefile");
        check("Makefile", "cd tests && sh run.sh", &["tests/run.sh"], "tests/package.json");
        check("Makefile", "cd \"$ROOT/ci\"; ./unit", &["ci/unit"], "ci/justfile");
        check("Makefile", "$(MAKE) -C app test", &[], "app/Makefile");
        check("app/Makefile", "npm --prefix=../web test", &[], "web/package.json");
        // What is only called from where the caller is stays where it is.
        let found = scripts_in(&path("Makefile"), "test:\n\t./check\n", &argv(&["make"]));
        assert_eq!(found, BTreeSet::from([path("check")]));
    }

    #[test]
    fn a_makefile_of_many_words_and_rules_is_read_quickly() {
        let needs: Vec<String> = (0..20_000).map(|n| format!("a{n} a{n}")).collect();
        let rules: Vec<String> = (0..20_000).map(|n| format!("b{n} c%{n}: d\n")).collect();
        let text = format!("test: {}\n{}", needs.join(" "), rules.concat());
        assert!(scripts_in(&path("Makefile"), &text, &argv(&["make", "test"])).is_empty());
    }

    #[test]
    fn what_to_run_is_looked_up_where_verify_works() {
        let found = |words: &[&str], name: &str| looked_up(&argv(words)).contains(&path(name));
        assert!(found(&["make", "test"], "Makefile") && found(&["npm", "test"], "package.json"));
        assert!(found(&["make", "-C", "app", "test"], "app/GNUmakefile"));
        assert!(found(&["sh", "-c", "cd web && npm test"], "web/package.json"));
        assert!(!found(&["make", "test"], "test/Makefile"));
    }
}
