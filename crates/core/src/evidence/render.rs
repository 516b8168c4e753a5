//! Renders the evidence for people, as Markdown that also reads well as plain text.

use std::fmt::{self, Write as _};

use super::{Evidence, ReleasedBy};
use crate::ids::Oid;
use crate::issue::Permission;
use crate::proof::{NoRed, Permitted, ProofReport, Reservation, RunKind, RunReport};
use crate::run::ResumedHead;

/// How many characters of an output are shown, at most, from its end.
const TAIL_CHARS: usize = 2_000;
/// Maximum length of a name or a link, in characters; the rest is cut off.
const WORD_CHARS: usize = 300;

impl Evidence {
    /// Renders the evidence as Markdown; equal evidence gives equal bytes.
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

    /// Whether `text` is the evidence as this version or an earlier one rendered it.
    pub fn is_rendered_as(&self, text: &str) -> bool {
        let now = self.to_markdown();
        let earlier = || {
            let all = now.replacen("\n- from base to candidate: ", "\n- ", 1);
            all.replace("] printed nothing.\n", "] printed:\n\n")
        };
        text == now || text == earlier()
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
            let files = count(diff.files, "file");
            // Not the whole change, if a commit before it landed and was fixed forward.
            let (added, removed) = (diff.added, diff.removed);
            let _ = writeln!(out, "- from base to candidate: {files}, +{added} −{removed}");
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
        let _ = writeln!(out, "{}", proof.headline());
        let groups = groups(&proof.runs);
        if !groups.is_empty() {
            out.push_str("\nWhat was run:\n\n");
        }
        for group in &groups {
            let _ = writeln!(out, "- {group}");
        }
        if !proof.red_tests.is_empty() {
            let names: Vec<String> = proof.red_tests.iter().map(|name| word(name)).collect();
            let _ = writeln!(out, "- fixed: {}", names.join(", "));
        }
        for role in proof.flaky() {
            let _ = writeln!(out, "- flaky: {role} failed and passed");
        }
        write_permits(out, proof);
        write_paths(out, proof);
        for group in &groups {
            let Some(run) = group.runs.first() else { continue };
            let (role, which) = (run.role, group.which());
            let (tree, argv, printed) = (&run.tree, &run.argv, tail(&run.tail));
            let what = if printed.is_empty() { " nothing." } else { ":\n" };
            let _ = writeln!(out, "\nOn {role}{which} (tree {tree}), {argv:?} printed{what}");
            for line in printed.lines() {
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
            let fixed = red.fixed_by.map_or_else(
                || "not fixed".to_owned(),
                |attempt| format!("fixed by attempt {attempt}"),
            );
            let _ = writeln!(
                out,
                "- red: {} at {} ({}, {}), {fixed}",
                red.commit.short(),
                red.at,
                word(&red.stage),
                red.attribution,
            );
        }
    }

    fn write_effort(&self, out: &mut String) {
        out.push_str("\n## Effort\n\n");
        if let Some(resumed) = &self.resumed {
            let ResumedHead { from, head, base, transcript, sandbox } = resumed;
            let _ = writeln!(
                out,
                "- resumed from run {from}: its head {} on {}, transcript sha256 {transcript}, \
                 sandbox {sandbox}",
                head.short(),
                base.short(),
            );
        }
        if let Some(effort) = &self.effort {
            let estimated = if effort.estimated { " (partly estimated)" } else { "" };
            let tokens = &effort.tokens;
            let _ = writeln!(
                out,
                "- {}, {}{estimated}, {} s\n- tokens: {} read, {} written, \
                 {} read from the cache, {} put into it",
                count(effort.turns, "turn"),
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

/// The runs of one command on one tree that had the same result.
struct Group<'a> {
    runs: Vec<&'a RunReport>,
    /// Whether other runs of the same command on the same tree had another result.
    differs: bool,
}

/// Groups the runs of a proof, in the order of the first run of each group.
fn groups(runs: &[RunReport]) -> Vec<Group<'_>> {
    let command = |run: &RunReport| (run.role, run.kind == RunKind::Build, run.tree.clone());
    let mut groups: Vec<Group<'_>> = Vec::new();
    for run in runs {
        let same = |one: &&RunReport| {
            command(one) == command(run) && one.argv == run.argv && one.result == run.result
        };
        if let Some(group) = groups.iter_mut().find(|group| group.runs.first().is_some_and(same)) {
            group.runs.push(run);
        } else {
            let other = |one: &RunReport| command(one) == command(run) && one.result != run.result;
            groups.push(Group { runs: vec![run], differs: runs.iter().any(other) });
        }
    }
    groups
}

impl Group<'_> {
    /// Says which of the tree's runs these are, if they are not all of them.
    fn which(&self) -> String {
        let nth = |run: &&RunReport| match run.kind {
            RunKind::Verify(nth) => Some(nth.to_string()),
            RunKind::Build => None,
        };
        match self.runs.first().map(|run| run.kind) {
            Some(RunKind::Build) => " (build)".to_owned(),
            Some(RunKind::Verify(_)) if self.differs => {
                let times: Vec<String> = self.runs.iter().filter_map(nth).collect();
                format!(" (time {})", times.join(", "))
            }
            Some(RunKind::Verify(_)) | None => String::new(),
        }
    }
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(run) = self.runs.first() else { return Ok(()) };
        write!(f, "{}{}: {}", run.role, self.which(), run.result)?;
        match self.runs.len() {
            1 => {}
            2 => f.write_str(", twice")?,
            times => write!(f, ", {times} times")?,
        }
        // Records of older versions have no durations.
        let took: Vec<u64> = self.runs.iter().map(|run| run.millis).filter(|ms| *ms > 0).collect();
        match (took.iter().min(), took.iter().max()) {
            (Some(least), Some(most)) if seconds(*least) == seconds(*most) => {
                write!(f, ", in {}", seconds(*most))?;
            }
            (Some(least), Some(most)) => {
                write!(f, ", in {} to {}", seconds(*least), seconds(*most))?;
            }
            (None, _) | (_, None) => {}
        }
        write!(f, " (tree {})", run.tree.short())
    }
}

/// Such as `1 turn` and `2 turns`.
fn count(n: impl Into<u64>, what: &str) -> String {
    let n = n.into();
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}

/// Formats a duration: in tenths of a second, or from a minute on in whole seconds, rounded up.
fn seconds(millis: u64) -> String {
    if millis < 60_000 {
        let tenths = millis.div_ceil(100);
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    format!("{} s", millis.div_ceil(1_000))
}

/// Writes what trusted people allowed, by whom and when.
fn write_permits(out: &mut String, proof: &ProofReport) {
    let asked = match &proof.no_red {
        Some(NoRed::Permitted(by)) => Some(("no test that fails without the change", by)),
        Some(NoRed::Policy | NoRed::ExemptCloses | NoRed::OnlyTests) | None => None,
    };
    let hidden = proof.reservations.iter().filter_map(|one| match one {
        Reservation::HidingAllowed { by: Some(by), .. } => {
            Some(("to remove tests, or change what runs them", by))
        }
        Reservation::HidingAllowed { by: None, .. }
        | Reservation::SplitByAgent
        | Reservation::BaseFails
        | Reservation::ChangesTests { .. }
        | Reservation::RemovesTests { .. }
        | Reservation::ChangesRunner { .. }
        | Reservation::OwnRunner { .. }
        | Reservation::OwnManifest { .. } => None,
    });
    let permits: Vec<_> = asked.into_iter().chain(hidden).collect();
    if permits.is_empty() {
        return;
    }
    out.push_str("\nPermits:\n\n");
    for (what, Permitted { label, by, at }) in permits {
        let (label, login, id) = (word(label), word(&by.login), word(&by.id));
        let _ = writeln!(out, "- {what}: by {login} (account {id}), by the label {label}, at {at}");
    }
}

/// Writes every path, and how many lines were removed from the tests among them.
fn write_paths(out: &mut String, proof: &ProofReport) {
    if !proof.paths.is_empty() {
        out.push_str("\nPaths of the whole change:\n\n");
    }
    for path in &proof.paths {
        let fate = path.fate.map(|fate| format!(", {}", fate.word())).unwrap_or_default();
        let class = path.class.word();
        let (added, removed) = (path.added, path.removed);
        let _ = writeln!(out, "- {} ({class}{fate}): +{added} −{removed}", path.path);
    }
    if !proof.removed_test_lines.is_empty() {
        out.push_str("\nLines removed from tests:\n\n");
    }
    for removed in &proof.removed_test_lines {
        let _ = writeln!(out, "- {}: {}", removed.path, removed.count);
    }
}

/// Returns outside text on one line, cut short and without control characters.
fn word(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORD_CHARS).collect()
}

/// Returns the end of an output, without control characters except line ends and tabs.
fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(TAIL_CHARS);
    text.chars().skip(skip).filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect()
}
