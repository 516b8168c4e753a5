//! The contract of every tracker and of everything that opens pull requests. Each test is written
//! once and run for the simulator's own fake and for each adapter over HTTP; where a forge cannot
//! tell something, the test says what it tells instead.
//!
//! Accounts are compared by name: their ids differ between systems.

use std::sync::Arc;

use afk_core::comment::marker;
use afk_core::ids::{IssueRef, RepoName};
use afk_core::issue::{BlockerState, IssueChange, Permission};
use afk_core::run::PullState;
use afk_engine::ports::{Clock as _, Labels, PortErrorKind, PullRequests, PullSpec, Tracker};
use afk_fakes::forgejo::{ForgejoFake, Kind};
use afk_sim::fakes::Sim;
use afk_sim::world::{World, person};
use jiff::SignedDuration;

use crate::support::{Fake, Home, OnForgejo, OnGitHub, READY, login, repo, run, world};

/// The ports of one system under test, and the world behind them.
struct Door<'a> {
    sim: Sim,
    tracker: Arc<dyn Tracker>,
    pulls: Arc<dyn PullRequests>,
    /// The fake behind the ports, if it is a Forgejo or a Gitea.
    forgejo: Option<&'a ForgejoFake>,
}

impl Door<'static> {
    fn in_memory() -> Self {
        let sim = Sim::new(world());
        let ports = sim.ports();
        Self { sim, tracker: ports.tracker, pulls: ports.pulls, forgejo: None }
    }
}

impl<'a> Door<'a> {
    fn over_http<F: Fake>(home: &Home<F>, forgejo: Option<&'a ForgejoFake>) -> Self {
        let tracker = home.tracker();
        let pulls = Arc::new(home.restarted());
        Self { sim: home.sim.clone(), tracker, pulls, forgejo }
    }

    /// Changes the world, and lets so much time pass that every cache is read anew.
    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let changed = self.sim.with(change);
        self.sim.advance(SignedDuration::from_secs(90));
        changed
    }

    /// Reads an issue, so that it is cached.
    async fn seen(&self, issue: &IssueRef) {
        self.tracker.issue(issue).await.unwrap();
    }

    /// The events of the issue so far, in words.
    async fn events(&self, name: &str) -> Vec<String> {
        let view = self.tracker.issue(&name.parse().unwrap()).await.unwrap();
        let told = view.events.iter().map(|event| {
            let what = match &event.what {
                IssueChange::Labeled { label } => format!("+{label}"),
                IssueChange::Unlabeled { label } => format!("-{label}"),
                other => format!("{other:?}"),
            };
            format!("{what} {}", login(event.actor.as_ref()))
        });
        told.collect()
    }
}

macro_rules! contract {
    ($($name:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Door::in_memory()).await;
            })*
        }
        mod github {
            $(#[tokio::test]
            async fn $name() {
                let home = super::OnGitHub::new();
                super::$name(&super::Door::over_http(&home, None)).await;
                home.done(concat!("github_", stringify!($name)));
            })*
        }
        mod forgejo {
            $(#[tokio::test]
            async fn $name() {
                let home = super::OnForgejo::new(super::Kind::Forgejo);
                super::$name(&super::Door::over_http(&home, Some(&home.fake))).await;
                home.done(concat!("forgejo_", stringify!($name)));
            })*
        }
        mod gitea {
            $(#[tokio::test]
            async fn $name() {
                let home = super::OnForgejo::new(super::Kind::Gitea);
                super::$name(&super::Door::over_http(&home, Some(&home.fake))).await;
                home.done(concat!("gitea_", stringify!($name)));
            })*
        }
    };
}

contract! {
    open_issues_with_the_label_are_ready
    an_issue_is_shown_with_what_happened_to_it
    a_label_set_again_within_the_second_is_seen
    comments_edited_within_the_second_are_seen
    an_issue_that_is_not_there_is_not_found
    an_issue_that_is_gone_is_in_no_list
    permissions_are_the_repos
    a_permission_that_cannot_be_read_is_an_error
    blockers_are_open_closed_or_unreadable
    labels_are_put_and_taken_once
    comments_are_in_the_order_in_which_they_were_written
    comments_of_a_repo_begin_with_the_time_that_is_named
    our_own_comment_is_found_and_edited
    a_comment_that_somebody_edited_says_so
    an_issue_is_closed_and_opened_once
    a_pull_request_is_opened_once_and_found_by_its_branch
    a_pull_request_is_closed_once
    a_merged_pull_request_names_its_commit
    a_pull_request_outlives_its_branch
}

