//! Who may release an issue, over HTTP, on a forge that does not say who edited a body.
//!
//! As for GitHub, the expectation is computed forwards in time, as by a person who watches the
//! issue. There are two readers: one reads after everything that happens, the other only at the
//! end.

use std::collections::BTreeMap;

use afk_core::ids::{Actor, IssueRef};
use afk_core::issue::Permission;
use afk_core::trust::{OnBehalf, Trust, TrustPolicy, trust};
use afk_fakes::forgejo::Kind;
use afk_sim::world::{World, person};
use jiff::SignedDuration;

use crate::support::{OnForgejo, READY, world};

/// Somebody who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Admin,
    Writer,
    Reader,
    Stranger,
    /// Somebody whose permission cannot be read.
    Hidden,
    /// A stranger who is listed by id.
    Listed,
    /// An account that does not exist any more.
    Nobody,
}

const EVERYBODY: [Who; 7] =
    [Who::Admin, Who::Writer, Who::Reader, Who::Stranger, Who::Hidden, Who::Listed, Who::Nobody];

/// One of each kind that matters when two things happen.
const SOME: [Who; 4] = [Who::Writer, Who::Stranger, Who::Hidden, Who::Nobody];

impl Who {
    fn actor(self) -> Actor {
        match self {
            Self::Admin => person("bea"),
            Self::Writer | Self::Nobody => person("ann"),
            Self::Reader => person("rea"),
            Self::Stranger => person("eve"),
            Self::Hidden => person("hid"),
            Self::Listed => person("lis"),
        }
    }

    fn is_trusted(self) -> bool {
        match self {
            Self::Admin | Self::Writer | Self::Listed => true,
            Self::Reader | Self::Stranger | Self::Hidden | Self::Nobody => false,
        }
    }
}

/// Something that happens to an issue, in a second of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The label is put on.
    Put(Who),
    /// The label is taken off.
    Take(Who),
    /// The body is changed.
    Body(Who),
    /// The title is changed.
    Title(Who),
    /// Somebody comments. Nothing tells whether the body was changed before that.
    Comment(Who),
    /// The label is deleted, with its events.
    Deleted,
}

/// Whether the issue of `author` is released after the steps, computed forwards in time. `watched`
/// says whether it was read after each.
fn expected(author: Who, steps: &[Step], watched: bool) -> bool {
    let (mut on, mut released) = (false, false);
    for step in steps {
        match step {
            Step::Put(who) if !on => (on, released) = (true, who.is_trusted()),
            Step::Put(_) => {}
            Step::Take(_) | Step::Deleted => (on, released) = (false, false),
            // Whoever it was, since the server does not tell.
            Step::Body(_) if watched => released = false,
            Step::Title(who) if !who.is_trusted() => released = false,
            Step::Body(_) | Step::Title(_) | Step::Comment(_) => {}
        }
    }
    // Any update after the label may have been an edit, which is taken to be the author's.
    let last = steps.iter().rposition(|step| matches!(step, Step::Put(_)));
    let touched = last.is_some_and(|last| last + 1 < steps.len());
    released && (watched || !touched || author.is_trusted())
}

/// All sequences of steps that are tried.
fn stories() -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    let happens = |people: &[Who]| {
        let mut steps: Vec<Vec<Step>> = Vec::new();
        for &who in people {
            steps.extend([vec![Step::Body(who)], vec![Step::Title(who)], vec![Step::Comment(who)]]);
            steps.push(vec![Step::Take(Who::Writer), Step::Put(who)]);
        }
        steps.extend([vec![Step::Take(Who::Stranger)], vec![Step::Deleted]]);
        steps
    };
    for labeller in EVERYBODY {
        all.push(vec![Step::Put(labeller)]);
        for step in happens(&EVERYBODY) {
            all.push([vec![Step::Put(labeller)], step.clone()].concat());
            all.push([step, vec![Step::Put(labeller)]].concat());
        }
    }
    // Two things after a writer's label, in both orders.
    for first in happens(&SOME) {
        for second in happens(&SOME) {
            all.push([vec![Step::Put(Who::Writer)], first.clone(), second].concat());
        }
    }
    // A label is only deleted once, and only if it is there.
    all.retain(|steps| {
        let deleted = steps.iter().filter(|step| **step == Step::Deleted).count();
        deleted == 0 || (deleted == 1 && steps.last() == Some(&Step::Deleted))
    });
    all
}

