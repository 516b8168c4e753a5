//! The result of checking a kept bundle.

use std::path::PathBuf;

use afk_core::digest::Digest;
use afk_core::evidence::bundle::Flaw;
use afk_core::ids::{IssueRef, RunId};
use serde::Serialize;

use crate::cli::style::{Mark, Paint};
use crate::cli::words::line;

/// Maximum length of one line's text, in characters.
const DETAIL: usize = 600;

/// Everything that `evidence verify` shows; serialised, its JSON document.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyPage {
    /// The file of the bundle.
    pub(crate) file: PathBuf,
    /// The issue, according to the bundle.
    pub(crate) issue: IssueRef,
    /// The run, according to the bundle.
    pub(crate) run: RunId,
    /// The last hash of its journal, according to the bundle.
    pub(crate) head: Option<String>,
    /// The id of the key whose signature of the statement was found valid.
    pub(crate) signed_by: Option<Digest>,
    /// Whether no check found a difference.
    pub(crate) sound: bool,
    /// What the evidence lacks for its issue to be closed on it, according to the bundle.
    pub(crate) incomplete: Option<String>,
    /// What was checked, in order.
    pub(crate) checks: Vec<Check>,
    /// Each flaw inside the file.
    pub(crate) flaws: Vec<Flaw>,
}

/// One thing that was checked.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// What must hold.
    pub(crate) what: String,
    /// The result.
    pub(crate) state: State,
    /// Each difference, or why the check could not be made.
    pub(crate) told: Vec<String>,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// What must hold does.
    Holds,
    /// What must hold does not.
    Broken,
    /// It cannot be checked, because something is missing.
    Unknown,
}

impl Check {
    /// A check that holds if `told` has no difference.
    pub(crate) fn of(what: impl Into<String>, told: impl IntoIterator<Item = String>) -> Self {
        let told: Vec<String> = told.into_iter().collect();
        let state = if told.is_empty() { State::Holds } else { State::Broken };
        Self { what: what.into(), state, told }
    }

    /// A check that cannot be made here.
    pub(crate) fn unknown(what: String, why: &str) -> Self {
        Self { what, state: State::Unknown, told: vec![why.to_owned()] }
    }
}

/// Each check, what the evidence lacks, and whether the bundle is sound.
pub(crate) fn verified(page: &VerifyPage, paint: Paint) -> String {
    let mut out = vec![format!("{}  run {}", paint.strong(&page.issue), page.run)];
    for check in &page.checks {
        let (mark, rest) = match check.state {
            State::Holds => (paint.mark(Mark::Yes), ""),
            State::Broken => (paint.mark(Mark::No), ""),
            State::Unknown => (paint.mark(Mark::Unknown), " (not checked)"),
        };
        out.push(format!("{mark} {}{rest}", line(&check.what, DETAIL)));
        out.extend(check.told.iter().map(|told| format!("  {}", line(told, DETAIL))));
    }
    if let Some(missing) = &page.incomplete {
        out.push(format!("not complete: {}", line(missing, DETAIL)));
    }
    if let Some(head) = &page.head {
        out.push(format!("last hash: {}", line(head, DETAIL)));
    }
    out.push(match &page.signed_by {
        _ if !page.sound => paint.bad("not sound"),
        Some(key) => format!("{}, and signed by the key {key}", paint.good("sound")),
        None => {
            let unless = "unless somebody rewrote the whole bundle: see `afk evidence verify \
                          --help`";
            format!("{}, {unless}", paint.good("sound"))
        }
    });
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_sound_bundle_and_one_that_is_not() {
        let run = samples::admitted();
        let page = |checks: Vec<Check>, incomplete: Option<String>, by: Option<&str>| VerifyPage {
            file: "/tmp/bundle.json".into(),
            issue: run.issue.clone(),
            run: run.id,
            head: Some("5d057f88".to_owned()),
            signed_by: by.map(Digest::of),
            sound: checks.iter().all(|check| check.state != State::Broken),
            incomplete,
            checks,
            flaws: Vec::new(),
        };
        let sound = vec![
            Check::of("the 9 rows of its journal are linked by their hashes", None),
            Check::unknown(
                "the transcript of turn 1 is the one".to_owned(),
                "it is not kept on this machine",
            ),
        ];
        let told = ["row 3 is missing", "row 5 \u{1b}[2J was edited"].map(str::to_owned);
        let broken = vec![
            Check::of("the 8 rows of its journal are linked by their hashes", told),
            Check::of("its text matches", None),
        ];
        let lacks = Some("the evidence lacks the proof".to_owned());
        let signed = vec![Check::of("it is signed by the key that it names", None)];
        let pages = [
            page(sound, None, None),
            page(broken, lacks, Some("key")),
            page(signed, None, Some("key")),
        ];
        let shown = pages.map(|page| verified(&page, Paint::PLAIN));
        insta::assert_snapshot!(shown.join("\n----\n"), @r"
        o/web#7  run 0199d3c2-0000-7000-8000-000000000007
        ✓ the 9 rows of its journal are linked by their hashes
        ? the transcript of turn 1 is the one (not checked)
          it is not kept on this machine
        last hash: 5d057f88
        sound, unless somebody rewrote the whole bundle: see `afk evidence verify --help`
        ----
        o/web#7  run 0199d3c2-0000-7000-8000-000000000007
        ✗ the 8 rows of its journal are linked by their hashes
          row 3 is missing
          row 5 was edited
        ✓ its text matches
        not complete: the evidence lacks the proof
        last hash: 5d057f88
        not sound
        ----
        o/web#7  run 0199d3c2-0000-7000-8000-000000000007
        ✓ it is signed by the key that it names
        last hash: 5d057f88
        sound, and signed by the key 2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683
        ");
    }
}