async fn open_issues_with_the_label_are_ready(door: &Door<'_>) {
    door.change(|world| {
        world.file("o/r#1", "One.", &[READY], "ann");
        world.file("o/r#2", "Two.", &["bug"], "ann");
        world.file("o/r#3", "Three.", &[READY, "bug"], "ann");
        world.file("o/other#4", "Four.", &[READY], "ann");
        let closed = world.file("o/r#5", "Five.", &[READY], "ann");
        world.set_open(&closed, false, &person("ann"));
    });
    let ready = async |label: &str| {
        let mut ready = door.tracker.ready(&repo("o/r"), label).await.unwrap();
        ready.sort_by_key(|issue| issue.issue.number);
        let labelled = door.tracker.labelled(&repo("o/r"), label).await.unwrap();
        assert_eq!(labelled.len(), ready.len());
        ready.iter().map(|issue| (issue.issue.number, issue.body.clone())).collect::<Vec<_>>()
    };
    assert_eq!(ready(READY).await, [(1, "One.".into()), (3, "Three.".into())]);
    assert_eq!(ready("nobody-has-it").await, []);
    door.change(|world| {
        world.set_label(&"o/r#1".parse().unwrap(), READY, false, &person("ann"));
        world.set_label(&"o/r#2".parse().unwrap(), READY, true, &person("ann"));
        world.set_open(&"o/r#5".parse().unwrap(), true, &person("ann"));
    });
    assert_eq!(ready(READY).await.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2, 3, 5]);
}

async fn an_issue_is_shown_with_what_happened_to_it(door: &Door<'_>) {
    let issue = door.change(|world| world.file("o/r#1", "One.", &[READY], "ann"));
    door.seen(&issue).await;
    door.change(|world| world.file("o/r#2", "Two.", &[], "ann"));
    door.change(|world| world.set_title(&issue, "Other work", &person("bea")));
    door.change(|world| world.set_label(&issue, READY, false, &person("tim")));
    door.change(|world| world.set_label(&issue, READY, true, &person("mel")));
    door.change(|world| {
        world.tracker.issues.get_mut(&issue).unwrap().blockers = vec!["o/r#2".parse().unwrap()];
    });
    door.change(|world| world.set_label(&issue, "bug", true, &person("rea")));
    let mut view = door.tracker.issue(&issue).await.unwrap();
    assert_eq!((view.issue.title.as_str(), view.issue.body.as_str()), ("Other work", "One."));
    view.issue.labels.sort();
    assert_eq!((view.issue.labels, view.issue.open), (vec!["bug".into(), READY.to_owned()], true));
    assert_eq!(view.native_blockers, ["o/r#2".parse().unwrap()]);
    let times: Vec<_> = view.events.iter().map(|event| event.at.as_second()).collect();
    assert!(times.is_sorted() && times.len() == 5, "{times:?}");
    assert_eq!(
        door.events("o/r#1").await,
        [
            format!("+{READY} ann"),
            "Renamed bea".into(),
            format!("-{READY} tim"),
            format!("+{READY} mel"),
            "+bug rea".into(),
        ]
    );
    // An edit of the body is among the events, with its author.
    door.change(|world| world.set_body(&issue, "Another one.", &person("bea")));
    let view = door.tracker.issue(&issue).await.unwrap();
    assert_eq!(view.issue.body, "Another one.");
    let last = view.events.last().unwrap();
    // Forgejo does not say who it was.
    let by = if door.forgejo.is_some() { "nobody" } else { "bea" };
    assert_eq!((&last.what, login(last.actor.as_ref())), (&IssueChange::Edited, by));
}

