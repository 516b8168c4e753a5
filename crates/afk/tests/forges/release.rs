//! Who may release an issue, and what a webhook may do.

use std::time::Instant;

use crate::common::{BOUND, ISSUE, until};
use crate::support::{HOOK, Kind, OnForge, Plot, Woken, hears, post, repo};

on_each_forge!(
    who_may_not_push_releases_nothing,
    a_webhook_wakes_at_once_and_a_forged_one_does_not
);

fn who_may_not_push_releases_nothing(kind: Kind) {
    let here = OnForge::new(Plot { kind, ..Plot::default() });
    let issue = here.file("tim");
    here.world.ok(&["tick", "--poll"]);
    let said = here.world.json(&["explain", ISSUE]);
    assert_eq!(said["eligible"], false, "{said:#}");
    let has = match kind {
        Kind::GitHub => "triage",
        // Which tells reading from writing, and nothing between.
        Kind::Forgejo => "read",
    };
    let why = format!("who has {has} permission and needs write");
    assert!(said.to_string().contains(&why), "{said:#}");
    assert_eq!(here.world.landed().len(), 1);
    assert!(!here.is_closed(&issue));
    here.done(&format!("e2e_triage_{}", kind.name()));
}

fn a_webhook_wakes_at_once_and_a_forged_one_does_not(kind: Kind) {
    let here = OnForge::new(Plot { kind, woken: Woken::ByHand, ..Plot::default() });
    let serve = here.serve();
    let address = hears(&serve, kind);
    // The first look found nothing.
    here.has_looked();
    let issue = here.file("ann");
    let forged = here.fake.delivery("issues", &repo(), "another secret").unwrap();
    assert_eq!(post(&address, kind, &forged), Some(401));
    let delivery = here.fake.delivery("issues", &repo(), HOOK).unwrap();
    let began = Instant::now();
    assert_eq!(post(&address, kind, &delivery), Some(202));
    assert_eq!(post(&address, kind, &delivery), Some(200), "a repetition");
    until("a run is dispatched", BOUND, || {
        here.world.path("data/work/jobs").read_dir().ok()?.next().map(drop)
    });
    println!("{}: from the webhook to a run's first job: {:?}", kind.name(), began.elapsed());
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    here.landed_once(&issue);
    here.done(&format!("e2e_woken_{}", kind.name()));
    drop(serve);
}
