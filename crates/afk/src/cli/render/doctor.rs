//! What the doctor found, by group, and how to fix it.

use afk_app::doctor::{Finding, Report, State};

use crate::cli::style::{Mark, Paint};
use crate::cli::words::{line, many, printable};

/// Width of the column of names.
const NAMES: usize = 12;
/// Maximum number of lines shown of an output, from its end.
const OUTPUT_LINES: usize = 12;

/// What is wrong, by group, and a summary line; with `all` also what is in order.
pub(crate) fn doctor(report: &Report, all: bool, paint: Paint) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut group = None;
    let shown = |finding: &&Finding| all || finding.state >= State::Warning;
    for finding in report.findings.iter().filter(shown) {
        if group != Some(&finding.group) {
            if group.is_some() {
                out.push(String::new());
            }
            out.push(paint.strong(line(&finding.group, 120)));
            group = Some(&finding.group);
        }
        out.extend(lines(finding, paint));
    }
    if !out.is_empty() {
        out.push(String::new());
    }
    out.push(summary(report, paint));
    out.join("\n")
}

/// The summary line, which claims nothing that was not checked.
fn summary(report: &Report, paint: Paint) -> String {
    let count = |state| report.findings.iter().filter(|one| one.state == state).count();
    let (failures, warnings) = (count(State::Failure), count(State::Warning));
    let Report { repos, verified, .. } = *report;
    let told = match (failures, warnings) {
        (0, 0) if repos == 0 => {
            let how = "no repository is configured yet: in a clone, `afk init` writes a \
                       configuration, and `afk enroll` adds a repository to one";
            return format!("{} {how}", paint.good("nothing is wrong with this machine;"));
        }
        (0, 0) if verified == 0 => {
            format!("nothing is wrong, but no test was run in {}", repositories(repos))
        }
        (0, 0) => paint
            .good(format!("everything is in order; the tests of {} pass", repositories(verified))),
        (0, n) => format!("nothing fails, {}", many(n, "warning")),
        (n, 0) => paint.bad(many(n, "failure")),
        (n, m) => paint.bad(format!("{}, {}", many(n, "failure"), many(m, "warning"))),
    };
    match &report.disarmed {
        Some(why) if failures == 0 => format!("{told} ({why})"),
        Some(_) | None => told,
    }
}

fn repositories(n: usize) -> String {
    if n == 1 { "1 repository".to_owned() } else { format!("{n} repositories") }
}

fn lines(finding: &Finding, paint: Paint) -> Vec<String> {
    let mark = match finding.state {
        State::Ok => paint.mark(Mark::Yes),
        State::Note => paint.mark(Mark::Later),
        State::Warning => paint.warn('!'),
        State::Failure => paint.mark(Mark::No),
    };
    let about = format!("{:<NAMES$}", line(&finding.about, 40));
    let mut out = vec![format!("  {mark} {about} {}", line(&finding.says, 600))];
    if let Some(output) = &finding.output {
        let bar = paint.faint('│');
        let text = printable(output);
        let all: Vec<&str> = text.lines().collect();
        let from = all.len().saturating_sub(OUTPUT_LINES);
        let shown = all.get(from..).unwrap_or_default();
        out.extend(shown.iter().map(|text| format!("    {:NAMES$} {bar} {text}", "")));
    }
    if let Some(remedy) = &finding.remedy {
        let remedy = line(remedy, 800);
        out.push(format!("    {:NAMES$} {}", "", paint.faint(format!("→ {remedy}"))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(group: &str, about: &str, state: State, remedy: Option<&str>) -> Finding {
        let says = format!("what was found of {about}\u{1b}[2J");
        let remedy = remedy.map(str::to_owned);
        let (group, about) = (group.to_owned(), about.to_owned());
        Finding { group, about, state, says, remedy, seconds: None, output: None }
    }

    #[test]
    fn a_sound_machine_and_a_broken_one() {
        let sound = vec![finding("machine", "git", State::Ok, None)];
        let broken = vec![
            finding("configuration", "kill switch", State::Note, Some("`afk arm` turns it off")),
            finding("machine", "git", State::Failure, Some("install it")),
            finding("machine", "sandbox", State::Warning, None),
            finding("o/web", "remote", State::Failure, Some("make it")),
            Finding {
                output: Some("ok   one\nFAIL two".to_owned()),
                seconds: Some(1.5),
                ..finding("o/web", "verify", State::Failure, Some("fix it"))
            },
        ];
        let report = |findings, repos, verified| {
            let disarmed = (repos == 1).then(|| "disarmed: `afk arm` lets it".to_owned());
            Report { findings, unusable: false, repos, verified, disarmed }
        };
        let shown = [
            doctor(&report(sound.clone(), 1, 1), false, Paint::PLAIN),
            doctor(&report(sound.clone(), 2, 0), false, Paint::PLAIN),
            doctor(&report(sound.clone(), 0, 0), false, Paint::PLAIN),
            doctor(&report(sound, 2, 2), true, Paint::PLAIN),
            doctor(&report(broken.clone(), 1, 1), false, Paint::PLAIN),
            doctor(&report(broken, 2, 1), true, Paint::PLAIN),
        ];
        insta::assert_snapshot!(shown.join("\n----\n"));
    }
}
