//! Reduces a failing scenario to what it takes to fail, and names the calls that its acts and
//! faults belong to, so that it stays the same story when the loop makes other calls.

use super::{Report, Scenario, run, run_bad};
use crate::fakes::Bad;

/// Leaves out acts, faults and webhooks' fates, control planes, repos, issues and turns, as long as
/// something still goes wrong. Then, where it still does, names the calls that the rest depends on,
/// and drops the seed.
///
/// With a known-bad loop, the good one must pass what goes wrong.
pub fn shrink(scenario: &Scenario, bad: Option<Bad>) -> (Scenario, Report) {
    let (mut small, mut report) = (scenario.clone(), run_bad(scenario, bad));
    let mut again = report.wrong.is_some();
    while again {
        again = false;
        let (acts, faults) = (small.acts.len(), small.faults.len());
        for n in (0..acts + faults + small.hooks.len()).rev() {
            let mut less = small.clone();
            if n < acts {
                less.acts.remove(n);
            } else if n < acts + faults {
                less.faults.remove(n - acts);
            } else {
                less.hooks.remove(n - acts - faults);
            }
            again |= keep(less, bad, &mut small, &mut report);
        }
        while let Some(less) = smaller(&small).into_iter().find_map(|less| {
            let told = tell(&less, bad);
            told.wrong.is_some().then_some((less, told))
        }) {
            (small, report) = less;
        }
    }
    if report.wrong.is_some() {
        let mut named = small.clone();
        for (n, call) in &report.fell {
            named.faults[*n].0 = call.clone();
        }
        for (n, when) in &report.done {
            named.acts[*n].0 = when.clone();
        }
        keep(named, bad, &mut small, &mut report);
        let steady = Scenario { seed: None, ..small.clone() };
        keep(steady, bad, &mut small, &mut report);
    }
    (small, report)
}

/// Replaces `small` by `less`, if that goes wrong, too; returns whether it does.
fn keep(less: Scenario, bad: Option<Bad>, small: &mut Scenario, report: &mut Report) -> bool {
    let told = tell(&less, bad);
    let wrong = told.wrong.is_some();
    if wrong {
        (*small, *report) = (less, told);
    }
    wrong
}

fn tell(scenario: &Scenario, bad: Option<Bad>) -> Report {
    let mut told = run_bad(scenario, bad);
    if bad.is_some() && told.wrong.is_some() && run(scenario).wrong.is_some() {
        told.wrong = None;
    }
    told
}

/// The scenarios that have one control plane, ticks instead of daemons, or one repo, issue or turn
/// fewer.
fn smaller(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut without = |change: &dyn Fn(&mut Scenario)| {
        let mut less = scenario.clone();
        change(&mut less);
        if less != *scenario {
            all.push(less);
        }
    };
    without(&|less| less.planes = 1);
    without(&|less| less.setting.daemon = false);
    for n in 0..scenario.setting.repos.len() {
        without(&|less| drop(less.setting.repos.remove(n)));
        for i in 0..scenario.setting.repos[n].issues.len() {
            without(&|less| drop(less.setting.repos[n].issues.remove(i)));
        }
        without(&|less| {
            let kept = less.setting.repos[n].turns.len().saturating_sub(1);
            less.setting.repos[n].turns.truncate(kept);
        });
    }
    all
}
