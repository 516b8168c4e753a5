//! The demo's change on its way to the default branch: at once, tested on a branch first, by a pull
//! request that a person merges. Each way is woken by webhooks and polled.

use afk_core::ids::Oid;
use afk_core::run::PullState;
use afk_fakes::github::MergeAs;
use afk_sim::world::PullRecord;
use serde_json::json;

use crate::common::{BOUND, git, until};
use crate::support::{OnGitHub, Plot, Woken, repo};

/// Every commit that lands must pass GitHub's checks.
const DIRECT: &str = "stages = [{ name = \"ci\", kind = \"checks\" }]";
/// It must have passed them before.
const TESTED: &str = "landing = \"tested\"\n\
                      stages = [{ name = \"ci\", kind = \"checks\", before_landing = true }]";
/// People merge it.
const BY_PEOPLE: &str = "landing = \"pull-request\"\n\
                         stages = [{ name = \"ci\", kind = \"checks\" }]";

fn here(keys: &str, woken: Woken) -> OnGitHub {
    OnGitHub::new(Plot { keys: Some(keys.to_owned()), woken, ci: true, ..Plot::default() })
}

/// The daemon lands the change by itself, and CI has seen what landed.
fn lands(keys: &str, woken: Woken, test: &str) {
    let here = here(keys, woken);
    let (issue, serve) = here.begin();
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    let page = here.landed_once(&issue);
    let stage = &page["run"]["attempts"][0]["candidates"][0]["stages"][0];
    assert_eq!((&stage["name"], &stage["answer"]), (&json!("ci"), &json!("success")), "{page:#}");
    let landed: Oid = here.world.landed()[0].parse().unwrap();
    assert!(here.passed.lock().unwrap().contains(&landed), "CI has not seen what landed");
    drop(serve);
    here.done(test);
}

#[test]
fn at_once_polled() {
    lands(DIRECT, Woken::Never, "e2e_direct_polled");
}

#[test]
fn at_once_woken() {
    lands(DIRECT, Woken::Always, "e2e_direct_woken");
}

#[test]
fn tested_polled() {
    lands(TESTED, Woken::Never, "e2e_tested_polled");
}

#[test]
fn tested_woken() {
    lands(TESTED, Woken::Always, "e2e_tested_woken");
}

/// The pull request that is open.
fn opened(here: &OnGitHub) -> Option<PullRecord> {
    let mut pulls = here.sim.with(|there| there.pulls.pulls.clone()).into_values();
    pulls.find(|pull| pull.state == PullState::Open)
}

/// The pull request asks for exactly what was proved, and nothing is on the default branch yet.
#[track_caller]
fn asks_people(here: &OnGitHub, pull: &PullRecord) {
    let spec = &pull.spec;
    assert_eq!((spec.repo.clone(), spec.onto.as_str()), (repo(), "main"));
    assert_eq!(here.fake.heads(&repo())[&spec.branch], spec.commit);
    assert_eq!(spec.title, "Greet the world when no name is given");
    assert!(spec.body.contains("Refs #1") && !spec.body.contains("AFK-Run"), "{}", spec.body);
    assert_eq!(here.world.landed().len(), 1);
}

/// What a person merged has landed, whatever commit that is.
#[track_caller]
fn merged(here: &OnGitHub, pull: &PullRecord, as_: MergeAs) -> String {
    let commit = here.fake.merge_pull(&repo(), &pull.spec.branch, as_);
    let origin = here.world.path("origin.git");
    let parents = git(&origin, &["log", "-1", "--format=%P", commit.as_str()]);
    let expected = if as_ == MergeAs::Merge { 2 } else { 1 };
    assert_eq!(parents.split_whitespace().count(), expected);
    commit.to_string()
}

#[test]
fn by_a_pull_request_woken() {
    let here = here(BY_PEOPLE, Woken::Always);
    let (issue, serve) = here.begin();
    let pull = until("a pull request", BOUND, || opened(&here));
    asks_people(&here, &pull);
    let commit = merged(&here, &pull, MergeAs::Merge);
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    let page = here.landed(&issue);
    assert_eq!(page["summary"]["landed"], commit.as_str());
    here.rings(&["done"]);
    drop(serve);
    here.done("e2e_pull_woken");
}

#[test]
fn by_a_pull_request_under_a_scheduler() {
    let here = here(BY_PEOPLE, Woken::Never);
    let issue = here.file("ann");
    let ticked = || here.world.ok(&["tick", "--poll"]);
    let pull = until("a pull request", BOUND, || {
        ticked();
        opened(&here)
    });
    asks_people(&here, &pull);
    // However often it looks, people have not decided.
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
    here.done("e2e_pull_ticked");
}

#[test]
fn a_pull_request_that_people_close_ends_the_run() {
    let here = here(BY_PEOPLE, Woken::Always);
    let (issue, serve) = here.begin();
    until("a pull request", BOUND, || opened(&here));
    here.sim.with(|there| there.people_close(&repo(), &PullState::Closed));
    let page = here.settled(&issue);
    assert_eq!(page["summary"]["outcome"], "released", "{page:#}");
    assert_eq!((here.world.landed().len(), here.is_closed(&issue)), (1, false));
    here.rings(&[]);
    drop(serve);
    here.done("e2e_pull_closed");
}
