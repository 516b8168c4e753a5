//! What a doorbell says, and the id that it keeps.
//!
//! A doorbell is rung from the outbox, at least once, for the end of a run and for what waits for a
//! person. When a person tests it, it is rung once, without the outbox. An unknown kind is an
//! error, never a message that nobody understands. Delivery is the adapters' business.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::hold::HoldCause;
use crate::ids::{At, IssueRef, RunId};
use crate::text::{Keep, bounded, line, plain};

/// Why the doorbell rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DoorbellKind {
    /// A run landed and closed its issue.
    Done,
    /// A run was handed to a person.
    NeedsHuman,
    /// A run was handed to a person with the broken commit in place.
    Frozen,
    /// A run's agent asks a person a question; the run goes on.
    Question,
    /// Dispatch is held: an agent cannot work, or the machine lacks what runs need.
    Held,
    /// A person tries whether the doorbell rings.
    Test,
}

/// A word that is not a kind of doorbell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a kind of doorbell; use done, needs-human, frozen, question, held or test")]
pub struct UnknownKind(String);

impl DoorbellKind {
    /// The kind as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NeedsHuman => "needs-human",
            Self::Frozen => "frozen",
            Self::Question => "question",
            Self::Held => "held",
            Self::Test => "test",
        }
    }

    /// How urgent it is.
    pub fn priority(self) -> DoorbellPriority {
        match self {
            Self::Done | Self::Test => DoorbellPriority::Low,
            Self::NeedsHuman | Self::Frozen | Self::Question | Self::Held => DoorbellPriority::High,
        }
    }

    /// The tags that it is filed under.
    pub fn tags(self) -> &'static [&'static str] {
        match self {
            Self::Done => &["afk", "done"],
            Self::NeedsHuman => &["afk", "escalation", "needs-human"],
            Self::Frozen => &["afk", "escalation", "frozen"],
            Self::Question => &["afk", "question"],
            Self::Held => &["afk", "held"],
            Self::Test => &["afk", "test"],
        }
    }
}

impl fmt::Display for DoorbellKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DoorbellKind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let all =
            [Self::Done, Self::NeedsHuman, Self::Frozen, Self::Question, Self::Held, Self::Test];
        let found = all.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownKind(line(text, 60)))
    }
}

impl TryFrom<String> for DoorbellKind {
    type Error = UnknownKind;
    fn try_from(text: String) -> Result<Self, UnknownKind> {
        text.parse()
    }
}

impl From<DoorbellKind> for String {
    fn from(kind: DoorbellKind) -> Self {
        kind.as_str().to_owned()
    }
}

/// How urgent a doorbell is, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DoorbellPriority {
    /// To be read some time.
    Low,
    /// To be read now.
    High,
}

/// A doorbell, in the shape that webhooks get as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doorbell {
    /// The same for every delivery of one ring, so that a receiver can drop repeats.
    pub id: Uuid,
    /// Why it rings.
    pub kind: DoorbellKind,
    /// The run; null if it rings for no run: for a hold before there is one, or for a test.
    #[serde(default)]
    pub run: Option<RunId>,
    /// The issue; null for a test.
    pub issue_ref: Option<IssueRef>,
    /// What it is about, in one line.
    pub title: String,
    /// The details, and a line with the thread's link if there is one.
    pub body: String,
    /// The thread's link; null without a thread.
    pub link: Option<String>,
    /// How urgent it is.
    pub priority: DoorbellPriority,
    /// The tags that it is filed under.
    pub tags: Vec<String>,
}

/// What a doorbell is made from.
#[derive(Debug, Clone, Copy)]
pub struct Ring<'a> {
    /// The run.
    pub run: RunId,
    /// Its issue.
    pub issue: &'a IssueRef,
    /// Why it rings.
    pub kind: DoorbellKind,
    /// The reason in a few words, for the title.
    pub reason: Option<&'a str>,
    /// What a person needs to know.
    pub detail: &'a str,
    /// Where the thread can be seen.
    pub link: Option<&'a str>,
    /// Which ring of its kind this is, from 0: a freeze rings again until it is
    /// acknowledged, and each question rings once.
    pub nth: u32,
}