/// Forges date updates in whole seconds: the issue's entry is the same before and afterwards.
async fn a_label_set_again_within_the_second_is_seen(door: &Door<'_>) {
    let issue = door.sim.with(|world| world.file("o/r#1", "One.", &[READY], "eve"));
    assert_eq!(door.events("o/r#1").await, [format!("+{READY} eve")]);
    door.change(|world| {
        world.set_label(&issue, READY, false, &person("eve"));
        world.set_label(&issue, READY, true, &person("ann"));
    });
    let set = [format!("+{READY} eve"), format!("-{READY} eve"), format!("+{READY} ann")];
    assert_eq!(door.events("o/r#1").await, set);
}

async fn comments_edited_within_the_second_are_seen(door: &Door<'_>) {
    let issue = door.change(|world| world.file("o/r#1", "One.", &[READY], "ann"));
    door.seen(&issue).await;
    let id = door.tracker.comment(&issue, run(), &marker(run())).await.unwrap();
    assert_eq!(door.tracker.comments(&issue).await.unwrap().len(), 1);
    let edited = format!("{} edited", marker(run()));
    door.change(|world| {
        let record = world.tracker.issues.get_mut(&issue).unwrap();
        record.comments[0].body.clone_from(&edited);
    });
    let comments = door.tracker.comments(&issue).await.unwrap();
    assert_eq!((comments[0].id.as_str(), comments[0].body.as_str()), (id.as_str(), &*edited));
}

async fn an_issue_that_is_not_there_is_not_found(door: &Door<'_>) {
    let issue = door.change(|world| world.file("o/r#1", "One.", &[READY], "ann"));
    assert!(door.tracker.issue(&issue).await.is_ok());
    door.change(|world| world.delete_issue(&issue));
    door.tracker.forget(&issue);
    let error = door.tracker.issue(&issue).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
    let error = door.tracker.comments(&issue).await.unwrap_err();
    // Gitea answers 500 here.
    let gitea = door.forgejo.is_some() && error.chain().contains("500");
    assert!(error.kind == PortErrorKind::NotFound || gitea, "{}", error.chain());
}

/// Forges do not show the deletion or transfer of an issue among the issues that changed.
async fn an_issue_that_is_gone_is_in_no_list(door: &Door<'_>) {
    let (one, two) = door.change(|world| {
        let one = world.file("o/r#1", "One.", &[READY, "busy"], "ann");
        (one, world.file("o/r#2", "Two.", &[READY], "ann"))
    });
    let listed = async |label: &str| {
        let mut all = door.tracker.labelled(&repo("o/r"), label).await.unwrap();
        all.sort();
        all
    };
    assert_eq!(listed(READY).await, [one.clone(), two.clone()]);
    assert_eq!(listed("busy").await, std::slice::from_ref(&one));
    door.change(|world| world.delete_issue(&one));
    door.tracker.forget(&one);
    let error = door.tracker.issue(&one).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::NotFound);
    assert_eq!(listed(READY).await, [two]);
    assert_eq!(listed("busy").await, []);
}

async fn permissions_are_the_repos(door: &Door<'_>) {
    let issue = door.change(|world| world.file("o/r#1", "One.", &[], "ann"));
    door.seen(&issue).await;
    let all = [
        ("ann", Permission::Write),
        ("bea", Permission::Admin),
        ("mel", Permission::Maintain),
        ("tim", Permission::Triage),
        ("rea", Permission::Read),
        ("eve", Permission::None),
    ];
    for (who, _) in all {
        door.change(|world| world.set_label(&issue, who, true, &person(who)));
    }
    let view = door.tracker.issue(&issue).await.unwrap();
    for (event, (who, expected)) in view.events.iter().zip(all) {
        let actor = event.actor.as_ref().unwrap();
        let permission = door.tracker.permission(&repo("o/r"), actor).await.unwrap();
        // Forgejo has neither of these permissions: Maintain is Write there, and Triage is Read.
        let expected = match expected {
            Permission::Maintain if door.forgejo.is_some() => Permission::Write,
            Permission::Triage if door.forgejo.is_some() => Permission::Read,
            other => other,
        };
        assert_eq!((permission, actor.bot), (expected, false), "{who}");
    }
}

