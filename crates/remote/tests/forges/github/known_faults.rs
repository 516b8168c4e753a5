//! Faults that other bots of this kind had, a test for each.

use afk_core::comment::marker;
use afk_core::issue::Permission;
use afk_core::trust::{OnBehalf, ReleaseRefusal, Trust, TrustPolicy, trust};
use afk_engine::ports::{Labels, PortErrorKind, Tracker};
use afk_fakes::github::{Fault, Route, bot};
use afk_sim::world::person;
use jiff::SignedDuration;

use crate::support::{OnGitHub, READY, login, repo, run, said};

/// Whether the release of the issue is trusted, as the loop would decide on what it reads.
async fn decided(tracker: &dyn Tracker, name: &str) -> Trust {
    let issue = name.parse().unwrap();
    let view = tracker.issue(&issue).await.unwrap();
    let mut known = Vec::new();
    for actor in view.events.iter().filter_map(|event| event.actor.clone()) {
        let permission = tracker.permission(&issue.repo, &actor).await.ok();
        known.push((actor, permission));
    }
    let of = |actor: &afk_core::ids::Actor| {
        known.iter().find(|(one, _)| one == actor).and_then(|(_, permission)| *permission)
    };
    trust(&view.events, READY, &TrustPolicy::default(), OnBehalf::NOBODY, &of)
}

fn is_trusted(trust: &Trust) -> bool {
    matches!(trust, Trust::Trusted { .. })
}

#[tokio::test]
async fn fault_1_a_labeller_who_is_not_a_user_does_not_pass() {
    let home = OnGitHub::new();
    home.sim.with(|world| {
        world.tracker.permissions.insert("ghost".to_owned(), Permission::Admin);
        world.tracker.permissions.insert("helper[bot]".to_owned(), Permission::Admin);
        world.file("o/r#1", "One.", &[READY], "ghost");
        let two = world.file("o/r#2", "Two.", &[], "ann");
        world.set_label(&two, READY, true, &bot("helper"));
    });
    home.fake.is_no_user("ghost");
    let tracker = home.tracker();
    for name in ["o/r#1", "o/r#2"] {
        let view = tracker.issue(&name.parse().unwrap()).await.unwrap();
        let actor = view.events[0].actor.clone().unwrap();
        let permission = tracker.permission(&repo("o/r"), &actor).await.unwrap();
        assert_eq!(permission, Permission::None, "{name}");
        assert!(!is_trusted(&decided(&*tracker, name).await), "{name}");
    }
    home.done("fault_1");
}

#[tokio::test]
async fn fault_2_an_own_comment_on_the_third_page_is_not_posted_again() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    let chatter = |from: u32, to: u32| {
        home.sim.with(|world| {
            for n in from..to {
                world.write_comment(&issue, &format!("comment {n}"), &person("eve"));
            }
        });
    };
    chatter(0, 230);
    let body = format!("ours\n{}", marker(run()));
    let id = tracker.comment(&issue, run(), &body).await.unwrap();
    chatter(230, 280);
    home.later(90);
    assert_eq!(tracker.comment(&issue, run(), &body).await.unwrap(), id);
    assert_eq!(tracker.comments(&issue).await.unwrap().len(), 281);
    home.done("fault_2");
}

#[tokio::test]
async fn fault_3_a_list_that_omits_an_issue_says_nothing_about_it() {
    let home = OnGitHub::new();
    let (issue, other) = (home.released("o/r#1"), home.released("o/r#2"));
    let tracker = home.tracker();
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 2);
    home.sim.with(|world| world.write_comment(&other, "hello", &person("eve")));
    home.later(90);
    home.fake.fail(Route::Issues, Fault::Omits(1));
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 2);
    let view = tracker.issue(&issue).await.unwrap();
    assert!(view.issue.open && view.issue.labels == [READY]);
    home.done("fault_3");
}

#[tokio::test]
async fn fault_5_a_secondary_limit_with_quota_left_pauses_the_whole_account() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    home.fake.fail(Route::Issues, Fault::SecondaryLimit);
    let error = tracker.ready(&issue.repo, READY).await.unwrap_err();
    assert_eq!(error.reset(), Some(home.now() + SignedDuration::from_mins(1)), "{}", said(&error));
    assert!(home.fake.left() > 1000);
    home.requests();
    home.later(59);
    assert!(tracker.ready(&repo("o/other"), READY).await.is_err());
    assert!(tracker.close(&issue).await.is_err());
    assert_eq!(home.requests(), [], "nothing is sent meanwhile");
    home.later(1);
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    home.done("fault_5");
}

#[tokio::test]
async fn fault_5_a_limit_of_graphql_under_200_pauses_the_whole_account() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    home.fake.fail(Route::GraphQl, Fault::GraphLimit);
    let error = tracker.issue(&issue).await.unwrap_err();
    assert!(matches!(error.kind, PortErrorKind::RateLimited { .. }), "{}", said(&error));
    home.requests();
    assert!(tracker.ready(&repo("o/other"), READY).await.is_err());
    assert_eq!(home.requests(), []);
    home.later(60);
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 1);
    home.done("fault_5_graphql");
}

