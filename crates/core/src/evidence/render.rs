//! The bundle for people: Markdown that also reads well as plain text.

use std::fmt::Write as _;

use super::{Evidence, ReleasedBy};
use crate::ids::Oid;
use crate::issue::Permission;
use crate::proof::RunKind;

/// How many characters of an output are shown, from its end.
const TAIL_CHARS: usize = 2_000;
/// How long a name or a link may be.
const WORD_CHARS: usize = 300;

impl Evidence {
    /// The whole bundle as Markdown; equal bundles give equal bytes.
    pub fn to_markdown(&self) -> String {
        // Writing to a string cannot fail, so results are ignored throughout.
        let mut out = String::new();
        let _ = writeln!(out, "# Evidence for {}\n\nRun {}", self.issue, self.run);
        let _ = match self.is_complete() {
            Ok(()) => writeln!(out, "\nComplete: the issue may be closed on this."),
            Err(missing) => writeln!(out, "\nNot complete: {missing}."),
        };
        self.write_release(&mut out);
        self.write_change(&mut out);
        self.write_proof(&mut out);
        self.write_verdict(&mut out);
        self.write_effort(&mut out);
        out
    }

    fn write_release(&self, out: &mut String) {
        out.push_str("\n## Release\n\n");
        let Some(release) = &self.release else {
            out.push_str("- not recorded\n");
            return;
        };
        let how = match &release.how {
            ReleasedBy::Label { label } => format!("by the label {}", word(label)),
            ReleasedBy::Asked { request } => format!("by {}", word(request)),
            ReleasedBy::Command => "by their own dispatch".to_owned(),
        };
        let permission = match release.permission {
            None => "not asked",
            Some(Permission::None) => "none",
            Some(Permission::Read) => "read",
            Some(Permission::Triage) => "triage",
            Some(Permission::Write) => "write",
            Some(Permission::Maintain) => "maintain",
            Some(Permission::Admin) => "admin",
        };
        let _ = writeln!(
            out,
            "- {} (account {}, permission {permission}), {how}, at {}\n- pinned text: sha256 {}",
            word(&release.by.login),
            word(&release.by.id),
            release.at,
            release.pinned,
        );
    }

    fn write_change(&self, out: &mut String) {
        out.push_str("\n## Change\n\n");
        let oid = |oid: &Option<Oid>| oid.as_ref().map_or("none", Oid::as_str).to_owned();
        let _ = writeln!(
            out,
            "- base {}\n- candidate {}\n- landed {}",
            oid(&self.base),
            oid(&self.candidate),
            oid(&self.landed),
        );
        if let Some(diff) = &self.diff {
            let _ = writeln!(out, "- {} files, +{} −{}", diff.files, diff.added, diff.removed);
        }
        match &self.guardrails {
            None => out.push_str("- guardrails: not checked\n"),
            Some(report) if report.passed() => out.push_str("- guardrails: none breached\n"),
            Some(report) => {
                let _ = writeln!(out, "- guardrails are breached:\n{report}");
            }
        }
    }

    fn write_proof(&self, out: &mut String) {
        out.push_str("\n## Proof\n\n");
        let Some(proof) = &self.proof else {
            out.push_str("- not made\n");
            return;
        };
        let _ = write!(out, "{proof}");
        if !proof.paths.is_empty() {
            out.push_str("\nPaths of the whole change:\n\n");
        }
        for path in &proof.paths {
            let fate = path.fate.map(|fate| format!(", {}", fate.word())).unwrap_or_default();
            let _ = writeln!(
                out,
                "- {} ({}{fate}): +{} −{}",
                path.path,
                path.class.word(),
                path.added,
                path.removed
            );
        }
        for run in &proof.runs {
            let kind = match run.kind {
                RunKind::Verify(1) => String::new(),
                RunKind::Verify(2) => ", again".to_owned(),
                RunKind::Verify(nth) => format!(", time {nth}"),
                RunKind::Build => ", build".to_owned(),
            };
            let _ = writeln!(
                out,
                "\nOn {}{kind} (tree {}), {:?}: {}\n",
                run.role, run.tree, run.argv, run.result
            );
            for line in tail(&run.tail).lines() {
                let _ = writeln!(out, "    {line}");
            }
        }
    }

    fn write_verdict(&self, out: &mut String) {
        out.push_str("\n## Verdict\n\n");
        if self.stages.is_empty() {
            out.push_str("- no stage has answered\n");
        }
        for stage in &self.stages {
            let link = stage.link.as_deref().map(|l| format!(", {}", word(l))).unwrap_or_default();
            let flaky = if stage.flaky { " (flaky: it failed before)" } else { "" };
            let _ = writeln!(
                out,
                "- {}: {}{flaky} for {} at {}{link}",
                word(&stage.stage),
                stage.answer,
                stage.commit.short(),
                stage.at,
            );
        }
        for red in &self.reds {
            let mended = red.mended_by.map_or_else(
                || "not fixed".to_owned(),
                |attempt| format!("fixed by attempt {attempt}"),
            );
            let _ = writeln!(
                out,
                "- red: {} at {} ({}, {}), {mended}",
                red.commit.short(),
                red.at,
                word(&red.stage),
                red.attribution,
            );
        }
    }

    fn write_effort(&self, out: &mut String) {
        out.push_str("\n## Effort\n\n");
        if let Some(effort) = &self.effort {
            let estimated = if effort.estimated { " (partly estimated)" } else { "" };
            let tokens = &effort.tokens;
            let _ = writeln!(
                out,
                "- {} turns, {}{estimated}, {} s\n- tokens: {} read, {} written, \
                 {} read from the cache, {} put into it",
                effort.turns,
                effort.cost,
                effort.wall_seconds,
                tokens.input,
                tokens.output,
                tokens.cache_read,
                tokens.cache_write,
            );
        }
        if let Some(transcript) = &self.transcript {
            let _ = writeln!(out, "- transcript: sha256 {transcript}");
        }
        let sandbox = self.sandbox.map_or_else(|| "not recorded".to_owned(), |s| s.to_string());
        let _ = writeln!(out, "- sandbox: {sandbox}");
    }
}

/// Outside text on one line, short, without control characters.
fn word(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORD_CHARS).collect()
}

/// The end of an output, without control characters except line ends.
fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(TAIL_CHARS);
    text.chars().skip(skip).filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect()
}