/// Does a step in the world.
fn play(home: &OnForgejo, issue: &IssueRef, step: Step, nth: usize) {
    let act = |act: &dyn Fn(&mut World, &Actor), who: Who| {
        home.sim.with(|world| {
            let before = world.tracker.issues[issue].events.len();
            act(world, &who.actor());
            let record = world.tracker.issues.get_mut(issue).unwrap();
            for event in &mut record.events[before..] {
                event.actor.take_if(|_| who == Who::Nobody);
            }
        });
    };
    match step {
        Step::Put(who) => {
            let put = |world: &mut World, by: &Actor| {
                world.set_label(issue, READY, true, by);
            };
            act(&put, who);
        }
        Step::Take(who) => {
            let take = |world: &mut World, by: &Actor| {
                world.set_label(issue, READY, false, by);
            };
            act(&take, who);
        }
        Step::Body(who) => {
            let text = format!("Do something else, {nth}.");
            act(&|world, by| world.set_body(issue, &text, by), who);
        }
        Step::Title(who) => {
            let text = format!("Something else, {nth}");
            act(&|world, by| world.set_title(issue, &text, by), who);
        }
        Step::Comment(who) => {
            act(&|world, by| world.write_comment(issue, "What about this?", by), who);
        }
        Step::Deleted => home.fake.delete_label(&issue.repo, READY),
    }
    home.sim.advance(SignedDuration::from_secs(90));
}

async fn check(kind: Kind, author: Who, watched: bool) -> (usize, usize) {
    let mut world = world();
    world.tracker.permissions.insert("hid".to_owned(), Permission::Admin);
    world.tracker.unknown.insert("hid".to_owned());
    let home = OnForgejo::of(world, kind, true);
    let policy =
        TrustPolicy { allow_ids: [home.fake.account_id("lis")].into(), ..TrustPolicy::default() };
    let tracker = home.tracker();
    let (mut released, mut all) = (0, 0);
    for (n, steps) in stories().into_iter().enumerate() {
        // A repo each, since a label is deleted from all issues.
        let issue: IssueRef = format!("o/r{n}#1").parse().unwrap();
        let by = author.actor().login;
        home.sim.with(|world| world.file(&issue.to_string(), "Do it.", &[], &by));
        home.later(90);
        if watched {
            tracker.issue(&issue).await.unwrap();
        }
        for (nth, step) in steps.iter().enumerate() {
            play(&home, &issue, *step, nth);
            if watched {
                tracker.issue(&issue).await.unwrap();
            }
        }
        let view = tracker.issue(&issue).await.unwrap();
        let mut permissions = BTreeMap::new();
        for actor in view.events.iter().filter_map(|event| event.actor.as_ref()) {
            let permission = tracker.permission(&issue.repo, actor).await.ok();
            permissions.insert(actor.id.clone(), permission);
        }
        let of = |actor: &Actor| permissions.get(&actor.id).copied().flatten();
        let decided = trust(&view.events, READY, &policy, OnBehalf::NOBODY, &of);
        let is_trusted = matches!(decided, Trust::Trusted { .. });
        let should = expected(author, &steps, watched);
        assert_eq!(is_trusted, should, "{author:?} {steps:?} {watched}: {decided:?}");
        released += usize::from(is_trusted);
        all += 1;
    }
    home.done(&format!("trust_{kind:?}_{author:?}_{watched}"));
    (all, released)
}

#[tokio::test]
async fn every_release_that_was_watched_is_trusted_or_refused_as_a_person_would() {
    let (all, released) = check(Kind::Forgejo, Who::Stranger, true).await;
    println!("{all} stories, of which {released} release");
    assert!(all > 500 && released > 50, "{all} {released}");
}

#[tokio::test]
async fn what_may_have_been_edited_unseen_is_only_trusted_of_its_author() {
    let (all, by_stranger) = check(Kind::Forgejo, Who::Stranger, false).await;
    let (_, by_writer) = check(Kind::Gitea, Who::Writer, false).await;
    println!("{all} stories: {by_stranger} release a stranger's issue, {by_writer} a writer's");
    assert!(by_stranger > 20 && by_writer > 2 * by_stranger, "{by_stranger} {by_writer}");
}
