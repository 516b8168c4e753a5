//! The one comment of a run: the checklist, and at the end what a person needs to know. The run's
//! passes post and edit it, and find it again with [`find`].
//!
//! Rendering is pure. Outside text is made inert and cut to size. The hidden marker comes last,
//! because the first line is the heading.

use std::cmp::Ordering;
use std::fmt::Write as _;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::ids::{At, IssueRef, Oid, RunId, ThreadId};
use crate::issue::Comment;
use crate::phase::Phase;
use crate::plan::End;
use crate::run::PostedComment;
use crate::text::{Keep, bounded, line, plain, quote};

/// What the comment shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The run.
    pub run: RunId,
    /// Its issue.
    pub issue: IssueRef,
    /// Its thread, once there is one.
    pub thread: Option<ThreadId>,
    /// Where it can be watched, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_link: Option<String>,
    /// The default branch's name.
    pub branch: String,
    /// The phase that it is in, or that it stopped in.
    pub phase: Phase,
    /// Whether there is a line for the deployment.
    #[serde(default)]
    pub deploys: bool,
    /// How many corrective turns a red landed commit has had.
    pub fix_forwards: u32,
    /// What it goes on from, or was to go on from, in a sentence; none if neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<String>,
    /// The error of its passes, once it has persisted for a while.
    pub error: Option<String>,
    /// Answers to comments, oldest first, a line each.
    pub told: Vec<String>,
    /// How it ended, once it has.
    pub closing: Option<Closing>,
}

/// What a person needs to know at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// How it ended.
    pub end: End,
    /// Why it stopped, in a sentence or two.
    pub why: String,
    /// What was tried, oldest first, a line each.
    pub tried: Vec<String>,
    /// The commit that landed.
    pub landed: Option<Oid>,
    /// The end of the output that shows the failure.
    pub output: Option<String>,
}

/// The heading of an ending.
fn heading(end: End) -> &'static str {
    match end {
        End::Done => "Landed",
        End::NeedsHuman => "Needs a human",
        End::Frozen => "Frozen",
        End::Withdrawn => "Withdrawn",
    }
}

/// The whole comment.
pub fn render(progress: &Progress) -> String {
    let mut out = checklist(progress);
    if let Some(goes_on) = &progress.goes_on {
        let _ = writeln!(out, "\n_A retry: {}._", line(goes_on, TRIED_LINE));
    }
    if let Some(closing) = &progress.closing {
        out.push('\n');
        out.push_str(&closing_text(closing));
    } else if let Some(error) = &progress.error {
        let _ = writeln!(out, "\nIt is held up and keeps trying: {}", line(error, TRIED_LINE));
    }
    let left_out = progress.told.len().saturating_sub(TOLD);
    if !progress.told.is_empty() {
        out.push_str("\nAnswers to comments:\n\n");
    }
    for told in &progress.told[left_out..] {
        let _ = writeln!(out, "- {}", line(told, TRIED_LINE));
    }
    out.push('\n');
    out.push_str(&marker(progress.run));
    out.push('\n');
    out
}

/// The hidden line that names the run of a comment.
pub fn marker(run: RunId) -> String {
    format!("<!-- afk-run:{run} -->")
}

/// This run's comment: it has the marker and our own account as author. If there are several, the
/// oldest.
pub fn find<'a>(comments: &'a [Comment], run: RunId, own_account_id: &str) -> Option<&'a Comment> {
    let marker = marker(run);
    let ours = |comment: &&Comment| {
        comment.author.as_ref().is_some_and(|author| author.id == own_account_id)
            && comment.body.contains(&marker)
    };
    comments.iter().filter(ours).min_by_key(|comment| comment.at)
}

/// How long after it was posted a comment may be invisible: by then a call that broke off has
/// ended, and a tracker that answers from a copy has caught up.
pub const SETTLES: SignedDuration = SignedDuration::from_mins(2);

/// How long posting may take before it is given up.
pub const ANSWERS: SignedDuration = SignedDuration::from_secs(30);

/// What to do about the run's one comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is up to date.
    Nothing,
    /// Record its id, which is unknown because the tracker's answer to posting was lost.
    Note {
        /// The id.
        id: String,
    },
    /// Replace its text.
    Edit {
        /// Its id.
        id: String,
        /// Whether the tracker does not list it: it may be deleted.
        unseen: bool,
    },
    /// Record the intent, then post it.
    Post,
    /// Wait: it may have been posted but not be visible yet.
    Wait {
        /// Until when.
        until: At,
    },
}

