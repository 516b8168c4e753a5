//! What the documents show works: the README's configuration is the example file,
//! and the example loads without a complaint.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;

use afk_app::config::{Config, Sources, load};

const EXAMPLE: &str = include_str!("../../../docs/example/afk.toml");
const README: &str = include_str!("../../../README.md");

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
fn the_readme_shows_the_example() {
    assert!(README.contains(&format!("```toml\n{EXAMPLE}```")));
}

#[test]
fn every_command_that_the_readme_names_is_one() {
    let lines = README.lines().filter(|line| line.starts_with("afk "));
    let verbs: Vec<&str> = lines.filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert!(verbs.len() >= 5, "{verbs:?}");
    for verb in verbs {
        let help = std::process::Command::new(env!("CARGO_BIN_EXE_afk"))
            .args([verb, "--help"])
            .output()
            .unwrap();
        assert!(help.status.success(), "`afk {verb}` is no command");
    }
}