async fn a_permission_that_cannot_be_read_is_an_error(door: &Door<'_>) {
    let issue = door.change(|world| {
        world.tracker.unknown.insert("ann".to_owned());
        world.file("o/r#1", "One.", &[READY], "ann")
    });
    let view = door.tracker.issue(&issue).await.unwrap();
    let ann = view.events[0].actor.clone().unwrap();
    assert!(door.tracker.permission(&repo("o/r"), &ann).await.is_err());
}

async fn blockers_are_open_closed_or_unreadable(door: &Door<'_>) {
    door.change(|world| {
        world.file("o/r#1", "One.", &[], "ann");
        let two = world.file("o/r#2", "Two.", &[], "ann");
        world.file("o/other#3", "Three.", &[], "ann");
        world.set_open(&two, false, &person("ann"));
    });
    let state = async |name: &str| {
        let state = door.tracker.blocker(&repo("o/r"), &name.parse().unwrap()).await;
        state.unwrap_or(BlockerState::Unreadable)
    };
    assert_eq!(state("o/r#1").await, BlockerState::Open);
    assert_eq!(state("o/r#2").await, BlockerState::Closed);
    assert_eq!(state("o/other#3").await, BlockerState::Open);
    assert_eq!(state("o/r#9").await, BlockerState::Unreadable);
    door.change(|world| {
        world.set_open(&"o/r#1".parse().unwrap(), false, &person("ann"));
        world.set_open(&"o/other#3".parse().unwrap(), false, &person("ann"));
        world.set_open(&"o/r#2".parse().unwrap(), true, &person("ann"));
    });
    assert_eq!(state("o/r#1").await, BlockerState::Closed);
    assert_eq!(state("o/r#2").await, BlockerState::Open);
    assert_eq!(state("o/other#3").await, BlockerState::Closed);
}

async fn labels_are_put_and_taken_once(door: &Door<'_>) {
    let issue = door.change(|world| world.file("o/r#1", "One.", &[READY], "ann"));
    door.seen(&issue).await;
    let own = door.tracker.own_account(&repo("o/r")).await.unwrap();
    let labels = Labels {
        add: vec!["agent-in-progress".into(), "a b/c".into()],
        remove: vec![READY.into(), "never there".into()],
    };
    if let Some(forgejo) = door.forgejo {
        // There, to put a label on an issue does not create it.
        let missing = door.tracker.label(&issue, &labels).await.unwrap_err();
        assert!(missing.chain().contains("doctor --fix"), "{}", missing.chain());
        labels.add.iter().for_each(|label| forgejo.add_label(&issue.repo, label));
    }
    for _ in 0..2 {
        door.tracker.label(&issue, &labels).await.unwrap();
        door.sim.advance(SignedDuration::from_secs(90));
    }
    let expected = [
        format!("+{READY} ann"),
        format!("+agent-in-progress {}", own.login),
        format!("+a b/c {}", own.login),
        format!("-{READY} {}", own.login),
    ];
    assert_eq!(door.events("o/r#1").await, expected);
    let mut view = door.tracker.issue(&issue).await.unwrap();
    view.issue.labels.sort();
    assert_eq!(view.issue.labels, ["a b/c", "agent-in-progress"]);
    let nothing = Labels::default();
    door.tracker.label(&issue, &nothing).await.unwrap();
}

async fn comments_are_in_the_order_in_which_they_were_written(door: &Door<'_>) {
    let issue = door.change(|world| world.file("o/r#1", "One.", &[READY], "ann"));
    assert_eq!(door.tracker.comments(&issue).await.unwrap(), []);
    door.change(|world| world.write_comment(&issue, "first", &person("ann")));
    door.change(|world| world.write_comment(&issue, "second", &person("eve")));
    let told = async || {
        let comments = door.tracker.comments(&issue).await.unwrap();
        let told =
            comments.iter().map(|one| format!("{} {}", login(one.author.as_ref()), one.body));
        told.collect::<Vec<_>>()
    };
    assert_eq!(told().await, ["ann first", "eve second"]);
    door.change(|world| world.write_comment(&issue, "third", &person("bea")));
    assert_eq!(told().await, ["ann first", "eve second", "bea third"]);
}

