//! The documents are right: the configuration that they show is the example file, which loads
//! without a complaint, and the commands and options that they name exist.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use afk::cli::Exit;
use afk_app::config::{Config, Sources, load};

const EXAMPLE: &str = include_str!("../../../docs/example/afk.toml");
const CONFIGURATION: &str = include_str!("../../../docs/configuration.md");

#[test]
fn the_example_loads_and_is_disarmed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/example/afk.toml");
    let loaded = load::<Config>(&Sources { file: Some(file), ..Sources::default() }).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.mistakes(), []);
    assert!(loaded.config.policy.kill_switch && loaded.config.policy.allowlist.is_empty());
    assert_eq!(loaded.config.policy.repos.len(), 1);
}

#[test]
fn the_example_of_stages_loads() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/example/stages.toml");
    let loaded = load::<Config>(&Sources { file: Some(file), ..Sources::default() }).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.mistakes(), []);
    let stages = loaded.config.policy.repos.values().flat_map(|repo| &repo.stages);
    let kinds: Vec<_> = stages.map(|stage| stage.kind.as_str()).collect();
    assert_eq!(kinds, ["checks", "woodpecker", "rollout", "http"]);
}

#[test]
fn the_page_on_the_configuration_shows_the_example() {
    assert!(CONFIGURATION.contains(&format!("```toml\n{EXAMPLE}```")));
}

/// The README and the pages of the book.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths = vec![root.join("README.md")];
    for folder in ["docs", "docs/agents"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap().flatten();
        paths.extend(entries.map(|entry| entry.path()));
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).unwrap());
    paths.into_iter().map(read).collect()
}

/// The commands in the shell blocks of a page, a line each, without comments; and those in its
/// sentences.
fn commands(page: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut block = None;
    let mut sentences = String::new();
    let mut add = |command: &str| {
        found.push(command.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    };
    for line in page.lines() {
        if line.starts_with("```") {
            block = block.is_none().then_some(line);
        } else if block.is_none() {
            sentences.push_str(line);
            sentences.push('\n');
        } else if block == Some("```sh")
            && let Some(rest) = line.trim().strip_prefix("afk ")
        {
            add(rest.split(" #").next().unwrap());
        }
    }
    for code in sentences.split('`').skip(1).step_by(2) {
        let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
        // `afk <afk@localhost>` is an author and not a command.
        if let Some(command) = code.strip_prefix("afk ").filter(|it| !it.starts_with('<')) {
            add(command);
        }
    }
    found
}

#[test]
fn commands_are_found_in_blocks_and_in_sentences() {
    let page = "Say `afk\nstatus --watch`, or `make`.\n```sh\nafk arm   # now\nmake `afk x`\n```\n\
                ```text\nafk nothing\n```\nThen `afk show 1`.\n";
    let found: Vec<String> = commands(page).iter().map(|words| words.join(" ")).collect();
    assert_eq!(found, ["arm", "status --watch", "show 1"]);
}

/// The commands that have subcommands.
const GROUPS: [&str; 8] =
    ["agents", "config", "doorbell", "issue", "presence", "schema", "t3", "token"];

#[test]
fn every_command_and_option_in_the_pages_exists() {
    let mut checked = 0;
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for (path, page) in pages() {
        for words in commands(&page) {
            let plain = |word: &&String| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            let is_group = |word: &str| GROUPS.contains(&word);
            let mut verbs: Vec<String> = words.iter().take_while(plain).cloned().collect();
            verbs.retain(|word| !word.starts_with('-'));
            let verifies =
                words[0] == "evidence" && words.get(1).is_some_and(|one| one == "verify");
            verbs.truncate(if is_group(&words[0]) || verifies { 2 } else { 1 });
            let help = helps.entry(verbs.clone()).or_insert_with(|| {
                let mut afk = std::process::Command::new(env!("CARGO_BIN_EXE_afk"));
                let output = afk.args(&verbs).arg("--help").output().unwrap();
                assert!(output.status.success(), "{}: `afk {verbs:?}`", path.display());
                String::from_utf8(output.stdout).unwrap()
            });
            for option in words.iter().filter(|word| word.starts_with("--")) {
                let name = option.split('=').next().unwrap();
                assert!(help.contains(name), "{}: afk {verbs:?} has no {name}", path.display());
            }
            checked += 1;
        }
    }
    assert!(checked >= 100, "{checked}");
}

/// The unit file for systemd starts an existing command, and does not restart it after exit codes
/// that another start would only repeat.
#[test]
fn the_unit_of_systemd_starts_the_daemon() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/afk.service");
    let unit = std::fs::read_to_string(file).unwrap();
    let value = |key: &str| {
        let mut lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = lines.next().unwrap_or_else(|| panic!("no {key}"));
        assert_eq!(lines.next(), None, "{key} twice");
        value
    };
    let mut words = value("ExecStart").split_whitespace();
    assert!(words.next().is_some_and(|program| program.ends_with("/afk")));
    let mut afk = std::process::Command::new(env!("CARGO_BIN_EXE_afk"));
    let said = afk.args(words).arg("--help").output().unwrap();
    let help = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success() && help.contains("Run the daemon"), "{help}");
    let hopeless = [Exit::Usage, Exit::Missing, Exit::Taken].map(|exit| exit.code().to_string());
    assert_eq!(value("RestartPreventExitStatus"), hopeless.join(" "));
    assert!(value("ExecReload").contains("-HUP"));
    // Agents outlive a restart, and jobs make control groups.
    assert_eq!((value("KillMode"), value("Delegate")), ("process", "yes"));
}

#[test]
fn a_message_in_the_page_on_troubleshooting_is_one_of_ours() {
    let (_, page) =
        pages().into_iter().find(|(path, _)| path.ends_with("docs/troubleshooting.md")).unwrap();
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/walk/snapshots");
    let told: String = std::fs::read_dir(snapshots)
        .unwrap()
        .flatten()
        .map(|entry| std::fs::read_to_string(entry.path()).unwrap())
        .collect();
    let first = |line: &str| line.strip_prefix("| `")?.split('`').next().map(str::to_owned);
    let known = page.lines().filter_map(first).filter(|message| {
        message
            .split('…')
            .map(str::trim)
            .filter(|part| part.len() > 3)
            .all(|part| told.contains(part))
    });
    // The page's other messages are printed only while a run goes on.
    assert!(known.count() >= 10);
}
