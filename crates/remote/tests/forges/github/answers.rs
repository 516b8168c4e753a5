//! Bad answers: each must become an error of the right kind, or the request be repeated, and
//! nothing may be lost.

use afk_core::issue::{BlockerState, IssueChange};
use afk_core::run::PullState;
use afk_engine::ports::{Labels, PortErrorKind, PullRequests, PullSpec};
use afk_fakes::github::{Fault, GitHubFake, Login, Route};
use afk_sim::fakes::Sim;
use afk_sim::world::person;

use crate::support::{OnGitHub, READY, TOKEN, login, repo, run, said, tracker, world};

fn statuses(home: &OnGitHub, route: Route) -> Vec<u16> {
    let of_route = home.requests().into_iter().filter(|one| one.route == Some(route));
    of_route.map(|one| one.status).collect()
}

#[tokio::test]
async fn a_read_without_an_answer_is_asked_again() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    home.fake.fail(Route::Issues, Fault::Status(502));
    home.fake.fail(Route::Issues, Fault::Broken);
    assert_eq!(home.tracker().ready(&repo("o/r"), READY).await.unwrap().len(), 1);
    let (first, second) = (Some(&502), Some(&200));
    let seen = statuses(&home, Route::Issues);
    assert_eq!((seen.first(), seen.get(1), seen.get(2)), (first, second, second), "{seen:?}");
    home.fake.fail(Route::Timeline, Fault::Status(503));
    home.fake.fail(Route::GraphQl, Fault::Status(504));
    assert_eq!(home.tracker().issue(&issue).await.unwrap().events.len(), 1);
    home.done("a_read_without_an_answer_is_asked_again");
}

#[tokio::test]
async fn an_answer_that_stays_away_is_an_error_that_passes() {
    let home = OnGitHub::new();
    home.released("o/r#1");
    (0..3).for_each(|_| home.fake.fail(Route::Issues, Fault::Status(503)));
    let error = home.tracker().ready(&repo("o/r"), READY).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Transient, "{}", said(&error));
    home.fake.fail(Route::Issues, Fault::Status(500));
    let error = home.tracker().ready(&repo("o/r"), READY).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Transient, "{}", said(&error));
    assert!(error.chain().contains("GET /repos/o/r/issues"), "{}", said(&error));
    assert_eq!(home.tracker().ready(&repo("o/r"), READY).await.unwrap().len(), 1);
    home.done("an_answer_that_stays_away_is_an_error_that_passes");
}

#[tokio::test]
async fn what_is_not_json_is_never_an_empty_list() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    for fault in [Fault::Html, Fault::Mislabelled, Fault::Truncated] {
        home.later(90);
        home.sim.with(|world| world.set_title(&issue, &format!("{fault:?}"), &person("ann")));
        home.fake.fail(Route::Issues, fault);
        let error = home.tracker().ready(&repo("o/r"), READY).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Transient, "{fault:?}");
        // A probe that could not be read does not count as a probe.
        assert_eq!(home.tracker().ready(&repo("o/r"), READY).await.unwrap().len(), 1);
    }
    for route in [Route::Issue, Route::Timeline, Route::GraphQl, Route::BlockedBy] {
        for fault in [Fault::Html, Fault::Mislabelled, Fault::Truncated] {
            home.fake.fail(route, fault);
            home.tracker().forget(&issue);
            let error = home.tracker().issue(&issue).await.unwrap_err();
            assert_eq!(error.kind, PortErrorKind::Transient, "{route:?} {fault:?}");
        }
    }
    assert_eq!(home.tracker().issue(&issue).await.unwrap().events.len(), 4);
    home.done("what_is_not_json_is_never_an_empty_list");
}

