//! A GitHub App: what it signs for itself, the tokens that it makes, and what those may.

use afk_engine::ports::PortErrorKind;
use afk_fakes::github::{Fault, Login, Route};
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
    assert_eq!(minted.len(), 1, "one token for everything");
    let (permissions, repositories) = &minted[0];
    assert_eq!((permissions["issues"].as_str(), repositories), (Some("write"), &None));
    assert_eq!(permissions["administration"], Value::Null, "nothing else is asked for");
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
    // Much later it is not the lag of a copy any more: the token was revoked.
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