#[tokio::test]
async fn fault_10_a_write_to_a_renamed_repo_goes_nowhere() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    tracker.own_account(&issue.repo).await.unwrap();
    home.fake.rename(&issue.repo, &repo("o/renamed"));
    home.requests();
    let labels = Labels { add: vec!["x".into()], remove: vec![READY.into()] };
    let errors = [
        tracker.label(&issue, &labels).await.unwrap_err(),
        tracker.close(&issue).await.unwrap_err(),
        tracker.comment(&issue, run(), "hello").await.unwrap_err(),
        tracker.edit_comment(&issue, "1", "hello").await.unwrap_err(),
    ];
    for error in &errors {
        assert_eq!(error.kind, PortErrorKind::Permanent, "{}", said(error));
        assert!(error.chain().contains("/repositories/"), "{}", said(error));
    }
    let statuses: Vec<u16> = home.requests().iter().map(|one| one.status).collect();
    assert_eq!(statuses, [307, 307, 301, 307], "nothing is followed");
    let record =
        home.sim.with(|world| world.tracker.issues[&"o/renamed#1".parse().unwrap()].clone());
    assert!(record.issue.open && record.issue.labels == [READY] && record.comments.is_empty());
    home.done("fault_10");
}

#[tokio::test]
async fn fault_11_a_label_renamed_to_the_ready_label_releases_nothing() {
    let home = OnGitHub::new();
    let tracker = home.tracker();
    home.sim.with(|world| {
        world.file("o/r#1", "One.", &["later"], "ann");
        let two = world.file("o/r#2", "Two.", &["later"], "eve");
        world.set_label(&two, READY, true, &person("ann"));
        world.set_label(&two, READY, false, &person("ann"));
    });
    assert_eq!(tracker.ready(&repo("o/r"), READY).await.unwrap(), []);
    home.sim.with(|world| world.rename_label(&repo("o/r"), "later", READY));
    // That updates no issue: it is noticed when the whole list is read again.
    home.later(6 * 3600 + 1);
    assert_eq!(tracker.ready(&repo("o/r"), READY).await.unwrap().len(), 2);
    let refused = decided(&*tracker, "o/r#1").await;
    assert_eq!(refused, Trust::Refused { why: ReleaseRefusal::NeverLabelled });
    let refused = decided(&*tracker, "o/r#2").await;
    let off = matches!(refused, Trust::Refused { why: ReleaseRefusal::LabelOff { .. } });
    assert!(off, "{refused:?}");
    home.done("fault_11");
}

#[tokio::test]
async fn fault_12_an_unknown_event_between_two_labels_hides_neither() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    home.later(5);
    home.fake.odd_entry(&issue);
    home.later(5);
    home.sim.with(|world| world.set_label(&issue, READY, false, &person("tim")));
    let tracker = home.tracker();
    let view = tracker.issue(&issue).await.unwrap();
    let who: Vec<&str> = view.events.iter().map(|event| login(event.actor.as_ref())).collect();
    assert_eq!(who, ["ann", "tim"]);
    assert!(!is_trusted(&decided(&*tracker, "o/r#1").await));
    home.done("fault_12");
}

#[tokio::test]
async fn fault_15_the_first_read_after_a_wake_may_be_old_and_is_repeated() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    home.later(3);
    let tracker = home.tracker();
    let forge = "home".parse().unwrap();
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 1);
    home.later(3);
    home.sim.with(|world| world.set_label(&issue, READY, false, &person("tim")));
    assert_eq!(home.forges.woken(&forge, &issue.repo), Some(issue.repo.clone()));
    home.fake.fail(Route::Issues, Fault::Stale);
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 1, "an old answer");
    home.later(3);
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 2);
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap(), []);
    home.done("fault_15");
}

/// A probe from just before a webhook does not show what the webhook is about, and is not believed
/// for the seconds that it would be otherwise. A flood of webhooks is still not a flood of
/// requests.
#[tokio::test]
async fn a_webhook_is_read_at_once_however_new_the_last_look_is() {
    let home = OnGitHub::new();
    let tracker = home.tracker();
    let (repo, forge) = (repo("o/r"), "home".parse().unwrap());
    assert_eq!(tracker.ready(&repo, READY).await.unwrap(), []);
    let issue = home.released("o/r#1");
    assert_eq!(tracker.ready(&repo, READY).await.unwrap(), [], "nobody told");
    home.forges.woken(&forge, &repo);
    let ready = tracker.ready(&repo, READY).await.unwrap();
    assert_eq!(ready.into_iter().map(|one| one.issue).collect::<Vec<_>>(), [issue]);
    let (began, _) = (home.now(), home.requests());
    for _ in 0..100 {
        home.forges.woken(&forge, &repo);
        tracker.ready(&repo, READY).await.unwrap();
        tracker.ready(&repo, READY).await.unwrap();
    }
    let seconds = home.now().duration_since(began).as_secs_f64();
    let most = seconds * 2.0 + 1.0;
    let asked = home.requests().len();
    assert!(asked as f64 <= most, "{asked} requests within {seconds} seconds");
    home.done("read_at_once");
}

#[tokio::test]
async fn fault_15_an_issue_older_than_the_list_is_not_believed() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    assert_eq!(tracker.issue(&issue).await.unwrap().issue.labels, [READY]);
    home.later(90);
    home.sim.with(|world| world.set_label(&issue, READY, false, &person("tim")));
    // The list shows the change, but the issue itself comes from a replica that is behind.
    home.fake.fail(Route::Issue, Fault::Stale);
    let error = tracker.issue(&issue).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Transient, "{}", said(&error));
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 2);
    home.done("fault_15_details");
}

#[tokio::test]
async fn fault_16_another_host_sees_no_credential() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    tracker.own_account(&issue.repo).await.unwrap();
    for status in [301, 302, 307, 308] {
        home.later(1000);
        home.fake.fail(Route::Issues, Fault::Elsewhere(status));
        let error = tracker.ready(&issue.repo, READY).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Permanent, "{status}: {}", said(&error));
        home.fake.fail(Route::EditIssue, Fault::Elsewhere(status));
        assert!(tracker.close(&issue).await.is_err());
    }
    assert_eq!(home.fake.strayed(), [], "nothing was followed at all");
    home.done("fault_16");
}