#[tokio::test]
async fn what_breaks_in_the_middle_of_a_list_is_no_list() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    home.sim.with(|world| {
        for n in 0..120 {
            world.write_comment(&issue, &format!("comment {n}"), &person("eve"));
        }
        // The event that took the label off again is on the second page.
        world.set_label(&issue, READY, false, &person("bea"));
    });
    home.later(90);
    let tracker = home.tracker();
    for (fault, kind) in [
        (Fault::Unauthorized, PortErrorKind::Auth),
        (Fault::Status(500), PortErrorKind::Transient),
        (Fault::Html, PortErrorKind::Transient),
        (Fault::Truncated, PortErrorKind::Transient),
        (Fault::Elsewhere(302), PortErrorKind::Permanent),
    ] {
        home.fake.fail_second(Route::Timeline, fault);
        tracker.forget(&issue);
        let error = tracker.issue(&issue).await.unwrap_err();
        assert_eq!(error.kind, kind, "{fault:?}: {}", said(&error));
        assert!(!error.chain().contains(TOKEN), "{}", error.chain());
        assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 2, "{fault:?}");
    }
    assert_eq!(home.fake.strayed(), []);
    home.done("what_breaks_in_the_middle_of_a_list");
}

#[tokio::test]
async fn clocks_that_differ_hide_nothing_and_hold_nothing_up() {
    for hours in [-3, 3] {
        let home = OnGitHub::new();
        home.sim.with(|world| world.tracker.skew = jiff::SignedDuration::from_hours(hours));
        let issue = home.released("o/r#1");
        let tracker = home.tracker();
        assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
        home.later(90);
        home.sim.with(|world| world.set_label(&issue, READY, false, &person("bea")));
        assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap(), [], "{hours}");
        assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 2, "{hours}");
        // The reset of the quota is a time by the forge's clock, and is waited for by ours.
        home.later(90);
        home.fake.leave(1);
        let error = tracker.ready(&repo("o/other"), READY).await.unwrap_err();
        let wait = error.reset().map(|until| until.duration_since(home.now()).as_secs());
        assert!(wait.is_some_and(|wait| (1..=3600).contains(&wait)), "{hours}: {wait:?}");
        home.later(3600);
        assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap(), []);
        home.done("clocks_that_differ");
    }
}

#[tokio::test]
async fn an_issue_that_became_a_discussion_is_closed_by_whoever_did_it() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    home.later(90);
    home.fake.becomes_discussion(&issue, &person("bea"));
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap(), []);
    let view = tracker.issue(&issue).await.unwrap();
    let last = view.events.last().unwrap();
    assert!(!view.issue.open);
    assert_eq!((&last.what, login(last.actor.as_ref())), (&IssueChange::Closed, "bea"));
    assert_eq!(tracker.blocker(&issue.repo, &issue).await.unwrap(), BlockerState::Closed);
    home.done("a_discussion");
}

/// Deleting a label updates no issue, and need not leave an event: the cached list still shows it.
/// But the issue itself is read before anything begins.
#[tokio::test]
async fn a_label_that_was_deleted_is_on_no_issue_that_is_read() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    home.later(90);
    home.sim.with(|world| {
        world.tracker.issues.get_mut(&issue).unwrap().issue.labels.clear();
    });
    tracker.forget(&issue);
    let view = tracker.issue(&issue).await.unwrap();
    assert_eq!((view.issue.labels.len(), view.events.len()), (0, 1));
    home.later(6 * 3600 + 1);
    assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap(), [], "swept");
    home.done("a_deleted_label");
}

#[tokio::test]
async fn a_write_is_never_sent_twice_by_itself() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    home.tracker().own_account(&issue.repo).await.unwrap();
    for fault in [Fault::Status(502), Fault::Lost(502), Fault::Broken, Fault::Html] {
        home.fake.fail(Route::EditIssue, fault);
        let before = home.fake.requests().len();
        let error = home.tracker().close(&issue).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Transient, "{fault:?}: {}", said(&error));
        assert_eq!(home.fake.requests().len(), before + 1, "{fault:?}");
    }
    home.tracker().close(&issue).await.unwrap();
    home.done("a_write_is_never_sent_twice_by_itself");
}

