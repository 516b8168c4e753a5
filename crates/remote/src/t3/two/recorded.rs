//! What is concluded from threads as a real server of protocol 2 showed them.

use std::path::Path;

use afk_core::ids::At;
use afk_core::run::TurnEnd;
use jiff::SignedDuration;
use serde_json::Value;

use super::show::view;
use super::wire::ThreadAnswer;
use crate::t3::outcome::{Conclusion, OurRecord, conclude};
use crate::t3::view::View;

/// The view of the newest run of a recorded thread, and what it means `minutes` after the thread's
/// last change.
fn read(name: &str, minutes: i64) -> (View, Conclusion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/t3/v2-pre-77168d08");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    let message = body["projection"]["runs"].as_array().unwrap().last().unwrap()["userMessageId"]
        .as_str()
        .unwrap()
        .to_owned();
    let ThreadAnswer { projection, .. } = serde_json::from_value(body).unwrap();
    let now: At = projection.head.updated_at + SignedDuration::from_mins(minutes);
    let view = view(&projection, &message, now);
    let conclusion = conclude(&view, OurRecord::default(), now);
    (view, conclusion)
}

#[track_caller]
fn check(name: &str, minutes: i64, expected: &str) {
    let (view, conclusion) = read(name, minutes);
    let told = match conclusion {
        Conclusion::Over(TurnEnd::Finished { message }) => format!("finished {message}"),
        Conclusion::Over(TurnEnd::Failed { message }) => format!("failed {message}"),
        Conclusion::Over(TurnEnd::Unavailable { what, message }) => {
            format!("lacks {what:?}: {message}")
        }
        other => format!("{other:?}").to_lowercase(),
    };
    assert!(told.starts_with(expected), "{name}: {told}");
    assert!(view.answers <= 5, "{name}: {}", view.answers);
}

#[test]
fn each_recorded_end_is_read_for_what_it_was() {
    check("04-launch-and-follow", 0, "finished MOCK-REPLY: hello one");
    check("05-provider-http400", 0, "failed API Error: 400 mock failure");
    check("05-provider-http401", 0, "lacks SignIn: Invalid API key · Fix external API key");
    check("05-provider-http429", 0, "lacks Model: API Error: Request rejected (429) · mock limit");
    check("05-provider-http500", 0, "lacks Model: API Error: 500 mock internal error.");
    check("06-interrupt", 0, "failed somebody interrupted it on the T3 server");
    check("07-approval-accept", 0, "finished MOCK-REPLY: tool done");
    // A declined approval ends completed, too.
    check("07-approval-decline", 0, "finished MOCK-REPLY: tool done");
    // The server was ended, and its agent went on working.
    check("13-kill-and-restart", 1, "unknown");
    check("13-kill-and-restart", 16, "over(lost)");
}

#[test]
fn a_model_that_refused_has_answered_with_its_error_alone() {
    for name in ["05-provider-http401", "05-provider-http429", "05-provider-http500"] {
        assert_eq!(read(name, 0).0.answers, 1, "{name}");
    }
    assert!(read("07-approval-accept", 0).0.answers > 1);
}