/// What a doorbell is made from for a hold that was found before there was a run.
#[derive(Debug, Clone, Copy)]
pub struct HoldRing<'a> {
    /// What dispatch is held for.
    pub cause: &'a HoldCause,
    /// An issue that waits because of it.
    pub issue: &'a IssueRef,
    /// What is missing, and how to fix it.
    pub why: &'a str,
    /// When that was found.
    pub since: At,
}

/// The most that a doorbell's detail may say, in bytes.
const DETAIL: usize = 4_000;

/// What is before the link in the last line of a body.
const THREAD: &str = "Thread: ";

/// What a doorbell is about.
#[derive(Debug, Clone, Copy, Default)]
struct About<'a> {
    run: Option<RunId>,
    issue: Option<&'a IssueRef>,
}

impl Doorbell {
    /// Makes the doorbell; equal rings make equal doorbells.
    pub fn new(ring: &Ring<'_>) -> Self {
        let Ring { run, issue, kind, reason, detail, link, nth } = *ring;
        let title = match kind {
            DoorbellKind::Done => format!("[DONE] {issue} landed"),
            DoorbellKind::NeedsHuman => {
                format!("[NEEDS-HUMAN] {issue} needs a human{}", why(reason))
            }
            DoorbellKind::Frozen => format!("[FROZEN] {issue} frozen{}", why(reason)),
            DoorbellKind::Question => format!("[QUESTION] {issue} asks a person"),
            DoorbellKind::Test => format!("[TEST] {issue}"),
            DoorbellKind::Held => match reason {
                Some(reason) => format!("[HELD] {issue} waits: {reason}"),
                None => format!("[HELD] {issue} waits for its agent"),
            },
        };
        let about = About { run: Some(run), issue: Some(issue) };
        Self::made(id(run, kind, nth), kind, about, title, detail, link)
    }

    /// Makes the doorbell for a hold that was found before there was a run; equal rings make equal
    /// doorbells.
    pub fn of_hold(ring: &HoldRing<'_>) -> Self {
        let HoldRing { cause, issue, why, since } = *ring;
        let (whom, meanwhile) = match cause {
            HoldCause::Agent(name) => {
                ("its agent", format!("nothing is dispatched to the agent {name}"))
            }
            HoldCause::Machine => ("this machine", "nothing is dispatched".to_owned()),
        };
        // How to fix it is in the body, where a command can be copied whole.
        let reason = line(why.split(": ").next().unwrap_or(why), 120);
        let title = format!("[HELD] {issue} waits for {whom} — {reason}");
        let detail = format!(
            "{why}\n\n{issue} stays ready, and {meanwhile} until this is fixed. That is noticed \
             without a restart; `afk explain {issue}` shows what is still missing."
        );
        let name = format!("afk-hold:{cause}:{issue}:{}", since.as_microsecond());
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
        let about = About { run: None, issue: Some(issue) };
        Self::made(id, DoorbellKind::Held, about, title, &detail, None)
    }

    /// Makes the doorbell that a person rings for a test; `id` is new for each.
    pub fn of_test(id: Uuid) -> Self {
        let title = "[TEST] this doorbell rings".to_owned();
        let detail = "A person tries with `afk doorbell test` whether it does. It is about no \
                      issue, and there is nothing to do.";
        Self::made(id, DoorbellKind::Test, About::default(), title, detail, None)
    }

    /// The body without the line that has the link, for receivers that show the link themselves.
    pub fn detail(&self) -> &str {
        let Some(link) = &self.link else { return &self.body };
        let rest = self.body.strip_suffix(link.as_str()).and_then(|r| r.strip_suffix(THREAD));
        rest.map_or(&self.body, |rest| rest.strip_suffix('\n').unwrap_or(rest))
    }