async fn comments_of_a_repo_begin_with_the_time_that_is_named(door: &Door<'_>) {
    let (one, two) = door.change(|world| {
        let other = world.file("o/other#3", "Three.", &[], "ann");
        world.write_comment(&other, "elsewhere", &person("ann"));
        (world.file("o/r#1", "One.", &[], "ann"), world.file("o/r#2", "Two.", &[], "ann"))
    });
    door.change(|world| world.write_comment(&one, "long ago", &person("ann")));
    // A comment within the second of `since` is to be found.
    let since = door.sim.now();
    door.sim.advance(SignedDuration::from_millis(200));
    door.change(|world| world.write_comment(&two, "in the second", &person("ann")));
    door.change(|world| world.write_comment(&one, "later", &person("eve")));
    let told = async |since| {
        let all = door.tracker.comments_since(&repo("o/r"), since).await.unwrap();
        let told = all.iter().map(|(issue, comment)| format!("{issue} {}", comment.body));
        told.collect::<Vec<_>>()
    };
    assert_eq!(told(since).await, ["o/r#2 in the second", "o/r#1 later"]);
    // The cached answer is right for a later time, too.
    assert_eq!(told(since + SignedDuration::from_secs(60)).await, ["o/r#1 later"]);
    door.change(|world| world.write_comment(&two, "last", &person("bea")));
    assert_eq!(told(since).await, ["o/r#2 in the second", "o/r#1 later", "o/r#2 last"]);
    let first = told(since - SignedDuration::from_secs(600)).await;
    assert_eq!(first.first().map(String::as_str), Some("o/r#1 long ago"));
}

async fn our_own_comment_is_found_and_edited(door: &Door<'_>) {
    let issue = door.change(|world| world.file("o/r#1", "One.", &[READY], "ann"));
    let text = |what: &str| format!("{what}\n{}\n", marker(run()));
    door.change(|world| world.write_comment(&issue, &text("not ours"), &person("eve")));
    let id = door.tracker.comment(&issue, run(), &text("ours")).await.unwrap();
    door.sim.advance(SignedDuration::from_secs(90));
    door.tracker.edit_comment(&issue, &id, &text("edited")).await.unwrap();
    let own = door.tracker.own_account(&repo("o/r")).await.unwrap();
    let comments = door.tracker.comments(&issue).await.unwrap();
    let found = afk_core::comment::find(&comments, run(), &own.id).unwrap();
    assert_eq!((found.id.clone(), found.body.clone()), (id, text("edited")));
    assert_eq!(comments.len(), 2);
}

