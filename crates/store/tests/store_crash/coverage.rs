//! Checks which calls of the store the stories make: each call of the trait is swept, or listed
//! with the reason why it needs no sweep.

use std::collections::{BTreeMap, BTreeSet};

use crate::plots::ALL;
use crate::sweep::undisturbed;

/// The source of the trait.
const TRAIT: &str = include_str!("../../../engine/src/ports/store.rs");

/// Calls that no tick makes, each with who makes it.
const UNSWEPT: &[(&str, &str)] = &[
    ("journal", "a look, which the command line takes"),
    ("throw", "a person's verb, one transaction"),
    ("lift", "a person's verb, one transaction"),
    ("acknowledge", "a person's verb, one transaction"),
    ("forget_results", "housekeeping, which the plots do not do"),
];

/// The name of every call of the trait.
fn methods() -> BTreeSet<&'static str> {
    let (_, body) = TRAIT.split_once("pub trait Store: Send + Sync {\n").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let names = body.lines().filter_map(|line| line.strip_prefix("    async fn "));
    names.map(|rest| rest.split('(').next().unwrap()).collect()
}

#[tokio::test]
async fn every_call_of_the_store_has_a_site() {
    let mut counts = BTreeMap::<&str, (usize, usize)>::new();
    let (mut calls, mut writes) = (0, 0);
    for plot in ALL {
        let told = undisturbed(plot).await;
        for call in &told.calls {
            let count = counts.entry(call.name).or_default();
            count.0 += 1;
            count.1 += usize::from(call.wrote);
        }
        calls += told.calls.len();
        writes += told.calls.iter().filter(|call| call.wrote).count();
    }
    println!("{:>5} {:>6}", "calls", "writes");
    for (name, (calls, writes)) in &counts {
        println!("{calls:>5} {writes:>6}  {name}");
    }
    for (name, why) in UNSWEPT {
        println!("{:>5} {:>6}  {name}: {why}", "-", "-");
    }
    println!("{calls:>5} {writes:>6}  in {} stories", ALL.len());
    let swept: BTreeSet<_> = counts.into_keys().collect();
    let unswept: BTreeSet<_> = UNSWEPT.iter().map(|(name, _)| *name).collect();
    assert_eq!(swept.intersection(&unswept).count(), 0, "{UNSWEPT:?} are swept");
    assert_eq!(&swept | &unswept, methods(), "every call is made in a story, or UNSWEPT says why");
}