    fn made(
        id: Uuid,
        kind: DoorbellKind,
        about: About<'_>,
        title: String,
        detail: &str,
        link: Option<&str>,
    ) -> Self {
        let mut body = bounded(plain(detail).trim(), DETAIL, Keep::Head).into_owned();
        if let Some(link) = link {
            if !body.is_empty() {
                body.push('\n');
            }
            body.push_str(THREAD);
            body.push_str(link);
        }
        Self {
            id,
            kind,
            run: about.run,
            issue_ref: about.issue.cloned(),
            title,
            body,
            link: link.map(str::to_owned),
            priority: kind.priority(),
            tags: kind.tags().iter().map(ToString::to_string).collect(),
        }
    }
}

/// The end of a title that gives a reason; empty without one.
fn why(reason: Option<&str>) -> String {
    let reason = reason.map(|reason| line(reason, 120)).filter(|reason| !reason.is_empty());
    reason.map_or_else(String::new, |reason| format!(" — {reason}"))
}

/// The id of a ring, derived from its content: the same if it is made again after a crash.
fn id(run: RunId, kind: DoorbellKind, nth: u32) -> Uuid {
    let name = match nth {
        0 => format!("afk-doorbell:{kind}"),
        n => format!("afk-doorbell:{kind}:{n}"),
    };
    Uuid::new_v5(&run.uuid(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring<R>(kind: DoorbellKind, then: impl FnOnce(Ring<'_>) -> R) -> R {
        let run = "0199c0de-0000-7000-8000-000000000001".parse().unwrap();
        let issue = "owner/repo#7".parse().unwrap();
        let (reason, detail, link) = (None, "CI failed, see @octocat.\n", Some("https://x/t/1"));
        then(Ring { run, issue: &issue, kind, reason, detail, link, nth: 0 })
    }

    #[track_caller]
    fn check(kind: &str, title: &str, priority: &str, tags: &[&str]) {
        ring(kind.parse().unwrap(), |ring| {
            let json = serde_json::to_value(Doorbell::new(&ring)).unwrap();
            let expected = serde_json::json!({
                "id": id(ring.run, ring.kind, 0), "kind": kind, "run": ring.run,
                "issue_ref": "owner/repo#7",
                "title": title, "body": "CI failed, see ＠octocat.\nThread: https://x/t/1",
                "link": "https://x/t/1", "priority": priority, "tags": tags,
            });
            assert_eq!(json, expected);
            assert_eq!(Doorbell::new(&ring).detail(), "CI failed, see ＠octocat.");
        });
    }

    #[test]
    fn a_test_says_that_it_is_one() {
        let bell = Doorbell::of_test(Uuid::nil());
        assert_eq!((bell.kind, bell.priority), (DoorbellKind::Test, DoorbellPriority::Low));
        assert!(bell.title.contains("TEST") && bell.body.contains("nothing to do"), "{bell:?}");
        assert_eq!(bell.detail(), bell.body);
        let json = serde_json::to_value(&bell).unwrap();
        assert!(json["run"].is_null() && json["issue_ref"].is_null(), "{json}");
    }

    #[test]
    fn a_doorbell_of_before_it_named_its_run_is_still_read() {
        ring(DoorbellKind::Done, |ring| {
            let mut old = serde_json::to_value(Doorbell::new(&ring)).unwrap();
            old.as_object_mut().unwrap().remove("run");
            let read: Doorbell = serde_json::from_value(old).unwrap();
            assert_eq!(read, Doorbell { run: None, ..Doorbell::new(&ring) });
        });
    }

    #[test]
    fn each_kind_says_what_it_is() {
        check("done", "[DONE] owner/repo#7 landed", "low", &["afk", "done"]);
        check(
            "needs-human",
            "[NEEDS-HUMAN] owner/repo#7 needs a human",
            "high",
            &["afk", "escalation", "needs-human"],
        );
        check("frozen", "[FROZEN] owner/repo#7 frozen", "high", &["afk", "escalation", "frozen"]);
        check("question", "[QUESTION] owner/repo#7 asks a person", "high", &["afk", "question"]);
        check("held", "[HELD] owner/repo#7 waits for its agent", "high", &["afk", "held"]);
    }

    #[test]
    fn what_no_run_has_found_out_names_an_issue_that_waits() {
        let issue = "owner/repo#7".parse().unwrap();
        let at = |second| At::from_second(second).unwrap();
        let bell = |cause: &HoldCause, since| {
            let why = "bubblewrap is missing: install it";
            Doorbell::of_hold(&HoldRing { cause, issue: &issue, why, since: at(since) })
        };
        let agent = HoldCause::Agent("claude".parse().unwrap());
        for (cause, title, says) in [
            (
                &agent,
                "[HELD] owner/repo#7 waits for its agent — bubblewrap is missing",
                "to the agent claude until",
            ),
            (
                &HoldCause::Machine,
                "[HELD] owner/repo#7 waits for this machine — bubblewrap is missing",
                "nothing is dispatched until",
            ),
        ] {
            let told = bell(cause, 1);
            assert_eq!((told.kind, told.title.as_str()), (DoorbellKind::Held, title));
            assert!(
                told.body.starts_with("bubblewrap is missing: install it\n\n"),
                "{}",
                told.body
            );
            assert!(told.body.contains(says), "{}", told.body);
            assert_eq!((told.run, told.issue_ref.as_ref()), (None, Some(&issue)));
            assert_eq!(told, bell(cause, 1));
            assert_ne!(told.id, bell(cause, 2).id, "another hold is another ring");
        }
        assert_ne!(bell(&agent, 1).id, bell(&HoldCause::Machine, 1).id);
    }

    #[test]
    fn the_guide_shows_what_a_webhook_gets() {
        let guide = include_str!("../../../docs/doorbells.md");
        let json = guide.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
        let shown: serde_json::Value = serde_json::from_str(json.unwrap()).unwrap();
        ring(DoorbellKind::NeedsHuman, |ring| {
            let (reason, detail) = (Some("CI failed."), "CI failed.");
            let link = Some("https://t3.example/?thread=1");
            let bell = Doorbell::new(&Ring { reason, detail, link, ..ring });
            let mut expected = serde_json::to_value(&bell).unwrap();
            expected["id"] = shown["id"].clone();
            assert_eq!(shown, expected);
        });
    }

    #[test]
    fn a_reason_and_no_thread_are_shown_as_such() {
        ring(DoorbellKind::Frozen, |ring| {
            let bell = Doorbell::new(&Ring { reason: Some("clock\nspent"), link: None, ..ring });
            assert_eq!(bell.title, "[FROZEN] owner/repo#7 frozen — clock spent");
            assert_eq!(bell.body, "CI failed, see ＠octocat.");
            assert_eq!(serde_json::to_value(&bell).unwrap()["link"], serde_json::Value::Null);
        });
    }

    #[test]
    fn an_unknown_kind_is_an_error() {
        let error = "mystery".parse::<DoorbellKind>().unwrap_err().to_string();
        assert_eq!(
            error,
            r#""mystery" is not a kind of doorbell; use done, needs-human, frozen, question, held or test"#
        );
        assert!(serde_json::from_str::<DoorbellKind>(r#""Done""#).is_err());
    }

    #[test]
    fn a_ring_keeps_its_name_and_shares_it_with_no_other() {
        let names = |nth| {
            use DoorbellKind::{Done, Frozen, Held, NeedsHuman, Question};
            [Done, NeedsHuman, Frozen, Question, Held]
                .map(|kind| ring(kind, |r| id(r.run, kind, nth)))
        };
        assert_eq!(names(0), names(0));
        let all: std::collections::HashSet<_> = (0..3).flat_map(names).collect();
        assert_eq!(all.len(), 15);
        assert_eq!(names(0)[0].to_string(), "3410ca01-3ed4-5011-8836-71f417a4ab54");
    }
}
