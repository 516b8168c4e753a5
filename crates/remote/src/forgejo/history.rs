//! The events of an issue, from its timeline. Pure.
//!
//! An event whose author is unknown has no actor, and the trust gate refuses it. Entries of other
//! kinds are skipped, since the gate does not depend on them; an entry that it depends on and that
//! cannot be read is an error, and never "nothing happened". Edits of the body are in no timeline:
//! [`super::texts`] finds them.

use afk_core::issue::{IssueChange, IssueEvent};
use serde_json::Value;

use super::api::{Entry, User};
use super::labels::Labels;

/// The events of a timeline, in its order. The event of a label that may have had another name then
/// has no actor: nobody is known to have put on a label of this name.
pub(super) fn timeline(entries: Vec<Value>, labels: &Labels) -> Result<Vec<IssueEvent>, String> {
    let mut events = Vec::new();
    for entry in entries {
        let Some(kind) = entry["type"].as_str().map(str::to_owned) else { continue };
        if !matches!(kind.as_str(), "label" | "change_title" | "close" | "reopen") {
            continue;
        }
        let unreadable = |why| format!("an entry {kind:?} of the timeline cannot be read: {why}");
        let entry: Entry =
            serde_json::from_value(entry).map_err(|error| unreadable(error.to_string()))?;
        let called_so = entry
            .label
            .as_ref()
            .is_none_or(|label| labels.had_its_name(label.id, entry.created_at));
        let label = entry.label.map(|label| label.name);
        let what = match (kind.as_str(), label, entry.body.as_deref()) {
            ("label", Some(label), Some("1")) => IssueChange::Labeled { label },
            ("label", Some(label), None | Some("")) => IssueChange::Unlabeled { label },
            ("label", Some(_), Some(_)) => {
                return Err(unreadable("it says neither added nor removed".to_owned()));
            }
            // The label was deleted, so that it is on no issue any more.
            ("label", None, _) => continue,
            ("change_title", ..) => IssueChange::Renamed,
            ("close", ..) => IssueChange::Closed,
            _ => IssueChange::Reopened,
        };
        let actor = entry.user.and_then(User::actor).filter(|_| called_so);
        events.push(IssueEvent { at: entry.created_at, actor, what });
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(kind: &str, id: i64, body: &Value) -> Value {
        json!({
            "type": kind, "user": { "id": id, "login": "ada" }, "body": body,
            "created_at": "2026-01-01T01:00:00+01:00",
            "label": { "id": 3, "name": "ready" },
        })
    }

    #[track_caller]
    fn check(entries: Vec<Value>, expected: &[&str]) {
        let line = |event: IssueEvent| {
            assert_eq!(event.at.to_string(), "2026-01-01T00:00:00Z");
            let by = event.actor.map_or("nobody".to_owned(), |actor| {
                format!("{}{}", actor.id, if actor.bot { " (bot)" } else { "" })
            });
            match event.what {
                IssueChange::Labeled { label } => format!("+{label} {by}"),
                IssueChange::Unlabeled { label } => format!("-{label} {by}"),
                other => format!("{other:?} {by}"),
            }
        };
        let told: Vec<_> =
            timeline(entries, &Labels::default()).unwrap().into_iter().map(line).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_timeline_says_who_labelled() {
        check(vec![entry("label", 7, &json!("1"))], &["+ready 7"]);
        check(vec![entry("label", 7, &json!(""))], &["-ready 7"]);
        check(vec![entry("label", 7, &Value::Null)], &["-ready 7"]);
        check(vec![entry("change_title", 7, &json!(""))], &["Renamed 7"]);
        check(
            vec![entry("close", 7, &json!("")), entry("reopen", 7, &json!(""))],
            &["Closed 7", "Reopened 7"],
        );
        // An account that was deleted, and one of the server's own.
        check(vec![entry("label", -1, &json!("1"))], &["+ready nobody"]);
        check(vec![entry("label", -2, &json!("1"))], &["+ready -2 (bot)"]);
    }

    #[test]
    fn an_unknown_entry_between_two_labels_hides_neither() {
        let odd = json!({ "type": "unheard_of", "user": 7, "created_at": null });
        let bare = json!({ "id": 1 });
        let gone = json!({ "type": "label", "body": "1", "created_at": "2026-01-01T00:00:00Z" });
        let on = entry("label", 7, &json!("1"));
        let off = entry("label", 8, &json!(""));
        check(vec![on, odd, bare, gone, off], &["+ready 7", "-ready 8"]);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let labels = Labels::default();
        assert!(timeline(vec![json!({ "type": "label" })], &labels).is_err());
        assert!(timeline(vec![entry("label", 7, &json!("2"))], &labels).is_err());
    }
}
