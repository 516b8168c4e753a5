//! Who may release an issue, and what a webhook may do.

use std::time::Instant;

use serde_json::json;

use crate::common::{BOUND, ISSUE, until};
use crate::support::{HOOK, OnGitHub, Plot, Woken, hears, post};

#[test]
fn who_may_not_push_releases_nothing() {
    let here = OnGitHub::new(Plot::default());
    let issue = here.file("tim");
    here.world.ok(&["tick", "--poll"]);
    let said = here.world.json(&["explain", ISSUE]);
    assert_eq!(said["eligible"], false, "{said:#}");
    assert!(said.to_string().contains("who has triage permission and needs write"), "{said:#}");
    assert_eq!(here.world.landed().len(), 1);
    assert!(!here.is_closed(&issue));
    here.done("e2e_triage");
}

#[test]
fn a_webhook_wakes_at_once_and_a_forged_one_does_not() {
    let here = OnGitHub::new(Plot { woken: Woken::ByHand, ..Plot::default() });
    let serve = here.serve();
    let address = hears(&serve);
    // The first look found nothing.
    here.has_looked();
    let issue = here.file("ann");
    let body = json!({ "action": "labeled", "repository": { "full_name": "acme/hello" } });
    let body = body.to_string();
    assert_eq!(post(&address, "issues", &body, "another secret", "forged"), Some(401));
    let began = Instant::now();
    assert_eq!(post(&address, "issues", &body, HOOK, "one"), Some(202));
    assert_eq!(post(&address, "issues", &body, HOOK, "one"), Some(200), "a repetition");
    until("a run is dispatched", BOUND, || {
        here.world.path("data/work/jobs").read_dir().ok()?.next().map(drop)
    });
    println!("from the webhook to a run's first job: {:?}", began.elapsed());
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    here.landed_once(&issue);
    here.done("e2e_woken");
    drop(serve);
}