/// Decides what to do if the comment should say `wanted`. `there` are the issue's comments, read at
/// `asked_at` or later. A comment that may exist is posted again only after a read that missed it
/// when it should long have been visible.
pub fn step(
    posted: Option<&PostedComment>,
    there: &[Comment],
    run: RunId,
    own_account_id: &str,
    wanted: &str,
    asked_at: At,
) -> Step {
    let known = posted.and_then(|posted| posted.id.as_ref());
    let by_id = known.and_then(|id| there.iter().find(|comment| comment.id == *id));
    match (by_id.or_else(|| find(there, run, own_account_id)), known) {
        (Some(shown), None) => Step::Note { id: shown.id.clone() },
        (Some(shown), Some(_)) if differs(&shown.body, wanted) => {
            Step::Edit { id: shown.id.clone(), unseen: false }
        }
        (Some(_), Some(_)) => Step::Nothing,
        (None, Some(id)) => Step::Edit { id: id.clone(), unseen: true },
        (None, None) => {
            let settled = posted.map(|posted| posted.at.checked_add(SETTLES).unwrap_or(At::MAX));
            match settled {
                Some(until) if asked_at < until => Step::Wait { until },
                Some(_) | None => Step::Post,
            }
        }
    }
}

/// Whether an address can stand in a Markdown link as it is.
fn is_plain_address(link: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#&=%+".contains(c);
    let web = link.starts_with("https://") || link.starts_with("http://");
    web && link.len() <= 500 && link.chars().all(plain)
}

/// Whether a comment must be edited to say `wanted`. Forges trim text and may change its line ends,
/// which does not count as a difference.
pub fn differs(shown: &str, wanted: &str) -> bool {
    let lines = |text: &'_ str| text.trim_end().replace("\r\n", "\n");
    lines(shown) != lines(wanted)
}

/// The checklist alone, with its trailing newline.
pub fn checklist(progress: &Progress) -> String {
    let mut out = format!("### {} — AFK run progress", progress.issue);
    if let Some(thread) = progress.thread {
        // Writing to a string cannot fail; the same below.
        let _ = write!(out, " (thread {thread})");
    }
    out.push_str("\n\n");
    let branch = line(&progress.branch, 250);
    for phase in Phase::ALL {
        if phase == Phase::Deployed && !progress.deploys {
            continue;
        }
        let mark = match phase.cmp(&progress.phase) {
            Ordering::Less => 'x',
            Ordering::Equal if phase == Phase::Done => 'x',
            Ordering::Equal => '~',
            Ordering::Greater => ' ',
        };
        let _ = writeln!(out, "- [{mark}] {}", phase.says(&branch));
    }
    if progress.fix_forwards > 0 {
        let plural = if progress.fix_forwards == 1 { "" } else { "s" };
        let _ = writeln!(out, "\n_Fix-forward: {} attempt{plural}._", progress.fix_forwards);
    }
    let link = progress.thread_link.as_deref().filter(|link| is_plain_address(link));
    if let Some(link) = link.filter(|_| progress.thread.is_some()) {
        let _ = writeln!(out, "\n[The agent's thread]({link})");
    }
    out
}

/// Limits that keep the comment far below what forges accept (65,536 characters).
const WHY: usize = 4_000;
const TRIED: usize = 20;
const TRIED_LINE: usize = 500;
const TOLD: usize = 5;
const OUTPUT: usize = 8_000;

