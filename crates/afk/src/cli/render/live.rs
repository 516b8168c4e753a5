//! Live runs: a board for terminals, single lines elsewhere.

use afk_app::views::{ErrorView, RunView, outcome};
use afk_core::phase::Phase;
use afk_core::plan::End;

use crate::cli::style::{Mark, Paint};
use crate::cli::words::{as_typed, count, duration, line, moment};

/// The board of `runs` for a terminal of `width` columns. Commands in it are written as `afk`:
/// how a person calls this program for these runs.
pub(crate) fn board(runs: &[RunView], width: usize, afk: &str, paint: Paint) -> String {
    let width = width.clamp(40, 120);
    let told = |what: &str| line(&as_typed(what, afk), width.saturating_sub(4));
    let mut lines = Vec::new();
    for run in runs {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let title = line(&run.title, width.saturating_sub(run.issue.to_string().len() + 3));
        lines.push(format!("{}  {title}", paint.strong(&run.issue)));
        let checklist = checklist(run, width.saturating_sub(2), paint);
        lines.extend(checklist.into_iter().map(|line| format!("  {line}")));
        lines.push(format!("  {}", paint.faint(line(&effort(run), width.saturating_sub(2)))));
        if let Some(error) = &run.error {
            lines.push(format!("  {} {}", paint.mark(Mark::No), paint.bad(told(&error.what))));
            lines.extend(tried_again(run, error).map(|again| format!("    {}", told(&again))));
        }
        if let Some(setback) = run.setback.as_ref().filter(|_| run.outcome != Some(End::Done)) {
            lines.push(format!("  {} {}", paint.warn('!'), told(setback)));
        }
        if let Some(last) = &run.last {
            lines.push(format!("  {} {}", paint.faint('│'), line(last, width.saturating_sub(4))));
        }
    }
    lines.join("\n")
}

/// What changed from `before` to `now`, a line for each change. Commands in it are written as
/// `afk`: how a person calls this program for this run.
pub(crate) fn news(before: Option<&RunView>, now: &RunView, afk: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let issue = &now.issue;
    let mut say = |what: String| lines.push(format!("{issue}  {}", as_typed(&what, afk)));
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
/// its agent. The time is first, so that it is shown on the narrowest board.
fn tried_again(run: &RunView, error: &ErrorView) -> Option<String> {
    let again = moment(error.again?);
    let issue = &run.issue;
    Some(format!("tried again at {again}; Ctrl-C leaves the run, `afk stop {issue}` ends it"))
}

/// The checklist, a line of at most `width` characters for each phase.
pub(super) fn checklist(run: &RunView, width: usize, paint: Paint) -> Vec<String> {
    let done = run.outcome == Some(End::Done);
    // A mark and a blank precede a phase; two blanks and at least an ellipsis follow it.
    let most = width.saturating_sub(5);
    Phase::ALL
        .iter()
        .filter(|phase| **phase != Phase::Deployed || run.deploys)
        .map(|phase| {
            let says = line(&phase.says(&run.branch), most);
            let room = width.saturating_sub(says.chars().count() + 4);
            match phase.cmp(&run.phase) {
                _ if done => format!("{} {says}", paint.mark(Mark::Yes)),
                std::cmp::Ordering::Less => format!("{} {says}", paint.mark(Mark::Yes)),
                std::cmp::Ordering::Equal if run.outcome.is_some() => {
                    let why = line(&run.waits_for, room);
                    format!("{} {says}  {}", paint.mark(Mark::No), paint.bad(why))
                }
                std::cmp::Ordering::Equal => {
                    let waits = line(&format!("waits for {}", run.waits_for), room);
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
        insta::assert_snapshot!(board(&runs, 70, "afk", Paint::PLAIN));
    }

    #[test]
    fn each_change_is_told_once() {
        let (start, done) = (samples::working(), samples::finished());
        assert_eq!(news(Some(&start), &start, "afk"), Vec::<String>::new());
        let later = RunView { elapsed_seconds: 900, last: None, tokens_in: 7, ..start.clone() };
        assert_eq!(news(Some(&start), &later, "afk"), Vec::<String>::new());
        let told = [
            news(None, &start, "afk"),
            news(Some(&start), &done, "afk"),
            news(Some(&done), &start, "afk"),
        ];
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
        let told = news(Some(&start), &first, "afk").join("\n");
        assert!(told.contains("tried again at 2026-01-02 03:04:35Z"), "{told}");
        assert!(told.contains("Ctrl-C") && told.contains("`afk stop "), "{told}");
        assert!(board(std::slice::from_ref(&first), 70, "afk", Paint::PLAIN).contains("03:04:35Z"));
        // The try itself is not told, but that it failed.
        let trying = held_until(None);
        assert_eq!(news(Some(&first), &trying, "afk"), Vec::<String>::new());
        assert_eq!(news(Some(&trying), &held_until(Some("2026-01-02T03:06:00Z")), "afk").len(), 2);
    }

    #[test]
    fn the_board_fits_its_width_and_every_command_names_the_configuration() {
        let start = samples::working();
        let held = RunView {
            waits_for: "an answer: Bash: cargo test --all --workspace --all-features".to_owned(),
            branch: "a/branch/with/a/name/that/is/longer/than/most".to_owned(),
            setback: Some("the sandbox is not strong enough; `afk doctor` says why".to_owned()),
            error: Some(ErrorView {
                what: "the agent is not signed in: sign in, then `afk doctor` looks".to_owned(),
                since: "2026-01-02T03:04:05Z".parse().unwrap(),
                again: Some("2026-01-02T03:04:35Z".parse().unwrap()),
            }),
            ..start.clone()
        };
        let ended = RunView {
            outcome: Some(End::NeedsHuman),
            next: Some("fix what stopped it, then `afk retry o/web#7`".to_owned()),
            ..start.clone()
        };
        let afk = "afk --config /d/afk.toml";
        for width in [40, 55, 70, 120] {
            let shown = board(&[held.clone(), ended.clone()], width, afk, Paint::PLAIN);
            let wide = shown.lines().find(|line| line.chars().count() > width);
            assert_eq!(wide, None, "{width}");
            assert!(shown.contains("tried again at 2026-01-02 03:04:35Z"), "{shown}");
        }
        let told = [news(Some(&start), &held, afk), news(Some(&start), &ended, afk)].concat();
        let told = told.join("\n");
        assert!(told.matches("`afk --config /d/afk.toml ").count() >= 5, "{told}");
        assert_eq!(told.matches("`afk ").count(), told.matches("`afk --config ").count(), "{told}");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let runs = [samples::working(), samples::finished()];
        let coloured = board(&runs, 70, "afk", Paint::new(true));
        assert!(coloured.contains('\u{1b}'));
        assert_eq!(crate::cli::words::printable(&coloured), board(&runs, 70, "afk", Paint::PLAIN));
    }
}