async fn a_comment_that_somebody_edited_says_so(door: &Door<'_>) {
    let issue = door.change(|world| world.file("o/r#1", "One.", &[READY], "ann"));
    let since = door.sim.now();
    door.change(|world| world.write_comment(&issue, "/afk stop", &person("ann")));
    door.change(|world| world.write_comment(&issue, "Thanks.", &person("ann")));
    door.change(|world| world.rewrite_comment(&issue, "Thanks.", "/afk retry"));
    let expected = [("/afk stop".to_owned(), false), ("/afk retry".to_owned(), true)];
    let all = door.tracker.comments(&issue).await.unwrap();
    let told = all.into_iter().map(|comment| (comment.body, comment.edited));
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let all = door.tracker.comments_since(&repo("o/r"), since).await.unwrap();
    let told = all.into_iter().map(|(_, comment)| (comment.body, comment.edited));
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

async fn an_issue_is_closed_and_opened_once(door: &Door<'_>) {
    let issue = door.change(|world| world.file("o/r#1", "One.", &[], "ann"));
    door.seen(&issue).await;
    let own = door.tracker.own_account(&repo("o/r")).await.unwrap().login;
    for _ in 0..2 {
        door.tracker.close(&issue).await.unwrap();
        door.sim.advance(SignedDuration::from_secs(90));
    }
    assert!(!door.tracker.issue(&issue).await.unwrap().issue.open);
    for _ in 0..2 {
        door.tracker.reopen(&issue).await.unwrap();
        door.sim.advance(SignedDuration::from_secs(90));
    }
    assert!(door.tracker.issue(&issue).await.unwrap().issue.open);
    assert_eq!(door.events("o/r#1").await, [format!("Closed {own}"), format!("Reopened {own}")]);
}

/// Pushes a branch with a commit, and describes a pull request for it.
fn pushed(door: &Door<'_>) -> PullSpec {
    pushed_to(door, "afk/try/1/1")
}

/// The same for a branch of that name.
fn pushed_to(door: &Door<'_>, branch: &str) -> PullSpec {
    let (repo, branch) = (repo("o/r"), branch.to_owned());
    let commit = door.change(|world| {
        world.somebody_lands(&repo, &[("README.md", "hello")]);
        let commit = world.git.remotes[&repo].clone();
        world.git.branches.insert((repo.clone(), branch.clone()), commit.clone());
        commit
    });
    let (title, body) = ("Say two".to_owned(), "It says two.".to_owned());
    PullSpec { repo, branch, commit, onto: "main".to_owned(), title, body }
}

async fn a_pull_request_is_opened_once_and_found_by_its_branch(door: &Door<'_>) {
    let spec = pushed(door);
    let missing = door.pulls.look(&spec.repo, &spec.branch).await.unwrap_err();
    assert_eq!(missing.kind, PortErrorKind::NotFound);
    let opened = door.pulls.open(&spec).await.unwrap();
    assert_eq!(opened.state, PullState::Open);
    assert!(opened.link.starts_with("https://"), "{}", opened.link);
    door.sim.advance(SignedDuration::from_secs(90));
    assert_eq!(door.pulls.open(&spec).await.unwrap(), opened);
    assert_eq!(door.pulls.look(&spec.repo, &spec.branch).await.unwrap(), opened);
    let opened = door.sim.with(|world| world.pulls.opened.clone());
    assert_eq!(opened, std::slice::from_ref(&spec.branch));
    // A pull request is not listed as an issue.
    door.change(|world| world.file("o/r#1", "One.", &[READY], "ann"));
    assert_eq!(door.tracker.ready(&spec.repo, READY).await.unwrap().len(), 1);
}

async fn a_pull_request_is_closed_once(door: &Door<'_>) {
    let spec = pushed(door);
    door.pulls.open(&spec).await.unwrap();
    for _ in 0..2 {
        door.pulls.close(&spec.repo, &spec.branch).await.unwrap();
        let seen = door.pulls.look(&spec.repo, &spec.branch).await.unwrap();
        assert_eq!(seen.state, PullState::Closed);
    }
    // A pull request that people closed is not opened again.
    assert_eq!(door.pulls.open(&spec).await.unwrap().state, PullState::Closed);
}

async fn a_merged_pull_request_names_its_commit(door: &Door<'_>) {
    let spec = pushed(door);
    door.pulls.open(&spec).await.unwrap();
    door.change(|world| world.people_merge(&spec.repo));
    let merged = door.sim.with(|world| world.git.remotes[&spec.repo].clone());
    let seen = door.pulls.look(&spec.repo, &spec.branch).await.unwrap();
    assert_eq!(seen.state, PullState::Merged { commit: merged });
    door.pulls.close(&spec.repo, &spec.branch).await.unwrap();
    let after = door.pulls.look(&spec.repo, &spec.branch).await.unwrap();
    assert_eq!(after, seen, "what landed stays landed");
}

/// Forges offer to delete the branch of a pull request that was decided on, or delete it themselves.
async fn a_pull_request_outlives_its_branch(door: &Door<'_>) {
    let merge: fn(&mut World, &RepoName) = World::people_merge;
    let close: fn(&mut World, &RepoName) =
        |world, repo| world.people_close(repo, &PullState::Closed);
    for (branch, decide) in [("afk/try/1/1", merge), ("afk/try/2/1", close)] {
        let spec = pushed_to(door, branch);
        door.pulls.open(&spec).await.unwrap();
        door.change(|world| decide(world, &spec.repo));
        let decided = door.pulls.look(&spec.repo, branch).await.unwrap();
        assert_ne!(decided.state, PullState::Open, "{branch}");
        door.change(|world| world.git.branches.remove(&(spec.repo.clone(), spec.branch.clone())));
        assert_eq!(door.pulls.look(&spec.repo, branch).await.unwrap(), decided, "{branch}");
    }
}
