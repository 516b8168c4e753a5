//! The demo's change on its way to the default branch: at once, tested on a branch first, or by a
//! pull request that a person merges. Each way once with webhooks and once with polling.

use afk_core::ids::Oid;
use afk_core::run::PullState;
use afk_fakes::MergeAs;
use afk_sim::world::PullRecord;
use serde_json::json;

use crate::common::{BOUND, git, until};
use crate::support::{Kind, OnForge, Plot, Woken, repo};

/// A way to land.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// At once: what has landed must pass CI.
    Direct,
    /// Once it has passed CI on a branch.
    Tested,
    /// By people, who merge a pull request.
    ByPeople,
}

on_each_forge!(
    at_once_polled,
    at_once_woken,
    tested_polled,
    tested_woken,
    by_a_pull_request_woken,
    by_a_pull_request_under_a_scheduler,
    a_pull_request_that_people_close_ends_the_run,
);

fn here(kind: Kind, way: Way, woken: Woken) -> OnForge {
    let stage = format!("name = \"ci\", kind = \"{}\"", kind.stage());
    let keys = match way {
        Way::Direct => format!("stages = [{{ {stage} }}]"),
        Way::Tested => {
            format!("landing = \"tested\"\nstages = [{{ {stage}, before_landing = true }}]")
        }
        Way::ByPeople => format!("landing = \"pull-request\"\nstages = [{{ {stage} }}]"),
    };
    OnForge::new(Plot { kind, keys: Some(keys), woken, ci: true, ..Plot::default() })
}

/// Checks that the daemon lands the change by itself, and that CI has passed what landed.
fn lands(kind: Kind, way: Way, woken: Woken, test: &str) {
    let here = here(kind, way, woken);
    let (issue, serve) = here.begin();
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    let page = here.landed_once(&issue);
    let stage = &page["run"]["attempts"][0]["candidates"][0]["stages"][0];
    assert_eq!((&stage["name"], &stage["answer"]), (&json!("ci"), &json!("success")), "{page:#}");
    let landed: Oid = here.world.landed()[0].parse().unwrap();
    assert!(here.passed.lock().unwrap().contains(&landed), "CI has not seen what landed");
    drop(serve);
    here.done(&format!("{test}_{}", kind.name()));
}

fn at_once_polled(kind: Kind) {
    lands(kind, Way::Direct, Woken::Never, "e2e_direct_polled");
}

fn at_once_woken(kind: Kind) {
    lands(kind, Way::Direct, Woken::Always, "e2e_direct_woken");
}

fn tested_polled(kind: Kind) {
    lands(kind, Way::Tested, Woken::Never, "e2e_tested_polled");
}

fn tested_woken(kind: Kind) {
    lands(kind, Way::Tested, Woken::Always, "e2e_tested_woken");
}

/// The pull request that is open.
fn opened(here: &OnForge) -> Option<PullRecord> {
    let mut pulls = here.sim.with(|there| there.pulls.pulls.clone()).into_values();
    pulls.find(|pull| pull.state == PullState::Open)
}

/// Checks that the pull request has exactly what was proved, and that nothing has landed yet.
#[track_caller]
fn asks_people(here: &OnForge, pull: &PullRecord) {
    let spec = &pull.spec;
    assert_eq!((spec.repo.clone(), spec.onto.as_str()), (repo(), "main"));
    assert_eq!(here.fake.heads(&repo())[&spec.branch], spec.commit);
    assert_eq!(spec.title, "Greet the world when no name is given");
    assert!(spec.body.contains("Refs #1") && !spec.body.contains("AFK-Run"), "{}", spec.body);
    assert_eq!(here.world.landed().len(), 1);
}

/// Merges the pull request as a person would; returns the commit that this makes.
#[track_caller]
fn merged(here: &OnForge, pull: &PullRecord, as_: MergeAs) -> String {
    let commit = here.fake.merge_pull(&repo(), &pull.spec.branch, as_);
    let origin = here.world.path("origin.git");
    let parents = git(&origin, &["log", "-1", "--format=%P", commit.as_str()]);
    let expected = if as_ == MergeAs::Merge { 2 } else { 1 };
    assert_eq!(parents.split_whitespace().count(), expected);
    commit.to_string()
}

fn by_a_pull_request_woken(kind: Kind) {
    let here = here(kind, Way::ByPeople, Woken::Always);
    let (issue, serve) = here.begin();
    let pull = until("a pull request", BOUND, || opened(&here));
    asks_people(&here, &pull);
    let commit = merged(&here, &pull, MergeAs::Merge);
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    let page = here.landed(&issue);
    assert_eq!(page["summary"]["landed"], commit.as_str());
    here.rings(&["done"]);
    drop(serve);
    here.done(&format!("e2e_pull_woken_{}", kind.name()));
}

fn by_a_pull_request_under_a_scheduler(kind: Kind) {
    let here = here(kind, Way::ByPeople, Woken::Never);
    let issue = here.file("ann");
    let ticked = || here.world.ok(&["tick", "--poll"]);
    let pull = until("a pull request", BOUND, || {
        ticked();
        opened(&here)
    });
    asks_people(&here, &pull);
    // As long as people have not decided, looking changes nothing.
    ticked();
    assert_eq!(here.world.landed().len(), 1);
    let commit = merged(&here, &pull, MergeAs::Squash);
    until("the issue is closed", BOUND, || {
        ticked();
        here.is_closed(&issue).then_some(())
    });
    until("the run is settled", BOUND, || {
        ticked();
        (here.world.show()["summary"]["settled"] == true).then_some(())
    });
    let page = here.landed_once(&issue);
    assert_eq!(page["summary"]["landed"], commit.as_str());
    here.done(&format!("e2e_pull_ticked_{}", kind.name()));
}

fn a_pull_request_that_people_close_ends_the_run(kind: Kind) {
    let here = here(kind, Way::ByPeople, Woken::Always);
    let (issue, serve) = here.begin();
    until("a pull request", BOUND, || opened(&here));
    here.sim.with(|there| there.people_close(&repo(), &PullState::Closed));
    let page = here.settled(&issue);
    assert_eq!(page["summary"]["outcome"], "released", "{page:#}");
    assert_eq!((here.world.landed().len(), here.is_closed(&issue)), (1, false));
    here.rings(&[]);
    drop(serve);
    here.done(&format!("e2e_pull_closed_{}", kind.name()));
}