#[tokio::test]
async fn a_lost_answer_to_a_comment_leaves_one_comment() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let body = format!("ours\n{}", afk_core::comment::marker(run()));
    home.fake.fail(Route::PostComment, Fault::Lost(502));
    let tracker = home.tracker();
    assert!(tracker.comment(&issue, run(), &body).await.is_err());
    let id = tracker.comment(&issue, run(), &body).await.unwrap();
    let comments = tracker.comments(&issue).await.unwrap();
    assert_eq!(comments.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), [id]);
    home.done("a_lost_answer_to_a_comment_leaves_one_comment");
}

#[tokio::test]
async fn a_wrong_credential_is_an_error_that_a_person_fixes_and_a_rotated_one_counts_at_once() {
    let home = OnGitHub::new();
    home.released("o/r#1");
    home.fake.rotate("ghp_another");
    let error = home.tracker().ready(&repo("o/r"), READY).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Auth, "{}", said(&error));
    assert!(!error.chain().contains(TOKEN), "{}", error.chain());
    home.secrets.set("TOKEN", "ghp_another");
    assert_eq!(home.tracker().ready(&repo("o/r"), READY).await.unwrap().len(), 1);
    home.done("a_wrong_credential");
}

#[tokio::test]
async fn a_new_token_costs_a_whole_answer_and_changes_nothing() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    tracker.ready(&issue.repo, READY).await.unwrap();
    tracker.issue(&issue).await.unwrap();
    home.fake.rotate("ghp_another");
    home.secrets.set("TOKEN", "ghp_another");
    home.requests();
    for expected in [200, 304] {
        home.later(90);
        tracker.ready(&issue.repo, READY).await.unwrap();
        tracker.issue(&issue).await.unwrap();
        assert_eq!(statuses(&home, Route::Issues), [expected]);
    }
    home.done("a_new_token_costs_a_whole_answer_and_changes_nothing");
}

#[tokio::test]
async fn a_spent_quota_is_waited_out_and_not_asked_in_vain() {
    let home = OnGitHub::new();
    home.released("o/r#1");
    home.fake.leave(1);
    // The last request of the quota is still answered.
    let tracker = home.tracker();
    let error = tracker.ready(&repo("o/r"), READY).await.unwrap_err();
    let reset = error.reset().unwrap_or_else(|| panic!("{}", said(&error)));
    assert_eq!(home.requests().len(), 1);
    assert!(tracker.ready(&repo("o/other"), READY).await.is_err());
    assert_eq!(home.requests().len(), 0, "the quota is the whole account's");
    home.sim.advance(reset.duration_since(home.now()));
    assert_eq!(tracker.ready(&repo("o/r"), READY).await.unwrap().len(), 1);
    home.done("a_spent_quota_is_waited_out_and_not_asked_in_vain");
}

#[tokio::test]
async fn a_limit_that_names_a_time_is_kept_to_it() {
    let home = OnGitHub::new();
    home.released("o/r#1");
    home.fake.fail(Route::Issues, Fault::RetryAfter(37));
    let before = home.now();
    let error = home.tracker().ready(&repo("o/r"), READY).await.unwrap_err();
    let wait = error.reset().map(|until| until.duration_since(before).as_secs());
    assert_eq!(wait, Some(37), "{}", said(&error));
    home.later(36);
    assert!(home.tracker().ready(&repo("o/r"), READY).await.is_err());
    assert_eq!(home.requests().len(), 1);
    home.later(1);
    assert_eq!(home.tracker().ready(&repo("o/r"), READY).await.unwrap().len(), 1);
    home.done("a_limit_that_names_a_time_is_kept_to_it");
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    home.sim.with(|world| {
        for n in 2..=230 {
            world.file(&format!("o/r#{n}"), "More.", &[READY], "ann");
        }
        for n in 0..250 {
            world.write_comment(&issue, &format!("comment {n}"), &person("eve"));
        }
        world.set_label(&issue, READY, false, &person("bea"));
    });
    home.later(90);
    let tracker = home.tracker();
    let ready = tracker.ready(&issue.repo, READY).await.unwrap();
    assert_eq!(ready.len(), 229);
    assert_eq!(tracker.comments(&issue).await.unwrap().len(), 250);
    let since = home.now() - jiff::SignedDuration::from_secs(600);
    assert_eq!(tracker.comments_since(&issue.repo, since).await.unwrap().len(), 250);
    let events = tracker.issue(&issue).await.unwrap().events;
    assert_eq!(events.len(), 2, "the second one is on the last of three pages");
    home.sim.with(|world| {
        for n in 0..210 {
            world.set_body(&issue, &format!("edit {n}"), &person("bea"));
        }
    });
    home.later(90);
    // GitHub lists the text before the first edit as a revision, too.
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 2 + 211);
    home.done("a_list_is_read_to_its_last_page");
}

