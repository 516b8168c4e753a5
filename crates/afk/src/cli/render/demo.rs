//! The report of a demo.

use crate::cli::style::{Mark, Paint};
use crate::cli::words::{columns, many, printable};
use crate::demo::{DemoReport, Outcome};

/// The report, and where to look next. `interrupted` says whether a signal stopped it.
pub(crate) fn demo(report: &DemoReport, interrupted: bool, paint: Paint) -> String {
    let mark = paint.mark(if report.as_expected { Mark::Yes } else { Mark::No });
    let word = outcome(report.outcome);
    let ended = match (report.as_expected, interrupted) {
        (true, _) => format!("{word}, as intended"),
        (false, true) => "interrupted".to_owned(),
        (false, false) => format!("{word}, not as intended"),
    };
    let scenario = report.scenario.name();
    let mut out = vec![
        format!("{mark} {}: {ended}", paint.strong(format!("scenario {scenario}"))),
        format!("  {}", printable(&report.why).replace('\n', "\n  ")),
        String::new(),
    ];
    let mut rows = vec![["agent".to_owned(), agent(report.agent)]];
    let mut row = |name: &str, value: String| rows.push([name.to_owned(), value]);
    if let Some(seen) = &report.forge {
        let (title, url) = (seen.kind.title(), &seen.url);
        let asked = many(seen.requests, "request");
        row("forge", format!("a fake {title} at {url}, {asked}; it ended with this demo"));
        for mistake in &seen.mistakes {
            row("mistake", printable(mistake));
        }
    }
    row("sandbox", report.sandbox.clone());
    if let Some(commit) = &report.commit {
        row("landed", commit.to_string());
    }
    if report.attempts > 0 {
        row("attempts", report.attempts.to_string());
    }
    if let Some(seen) = &report.restart {
        let agent =
            if seen.agent_went_on { "its agent kept working" } else { "its agent ended too" };
        row("killed", format!("control plane {} in mid-turn; {agent}", seen.killed));
        row("went on", format!("control plane {}", seen.went_on));
    }
    // Without a reason it could be dispatched, if the demo had not been stopped.
    if let Some(held) = report.held.as_ref().filter(|held| !held.why.is_empty()) {
        row("waits", format!("{}: {}", held.issue, printable(&held.why)));
    }
    let phases: Vec<_> =
        report.phases.iter().map(|time| format!("{} {}", time.phase, seconds(time.ms))).collect();
    row("time", format!("{} ({})", seconds(report.wall_ms), phases.join(", ")));
    if let Some(evidence) = &report.evidence {
        row("evidence", evidence.display().to_string());
    }
    row("folder", report.folder.display().to_string());
    out.extend(columns(None, &rows).into_iter().map(|line| format!("  {line}")));
    out.push(String::new());
    let config = report.folder.join("afk.toml");
    let issue = &report.issue;
    let look = match (report.run.is_some(), report.forge.is_some()) {
        (true, _) => format!("show {issue}"),
        (false, false) => format!("explain {issue}"),
        // The issue was on the demo's forge, which is gone.
        (false, true) => "status".to_owned(),
    };
    let afk = format!("afk --config {}", config.display());
    out.push(paint.faint(format!("Look around: {afk} {look}")));
    if report.outcome == Outcome::Frozen && report.held.is_some() && report.forge.is_none() {
        let repo = &issue.repo;
        out.push(paint.faint(format!(
            "Lift the freeze: {afk} unfreeze {repo}, then {afk} tick --poll --watch"
        )));
    }
    out.join("\n")
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "landed and closed with evidence",
        Outcome::NeedsHuman => "handed to a person",
        Outcome::Frozen => "handed to a person, repository frozen",
        Outcome::Released => "let go",
        Outcome::Waiting => "not dispatched",
    }
}

fn agent(name: &str) -> String {
    match name {
        "scripted" => "scripted: fixed steps, no model".to_owned(),
        other => other.to_owned(),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{}s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{ForgeKind, ForgeSeen, PhaseTime, Restart, Scenario, WaitingIssue};

    fn good() -> DemoReport {
        DemoReport {
            scenario: Scenario::Success,
            outcome: Outcome::Done,
            as_expected: true,
            agent: "scripted",
            run: Some("0199d3c2-0000-7000-8000-000000000007".parse().unwrap()),
            issue: "demo/hello#1".parse().unwrap(),
            commit: "e".repeat(40).parse().ok(),
            attempts: 1,
            forge: None,
            held: None,
            restart: None,
            evidence: Some("/tmp/d/evidence/x.json".into()),
            why: "landed as eeeeeeee".to_owned(),
            folder: "/tmp/d".into(),
            sandbox: "full: bubblewrap 0.8.0 + landlock 7".to_owned(),
            phases: vec![
                PhaseTime { phase: "setup", ms: 140 },
                PhaseTime { phase: "turn", ms: 2050 },
            ],
            wall_ms: 4321,
        }
    }

    #[test]
    fn demos_that_went_well_and_one_that_did_not() {
        let good = good();
        let bad = DemoReport {
            scenario: Scenario::Blocked,
            as_expected: false,
            run: None,
            commit: None,
            attempts: 0,
            evidence: None,
            agent: "claude",
            ..good.clone()
        };
        let frozen = DemoReport {
            scenario: Scenario::Frozen,
            outcome: Outcome::Frozen,
            attempts: 3,
            held: Some(WaitingIssue {
                issue: "demo/hello#2".parse().unwrap(),
                gates: vec![afk_core::gates::Gate::Freeze],
                why: "demo/hello is frozen".to_owned(),
            }),
            ..good.clone()
        };
        let restart = DemoReport {
            scenario: Scenario::Restart,
            restart: Some(Restart { killed: 41, went_on: 42, agent_went_on: true }),
            ..good.clone()
        };
        let seen = ForgeSeen {
            kind: ForgeKind::Github,
            url: "http://127.0.0.1:4711".to_owned(),
            requests: 57,
            mistakes: Vec::new(),
        };
        let on_forge = DemoReport { forge: Some(seen.clone()), ..good.clone() };
        let misused = ForgeSeen { mistakes: vec!["GET /x: no such operation".to_owned()], ..seen };
        let misused = DemoReport { forge: Some(misused), ..bad.clone() };
        let shown = [good, bad, frozen, restart, on_forge, misused]
            .map(|report| demo(&report, false, Paint::PLAIN));
        insta::assert_snapshot!(shown.join("\n----\n"));
    }

    #[test]
    fn a_demo_that_was_stopped_says_so_and_gives_no_empty_reason() {
        let held = WaitingIssue {
            issue: "demo/hello#2".parse().unwrap(),
            gates: Vec::new(),
            why: String::new(),
        };
        let stopped = DemoReport {
            scenario: Scenario::Frozen,
            outcome: Outcome::Waiting,
            as_expected: false,
            held: Some(held),
            why: "it was stopped before it began".to_owned(),
            ..good()
        };
        let told = demo(&stopped, true, Paint::PLAIN);
        let begin = "scenario frozen: interrupted\n  it was stopped before it began\n";
        assert!(told.contains(begin), "{told}");
        assert!(!told.contains("demo/hello#2"), "{told}");
        // A demo that had come to its end is what it is.
        assert_eq!(demo(&good(), true, Paint::PLAIN), demo(&good(), false, Paint::PLAIN));
    }
}