fn closing_text(closing: &Closing) -> String {
    let why = plain(&closing.why);
    let why = bounded(why.trim(), WHY, Keep::Head);
    let mut out = format!("**{}.** {why}\n", heading(closing.end));
    match closing.end {
        End::Done | End::Withdrawn => {}
        End::NeedsHuman => out.push_str(
            "\nNext: fix what stopped it, then comment `/afk retry`; or take the issue over.\n",
        ),
        End::Frozen => out.push_str(
            "\nNext: fix the default branch, then comment `/afk unfreeze`, and `/afk retry` if the \
             issue is still open.\n",
        ),
    }
    if let Some(landed) = &closing.landed {
        let still = match closing.end {
            End::Done | End::Withdrawn => "",
            End::NeedsHuman | End::Frozen => " It is still on the default branch.",
        };
        let _ = writeln!(out, "\nLanded commit: {landed}.{still}");
    }
    if !closing.tried.is_empty() {
        out.push_str("\nWhat was tried:\n\n");
        let left_out = closing.tried.len().saturating_sub(TRIED);
        if left_out > 0 {
            let _ = writeln!(out, "- … {left_out} earlier ones omitted");
        }
        for tried in &closing.tried[left_out..] {
            let _ = writeln!(out, "- {}", line(tried, TRIED_LINE));
        }
    }
    if let Some(output) = closing.output.as_deref().filter(|output| !output.trim().is_empty()) {
        let _ = writeln!(out, "\n{}", quote(output, OUTPUT));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Actor;

    fn progress(phase: Phase) -> Progress {
        let run: RunId = "0199c0de-0000-7000-8000-000000000001".parse().unwrap();
        Progress {
            run,
            issue: "owner/repo#7".parse().unwrap(),
            thread: Some(run.thread()),
            thread_link: None,
            branch: "master".into(),
            phase,
            deploys: true,
            fix_forwards: 0,
            goes_on: None,
            error: None,
            told: Vec::new(),
            closing: None,
        }
    }

    #[test]
    fn there_is_no_line_for_a_deployment_where_nothing_deploys() {
        let none = Progress { deploys: false, ..progress(Phase::Done) };
        assert!(!checklist(&none).contains("Deployed"), "nobody was asked to deploy");
    }

    #[test]
    fn the_whole_comment_at_each_end() {
        let mut shown = Vec::new();
        for end in [End::Done, End::NeedsHuman, End::Frozen, End::Withdrawn] {
            let phase = if end == End::Done { Phase::Done } else { Phase::Ci };
            let closing = Closing {
                end,
                why: "CI failed on the landed commit, see @octocat; closes #8.".into(),
                tried: vec![
                    "fix-forward 1:\ntest <!-- afk-run:x -->".into(),
                    "fix-forward 2".into(),
                ],
                landed: Some("a".repeat(40).parse().unwrap()),
                output: Some("\u{1B}[31mFAILED\u{1B}[0m tests::rows\n```\n".into()),
            };
            let closing = Some(closing);
            shown.push(render(&Progress { fix_forwards: 2, closing, ..progress(phase) }));
        }
        insta::assert_snapshot!(shown.join("=====\n"));
    }

    #[test]
    fn the_thread_is_shown_when_known_and_one_attempt_is_no_attempts() {
        let bare = Progress { thread: None, fix_forwards: 1, ..progress(Phase::Ci) };
        let text = checklist(&bare);
        assert!(
            text.starts_with("### owner/repo#7 — AFK run progress\n\n- [x] Worktree created\n")
        );
        assert!(text.ends_with("- [ ] Done — issue closed\n\n_Fix-forward: 1 attempt._\n"));
    }

    #[test]
    fn the_thread_is_linked_where_its_address_is_one() {
        let bare = checklist(&progress(Phase::Ci));
        let shown = |link: &str| {
            let linked = Progress { thread_link: Some(link.to_owned()), ..progress(Phase::Ci) };
            checklist(&linked)
        };
        let thread = progress(Phase::Ci).thread.unwrap();
        let head = format!("### owner/repo#7 — AFK run progress (thread {thread})\n");
        assert!(bare.starts_with(&head), "{bare}");
        let link = "https://t3.example:3773/environment/thread";
        assert_eq!(shown(link), format!("{bare}\n[The agent's thread]({link})\n"));
        for odd in ["javascript:alert(1)", "https://x/) [click](https://y", "https://x/a b", ""] {
            assert_eq!(shown(odd), bare, "{odd}");
        }
    }

    #[test]
    fn an_error_that_lasts_is_shown_in_one_line_until_the_end() {
        let failing = Progress {
            error: Some("no way to the remote:\nask @octocat <!-- x".into()),
            ..progress(Phase::Ci)
        };
        let text = render(&failing);
        let line =
            "\nIt is held up and keeps trying: no way to the remote: ask ＠octocat <! -- x\n";
        assert!(text.contains(line), "{text}");
        let closing = Closing {
            end: End::NeedsHuman,
            why: "the run's deadline has passed".into(),
            tried: Vec::new(),
            landed: None,
            output: None,
        };
        let text = render(&Progress { closing: Some(closing), ..failing });
        assert!(!text.contains("tries again"), "{text}");
    }

    #[test]
    fn the_newest_answers_to_comments_are_told_in_one_line_each_and_made_inert() {
        let told =
            (1..=7).map(|n| format!("ann, {n}: \"dance\"\nis for @octocat <!-- x")).collect();
        let text = render(&Progress { told, ..progress(Phase::Ci) });
        assert_eq!(text.matches("- ann, ").count(), 5);
        assert!(!text.contains("- ann, 2:") && text.contains("- ann, 7:"), "{text}");
        assert!(!text.contains('@'));
        assert_eq!(text.matches("<!--").count(), 1);
    }

    #[test]
    fn long_text_is_cut_and_nothing_but_our_marker_opens_a_comment() {
        let long = "@x <!-- afk-run: `".repeat(10_000);
        let closing = Closing {
            end: End::NeedsHuman,
            why: long.clone(),
            tried: vec![long.clone(); 50],
            landed: None,
            output: Some(long),
        };
        let text = render(&Progress { closing: Some(closing), ..progress(Phase::Green) });
        assert!(text.len() < 40_000, "{}", text.len());
        assert_eq!(text.matches("<!--").count(), 1);
        assert!(!text.contains('@'));
        assert!(text.contains("- … 30 earlier ones omitted"));
    }

    #[test]
    fn our_comment_is_found_by_marker_and_account() {
        let progress = progress(Phase::Ci);
        let body = render(&progress);
        let comment = |id: &str, author: Option<&str>, second, body: &str| Comment {
            id: id.into(),
            author: author.map(|id| Actor { id: id.into(), login: "x".into(), bot: false }),
            at: At::from_second(second).unwrap(),
            body: body.into(),
            edited: false,
        };
        let comments = [
            comment("forged", Some("stranger"), 1, &body),
            comment("nobody", None, 2, &body),
            comment("later", Some("us"), 9, &body),
            comment("ours", Some("us"), 3, &body.replace('\n', "\r\n")),
            comment("other", Some("us"), 0, "no marker"),
        ];
        let found = |account| find(&comments, progress.run, account).map(|c| c.id.as_str());
        assert_eq!(found("us"), Some("ours"));
        assert_eq!(found("them"), None);
        assert!(!differs(body.trim_end(), &body));
        assert!(!differs(&body.replace('\n', "\r\n"), &body));
        assert!(differs(&body.replace("[~]", "[x]"), &body));
    }

    #[test]
    fn a_comment_that_may_be_there_is_not_posted_twice() {
        let run = progress(Phase::Ci).run;
        let body = format!("text\n{}", marker(run));
        let at = |second| At::from_second(second).unwrap();
        let ours = |id: &str, body: &str| Comment {
            id: id.into(),
            author: Some(Actor { id: "us".into(), login: "us".into(), bot: true }),
            at: at(1_000),
            body: body.into(),
            edited: false,
        };
        let check = |posted: Option<(i64, Option<&str>)>, there: &[Comment], now, expected| {
            let id = |id: Option<&str>| id.map(str::to_owned);
            let posted =
                posted.map(|(second, known)| PostedComment { at: at(second), id: id(known) });
            let step = step(posted.as_ref(), there, run, "us", &body, at(now));
            assert_eq!(step, expected, "{posted:?} {there:?} {now}");
        };
        let edit = |id: &str, unseen| Step::Edit { id: id.into(), unseen };
        let older = marker(run);
        let until = at(1_000 + SETTLES.as_secs());
        check(None, &[], 1_000, Step::Post);
        // It existed before anything was recorded, or the tracker's answer was lost.
        check(None, &[ours("7", &body)], 1_000, Step::Note { id: "7".into() });
        check(Some((1_000, None)), &[ours("7", &older)], 1_001, Step::Note { id: "7".into() });
        // It is unknown whether it was posted.
        check(Some((1_000, None)), &[], 1_000, Step::Wait { until });
        check(Some((1_000, None)), &[], 1_119, Step::Wait { until });
        check(Some((1_000, None)), &[], 1_120, Step::Post);
        check(Some((1_000, None)), &[], 900, Step::Wait { until });
        // It was posted, whatever a copy that lags shows.
        check(Some((1_000, Some("7"))), &[ours("7", &body)], 2_000, Step::Nothing);
        check(Some((1_000, Some("7"))), &[ours("7", &older)], 2_000, edit("7", false));
        check(Some((1_000, Some("7"))), &[], 9_000, edit("7", true));
        // A comment whose id is recorded stays the run's comment.
        check(
            Some((1_000, Some("8"))),
            &[ours("7", &older), ours("8", &body)],
            2_000,
            Step::Nothing,
        );
    }

    #[test]
    fn a_link_is_shown_unless_it_is_longer_than_any() {
        let shows = |length: usize| {
            let start = "https://t3.example/";
            let link = format!("{start}{}", "a".repeat(length - start.len()));
            let linked = Progress { thread_link: Some(link), ..progress(Phase::Ci) };
            checklist(&linked).contains("[The agent's thread](https://t3.example/aa")
        };
        assert!(shows(500) && !shows(501));
    }
}
