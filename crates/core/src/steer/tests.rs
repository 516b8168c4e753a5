//! Tests of what a comment steers, and of which comments are read for it.

use super::*;
use crate::digest::Digest;
use crate::gates::Dispatcher;
use crate::plan::End;
use crate::request::Unclear;
use crate::run::{Conclusion, LabelsSeen, Pinned};
use crate::usd::Usd;

fn at(second: i64) -> At {
    At::from_second(1_000_000 + second).unwrap()
}

fn who(id: &str) -> Actor {
    Actor { id: id.to_owned(), login: id.to_owned(), bot: false }
}

fn repo(name: &str) -> RepoName {
    name.parse().unwrap()
}

/// A run on `issue` that was admitted at `second`.
fn run(issue: &str, second: i64) -> Run {
    let id = "00000001-0000-0000-0000-000000000007".parse().unwrap();
    let issue = issue.parse().unwrap();
    let pinned = Pinned { title: String::new(), body: String::new(), digest: Digest::of("") };
    Run {
        enrolled: true,
        labels_seen: LabelsSeen { ready: true, in_progress: false },
        ..Run::new(id, issue, Dispatcher::Loop, pinned, Usd::dollars(10), at(second))
    }
}

fn asks(second: i64, what: Request) -> Steer {
    let id = "comment:o/r:5".to_owned();
    let request = PersonRequest { id, by: who("ann"), at: at(second), what };
    Steer::Run { run: run("o/r#7", 10).id, request }
}

fn steered(
    newest: &Run,
    second: i64,
    by: Option<&str>,
    body: &str,
) -> Option<Result<Steer, NoEffectReason>> {
    let author = by.map(who);
    steers(&newest.issue, &comment(second, author, body), &who("afk"), Some(newest))
}

fn comment(second: i64, author: Option<Actor>, body: &str) -> Comment {
    let (id, body) = ("5".to_owned(), body.to_owned());
    Comment { id, author, at: at(second), body, edited: false }
}

#[test]
fn a_comment_steers_the_run_that_it_is_younger_than_and_the_freeze_of_its_repo() {
    let live = run("o/r#7", 10);
    let check = |second, by: Option<&str>, body: &str, expected| {
        assert_eq!(steered(&live, second, by, body), expected, "{second} {by:?} {body:?}");
    };
    let ann = Some("ann");
    check(11, ann, "/afk stop", Some(Ok(asks(11, Request::Stop))));
    check(11, ann, "/afk retry", Some(Ok(asks(11, Request::Retry))));
    check(11, ann, "/afk budget 3", Some(Ok(asks(11, Request::Budget { usd: Usd::dollars(3) }))));
    check(11, ann, "/afk say hi", Some(Ok(asks(11, Request::Say { text: "hi".to_owned() }))));
    check(11, ann, "stop", None);
    // Forges tell whole seconds: it may have come a moment after the release.
    check(10, ann, "/afk stop", Some(Ok(asks(10, Request::Stop))));
    check(9, ann, "/afk stop", Some(Err(NoEffectReason::NoRun)));
    check(9, ann, "/afk dance", Some(Err(NoEffectReason::NoRun)));
    check(3, ann, "/afk unfreeze", Some(Ok(Steer::Unfreeze { by: who("ann"), at: at(3) })));
    check(11, Some("afk"), "/afk stop", Some(Err(NoEffectReason::Own)));
    check(11, Some("afk"), "/afk dance", Some(Err(NoEffectReason::Own)));
    check(11, Some("afk"), "/afk unfreeze", Some(Err(NoEffectReason::Own)));
    check(11, None, "/afk stop", Some(Err(NoEffectReason::Unattributed)));
    check(11, None, "/afk dance", Some(Err(NoEffectReason::Unattributed)));
    check(11, None, "/afk unfreeze", Some(Err(NoEffectReason::Unattributed)));
    let why = Unclear::Verb("dance".to_owned()).to_string();
    check(11, ann, "/afk dance", Some(Ok(asks(11, Request::Unclear { why }))));
    let comment = comment(11, Some(who("ann")), "/afk stop");
    let none = steers(&live.issue, &comment, &who("afk"), None);
    assert_eq!(none, Some(Err(NoEffectReason::NoRun)));
}

#[test]
fn a_comment_that_was_edited_steers_nothing() {
    let live = run("o/r#7", 10);
    let check = |body: &str, expected| {
        let comment = Comment { edited: true, ..comment(11, Some(who("ann")), body) };
        assert_eq!(steers(&live.issue, &comment, &who("afk"), Some(&live)), expected, "{body}");
    };
    for body in ["/afk retry", "/afk stop", "/afk unfreeze", "/afk dance"] {
        check(body, Some(Err(NoEffectReason::Edited)));
    }
    check("retry", None);
}

