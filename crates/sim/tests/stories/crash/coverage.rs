//! Which port calls the stories make: each method of the traits is swept, or is known to need no
//! sweep.

use std::collections::{BTreeMap, BTreeSet};

use afk_sim::sites::{CALLS, Effect, effect};

use super::plots::ALL;
use super::sweep::{sites, undisturbed};

/// The source of the traits.
const TRAITS: [&str; 7] = [
    include_str!("../../../../engine/src/ports.rs"),
    include_str!("../../../../engine/src/ports/git.rs"),
    include_str!("../../../../engine/src/ports/jobs.rs"),
    include_str!("../../../../engine/src/ports/pulls.rs"),
    include_str!("../../../../engine/src/ports/stages.rs"),
    include_str!("../../../../engine/src/ports/store.rs"),
    include_str!("../../../../engine/src/ports/tracker.rs"),
];

/// Every method of a port, as `port.method`.
fn methods() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in TRAITS {
        let mut port = None;
        for line in source.lines() {
            if let Some(rest) = line.strip_prefix("pub trait ") {
                port = rest.split(':').next().map(str::to_lowercase);
            } else if line == "}" {
                port = None;
            } else if let Some(port) = &port {
                let line = line.strip_prefix("    ").unwrap_or_default();
                let method = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
                let method = method.and_then(|rest| rest.split('(').next());
                found.extend(method.map(|method| format!("{port}.{method}")));
            }
        }
    }
    found
}

#[test]
fn every_port_call_is_known() {
    let known: BTreeSet<String> = CALLS.iter().map(|(call, _)| (*call).to_owned()).collect();
    assert_eq!(methods(), known, "sites.rs says what each call of a port does");
    assert_eq!(known.len(), CALLS.len(), "each once");
}

#[tokio::test]
async fn every_port_call_has_a_site() {
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut all = 0;
    for plot in ALL {
        let told = undisturbed(plot).await;
        let sites = sites(&told.calls, plot.part.of(&told.calls));
        println!("{:>5} calls, {:>5} sites: {}", told.calls.len(), sites.len(), plot.name);
        all += sites.len();
        for (call, _) in sites {
            *counts.entry(told.calls[call]).or_default() += 1;
        }
    }
    let mut without = Vec::new();
    for (call, effect) in CALLS {
        match effect {
            Effect::Unswept(why) => println!("    -  {call}: {why}"),
            Effect::Reads | Effect::Writes => match counts.get(call) {
                Some(n) => println!("{n:>5}  {call}"),
                None => without.push(*call),
            },
        }
    }
    println!("{all} sites of {} port calls in {} stories", counts.len(), ALL.len());
    assert!(without.is_empty(), "no story makes these calls: {without:?}");
    for call in counts.keys() {
        assert!(!matches!(effect(call), Some(Effect::Unswept(_)) | None), "{call} is swept");
    }
}
