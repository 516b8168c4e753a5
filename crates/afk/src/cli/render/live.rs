//! Live runs: a board for terminals, single lines elsewhere.

use afk_app::views::{ErrorView, RunView, outcome};
use afk_core::phase::Phase;
use afk_core::plan::End;

use crate::cli::style::{Mark, Paint};
use crate::cli::words::{count, duration, line, moment};

/// The board of `runs` for a terminal of `width` columns.
pub(crate) fn board(runs: &[RunView], width: usize, paint: Paint) -> String {
    let width = width.clamp(40, 120);
    let mut lines = Vec::new();
    for run in runs {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let title = line(&run.title, width.saturating_sub(run.issue.to_string().len() + 3));
        lines.push(format!("{}  {title}", paint.strong(&run.issue)));
        lines.extend(checklist(run, paint).into_iter().map(|line| format!("  {line}")));
        lines.push(format!("  {}", paint.faint(effort(run))));
        if let Some(error) = &run.error {
            let what = line(&error.what, width.saturating_sub(4));
            lines.push(format!("  {} {}", paint.mark(Mark::No), paint.bad(what)));
            lines.extend(tried_again(run, error).map(|told| format!("    {told}")));
        }
        if let Some(setback) = run.setback.as_ref().filter(|_| run.outcome != Some(End::Done)) {
            let what = line(setback, width.saturating_sub(4));
            lines.push(format!("  {} {what}", paint.warn('!')));
        }
        if let Some(last) = &run.last {
            lines.push(format!("  {} {}", paint.faint('│'), line(last, width.saturating_sub(4))));
        }
    }
    lines.join("\n")
}

/// What changed from `before` to `now`, a line for each change.
pub(crate) fn news(before: Option<&RunView>, now: &RunView) -> Vec<String> {
    let mut lines = Vec::new();
    let issue = &now.issue;
    let mut say = |what: String| lines.push(format!("{issue}  {what}"));
    let Some(before) = before else {
        say(format!("run {}: {}", now.run, line(&now.title, 80)));
        match now.outcome {
            Some(end) => {
                let why = now.why.as_deref().unwrap_or_default();
                say(format!("{}: {}", outcome(end), line(why, 300)));
            }
            None => say(format!("waits for {}", now.waits_for)),
        }
        return lines;
    };
    if let Some(setback) = &now.setback
        && before.setback.as_ref() != Some(setback)
    {
        say(line(setback, 400));
    }
    if before.attempts != now.attempts && now.attempts > 1 {
        say(format!("attempt {}", now.attempts));
    }
    if now.phase > before.phase {
        let shown = |p: &&Phase| **p != Phase::Deployed || now.deploys;
        let passed = |p: &&Phase| **p >= before.phase && **p < now.phase;
        for phase in Phase::ALL.iter().filter(passed).filter(shown) {
            say(format!("✓ {}", phase.says(&now.branch)));
        }
    } else if now.phase < before.phase {
        say(format!("back to: {}", now.phase.says(&now.branch)));
    }
    match (&before.error, &now.error) {
        (old, Some(error)) if old.as_ref().is_none_or(|old| is_news(old, error)) => {
            say(format!("held up: {}", line(&error.what, 300)));
            if let Some(told) = tried_again(now, error) {
                say(told);
            }
        }
        (Some(_), None) if now.outcome.is_none() => say("no longer held up".to_owned()),
        _ => {}
    }
    match (before.outcome, now.outcome) {
        (None, Some(end)) => {
            let why = now.why.as_deref().unwrap_or_default();
            say(format!("{}: {}", outcome(end), line(why, 300)));
            if let Some(next) = &now.next {
                say(format!("next: {next}; `afk show {issue}` has the details"));
            }
        }
        _ if before.waits_for != now.waits_for && now.outcome.is_none() => {
            say(format!("waits for {}", now.waits_for));
        }
        _ => {}
    }
    lines
}

/// Whether `now` says more than `before`: another error, or another try that failed.
fn is_news(before: &ErrorView, now: &ErrorView) -> bool {
    before.what != now.what || (now.again.is_some() && before.again != now.again)
}

