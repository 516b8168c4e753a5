//! Who may release an issue, over HTTP: every labeller, label and edit after it, in every order of
//! two.
//!
//! The expectation is computed forwards in time, as by a person who watches the issue: a trusted
//! label releases it, an edit by somebody who is not trusted spoils the release, a new label begins
//! anew. The core decides backwards, from what the adapter read.

use std::collections::BTreeMap;

use afk_core::ids::{Actor, IssueRef};
use afk_core::issue::Permission;
use afk_core::trust::{OnBehalf, Trust, TrustPolicy, trust};
use afk_fakes::github::{bot, through};
use afk_sim::world::{World, person};
use jiff::SignedDuration;

use crate::support::{OnGitHub, READY};

/// Somebody who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Admin,
    Maintainer,
    Writer,
    Triager,
    Reader,
    Stranger,
    /// Somebody whose permission cannot be read.
    Hidden,
    Bot,
    /// A bot that is listed by id.
    ListedBot,
    /// A writer through an app.
    Through,
    /// A writer through an app that is listed by id.
    ThroughListed,
    /// An account that does not exist any more.
    Nobody,
}

const EVERYBODY: [Who; 12] = [
    Who::Admin,
    Who::Maintainer,
    Who::Writer,
    Who::Triager,
    Who::Reader,
    Who::Stranger,
    Who::Hidden,
    Who::Bot,
    Who::ListedBot,
    Who::Through,
    Who::ThroughListed,
    Who::Nobody,
];
/// One of each kind that matters when two things happen.
const SOME: [Who; 5] = [Who::Writer, Who::Stranger, Who::Hidden, Who::Through, Who::Nobody];

impl Who {
    fn actor(self) -> Actor {
        match self {
            Self::Admin => person("bea"),
            Self::Maintainer => person("mel"),
            Self::Writer | Self::Nobody => person("ann"),
            Self::Triager => person("tim"),
            Self::Reader => person("rea"),
            Self::Stranger => person("eve"),
            Self::Hidden => person("hid"),
            Self::Bot => bot("helper"),
            Self::ListedBot => bot("listed"),
            Self::Through => through("ann", 66, "tool"),
            Self::ThroughListed => through("ann", 77, "listed-tool"),
        }
    }

    /// Whether a label or a title of theirs counts.
    fn is_trusted(self) -> bool {
        match self {
            Self::Admin | Self::Maintainer | Self::Writer => true,
            Self::ListedBot | Self::ThroughListed => true,
            Self::Triager | Self::Reader | Self::Stranger | Self::Hidden => false,
            Self::Bot | Self::Through | Self::Nobody => false,
        }
    }

    /// Whether an edit of the body counts: GitHub does not say through which app it was made.
    fn is_trusted_editor(self) -> bool {
        self == Self::Through || self.is_trusted()
    }
}

/// Something that happens to an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The label is put on.
    Put(Who),
    /// The label is taken off.
    Take(Who),
    /// The body is changed.
    Body(Who),
    /// The body is changed by a writer, and the text deleted from the history.
    Erased,
    /// The title is changed.
    Title(Who),
    /// Nothing: what follows happens in a later second.
    Tick,
}

/// Whether the issue is released after the steps, computed forwards in time.
fn expected(steps: &[Step]) -> bool {
    let (mut on, mut released) = (false, false);
    // Whether something untrusted happened in this second: it may have come after the label.
    let mut spoils = false;
    for step in steps {
        match step {
            Step::Tick => spoils = false,
            Step::Put(who) if !on => {
                on = true;
                released = who.is_trusted() && !spoils;
            }
            Step::Put(_) => {}
            Step::Take(_) => (on, released) = (false, false),
            Step::Body(who) if who.is_trusted_editor() => {}
            Step::Title(who) if who.is_trusted() => {}
            Step::Body(_) | Step::Title(_) | Step::Erased => (released, spoils) = (false, true),
        }
    }
    released
}

