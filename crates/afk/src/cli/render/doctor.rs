//! What the doctor found, by group, and how to fix it.

use afk_app::doctor::{Finding, Report, State};

use crate::cli::style::{Mark, Paint};
use crate::cli::words::{line, many, printable};

/// Width of the column of names.
const NAMES: usize = 12;
/// How many lines of an output are shown.
const OUTPUT_LINES: usize = 12;

/// The list, and a summary line.
pub(crate) fn doctor(report: &Report, paint: Paint) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut group = None;
    for finding in &report.findings {
        if group != Some(&finding.group) {
            if group.is_some() {
                out.push(String::new());
            }
            out.push(paint.strong(line(&finding.group, 120)));
            group = Some(&finding.group);
        }
        out.extend(lines(finding, paint));
    }
    out.push(String::new());
    let count = |state| report.findings.iter().filter(|one| one.state == state).count();
    let (failures, warnings) = (count(State::Failure), count(State::Warning));
    out.push(match (failures, warnings) {
        (0, 0) => paint.good("everything is in order"),
        (0, n) => format!("nothing fails, {}", many(n, "warning")),
        (n, 0) => paint.bad(many(n, "failure")),
        (n, m) => paint.bad(format!("{}, {}", many(n, "failure"), many(m, "warning"))),
    });
    out.join("\n")
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
    if let Some(mend) = &finding.mend {
        let mend = line(mend, 800);
        out.push(format!("    {:NAMES$} {}", "", paint.faint(format!("→ {mend}"))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(group: &str, about: &str, state: State, mend: Option<&str>) -> Finding {
        let says = format!("what was found of {about}\u{1b}[2J");
        let mend = mend.map(str::to_owned);
        let (group, about) = (group.to_owned(), about.to_owned());
        Finding { group, about, state, says, mend, seconds: None, output: None }
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
                ..finding("o/web", "verify", State::Failure, Some("mend it"))
            },
        ];
        let shown = [sound, broken]
            .map(|findings| doctor(&Report { findings, unusable: false }, Paint::PLAIN));
        insta::assert_snapshot!(shown.join("\n----\n"));
    }
}
