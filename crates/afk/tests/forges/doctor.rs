//! What `afk doctor` says of a fault of the account, the repository or its stages: what it is, and
//! how to fix it. Each fault is planted by itself; everything else is sound.

use afk_fakes::Flaw;
use serde_json::Value;

use crate::support::{CI, Kind, OnForge, Plot, Remote, repo};

/// Every label that the loop reads or writes.
const LABELS: [&str; 5] = [
    "ready-for-agent",
    "agent-in-progress",
    "ready-for-human",
    "no-test-needed",
    "tests-may-change",
];
/// A port on which nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

on_each_forge!(a_sound_home_has_no_failure, each_planted_fault_is_named_with_its_mending);

/// The fault that is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// A fault of the account or the repository on the forge.
    There(Flaw),
    /// This label does not exist.
    NoLabel(&'static str),
    /// The CI server of the stage cannot be reached.
    CiUnreachable,
    /// The stage is of a kind that does not exist.
    UnknownStage,
}

/// The findings of `afk doctor` with this fault.
fn examined(kind: Kind, wrong: Wrong) -> Vec<Value> {
    let stage = match wrong {
        Wrong::CiUnreachable => {
            format!(
                "kind = \"woodpecker\", url = \"{NOBODY}\", token = {{ env = \"AFK_E2E_FORGE\" }}"
            )
        }
        Wrong::UnknownStage => "kind = \"jenkins\"".to_owned(),
        Wrong::Nothing | Wrong::There(_) | Wrong::NoLabel(_) => {
            format!("kind = \"{}\"", kind.stage())
        }
    };
    let keys = Some(format!("stages = [{{ name = \"{CI}\", {stage} }}]"));
    // The forge is asked about pushes only if they go there.
    let remote = Remote::Http;
    let here = OnForge::new(Plot { kind, keys, remote, ..Plot::default() });
    for label in LABELS.into_iter().filter(|label| wrong != Wrong::NoLabel(label)) {
        here.fake.add_label(&repo(), label);
    }
    if let Wrong::There(flaw) = wrong {
        here.fake.plant(&repo(), flaw);
    }
    let report = here.world.json(&["doctor", "--quick"]);
    here.done(&format!("e2e_doctor_{}", kind.name()));
    report["findings"].as_array().unwrap_or_else(|| panic!("{report:#}")).clone()
}

fn a_sound_home_has_no_failure(kind: Kind) {
    let all = examined(kind, Wrong::Nothing);
    let failed: Vec<_> = all.iter().filter(|one| one["state"] == "failure").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for about in ["credential", "labels", "permissions", "branch", "remote", "stage ci"] {
        let of = |one: &&Value| one["group"] == repo().as_str() && one["about"] == about;
        let found = all.iter().find(of).unwrap_or_else(|| panic!("nothing on {about}: {all:#?}"));
        assert_eq!(found["state"], "ok", "{found:#}");
    }
}

/// Checks that the fault is found, and that `remedy` is proposed.
#[track_caller]
fn check(kind: Kind, wrong: Wrong, about: &str, says: &str, remedy: &str) {
    let all = examined(kind, wrong);
    let is_it = |one: &&Value| {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        one["state"] == "failure"
            && text("about") == about
            && text("says").contains(says)
            && text("remedy").contains(remedy)
    };
    assert!(all.iter().any(|one| is_it(&one)), "{kind:?} {wrong:?}: {all:#?}");
}

fn each_planted_fault_is_named_with_its_mending(kind: Kind) {
    let on_github = kind == Kind::GitHub;
    let (scope, scope_mend) = if on_github {
        ("credential", "make one with the scope repo")
    } else {
        ("labels", "scope read:issue")
    };
    let scope_says = if on_github { "gist, notifications, and not repo" } else { "required scope" };
    let pushes = if on_github { "asks for a pull request" } else { "refuses our pushes" };
    let pushes_mend = if on_github { "bypass the rule" } else { "let the account push" };
    let hidden = if on_github { "403" } else { "only an administrator" };
    let hidden_mend = if on_github { "let the credential read" } else { "trust.allow_ids" };
    let there = Wrong::There;
    let table = [
        (there(Flaw::MissingScope), scope, scope_says, scope_mend),
        (there(Flaw::ExpiredToken), "credential", "401", "make a new token"),
        (there(Flaw::RefusesPushes), "branch", pushes, pushes_mend),
        (there(Flaw::HiddenPermissions), "permissions", hidden, hidden_mend),
        (Wrong::NoLabel("no-test-needed"), "labels", "no label no-test-needed", "doctor --fix"),
        (Wrong::CiUnreachable, "stage ci", "127.0.0.1", "check the stage's url"),
        (Wrong::UnknownStage, "file", "stages.0.kind: is unknown; known are", "correct it"),
    ];
    for (wrong, about, says, remedy) in table {
        check(kind, wrong, about, says, remedy);
    }
}