/// Does the steps in the world.
fn play(home: &OnGitHub, issue: &IssueRef, steps: &[Step]) {
    for step in steps {
        let act = |act: &dyn Fn(&mut World, &Actor), who: Who| {
            home.sim.with(|world| {
                let before = world.tracker.issues[issue].events.len();
                act(world, &who.actor());
                let record = world.tracker.issues.get_mut(issue).unwrap();
                for event in &mut record.events[before..] {
                    event.actor.take_if(|_| who == Who::Nobody);
                }
                record.events.len()
            })
        };
        match *step {
            Step::Tick => home.sim.advance(SignedDuration::from_secs(10)),
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
                act(&|world, by| world.set_body(issue, "Do something else.", by), who);
            }
            Step::Title(who) => {
                act(&|world, by| world.set_title(issue, "Something else", by), who);
            }
            Step::Erased => {
                let events =
                    act(&|world, by| world.set_body(issue, "Do something else.", by), Who::Writer);
                home.fake.delete_revision(issue, events - 1);
            }
        }
    }
}

/// All sequences of steps that are tried.
fn stories() -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    let again = |who: Who| vec![Step::Take(Who::Writer), Step::Tick, Step::Put(who)];
    let happens = |people: &[Who]| {
        let mut steps: Vec<Vec<Step>> = people.iter().map(|who| vec![Step::Body(*who)]).collect();
        steps.extend(people.iter().map(|who| vec![Step::Title(*who)]));
        steps.extend(people.iter().map(|who| again(*who)));
        steps.extend([vec![Step::Erased], vec![Step::Take(Who::Stranger)]]);
        steps
    };
    // Each labeller, and each thing that happens afterwards or just before.
    for labeller in EVERYBODY {
        all.push(vec![Step::Put(labeller)]);
        for step in happens(&EVERYBODY) {
            all.push([vec![Step::Put(labeller), Step::Tick], step].concat());
        }
        for step in happens(&SOME) {
            all.push([step.clone(), vec![Step::Tick, Step::Put(labeller)]].concat());
        }
    }
    // Two things after a writer's label, in both orders.
    for first in happens(&SOME) {
        for second in happens(&SOME) {
            let (label, tick) = (vec![Step::Put(Who::Writer), Step::Tick], vec![Step::Tick]);
            all.push([label, first.clone(), tick, second].concat());
        }
    }
    // Within the second of the label, before and after it.
    for who in EVERYBODY {
        for step in [Step::Body(who), Step::Title(who)] {
            all.push(vec![step, Step::Put(Who::Writer)]);
            all.push(vec![Step::Put(Who::Writer), step]);
            all.push(vec![step, Step::Put(Who::Writer), Step::Tick, Step::Title(Who::Writer)]);
        }
    }
    all
}

#[tokio::test]
async fn every_release_is_trusted_or_refused_as_a_person_would() {
    let home = OnGitHub::new();
    home.fake.leave(100_000);
    home.sim.with(|world| {
        world.tracker.permissions.insert("hid".to_owned(), Permission::Admin);
        world.tracker.unknown.insert("hid".to_owned());
    });
    let allow_ids = [home.fake.account_id("listed[bot]"), "app/77".to_owned()];
    let policy = TrustPolicy { allow_ids: allow_ids.into(), ..TrustPolicy::default() };
    let all: Vec<(IssueRef, Vec<Step>)> = stories()
        .into_iter()
        .enumerate()
        .map(|(n, steps)| (format!("o/r{}#{}", n / 40, n + 1).parse().unwrap(), steps))
        .collect();
    for (issue, steps) in &all {
        home.sim.with(|world| world.file(&issue.to_string(), "Do it.", &[], "eve"));
        home.later(10);
        play(&home, issue, steps);
        home.later(10);
    }
    let tracker = home.tracker();
    let mut released = 0;
    for (issue, steps) in &all {
        let view = tracker.issue(issue).await.unwrap();
        let mut permissions = BTreeMap::new();
        for actor in view.events.iter().filter_map(|event| event.actor.as_ref()) {
            let permission = tracker.permission(&issue.repo, actor).await.ok();
            permissions.insert(actor.id.clone(), permission);
        }
        let of = |actor: &Actor| permissions.get(&actor.id).copied().flatten();
        let decided = trust(&view.events, READY, &policy, OnBehalf::NOBODY, &of);
        let is_trusted = matches!(decided, Trust::Trusted { .. });
        assert_eq!(is_trusted, expected(steps), "{steps:?}: {decided:?}");
        released += u32::from(is_trusted);
    }
    println!("{} stories, of which {released} release", all.len());
    assert!(all.len() > 1000 && released > 100, "the table is empty");
    home.done("every_release");
}
