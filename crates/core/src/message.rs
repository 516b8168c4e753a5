//! The message of the commit that lands, and the trailers that name its run.
//!
//! The text is the agent's: subject and body of its newest commit, then the subjects of the others.
//! Only the control plane says which run it was: `AFK-` trailers written by the agent are removed
//! wherever they are, and our own are added at the end. Anything else that may not land in a
//! message of ours is removed, too: words that close an issue or skip CI, trailers of other people,
//! secrets ([`sanitise`]). Nothing is judged here; that is up to `guardrails`.

mod sanitise;
pub(crate) mod words;

use crate::ids::RunId;
use sanitise::sanitised;
use words::Words;

/// The key of the trailer that names the run.
pub const RUN_TRAILER: &str = "AFK-Run";
/// The key of the trailer that names the attempt.
pub const ATTEMPT_TRAILER: &str = "AFK-Attempt";

/// Maximum length of a landing message's text between subject and trailers, in characters.
const MAX_CHARS: usize = 20_000;
const MAX_SUBJECT: usize = 200;
/// Maximum number of commits besides the newest whose subjects are listed.
const MAX_OTHERS: usize = 1_000;
/// How much of the message of each of those commits is read, in characters.
const MAX_OTHER: usize = 4_000;

/// Returns the message for landing the commits of a run, whose messages are given newest first.
///
/// Equal inputs give equal bytes, so that equal candidates have equal ids.
pub fn landing(newest_first: &[&str], issue: u64, run: RunId, attempt: u32) -> String {
    let of = |message: &str, chars| {
        let message: String = message.chars().take(chars).collect();
        Parts::of(&sanitised(&message), issue)
    };
    // Only the subjects and trailers of the other commits are used, and only as many as fit.
    let others = newest_first.iter().skip(1).take(MAX_OTHERS).map(|other| of(other, MAX_OTHER));
    let newest = newest_first.first().map(|newest| of(newest, MAX_CHARS)).unwrap_or_default();
    let rest: Vec<Parts> = others.collect();
    let subject = if newest.subject.is_empty() {
        format!("Work on #{issue}")
    } else {
        newest.subject.chars().take(MAX_SUBJECT).collect()
    };
    let mut sections = vec![newest.body];
    let others: Vec<String> = rest
        .iter()
        .rev()
        .filter(|part| !part.subject.is_empty())
        .map(|part| format!("* {}", part.subject))
        .collect();
    sections.push(others.join("\n"));
    let text: Vec<String> = sections.into_iter().filter(|s| !s.is_empty()).collect();
    let text: String = text.join("\n\n").chars().take(MAX_CHARS).collect();

    let mut trailers: Vec<String> = Vec::new();
    for trailer in newest.trailers.into_iter().chain(rest.into_iter().flat_map(|p| p.trailers)) {
        if trailers.len() < 20 && !trailers.contains(&trailer) {
            trailers.push(trailer);
        }
    }
    trailers.push(format!("{RUN_TRAILER}: {run}"));
    trailers.push(format!("{ATTEMPT_TRAILER}: {attempt}"));

    // `Refs` has no colon, so it is no trailer for git, and would invalidate the block of trailers
    // if it were in it.
    let refs = format!("Refs #{issue}");
    let sections = [subject.as_str(), text.trim_end(), &refs, &trailers.join("\n")];
    let sections: Vec<&str> = sections.into_iter().filter(|s| !s.is_empty()).collect();
    let message = sections.join("\n\n") + "\n";
    // Two harmless texts can be harmful when joined; then none of them is kept.
    if newest_first.is_empty() || is_harmless(&message) {
        message
    } else {
        landing(&[], issue, run, attempt)
    }
}

fn is_harmless(message: &str) -> bool {
    Words::get()
        .is_ok_and(|words| words.skips_ci(message).is_none() && words.closes(message).is_none())
}

/// Returns the value of a trailer, the last if there are several. A message is read as git reads
/// it: only its last paragraph counts, and only if that consists of trailers.
pub fn trailer<'m>(message: &'m str, key: &str) -> Option<&'m str> {
    let lines: Vec<&str> = message.lines().map(str::trim_end).collect();
    let (_, block) = split_trailers(&lines);
    let values = block.iter().filter_map(|line| line.split_once(':'));
    values.rev().find(|(k, _)| k.trim().eq_ignore_ascii_case(key)).map(|(_, value)| value.trim())
}

