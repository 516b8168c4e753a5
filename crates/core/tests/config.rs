//! The shipped configuration starts nothing, and every mistake in a configuration is reported.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use afk_core::ask::Permissions;
use afk_core::change::TreePath;
use afk_core::config::{
    DoorbellPolicy, ExecutorPolicy, Policy, Repo, SandboxRequirement, doorbell_names, dotted,
};
use afk_core::doorbell::DoorbellKind;
use afk_core::gates::BaseHealth;
use afk_core::ids::{AdapterName, RepoName};
use afk_core::proof::{Conditions, Verify};
use afk_core::usd::Usd;

fn good() -> serde_json::Value {
    serde_json::json!({
        "verify": ["cargo", "test"],
        "stages": [{ "name": "ci", "command": ["sh", "ci.sh"] }],
    })
}

/// Returns the policy of one enrolled repo, whose table `change` has changed.
fn with(change: impl FnOnce(&mut serde_json::Value)) -> Policy {
    let mut table = good();
    change(&mut table);
    let mut config = Policy::default();
    config.allowlist.insert("o/r".parse().unwrap());
    config.repos.insert("o/r".parse().unwrap(), serde_json::from_value(table).unwrap());
    config
}

/// Returns the mistakes, a line each.
fn told(config: &Policy) -> Vec<String> {
    config.mistakes().iter().map(ToString::to_string).collect()
}

fn the_repo(config: &Policy) -> &Repo {
    &config.repos[&"o/r".parse().unwrap()]
}

#[test]
fn as_shipped_it_does_nothing() {
    for config in [Policy::default(), serde_json::from_str("{}").unwrap()] {
        assert!(config.kill_switch);
        assert!(config.allowlist.is_empty() && config.repos.is_empty());
        assert_eq!(config.mistakes(), []);
    }
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = with(|_| {});
    let limits = config.limits(the_repo(&config));
    assert_eq!((limits.landing_refusals, limits.fix_forwards, limits.executor_retries), (3, 5, 3));
    assert_eq!(limits.fix_forward_clock.as_secs(), 3600);
    assert_eq!((limits.stall.as_secs(), limits.stage.as_secs()), (1800, 3600));
    assert_eq!(limits.run.as_secs(), 43_200);
    assert_eq!((config.budget_usd, config.max_concurrent_runs), (Usd::dollars(100), 2));
    assert_eq!(the_repo(&config).guardrails.max_diff_lines, 2000);
    assert!(the_repo(&config).freeze_repo);
    assert_eq!(the_repo(&config).guardrails.max_file_bytes, 1 << 20);
    assert_eq!(the_repo(&config).guardrails.max_diff_bytes, 10 << 20);
    assert_eq!(the_repo(&config).guardrails.max_files, 300);
    assert_eq!(the_repo(&config).author.to_string(), "afk <afk@localhost>");
}

