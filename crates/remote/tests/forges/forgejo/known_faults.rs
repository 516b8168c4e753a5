//! The traps of these servers, a test for each.

use afk_core::issue::{BlockerState, IssueChange};
use afk_core::run::PullState;
use afk_engine::ports::{Labels, PortErrorKind, PullRequests as _};
use afk_fakes::forgejo::{Kind, Route};
use afk_sim::world::person;
use jiff::SignedDuration;

use crate::support::{OnForgejo, READY, login, repo, said};

#[tokio::test]
async fn a_label_that_is_not_there_lists_nothing() {
    let home = OnForgejo::new(Kind::Forgejo);
    home.sim.with(|world| world.file("o/r#1", "Do it.", &["bug"], "ann"));
    assert_eq!(home.tracker().ready(&repo("o/r"), READY).await.unwrap(), []);
    home.done("a_label_that_is_not_there");
}

#[tokio::test]
async fn every_entry_of_a_timeline_is_read_whatever_its_pages_say() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.released("o/r#1");
    home.later(5);
    for n in 0..70 {
        home.sim.with(|world| world.write_comment(&issue, &format!("{n}"), &person("eve")));
    }
    home.fake.hidden_entries(&issue, 60);
    home.fake.odd_entry(&issue);
    home.fake.null_entry(&issue);
    home.later(5);
    home.sim.with(|world| world.set_label(&issue, READY, false, &person("ann")));
    let view = home.tracker().issue(&issue).await.unwrap();
    let last = view.events.last().unwrap();
    assert!(matches!(&last.what, IssueChange::Unlabeled { label } if label == READY), "{last:?}");
    home.done("every_entry_of_a_timeline");
}

#[tokio::test]
async fn a_deleted_label_takes_its_history_with_it() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 1);
    // That updates no issue. Before anything is decided on an issue, it is read anew.
    home.fake.delete_label(&issue.repo, READY);
    home.later(90);
    tracker.forget(&issue);
    let view = tracker.issue(&issue).await.unwrap();
    assert_eq!((view.issue.labels.len(), view.events.len()), (0, 0));
    home.later(7 * 3600);
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap(), [], "swept");
    home.done("a_deleted_label");
}

#[tokio::test]
async fn a_label_renamed_to_the_ready_label_releases_nothing() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.sim.with(|world| world.file("o/r#1", "Do it.", &["later"], "ann"));
    let tracker = home.tracker();
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 1);
    home.later(90);
    home.fake.rename_label(&issue.repo, "later", READY);
    home.later(90);
    tracker.forget(&issue);
    // The server shows the label as if it had been put on under that name.
    let view = tracker.issue(&issue).await.unwrap();
    let label = view.events.last().unwrap();
    assert!(matches!(&label.what, IssueChange::Labeled { label } if label == READY), "{label:?}");
    assert_eq!(login(label.actor.as_ref()), "nobody");
    home.done("a_label_renamed");
}

/// The former name of a label is known even if no listed issue has the label.
#[tokio::test]
async fn a_label_that_no_list_showed_releases_nothing_under_another_name() {
    let home = OnForgejo::new(Kind::Forgejo);
    let old = home.sim.with(|world| world.file("o/r#1", "Do it.", &["later"], "ann"));
    home.later(48 * 3600);
    let other = home.released("o/r#2");
    let tracker = home.tracker();
    assert_eq!(tracker.ready(&old.repo, READY).await.unwrap().len(), 1);
    // To put on a label, all labels of the repo are read.
    home.fake.add_label(&old.repo, "in-progress");
    let labels = Labels { add: vec!["in-progress".to_owned()], remove: vec![] };
    tracker.label(&other, &labels).await.unwrap();
    home.later(90);
    home.fake.rename_label(&old.repo, "later", READY);
    home.later(90);
    let view = tracker.issue(&old).await.unwrap();
    let label = view.events.last().unwrap();
    assert!(matches!(&label.what, IssueChange::Labeled { label } if label == READY), "{label:?}");
    assert_eq!(login(label.actor.as_ref()), "nobody");
    home.done("a_label_that_no_list_showed");
}

#[tokio::test]
async fn a_time_that_was_set_back_is_found_by_the_sweep() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.sim.with(|world| world.file("o/r#1", "Do it.", &[], "ann"));
    home.released("o/r#2");
    let tracker = home.tracker();
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    home.later(600);
    home.sim.with(|world| world.set_label(&issue, READY, true, &person("ann")));
    home.fake.set_updated(&issue, home.now() - SignedDuration::from_hours(48));
    home.later(90);
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1, "not seen");
    home.later(7 * 3600);
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 2);
    home.done("a_time_that_was_set_back");
}