/// A message in its parts, without the lines that only the control plane may write.
#[derive(Default)]
struct Parts {
    subject: String,
    body: String,
    trailers: Vec<String>,
}

impl Parts {
    fn of(message: &str, issue: u64) -> Self {
        let clean: String =
            message.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect();
        let lines: Vec<&str> = clean.lines().map(str::trim_end).collect();
        let (text, block) = split_trailers(&lines);
        // If the last block has trailers of ours, the message was landed before: everything above
        // the block is body, even if it looks like trailers.
        let landed_before = block.iter().any(|line| is_ours(line, issue));
        let kept = without_ours(if landed_before { text } else { &lines }, issue);
        let (text, trailers) = if landed_before {
            (kept.as_slice(), without_ours(block, issue))
        } else {
            let (text, block) = split_trailers(&kept);
            (text, block.to_vec())
        };
        let mut text = text.iter().skip_while(|line| line.is_empty());
        let subject = text.next().map(|s| s.trim().to_owned()).unwrap_or_default();
        let body: Vec<&str> = text.copied().collect();
        Self {
            subject,
            body: body.join("\n").trim_matches('\n').to_owned(),
            trailers: trailers.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// Returns the lines without those that only the control plane may write, and without their
/// continuations.
fn without_ours<'m>(lines: &[&'m str], issue: u64) -> Vec<&'m str> {
    let mut ours = false;
    let mut kept = Vec::new();
    for line in lines {
        ours = is_ours(line, issue) || (ours && line.starts_with([' ', '\t']));
        if !ours {
            kept.push(*line);
        }
    }
    kept
}

/// Whether only the control plane may write this line.
fn is_ours(line: &str, issue: u64) -> bool {
    let line = line.trim();
    let ours = |key: &str| key.trim().to_ascii_lowercase().starts_with("afk-");
    let refs = line.to_ascii_lowercase();
    let refs = refs.strip_prefix("refs").map(|r| r.trim_start_matches(':').trim());
    line.split_once(':').is_some_and(|(key, _)| ours(key)) || refs == Some(&format!("#{issue}"))
}

/// Splits off the trailers: a last paragraph, not the first one, that consists of `Key: value`
/// lines and their continuations.
fn split_trailers<'a, 'm>(lines: &'a [&'m str]) -> (&'a [&'m str], &'a [&'m str]) {
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |at| at + 1);
    let lines = lines.get(..end).unwrap_or_default();
    let none = (lines, &lines[end..]);
    let Some(gap) = lines.iter().rposition(|line| line.is_empty()) else { return none };
    let (text, block) = lines.split_at(gap + 1);
    let mut first = true;
    let all = block.iter().all(|line| {
        let continues = !first && line.starts_with([' ', '\t']);
        first = false;
        continues || is_trailer(line)
    });
    if all && text.iter().any(|line| !line.is_empty()) { (text, block) } else { none }
}