#[tokio::test]
async fn many_changes_at_once_are_all_seen() {
    let home = OnGitHub::new();
    let tracker = home.tracker();
    home.sim.with(|world| {
        for n in 1..=400 {
            world.file(&format!("o/r#{n}"), "More.", &[READY], "ann");
        }
    });
    assert_eq!(tracker.ready(&repo("o/r"), READY).await.unwrap().len(), 400);
    for changed in [60, 180, 390] {
        home.later(90);
        home.sim.with(|world| {
            for n in 1..=changed {
                let issue = format!("o/r#{n}").parse().unwrap();
                world.set_label(&issue, READY, false, &person("bea"));
                world.set_label(&issue, "bug", true, &person("bea"));
            }
        });
        let ready = tracker.ready(&repo("o/r"), READY).await.unwrap();
        assert_eq!(ready.len(), 400 - changed);
    }
    home.done("many_changes_at_once_are_all_seen");
}

#[tokio::test]
async fn an_issue_that_was_deleted_or_moved_is_not_read() {
    let home = OnGitHub::new();
    let (one, two) = (home.released("o/r#1"), home.released("o/r#2"));
    let tracker = home.tracker();
    tracker.issue(&one).await.unwrap();
    home.sim.with(|world| world.delete_issue(&one));
    home.fake.transfer(&two, &"o/other#7".parse().unwrap());
    home.later(1000);
    let error = tracker.issue(&one).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound, "{}", said(&error));
    // The repo has the same name as before: only this issue has moved.
    let error = tracker.issue(&two).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound, "{}", said(&error));
    assert!(error.chain().contains("o/r#2 was transferred: it is at "), "{}", said(&error));
    let labels = Labels { add: vec![READY.to_owned()], remove: vec![] };
    assert!(tracker.label(&two, &labels).await.is_err());
    home.done("an_issue_that_was_deleted_or_moved_is_not_read");
}

#[tokio::test]
async fn an_issue_that_others_wait_for_is_not_open_for_ever_once_it_is_deleted() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    assert_eq!(tracker.blocker(&issue.repo, &issue).await.unwrap(), BlockerState::Open);
    home.sim.with(|world| world.delete_issue(&issue));
    // No list shows the deletion.
    home.later(16 * 60);
    let error = tracker.blocker(&issue.repo, &issue).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound, "{}", said(&error));
    home.done("a_deleted_blocker");
}

#[tokio::test]
async fn texts_however_long_make_no_issue_unreadable() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    home.sim.with(|world| {
        for _ in 0..110 {
            world.write_comment(&issue, &"x".repeat(200_000), &person("eve"));
        }
        world.set_label(&issue, READY, false, &person("bea"));
    });
    home.later(90);
    let tracker = home.tracker();
    assert_eq!(tracker.comments(&issue).await.unwrap().len(), 110);
    assert_eq!(tracker.issue(&issue).await.unwrap().events.len(), 2, "the last one is there");
    let sizes = home.requests().into_iter().filter(|one| one.target.contains("per_page=25"));
    assert_eq!(sizes.count(), 2 * 5);
    home.done("long_texts");
}