/// When the agent of a run is tried again, and how to wait no longer; none if it does not wait for
/// its agent.
fn tried_again(run: &RunView, error: &ErrorView) -> Option<String> {
    let again = moment(error.again?);
    let issue = &run.issue;
    Some(format!(
        "the agent is tried again at {again}; Ctrl-C leaves the run, `afk stop {issue}` ends it"
    ))
}

/// The checklist, a line for each phase.
pub(super) fn checklist(run: &RunView, paint: Paint) -> Vec<String> {
    let done = run.outcome == Some(End::Done);
    Phase::ALL
        .iter()
        .filter(|phase| **phase != Phase::Deployed || run.deploys)
        .map(|phase| {
            let says = phase.says(&run.branch);
            match phase.cmp(&run.phase) {
                _ if done => format!("{} {says}", paint.mark(Mark::Yes)),
                std::cmp::Ordering::Less => format!("{} {says}", paint.mark(Mark::Yes)),
                std::cmp::Ordering::Equal if run.outcome.is_some() => {
                    format!("{} {says}  {}", paint.mark(Mark::No), paint.bad(&run.waits_for))
                }
                std::cmp::Ordering::Equal => {
                    let waits = format!("waits for {}", run.waits_for);
                    format!("{} {says}  {}", paint.mark(Mark::Now), paint.faint(waits))
                }
                std::cmp::Ordering::Greater => {
                    format!("{} {}", paint.mark(Mark::Later), paint.faint(says))
                }
            }
        })
        .collect()
}

/// Time, tokens, money and attempts on one line.
pub(super) fn effort(run: &RunView) -> String {
    let mut parts = vec![
        duration(run.elapsed()),
        format!("{} in, {} out", count(run.tokens_in), count(run.tokens_out)),
        format!("{} of {}", run.cost_usd, run.budget_usd),
        format!("attempt {}, turn {}", run.attempts, run.turns),
    ];
    if run.fix_forwards > 0 {
        parts.push(format!("fix-forward {}", run.fix_forwards));
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_board_of_two_runs() {
        let runs = [samples::working(), samples::finished()];
        insta::assert_snapshot!(board(&runs, 70, Paint::PLAIN));
    }

    #[test]
    fn each_change_is_told_once() {
        let (start, done) = (samples::working(), samples::finished());
        assert_eq!(news(Some(&start), &start), Vec::<String>::new());
        let later = RunView { elapsed_seconds: 900, last: None, tokens_in: 7, ..start.clone() };
        assert_eq!(news(Some(&start), &later), Vec::<String>::new());
        let told = [news(None, &start), news(Some(&start), &done), news(Some(&done), &start)];
        insta::assert_snapshot!(told.map(|lines| lines.join("\n")).join("\n--\n"));
    }

    #[test]
    fn a_run_that_waits_for_its_agent_says_until_when() {
        let start = samples::working();
        let held_until = |again: Option<&str>| RunView {
            error: Some(ErrorView {
                what: "the script is not valid".to_owned(),
                since: "2026-01-02T03:04:05Z".parse().unwrap(),
                again: again.map(|again| again.parse().unwrap()),
            }),
            ..start.clone()
        };
        let first = held_until(Some("2026-01-02T03:04:35Z"));
        let told = news(Some(&start), &first).join("\n");
        assert!(told.contains("tried again at 2026-01-02 03:04:35Z"), "{told}");
        assert!(told.contains("Ctrl-C") && told.contains("`afk stop "), "{told}");
        assert!(board(std::slice::from_ref(&first), 70, Paint::PLAIN).contains("03:04:35Z"));
        // The try itself is not told, but that it failed.
        let trying = held_until(None);
        assert_eq!(news(Some(&first), &trying), Vec::<String>::new());
        assert_eq!(news(Some(&trying), &held_until(Some("2026-01-02T03:06:00Z"))).len(), 2);
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let runs = [samples::working(), samples::finished()];
        let coloured = board(&runs, 70, Paint::new(true));
        assert!(coloured.contains('\u{1b}'));
        assert_eq!(crate::cli::words::printable(&coloured), board(&runs, 70, Paint::PLAIN));
    }
}