fn is_trailer(line: &str) -> bool {
    line.split_once(':').is_some_and(|(key, value)| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !key.is_empty() && key.bytes().all(plain) && value.starts_with([' ', '\t'])
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run() -> RunId {
        "01900000-0000-7000-8000-000000000001".parse().unwrap()
    }

    fn land(messages: &[&str]) -> String {
        landing(messages, 7, run(), 2)
    }

    const END: &str = "Refs #7\n\nAFK-Run: 01900000-0000-7000-8000-000000000001\nAFK-Attempt: 2\n";

    #[test]
    fn the_message_is_the_agents_and_the_trailers_are_ours() {
        let check = |messages: &[&str], expected: &str| {
            let message = land(messages);
            assert_eq!(message, format!("{expected}{END}"));
            // Landing a landed message changes nothing.
            assert_eq!(land(&[&message]), message);
        };
        check(&["Add it"], "Add it\n\n");
        check(&["Add it\n\nBecause.\n\nRefs #7\n"], "Add it\n\nBecause.\n\n");
        check(&["Make it\n\nWhy.", "Test it\n\nLong."], "Make it\n\nWhy.\n\n* Test it\n\n");
        check(&["C", "B", "A"], "C\n\n* A\n* B\n\n");
        check(&[], "Work on #7\n\n");
        check(&["\n\n"], "Work on #7\n\n");
        check(&["a\0b\r\n\r\nc\u{1b}[1m"], "ab\n\nc\n\n");
        check(&["Add it\n\nRefs #12\nrefs: #7"], "Add it\n\nRefs #12\n\n");
        check(&["#\na: :"], "#\n\na: :\n\n");
    }

    #[test]
    fn nobody_is_spoken_for_and_other_trailers_stay() {
        let message = land(&[
            "Add it\n\nafk-run: someone-else\nText\n AFK-Attempt: 9\n\nCo-authored-by: A <a@b>\nAFK-Run: x",
            "Test it\n\nChange-Id: I1\nSigned-off-by: C <c@d>",
            "Reviewed-by: B <b@x>",
        ]);
        let expected = "Add it\n\nText\n\n* Test it\n\nRefs #7\n\nChange-Id: I1\n\
            AFK-Run: 01900000-0000-7000-8000-000000000001\nAFK-Attempt: 2\n";
        assert_eq!(message, expected);
        assert_eq!(trailer(&message, "afk-run"), Some("01900000-0000-7000-8000-000000000001"));
    }

    #[test]
    fn what_does_something_at_a_forge_does_not_land() {
        let check = |messages: &[&str], expected: &str| {
            let message = land(messages);
            assert_eq!(message, format!("{expected}{END}"), "{messages:?}");
            assert!(is_harmless(&message));
            assert_eq!(land(&[&message]), message);
        };
        check(&["Triple numbers\n\nFixes #7"], "Triple numbers\n\n");
        check(&["Triple numbers, closes #7"], "Triple numbers, refs #7\n\n");
        check(
            &["Triple numbers [skip ci]", "Test it [ci skip]"],
            "Triple numbers\n\n* Test it\n\n",
        );
        check(&["Closes #7"], "Work on #7\n\n");
        check(&["***NO_CI***\n\nskip-checks:true"], "Work on #7\n\n");
        check(&["Add it\n\nReopens #4"], "Add it\n\nRefs #4\n\n");
        check(&["\u{200b}Add\u{202e} it"], "Add it\n\n");
        check(&["Add it [skip", "x", "CI]"], "Add it [skip\n\n* CI]\n* x\n\n");
    }

    #[test]
    fn a_joint_that_does_harm_leaves_nothing_of_either_side() {
        // Each part is harmless, and together they are not.
        let plain = format!("Work on #7\n\n{END}");
        assert_eq!(land(&["To fix\n\nAFK-Run: x\n\n#8 and others"]), plain);
        assert_eq!(land(&["Add it\n\nto fix", "#8"]), plain);
    }

    #[test]
    fn twenty_trailers_of_others_are_kept() {
        let theirs: Vec<String> = (0..25).map(|n| format!("X-{n}: y")).collect();
        let message = land(&[&format!("Add it\n\n{}", theirs.join("\n"))]);
        assert_eq!(message.matches("X-").count(), 20);
        assert!(message.contains("X-19: y\nAFK-Run: "), "{message}");
    }

    #[test]
    fn trailers_are_read_as_git_reads_them() {
        let check = |message, expected| assert_eq!(trailer(message, RUN_TRAILER), expected);
        check("A\n\nAFK-Run: 1\n", Some("1"));
        check("A\n\nAFK-Run: 1\nAFK-Run: 2\n\n\n", Some("2"));
        check("A\n\nX: y\n  more\nafk-run: 1", Some("1"));
        check("AFK-Run: 1", None);
        check("\n\nAFK-Run: 1", None);
        check("A\n\nAFK-Run: 1\n\nmore text", None);
        check("A\n\ntext\nAFK-Run: 1", None);
        check("A\n\n  more\nAFK-Run: 1", None);
        check("A\n\nX: y\ntext\nAFK-Run: 1", None);
        check("A\n\nNot a key: x\nAFK-Run: 1", None);
        check("A\n\nAFK-Runner: 1", None);
        check("", None);
    }

    proptest! {
        #[test]
        fn whatever_the_agent_writes_the_run_is_ours(
            messages in proptest::collection::vec("([A-Za-z #:\\-]{0,12}|AFK-Run: x|Refs #7|\n){0,8}", 0..4)
        ) {
            let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
            let message = land(&messages);
            prop_assert!(message.ends_with("AFK-Run: 01900000-0000-7000-8000-000000000001\nAFK-Attempt: 2\n"));
            let id = run().to_string();
            prop_assert_eq!(trailer(&message, RUN_TRAILER), Some(id.as_str()));
            prop_assert_eq!(message.lines().filter(|l| l.starts_with("AFK-Run:")).count(), 1);
            prop_assert_eq!(land(&[&message]), message);
        }
    }
}
