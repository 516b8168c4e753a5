//! The results of trying a T3 Code server, and of pairing with it.

use afk_app::operations::{T3Checked, T3Paired};

use crate::cli::style::{Mark, Paint};
use crate::cli::words::line;

/// A line for each step.
pub(crate) fn t3_checked(checked: &T3Checked, paint: Paint) -> String {
    let width = checked.steps.iter().map(|one| one.step.len()).max().unwrap_or(0);
    let lines = checked.steps.iter().map(|one| {
        let mark = if one.failed { Mark::No } else { Mark::Yes };
        format!("{} {:<width$} {}", paint.mark(mark), one.step, line(&one.says, 600))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Where the token was kept, for how long it is valid, and its scope.
pub(crate) fn t3_paired(paired: &T3Paired, paint: Paint) -> String {
    let T3Paired { name, file, scope, days } = paired;
    let (mark, scope) = (paint.mark(Mark::Yes), line(scope, 200));
    format!("{mark} {} has the token of {name} for {days} days, with {scope}", file.display())
}

#[cfg(test)]
mod tests {
    use afk_app::operations::T3Step;

    use super::*;

    #[test]
    fn a_step_that_failed_says_why() {
        let step = |step, says: &str, failed| T3Step { step, says: says.to_owned(), failed };
        let steps = vec![step("reach", "T3 Code 0.0.33", false), step("start", "no project", true)];
        let checked = T3Checked { name: "far".parse().unwrap(), steps };
        let told = t3_checked(&checked, Paint::new(false));
        assert_eq!(told, "✓ reach T3 Code 0.0.33\n✗ start no project");
    }
}
