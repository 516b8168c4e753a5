//! A GitHub App: its own JWT, the tokens that it gets, and their permissions.

use afk_engine::ports::PortErrorKind;
use afk_fakes::github::{Fault, Login, Route};
use afk_remote::{Needs, Severity};
use serde_json::{Value, json};

use crate::app_key;
use crate::support::{OnGitHub, READY, repo, run, said, world};

fn home(installations: Vec<u64>) -> OnGitHub {
    let table = json!({ "app": { "id": app_key::ID, "key": { "env": "KEY" } } });
    let home = OnGitHub::of(world(), Login::App(app_key::account(installations)), table);
    home.secrets.set("KEY", app_key::pem());
    home
}

#[tokio::test]
async fn an_app_acts_with_a_token_that_may_what_the_loop_needs() {
    let home = home(vec![7]);
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    let own = tracker.own_account(&issue.repo).await.unwrap();
    assert_eq!((own.login.as_str(), own.bot), ("afk[bot]", true));
    let body = format!("ours\n{}", afk_core::comment::marker(run()));
    let id = tracker.comment(&issue, run(), &body).await.unwrap();
    assert_eq!(tracker.comment(&issue, run(), &body).await.unwrap(), id, "found again");
    tracker.close(&issue).await.unwrap();
    let minted = home.fake.minted();
    assert_eq!(minted.len(), 2, "one token for the repo, and one for what belongs to none");
    let (permissions, repositories) = &minted[0];
    assert_eq!(permissions["issues"].as_str(), Some("write"));
    assert_eq!(repositories, &Some(vec!["r".to_owned()]));
    assert_eq!(permissions["administration"], Value::Null, "nothing else is asked for");
    assert_eq!(minted[1], (json!({ "metadata": "read" }), None));
    home.done("an_app_acts");
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends() {
    let home = home(vec![7]);
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    for minutes in [0, 30, 26, 40] {
        home.later(minutes * 60);
        assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    }
    assert_eq!(home.fake.minted().len(), 2);
    assert!(home.requests().iter().all(|one| one.status < 400));
    home.done("a_token_is_replaced");
}

#[tokio::test]
async fn fault_4_a_401_just_after_minting_is_tried_once_more() {
    let home = home(vec![7]);
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    home.fake.fail(Route::Issues, Fault::Unauthorized);
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    assert_eq!(home.fake.minted().len(), 1, "the same token");
    home.later(90);
    // Much later, a refusal is not due to a lagging replica: the token was revoked.
    home.fake.revoke_tokens();
    tracker.ready(&issue.repo, READY).await.unwrap();
    assert_eq!(home.fake.minted().len(), 1, "a new one");
    (0..2).for_each(|_| home.fake.fail(Route::Issues, Fault::Unauthorized));
    home.later(90);
    let error = tracker.ready(&issue.repo, READY).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Auth, "{}", said(&error));
    home.done("fault_4");
}

#[tokio::test]
async fn clocks_that_differ_do_not_lock_an_app_out() {
    for skew in [-40, 50] {
        let home = home(vec![7]);
        home.sim.with(|world| world.tracker.skew = jiff::SignedDuration::from_secs(skew));
        home.released("o/r#1");
        let ready = home.tracker().ready(&repo("o/r"), READY).await;
        assert_eq!(ready.unwrap().len(), 1, "{skew}");
        home.done("clocks_that_differ");
    }
}

#[tokio::test]
async fn an_app_with_several_installations_or_none_says_so() {
    for (installations, says) in [(vec![], "installed nowhere"), (vec![7, 8], "7 (owner-7), 8")] {
        let home = home(installations);
        let error = home.tracker().ready(&repo("o/r"), READY).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Auth);
        assert!(error.chain().contains(says), "{}", said(&error));
        home.done("an_app_with_several_installations");
    }
}

#[tokio::test]
async fn a_key_that_is_none_is_not_shown() {
    let home = home(vec![7]);
    home.secrets.set("KEY", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----");
    let error = home.tracker().ready(&repo("o/r"), READY).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Auth);
    assert!(!error.chain().contains("hunter2"), "{}", error.chain());
    assert_eq!(home.requests(), []);
    home.done("a_key_that_is_none");
}

#[tokio::test]
async fn a_repo_without_the_app_is_read_as_everybody_reads_it() {
    let home = home(vec![7]);
    let (issue, other) = (home.released("o/r#1"), home.released("else/where#2"));
    home.fake.is_foreign(&other.repo);
    let tracker = home.tracker();
    assert!(tracker.issue(&issue).await.unwrap().issue.open);
    tracker.blocker(&issue.repo, &other).await.unwrap();
    let minted = home.fake.minted();
    assert_eq!(minted.last(), Some(&(json!({ "metadata": "read" }), None)));
    // Once the app is installed there, that is noticed before long.
    home.later(6 * 60);
    tracker.blocker(&issue.repo, &other).await.unwrap();
    assert_eq!(home.fake.minted().len(), minted.len() + 1);
    home.done("a_repo_without_the_app");
}

#[tokio::test]
async fn an_app_that_may_not_change_workflows_is_told_of() {
    for lacks in [false, true] {
        let home = home(vec![7]);
        home.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("README.md", "hello")]));
        home.fake.add_label(&repo("o/r"), READY);
        if lacks {
            home.fake.grants_no_workflows();
        }
        let needs = Needs {
            labels: Some(vec![]),
            pushes: true,
            opens_pulls: false,
            webhook: None,
            make: false,
        };
        let found = home.forges.examine(&repo("o/r"), &"home".parse().unwrap(), &needs).await;
        let found = found.unwrap();
        let found = found.iter().find(|one| one.about == "workflows").unwrap();
        let expected = if lacks { Severity::Warning } else { Severity::Fine };
        assert_eq!(found.severity, expected, "{found:?}");
        home.done("workflows");
    }
}
