//! Tests of what a comment steers, and of what is asked of a tracker for it.

use super::*;
use crate::digest::Digest;
use crate::gates::Dispatcher;
use crate::run::{LabelsSeen, Pinned};
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
    Run {
        id: "00000001-0000-0000-0000-000000000007".parse().unwrap(),
        issue: issue.parse().unwrap(),
        dispatcher: Dispatcher::Loop,
        release: None,
        pinned: Pinned { title: String::new(), body: String::new(), digest: Digest::of("") },
        admitted_at: at(second),
        last_event: None,
        budget: Usd::dollars(10),
        start: None,
        attempts: Vec::new(),
        first_red_at: None,
        labels_seen: LabelsSeen { ready: true, in_progress: false },
        cancel: None,
        heard: Vec::new(),
        stopping_since: None,
        pauses: Vec::new(),
        conclusion: None,
        settled_at: None,
    }
}

#[test]
fn a_comment_steers_the_run_that_it_is_younger_than_and_the_freeze_of_its_repo() {
    let live = [run("o/r#7", 10), run("o/s#1", 10)];
    let check = |issue: &str, second, by: Option<&str>, body: &str, expected| {
        let author = by.map(who);
        let comment = Comment { id: "5".to_owned(), author, at: at(second), body: body.to_owned() };
        let got = steers(&issue.parse().unwrap(), &comment, &who("afk"), &live);
        assert_eq!(got, expected, "{issue} {second} {by:?} {body:?}");
    };
    let asks = |second, what| {
        let id = "comment:o/r:5".to_owned();
        let asked = Asked { id, by: who("ann"), at: at(second), what };
        Some(Ok(Steer::Run { run: live[0].id, asked }))
    };
    let ann = Some("ann");
    check("o/r#7", 11, ann, "/afk stop", asks(11, Request::Stop));
    check("o/r#7", 11, ann, "/afk retry", asks(11, Request::Retry));
    check("o/r#7", 11, ann, "/afk budget 3", asks(11, Request::Budget { usd: Usd::dollars(3) }));
    check("o/r#7", 11, ann, "/afk say hi", asks(11, Request::Say { text: "hi".to_owned() }));
    check("o/r#7", 11, ann, "stop", None);
    check("o/r#7", 10, ann, "/afk stop", Some(Err(Idle::NoRun)));
    check("o/r#8", 11, ann, "/afk stop", Some(Err(Idle::NoRun)));
    let unfreeze = Some(Ok(Steer::Unfreeze { by: who("ann"), at: at(3) }));
    check("o/r#8", 3, ann, "/afk unfreeze", unfreeze);
    check("o/r#7", 11, Some("afk"), "/afk stop", Some(Err(Idle::Own)));
    check("o/r#7", 11, Some("afk"), "/afk unfreeze", Some(Err(Idle::Own)));
    check("o/r#7", 11, None, "/afk stop", Some(Err(Idle::Unattributed)));
    check("o/r#7", 11, None, "/afk unfreeze", Some(Err(Idle::Unattributed)));
    let unclear = Unclear::Verb("dance".to_owned());
    check("o/r#7", 11, ann, "/afk dance", Some(Err(Idle::Unclear(unclear))));
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
fn what_was_heard_is_asked_for_again_for_a_minute_and_never_from_before_it_matters() {
    let (r, s) = (repo("o/r"), repo("o/s"));
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    let mut heard = CommentsHeard::default();
    assert_eq!(heard.ask_from(&r, at(0)), at(0));
    heard.note(&r, ids(&["1", "2"]), Some(at(30)));
    assert_eq!(heard.ask_from(&r, at(0)), at(0));
    assert!(heard.knows(&r, "1") && !heard.knows(&r, "3") && !heard.knows(&s, "1"));
    heard.note(&r, ids(&["2"]), Some(at(100)));
    assert_eq!((heard.ask_from(&r, at(0)), heard.ask_from(&r, at(70))), (at(40), at(70)));
    assert!(!heard.knows(&r, "1"));
    // Not all of it was heard: the next time reaches as far back.
    heard.note(&r, ids(&["3"]), None);
    assert_eq!(heard.ask_from(&r, at(0)), at(40));
    heard.retain(|repo| *repo != r);
    assert_eq!(heard.ask_from(&r, at(0)), at(0));
}
