//! The list of runs, a line each.

use afk_app::views::RunView;
use afk_core::ids::{At, RunId};

use super::super::style::Paint;
use super::super::words::{between, columns_within, duration, line};

/// How much of a run's id is shown on a terminal, in characters: the millisecond in which it was
/// admitted. Only runs that were admitted in the same one begin alike.
const ID: usize = 13;

/// A table of `runs`, in their order, each with the time of its admission.
pub(crate) fn runs(runs: &[(At, RunView)], now: At, paint: Paint) -> String {
    if runs.is_empty() {
        return "no run yet; `afk status` shows what is ready".to_owned();
    }
    let heading = ["RUN", "ISSUE", "STATE", "ATTEMPTS", "COST", "AGE", "TITLE"];
    let rows: Vec<_> = runs
        .iter()
        .map(|(admitted, run)| {
            [
                id(run.run, paint),
                run.issue.to_string(),
                line(&run.waits_for, 40),
                run.attempts.to_string(),
                run.cost_usd.to_string(),
                duration(between(*admitted, now)),
                line(&run.title, 60),
            ]
        })
        .collect();
    columns_within(paint.width(), &[2, 6], Some(heading), &rows).join("\n")
}

/// A run's id, whole where a script may read it.
fn id(run: RunId, paint: Paint) -> String {
    let whole = run.to_string();
    match paint.width() {
        Some(_) => whole.chars().take(ID).collect(),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_line_a_run_and_a_word_where_there_is_none() {
        let all = [(samples::at(0), samples::finished())];
        let shown =
            [runs(&all, samples::at(7_200), Paint::PLAIN), runs(&[], samples::at(0), Paint::PLAIN)];
        insta::assert_snapshot!(shown.join("\n----\n"));
    }

    #[test]
    fn a_terminal_gets_lines_that_fit_and_the_beginning_of_an_id() {
        let run = samples::finished();
        let whole = run.run.to_string();
        let shown =
            runs(&[(samples::at(0), run)], samples::at(7_200), Paint::PLAIN.within(Some(80)));
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        assert!(shown.contains(&whole[..ID]) && !shown.contains(&whole), "{shown}");
    }
}