#[test]
fn the_author_is_a_name_and_an_address() {
    let config = with(|table| table["author"] = "The bot <bot@acme.io>".into());
    assert_eq!(the_repo(&config).author.name(), "The bot");
    let mut table = good();
    table["author"] = "hunter2".into();
    let error = serde_json::from_value::<Repo>(table).unwrap_err().to_string();
    assert!(error.contains("Name <address>") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_repo_can_tighten_its_budget_and_never_loosen_it() {
    let budget = |own: Option<u64>| {
        let config = with(|_| {});
        let repo = Repo { budget_usd: own.map(Usd::dollars), ..Repo::clone(the_repo(&config)) };
        config.budget(&repo)
    };
    assert_eq!(budget(None), Usd::dollars(100));
    assert_eq!(budget(Some(5)), Usd::dollars(5));
    assert_eq!(budget(Some(500)), Usd::dollars(100));
}

#[test]
fn without_stages_there_is_nothing_to_be_green_by() {
    let config = with(|table| table["stages"] = serde_json::json!([]));
    assert_eq!(config.limits(the_repo(&config)).stages, None);
}

#[test]
fn only_an_agent_that_may_ask_is_waited_for() {
    let question = |agent: &str, permissions| {
        let mut config = with(|table| table["agent"] = agent.into());
        let executor = |permissions| ExecutorPolicy { permissions };
        config.agents.insert("claude".parse().unwrap(), executor(permissions));
        let repo = the_repo(&config);
        (config.permissions(repo), config.limits(repo).question.as_secs())
    };
    assert_eq!(question("claude", Permissions::Ask), (Permissions::Ask, 3_600));
    assert_eq!(question("claude", Permissions::FullAccess), (Permissions::FullAccess, 0));
    assert_eq!(question("scripted", Permissions::Ask), (Permissions::FullAccess, 0));
}

#[test]
fn a_proof_is_run_as_the_repo_says() {
    let config = with(|_| {});
    assert_eq!(the_repo(&config).verify_timeout_seconds, 1_800);
    assert_eq!(config.conditions(the_repo(&config)), Conditions::default());
    let mut config = with(|table| {
        table["network"] = serde_json::json!({ "verify": true });
        table["read"] = serde_json::json!(["/opt/sdk"]);
    });
    config.sandbox = SandboxRequirement::Preferred;
    let conditions = Conditions { network: true, lax: true, read: vec!["/opt/sdk".into()] };
    assert_eq!(config.conditions(the_repo(&config)), conditions);
}

#[test]
fn what_the_stages_run_judges_the_change_and_is_protected() {
    let config = with(|table| {
        table["stages"][0]["command"] = serde_json::json!(["sh", "ci/run.sh", "-x", "src/*.rs"]);
    });
    let policy = the_repo(&config).proof_policy().unwrap();
    let is_protected = |path: &str| policy.is_protected(&TreePath::new(path.as_bytes()).unwrap());
    assert!(is_protected("ci/run.sh"));
    for free in ["-x", "src/main.rs", "ci/run.sh/below", "sh/main.rs"] {
        assert!(!is_protected(free), "{free}");
    }
    let named: Vec<String> = policy.named().map(ToString::to_string).collect();
    for file in ["ci/run.sh", "test"] {
        assert!(named.iter().any(|one| one == file), "{named:?} lacks {file}");
    }
}

#[test]
fn problems_are_named_by_their_keys() {
    let check = |config: &Policy, expected: &[&str]| {
        let found = told(config);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} lacks {expected:?}");
        }
    };
    let labels = |ready: &str, busy: &str, human: &str| Policy {
        ready_label: ready.to_owned(),
        in_progress_label: busy.to_owned(),
        human_label: human.to_owned(),
        ..Policy::default()
    };
    check(&with(|_| {}), &[]);
    check(&labels(" ", "b", "h"), &["ready_label: is blank"]);
    check(&labels("r", "", ""), &["in_progress_label", "human_label"]);
    check(&labels("r", "r", "h"), &["the name of another label"]);
    check(&labels("r", "b", "r"), &["the name of another label"]);
    check(&labels("r", "b", "b"), &["the name of another label"]);
    // Forges ignore the case.
    check(&labels("r", "R", "h"), &["the name of another label"]);
    check(&labels("r", "b", "R"), &["the name of another label"]);
    check(&labels("r", "b", "B"), &["the name of another label"]);
    let mut unknown = Policy::default();
    unknown.allowlist.insert("o/x".parse().unwrap());
    check(&unknown, &["allowlist.0: is enrolled but not configured"]);
    let stages = |list: serde_json::Value| with(|table| table["stages"] = list);
    check(&stages(serde_json::json!([])), &["stages: there are none"]);
    let one = serde_json::json!({ "name": "ci", "command": ["ci"] });
    check(
        &stages(serde_json::json!([one, one])),
        &["stages.1: has the same name as an earlier one"],
    );
    let bare = serde_json::json!([{ "name": "ci", "command": [] }]);
    check(&stages(bare), &["stages.0: needs a name and a command"]);
    let polled = serde_json::json!([
        { "name": "ci", "kind": "checks", "command": ["ci"], "timeout_seconds": 5 },
    ]);
    check(
        &stages(polled),
        &[
            "stages.0.command: only applies to stages of kind \"command\"",
            "stages.0.timeout_seconds: only applies",
        ],
    );
    let hook = |argv: serde_json::Value| with(|table| table["hooks"] = argv);
    check(&hook(serde_json::json!({ "before_run": [] })), &["hooks.before_run"]);
    check(&hook(serde_json::json!({ "after_run": [""] })), &["hooks.after_run"]);
    let proof = |value: serde_json::Value| with(|table| table["proof"] = value);
    check(&proof(serde_json::json!({ "tests": ["["] })), &["proof.tests.0: "]);
    check(&proof(serde_json::json!({ "red": "assertion" })), &["proof.red: "]);
    for list in ["deny", "allow_ignored", "uncounted", "test_material"] {
        let guardrails = with(|table| table["guardrails"] = serde_json::json!({ list: ["["] }));
        check(&guardrails, &[&format!("guardrails.{list}.0: ")]);
    }
}