#[tokio::test]
async fn texts_however_long_make_no_repo_unreadable() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let tracker = home.tracker();
    let is_ready = async || {
        let ready = tracker.ready(&issue.repo, READY).await;
        ready.unwrap_or_else(|error| panic!("{}", said(&error))).len()
    };
    assert_eq!(is_ready().await, 1);
    home.later(90);
    // More than are read at once.
    let long = "\n".repeat(250_000);
    home.sim.with(|world| {
        world.set_label(&issue, READY, false, &person("bea"));
        for n in 2..=60 {
            world.file(&format!("o/r#{n}"), &long, &[], "eve");
        }
    });
    assert_eq!(is_ready().await, 0);
    let pieces = |home: &OnGitHub| {
        let of_list = home.requests().into_iter().filter(|one| one.target.contains("per_page=10&"));
        of_list.count()
    };
    assert_eq!(pieces(&home), 4);
    // While the page cannot be read as a whole, every change is noticed all the same.
    home.later(90);
    home.sim.with(|world| world.set_label(&issue, READY, true, &person("bea")));
    assert_eq!(is_ready().await, 1);
    assert_eq!(pieces(&home), 4);
    home.done("long_lists");
}

#[tokio::test]
async fn a_probe_that_breaks_off_loses_no_change() {
    let home = OnGitHub::new();
    let tracker = home.tracker();
    let change = |range: std::ops::RangeInclusive<u32>, on: bool| {
        home.sim.with(|world| {
            for n in range {
                let issue = format!("o/r#{n}").parse().unwrap();
                world.set_label(&issue, READY, on, &person("bea"));
            }
        });
    };
    home.sim.with(|world| {
        for n in 1..=100 {
            world.file(&format!("o/r#{n}"), "More.", &[READY], "ann");
        }
    });
    assert_eq!(tracker.ready(&repo("o/r"), READY).await.unwrap().len(), 100);
    home.later(90);
    change(1..=60, false);
    home.fake.fail_second(Route::Issues, Fault::Status(500));
    assert!(tracker.ready(&repo("o/r"), READY).await.is_err());
    assert_eq!(tracker.ready(&repo("o/r"), READY).await.unwrap().len(), 40);
    home.done("a_probe_that_breaks_off");
}

#[tokio::test]
async fn a_limit_is_kept_to_by_every_process_at_once() {
    let home = OnGitHub::new();
    let issue = home.released("o/r#1");
    let (one, other) = (home.restarted(), home.restarted());
    let (one, other) = (tracker(&one), tracker(&other));
    for tracker in [&one, &other] {
        assert_eq!(tracker.ready(&issue.repo, READY).await.unwrap().len(), 1);
    }
    home.later(90);
    // The limit is met by a request that is not a probe.
    home.fake.fail(Route::Permission, Fault::RetryAfter(600));
    assert!(one.permission(&issue.repo, &person("ann")).await.is_err());
    home.requests();
    let error = other.ready(&issue.repo, READY).await.unwrap_err();
    assert!(error.reset().is_some(), "{}", said(&error));
    assert_eq!(home.requests(), []);
    home.later(600);
    assert_eq!(other.ready(&issue.repo, READY).await.unwrap().len(), 1);
    home.done("a_limit_of_every_process");
}

#[tokio::test]
async fn enterprise_server_has_its_apis_below_one_address() {
    let mut home = OnGitHub::new();
    home.table["url"] = home.fake.enterprise_url().into();
    let forges = home.restarted();
    let tracker = crate::support::tracker(&forges);
    home.sim.with(|world| {
        for n in 1..=130 {
            world.file(&format!("o/r#{n}"), "More.", &[READY], "ann");
        }
    });
    assert_eq!(tracker.ready(&repo("o/r"), READY).await.unwrap().len(), 130);
    assert_eq!(tracker.issue(&"o/r#7".parse().unwrap()).await.unwrap().events.len(), 1);
    assert!(home.requests().iter().all(|one| one.target.starts_with("/api/")));
    home.done("enterprise_server_has_its_apis_below_one_address");
}