#[test]
fn a_run_that_has_ended_is_asked_for_another_release_once_its_issue_shows_the_end() {
    let mut ended = run("o/r#7", 10);
    let why = String::new();
    ended.conclusion = Some(Conclusion { end: End::NeedsHuman, why, at: at(20) });
    let ann = Some("ann");
    assert_eq!(steered(&ended, 30, ann, "/afk retry"), Some(Err(NoEffectReason::Ending)));
    ended.settled_at = Some(at(21));
    assert_eq!(steered(&ended, 30, ann, "/afk retry"), Some(Ok(asks(30, Request::Release))));
    assert_eq!(steered(&ended, 30, ann, "/afk stop"), Some(Ok(asks(30, Request::Stop))));
    assert_eq!(steered(&ended, 9, ann, "/afk retry"), Some(Err(NoEffectReason::NoRun)));
}

#[test]
fn an_issue_is_released_again_once_and_only_where_nothing_came_between() {
    let (old, new) = (run("o/r#7", 10).id, "00000002-0000-0000-0000-000000000007".parse().unwrap());
    let issue = |open, labels: &[&str]| Issue {
        issue: "o/r#7".parse().unwrap(),
        title: String::new(),
        body: String::new(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        open,
    };
    let check = |newest, issue: &Issue, put, expected: Result<bool, &str>| {
        let got = match release_again(old, newest, issue, put, "ready") {
            ReleaseStep::Put { off } => Ok(off),
            ReleaseStep::Answer(text) => Err(text),
        };
        match (&got, expected) {
            (Err(text), Err(part)) => assert!(text.contains(part), "{text:?} lacks {part:?}"),
            (got, expected) => assert_eq!(got.as_ref().ok(), expected.as_ref().ok(), "{put:?}"),
        }
    };
    check(old, &issue(true, &[]), ReleaseLabel::NotYet, Ok(false));
    check(old, &issue(true, &["Ready"]), ReleaseLabel::NotYet, Ok(true));
    check(old, &issue(false, &[]), ReleaseLabel::NotYet, Err("closed"));
    check(new, &issue(true, &[]), ReleaseLabel::NotYet, Err("another run"));
    check(old, &issue(true, &[]), ReleaseLabel::Withdrawn, Err("taken off"));
    for put in [ReleaseLabel::Stands, ReleaseLabel::Spent] {
        check(old, &issue(true, &["ready"]), put, Err("released again"));
        check(new, &issue(false, &[]), put, Err("released again"));
    }
}

#[test]
fn comments_matter_since_the_first_thing_that_they_could_steer() {
    let live = [run("o/r#7", 10), run("o/s#1", 20)];
    let frozen = [(repo("o/r"), at(5)), (repo("o/s"), at(30)), (repo("o/t"), at(40))];
    let expected = [(repo("o/r"), at(5)), (repo("o/s"), at(20)), (repo("o/t"), at(40))];
    assert_eq!(since(&live, frozen), BTreeMap::from(expected));
    assert_eq!(since([], []), BTreeMap::new());
}

#[test]
fn what_was_read_is_read_again_for_a_minute_and_never_from_before_it_matters() {
    assert_eq!(read_from(at(0), None), at(0));
    assert_eq!(read_from(at(0), Some(at(30))), at(0));
    assert_eq!(read_from(at(0), Some(at(100))), at(40));
    assert_eq!(read_from(at(70), Some(at(100))), at(70));
    let (r, s) = (repo("o/r"), repo("o/s"));
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    let mut read = CommentsRead::default();
    read.note(&r, ids(&["1", "2"]));
    assert!(read.knows(&r, "1") && !read.knows(&r, "3") && !read.knows(&s, "1"));
    read.note(&r, ids(&["2"]));
    assert!(!read.knows(&r, "1") && read.knows(&r, "2"));
    read.retain(|repo| *repo != r);
    assert!(!read.knows(&r, "2"));
}

#[test]
fn a_comment_without_an_effect_is_told_why() {
    for (why, expected) in [
        (NoEffectReason::Unattributed, "the tracker does not say who wrote it"),
        (NoEffectReason::Own, "our own account wrote it"),
        (
            NoEffectReason::Edited,
            "it was edited after it was written, perhaps by somebody else: write a new comment",
        ),
        (NoEffectReason::NoRun, "no run on the issue was released before the comment"),
        (NoEffectReason::Ending, "the run on the issue is just ending"),
    ] {
        assert_eq!(why.to_string(), expected);
    }
}