#[test]
fn a_problem_says_what_is_wrong_and_how_to_fix_it() {
    let check = |config: &Policy, expected: &[&str]| assert_eq!(told(config), expected);
    let blank = |key: &str| format!("{key}: is blank; set a label, or omit the key");
    let (no_test_label, tests_label) = (String::new(), " ".to_owned());
    let config = Policy { no_test_label, tests_label, ..Policy::default() };
    check(&config, &[&blank("no_test_label"), &blank("tests_label")]);
    let config = Policy { human_label: "Agent-in-progress".to_owned(), ..Policy::default() };
    let handed = "human_label: is also the name of another label; an issue handed to a person would \
                  look like one under way";
    check(&config, &[handed]);
    let config = Policy { human_label: "ready-for-agent".to_owned(), ..Policy::default() };
    let released =
        "ready_label: is also the name of another label; a run would release its issue again";
    check(&config, &[released]);
    let mut config = with(|_| {});
    let again = the_repo(&config).clone();
    config.repos.insert("O/R".parse().unwrap(), again.into());
    check(&config, &["repos.\"o/r\": differs from O/R only in case; keep one"]);
    let team = DoorbellPolicy { name: "team".parse().ok(), ..bell("slack") };
    let config = Policy { notify: vec![team.clone(), team], ..Policy::default() };
    let twice = "notify.1.name: has the name of one before it; give each a name of its own";
    check(&config, &[twice]);
    let of_repo = |key: &str, value: serde_json::Value, expected: &[&str]| {
        let found = told(&with(|table| table[key] = value));
        let expected: Vec<_> = expected.iter().map(|one| format!("repos.\"o/r\".{one}")).collect();
        assert_eq!(found, expected);
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    of_repo(
        "stages",
        json(r#"[{ "name": "", "command": ["a"] }, { "name": "b", "command": [""] }]"#),
        &["stages.0: needs a name and a command", "stages.1: needs a name and a command"],
    );
    of_repo(
        "hooks",
        json(r#"{ "after_create": [], "before_run": [""], "after_run": [], "before_remove": [] }"#),
        &[
            "hooks.after_create: is an empty command; omit it",
            "hooks.before_run: is an empty command; omit it",
            "hooks.after_run: is an empty command; omit it",
            "hooks.before_remove: is an empty command; omit it",
        ],
    );
    let repeats = "proof.repeats: repeats = 1 is not between 2 and 20";
    of_repo("proof", json(r#"{ "repeats": 1 }"#), &[repeats]);
    let build = "proof.build: build is an empty command: name a program, or omit it";
    of_repo("proof", json(r#"{ "build": [] }"#), &[build]);
    let fetch = "proof.fetch: fetch is an empty command: name a program, or omit it";
    of_repo("proof", json(r#"{ "fetch": [] }"#), &[fetch]);
    for list in ["tests", "exempt", "protected", "judge"] {
        let found = told(&with(|table| table["proof"] = serde_json::json!({ list: ["a", "["] })));
        let start = format!("repos.\"o/r\".proof.{list}.1: the pattern cannot be used: ");
        assert!(found.len() == 1 && found[0].starts_with(&start), "{found:?}");
    }
    let key = ["repos", "o/r", "x-y_1", "a b", ""].map(str::to_owned);
    assert_eq!(dotted(&key), r#"repos."o/r".x-y_1."a b"."""#);
}

/// A doorbell of this kind.
fn bell(kind: &str) -> DoorbellPolicy {
    DoorbellPolicy::of_kind(kind.parse().unwrap())
}

#[test]
fn a_doorbell_has_a_name_and_rings_for_what_it_is_to_ring_for() {
    let [terminal, slack, team] =
        ["terminal", "slack", "team"].map(|name| name.parse::<AdapterName>().unwrap());
    let given = [
        (None, &terminal),
        (None, &slack),
        (None, &terminal),
        (Some(&team), &slack),
        (None, &slack),
    ];
    let names: Vec<String> = doorbell_names(given).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["terminal", "slack", "terminal-2", "team", "slack-3"]);
    let config = Policy { notify: vec![bell("ntfy"), bell("ntfy")], ..Policy::default() };
    let two: Vec<String> = config.doorbells().map(|(name, _)| name.to_string()).collect();
    assert_eq!(two, ["ntfy", "ntfy-2"]);
    let quiet = DoorbellPolicy { done: false, ..bell("ntfy") };
    for (kind, rings) in [(DoorbellKind::Done, false), (DoorbellKind::NeedsHuman, true)] {
        assert_eq!((quiet.wants(kind), bell("ntfy").wants(kind)), (rings, true), "{kind}");
    }
}

#[test]
fn a_repo_without_a_table_has_the_defaults() {
    let config = with(|table| {
        table["agent"] = "far".into();
        table["tracker"] = "forgejo".into();
    });
    let check = |repo: &str, agent: &str, tracker: &str, stages: &[&str]| {
        let repo: RepoName = repo.parse().unwrap();
        assert_eq!(config.executor_of(&repo).as_str(), agent, "{repo}");
        assert_eq!(config.tracker_of(&repo).as_str(), tracker, "{repo}");
        let names: Vec<&str> =
            config.stages_of(&repo).iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, stages, "{repo}");
    };
    check("o/r", "far", "forgejo", &["ci"]);
    check("o/gone", "claude", "local", &[]);
}

#[test]
fn no_run_begins_where_verify_fails_unless_reports_tell_what_failed_before() {
    for (verify, proof, attribute, wait) in [
        (serde_json::json!(["make"]), serde_json::json!({}), true, true),
        (serde_json::json!(["make"]), serde_json::json!({ "junit": "report.xml" }), false, true),
        (serde_json::json!("none"), serde_json::json!({}), false, false),
    ] {
        let config = with(|table| {
            table["verify"] = verify.clone();
            table["proof"] = proof.clone();
        });
        let waits = |health| the_repo(&config).waits_for_verify(health);
        let found = (waits(BaseHealth::Attribute), waits(BaseHealth::Wait));
        assert_eq!(found, (attribute, wait), "{verify} {proof}");
    }
}

#[test]
fn a_verify_that_is_no_command_is_told_what_one_looks_like() {
    for (verify, got) in [
        (serde_json::json!("make"), "another word"),
        (serde_json::json!([]), "an empty command"),
        (serde_json::json!([""]), "an empty command"),
    ] {
        let error = serde_json::from_value::<Verify>(verify).unwrap_err().to_string();
        let expected = r#"expected a list such as ["cargo", "test"], or "none""#;
        assert_eq!(error, format!("invalid value: {got}, {expected}"));
    }
}

#[test]
fn each_repo_has_its_own_problems() {
    for (key, wrong) in [
        ("proof", serde_json::json!({ "tests": ["["] })),
        ("guardrails", serde_json::json!({ "deny": ["["] })),
    ] {
        let mut config = with(|_| {});
        let mut table = good();
        table[key] = wrong;
        let repo: Repo = serde_json::from_value(table).unwrap();
        for name in ["o/s", "o/t"] {
            config.repos.insert(name.parse().unwrap(), repo.clone().into());
        }
        let found = told(&config);
        assert_eq!(found.len(), 2, "{key}: {found:?}");
        assert!(found[0].contains("o/s") && found[1].contains("o/t"), "{key}: {found:?}");
    }
}

#[test]
fn a_configuration_is_read_as_it_was_written() {
    let config = with(|_| {});
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), config);
}

#[test]
fn tested_landing_and_stages_before_it_go_together() {
    let landing = |mode: &str, marked: bool| {
        with(|table| {
            table["landing"] = mode.into();
            table["stages"][0]["before_landing"] = marked.into();
        })
    };
    let good = landing("tested", true);
    assert_eq!(good.mistakes(), []);
    let limits = good.limits(the_repo(&good));
    assert_eq!(limits.before_landing.unwrap().names(), ["ci"]);
    assert_eq!(limits.candidate.as_secs(), 600);
    let direct = landing("direct", false);
    assert_eq!(direct.mistakes(), []);
    assert_eq!(direct.limits(the_repo(&direct)).before_landing, None);

    let check = |config: &Policy, words: &[&str]| {
        let problems = told(config);
        assert_eq!(problems.len(), 1, "{problems:?}");
        for word in words {
            assert!(problems[0].contains(word), "{word:?} is not in {problems:?}");
        }
    };
    check(&landing("tested", false), &["landing", "before_landing = true"]);
    assert_eq!(landing("pull-request", false).mistakes(), []);
    check(
        &landing("direct", true),
        &["stages.0.before_landing", "landing = \"tested\"", "remove it"],
    );
}

#[test]
fn a_stage_deploys_by_its_kind_or_because_it_says_so() {
    let deploys = |stage: serde_json::Value| {
        let config = with(|table| table["stages"] = serde_json::json!([stage]));
        the_repo(&config).stages[0].deploys()
    };
    // Never by its name.
    assert!(!deploys(serde_json::json!({ "name": "deploy", "command": ["sh", "deploy.sh"] })));
    assert!(!deploys(serde_json::json!({ "name": "rollout", "kind": "checks" })));
    assert!(deploys(serde_json::json!({ "name": "up", "kind": "rollout" })));
    assert!(deploys(serde_json::json!({ "name": "page", "kind": "http" })));
    let told =
        |deploys: bool| serde_json::json!({ "name": "a", "kind": "http", "deploys": deploys });
    assert!(!deploys(told(false)));
    assert!(deploys(serde_json::json!({ "name": "a", "command": ["x"], "deploys": true })));
}