/// The pull request of a branch that was pushed.
fn pushed(home: &OnGitHub) -> PullSpec {
    home.sim.with(|world| {
        let (repo, branch) = (repo("o/r"), "afk/try/1/1".to_owned());
        world.somebody_lands(&repo, &[("README.md", "hello")]);
        let commit = world.git.remotes[&repo].clone();
        world.git.branches.insert((repo.clone(), branch.clone()), commit.clone());
        let (title, body, onto) = ("Say".to_owned(), "It says.".to_owned(), "main".to_owned());
        PullSpec { repo, branch, commit, onto, title, body }
    })
}

#[tokio::test]
async fn a_pull_request_that_people_take_their_time_for_costs_nothing_of_the_quota() {
    let home = OnGitHub::new();
    let spec = pushed(&home);
    home.forges.open(&spec).await.unwrap();
    home.requests();
    let looked = async |status: u16| {
        home.later(30);
        let seen = home.forges.look(&spec.repo, &spec.branch).await.unwrap();
        assert_eq!(statuses(&home, Route::Pulls), [status]);
        seen.state
    };
    for status in [200, 304, 304] {
        assert_eq!(looked(status).await, PullState::Open);
    }
    home.sim.with(|world| world.people_merge(&spec.repo));
    for status in [200, 200] {
        assert!(matches!(looked(status).await, PullState::Merged { .. }));
    }
    home.done("a_pull_request_that_people_take_their_time_for");
}

#[tokio::test]
async fn a_pull_request_is_not_opened_twice_where_the_first_answer_was_lost() {
    let home = OnGitHub::new();
    let spec = pushed(&home);
    home.fake.fail(Route::OpenPull, Fault::Lost(502));
    assert!(home.forges.open(&spec).await.is_err());
    home.forges.open(&spec).await.unwrap();
    assert_eq!(home.sim.with(|world| world.pulls.opened.len()), 1);
    home.done("a_pull_request_is_not_opened_twice");
}

/// Tests the fake itself: it must be able to refuse.
#[test]
fn what_nobody_may_send_is_refused() {
    let check = |request: &str, expected: &str| {
        let sim = Sim::new(world());
        let fake = GitHubFake::start(&sim, Login::Token(TOKEN.to_owned())).unwrap();
        let address = fake.url().replace("http://", "");
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let whole = format!("{request}\r\nhost: x\r\nconnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, whole.as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        let wrong = sim.with(|world| std::mem::take(&mut world.wrong));
        assert!(wrong.iter().any(|one| one.contains(expected)), "{request}: {wrong:?}");
    };
    let good = format!(
        "user-agent: x\r\naccept: application/vnd.github+json\r\nauthorization: Bearer {TOKEN}"
    );
    let version = "x-github-api-version: 2022-11-28";
    check(&format!("GET /user HTTP/1.1\r\n{good}"), "version");
    check(&format!("GET /teams HTTP/1.1\r\n{good}\r\n{version}"), "no such operation");
    check(
        &format!("GET /repos/o/r/issues?status=open HTTP/1.1\r\n{good}\r\n{version}"),
        "no parameter status",
    );
    check(
        &format!(
            "GET /user HTTP/1.1\r\nuser-agent: x\r\naccept: application/vnd.github+json\r\n{version}"
        ),
        "no credential",
    );
    let body = r#"{"labels":[]}"#;
    check(
        &format!(
            "PATCH /repos/o/r/issues/1 HTTP/1.1\r\n{good}\r\n{version}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
        "no field labels",
    );
}

#[tokio::test]
async fn a_home_that_is_gone_may_come_back() {
    let home = OnGitHub::new();
    let tracker = home.tracker();
    drop(home);
    let error = tracker.ready(&repo("o/r"), READY).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Transient, "{}", said(&error));
}