#[tokio::test]
async fn closing_a_blocker_is_seen_though_it_touches_no_other_issue() {
    let home = OnForgejo::new(Kind::Forgejo);
    let (one, two) = (home.released("o/r#1"), home.released("o/r#2"));
    home.fake.depend(&one, &two, true, &person("ann"));
    let tracker = home.tracker();
    let view = tracker.issue(&one).await.unwrap();
    assert_eq!(view.native_blockers, std::slice::from_ref(&two));
    assert_eq!(tracker.blocker(&one.repo, &two).await.unwrap(), BlockerState::Open);
    home.later(90);
    home.sim.with(|world| world.set_open(&two, false, &person("ann")));
    assert_eq!(tracker.blocker(&one.repo, &two).await.unwrap(), BlockerState::Closed);
    home.done("closing_a_blocker");
}

#[tokio::test]
async fn a_blocker_that_the_account_may_not_see_blocks() {
    let home = OnForgejo::new(Kind::Forgejo);
    let (one, two) = (home.released("o/r#1"), home.released("o/secret#2"));
    home.fake.depend(&one, &two, true, &person("ann"));
    home.fake.hide(&two.repo, true);
    let tracker = home.tracker();
    let view = tracker.issue(&one).await.unwrap();
    assert_eq!(view.native_blockers.len(), 1);
    let state = tracker.blocker(&one.repo, &view.native_blockers[0]).await;
    assert!(state.is_err(), "{state:?}");
    home.done("a_blocker_that_is_hidden");
}

#[tokio::test]
async fn a_renamed_repo_is_told_and_not_followed() {
    let home = OnForgejo::new(Kind::Forgejo);
    let issue = home.released("o/r#1");
    home.fake.rename(&issue.repo, &repo("o/new"));
    let error = home.tracker().ready(&issue.repo, READY).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Permanent, "{}", said(&error));
    assert!(error.chain().contains("has moved"), "{}", said(&error));
    let error = home.tracker().close(&issue).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Permanent, "{}", said(&error));
    assert_eq!(home.fake.strayed(), []);
    home.done("a_renamed_repo");
}

#[tokio::test]
async fn a_silent_edit_is_nobodys() {
    let home = OnForgejo::new(Kind::Gitea);
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 1);
    home.later(90);
    home.fake.edit_silently(&issue, "Do what eve wants.");
    let view = tracker.issue(&issue).await.unwrap();
    let last = view.events.last().unwrap();
    assert_eq!((&last.what, login(last.actor.as_ref())), (&IssueChange::Edited, "nobody"));
    // A label that is put on after the edit counts for the text as it is now.
    home.later(90);
    home.sim.with(|world| {
        world.set_label(&issue, READY, false, &person("ann"));
    });
    home.later(90);
    home.sim.with(|world| {
        world.set_label(&issue, READY, true, &person("ann"));
    });
    let view = tracker.issue(&issue).await.unwrap();
    let last = view.events.last().unwrap();
    assert!(matches!(&last.what, IssueChange::Labeled { .. }), "{last:?}");
    home.done("a_silent_edit");
}

/// The ids of runs are public, and so are the names of their branches.
#[tokio::test]
async fn a_strangers_pull_request_of_the_same_branch_is_not_ours() {
    for kind in [Kind::Forgejo, Kind::Gitea] {
        let home = OnForgejo::new(kind);
        let spec = home.pushed("afk/try/1/1");
        let (repo, branch) = (&spec.repo, &spec.branch);
        let merged = PullState::Merged { commit: spec.commit.clone() };
        for state in [PullState::Open, PullState::Closed, merged] {
            home.fake.pull_from_fork(repo, branch, &spec.commit, state);
        }
        let pulls = &home.forges;
        let missing = pulls.look(repo, branch).await.unwrap_err();
        assert_eq!(missing.kind, PortErrorKind::NotFound, "{}", said(&missing));
        let opened = pulls.open(&spec).await.unwrap();
        assert_eq!(opened.state, PullState::Open);
        assert_eq!(home.sim.with(|world| world.pulls.opened.len()), 1);
        assert_eq!(pulls.look(repo, branch).await.unwrap(), opened);
        pulls.close(repo, branch).await.unwrap();
        let closed =
            home.fake.requests().into_iter().filter(|one| one.route == Some(Route::EditPull));
        assert_eq!(closed.count(), 1, "only our own");
        assert_eq!(pulls.look(repo, branch).await.unwrap().state, PullState::Closed);
        home.done(&format!("a_strangers_pull_request_{kind:?}"));
    }
}
