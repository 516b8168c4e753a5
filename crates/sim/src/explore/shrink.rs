//! Cuts a failing scenario down to what it takes to fail.

use super::{Report, Scenario, run};

/// Leaves out acts and faults as long as the same thing still goes wrong.
pub fn shrink(scenario: &Scenario) -> (Scenario, Report) {
    let (mut small, mut report) = (scenario.clone(), run(scenario));
    let mut again = report.wrong.is_some();
    while again {
        again = false;
        for n in (0..small.acts.len() + small.faults.len()).rev() {
            let mut less = small.clone();
            if n < less.acts.len() {
                less.acts.remove(n);
            } else {
                less.faults.remove(n - less.acts.len());
            }
            let told = run(&less);
            if told.wrong.is_some() {
                (small, report, again) = (less, told, true);
            }
        }
    }
    (small, report)
}
