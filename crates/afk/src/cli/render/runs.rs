//! The list of runs, a line each.

use afk_app::views::RunView;
use afk_core::ids::At;

use super::super::words::{between, columns, duration, line};

/// A table of `runs`, in their order, each with the time of its admission.
pub(crate) fn runs(runs: &[(At, RunView)], now: At) -> String {
    if runs.is_empty() {
        return "no run yet; `afk status` shows what is ready".to_owned();
    }
    let heading = ["RUN", "ISSUE", "STATE", "ATTEMPTS", "COST", "AGE", "TITLE"];
    let rows: Vec<_> = runs
        .iter()
        .map(|(admitted, run)| {
            [
                run.run.to_string(),
                run.issue.to_string(),
                line(&run.waits_for, 40),
                run.attempts.to_string(),
                run.cost_usd.to_string(),
                duration(between(*admitted, now)),
                line(&run.title, 60),
            ]
        })
        .collect();
    columns(Some(heading), &rows).join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_line_a_run_and_a_word_where_there_is_none() {
        let all = [(samples::at(0), samples::finished())];
        let shown = [runs(&all, samples::at(7_200)), runs(&[], samples::at(0))];
        insta::assert_snapshot!(shown.join("\n----\n"));
    }
}
