//! The events of an issue, from its timeline and the edits of its body. Pure.
//!
//! An event whose author is unknown has no actor, and the trust gate refuses it. Entries of other
//! kinds are skipped, since the gate does not depend on them; an entry that it depends on and that
//! cannot be read is an error, and never "nothing happened".

use afk_core::ids::{Actor, At};
use afk_core::issue::{IssueChange, IssueEvent};

use serde_json::Value;

use super::api::{App, Edit, EditedIssue, Entry, Label};

/// The events of a timeline, in its order. Entries of other kinds are skipped, whatever they look
/// like.
pub(super) fn timeline(entries: Vec<Value>) -> Result<Vec<IssueEvent>, String> {
    let mut events = Vec::new();
    for entry in entries {
        let Some(kind) = entry["event"].as_str().map(str::to_owned) else { continue };
        if !matches!(kind.as_str(), "labeled" | "unlabeled" | "renamed" | "closed" | "reopened") {
            continue;
        }
        let unreadable = |why| format!("an entry {kind:?} of the timeline cannot be read: {why}");
        let entry: Entry =
            serde_json::from_value(entry).map_err(|error| unreadable(error.to_string()))?;
        let label = entry.label.and_then(Label::name);
        let what = match (kind.as_str(), label) {
            ("labeled", Some(label)) => IssueChange::Labeled { label },
            ("unlabeled", Some(label)) => IssueChange::Unlabeled { label },
            ("renamed", _) => IssueChange::Renamed,
            ("closed", _) => IssueChange::Closed,
            ("reopened", _) => IssueChange::Reopened,
            _ => return Err(unreadable("it names no label".to_owned())),
        };
        let actor = entry.actor.map(|actor| actor.actor());
        let actor = through(actor, entry.performed_via_github_app);
        events.push(IssueEvent { at: entry.created_at, actor, what });
    }
    Ok(events)
}

/// Returns who acted. Where an app acted in somebody's name, that is the app, which is trusted only
/// if it is listed as `app/<id>`.
pub(super) fn through(actor: Option<Actor>, app: Option<App>) -> Option<Actor> {
    let Some(App { id, slug }) = app else { return actor };
    // The app acted with its own account.
    if actor.as_ref().is_some_and(|actor| actor.bot) {
        return actor;
    }
    let slug = slug.unwrap_or_else(|| id.to_string());
    let login = actor.map_or_else(|| slug.clone(), |actor| format!("{} by {slug}", actor.login));
    Some(Actor { id: format!("app/{id}"), login, bot: true })
}

/// The edits of an issue's body; `edits` are those of all pages.
pub(super) fn edits(issue: &EditedIssue, edits: Vec<Option<Edit>>) -> Vec<IssueEvent> {
    let last = issue.last_edited_at;
    let edited = |at: At, actor| IssueEvent { at, actor, what: IssueChange::Edited };
    let mut events: Vec<IssueEvent> = Vec::new();
    for edit in edits {
        let Some(edit) = edit else {
            // An edit that is not shown to us has no known author.
            events.extend(last.map(|at| edited(at, None)));
            continue;
        };
        // What a deleted revision changed is not known any more, so its author does not count.
        let editor = edit.editor.filter(|_| edit.deleted_at.is_none());
        let actor = editor.and_then(|editor| {
            let bot = editor.kind != "User";
            Some(Actor { id: editor.database_id?.to_string(), login: editor.login, bot })
        });
        events.push(edited(edit.edited_at, actor));
    }
    // The last edit is newer than any that is listed.
    let newest = events.iter().map(|event| event.at).max();
    if let Some(at) = last.filter(|at| newest.is_none_or(|newest| newest < *at)) {
        events.push(edited(at, None));
    }
    events
}

/// Merges both in order of time. Of the same time, edits come last, as the trust gate assumes.
pub(super) fn merged(timeline: Vec<IssueEvent>, edits: Vec<IssueEvent>) -> Vec<IssueEvent> {
    let mut all: Vec<IssueEvent> = timeline.into_iter().chain(edits).collect();
    all.sort_by_key(|event| event.at);
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(entries: &Value) -> Result<Vec<String>, String> {
        let entries = entries.as_array().unwrap().clone();
        let line = |event: IssueEvent| {
            let by = event.actor.map_or("nobody".to_owned(), |actor| {
                format!("{} {}{}", actor.id, actor.login, if actor.bot { " (bot)" } else { "" })
            });
            let what = match event.what {
                IssueChange::Labeled { label } => format!("+{label}"),
                IssueChange::Unlabeled { label } => format!("-{label}"),
                other => format!("{other:?}"),
            };
            format!("{what} {by}")
        };
        Ok(timeline(entries)?.into_iter().map(line).collect())
    }

    fn at(n: i64) -> At {
        At::from_second(1_800_000_000 + n).unwrap()
    }

    #[test]
    fn a_timeline_says_who_labelled() {
        let ada = json!({ "id": 7, "login": "ada", "type": "User" });
        let app = json!({ "id": 99, "slug": "helper" });
        let entry = |event: &str, actor: &Value, app: &Value| {
            json!({
                "event": event, "actor": actor, "created_at": "2026-01-01T00:00:00Z",
                "label": { "name": "ready", "color": "ededed" }, "performed_via_github_app": app,
            })
        };
        let check = |entries: &[Value], expected: &[&str]| {
            assert_eq!(told(&json!(entries)).unwrap(), expected);
        };
        check(&[entry("labeled", &ada, &Value::Null)], &["+ready 7 ada"]);
        check(&[entry("unlabeled", &ada, &Value::Null)], &["-ready 7 ada"]);
        check(&[entry("renamed", &ada, &Value::Null)], &["Renamed 7 ada"]);
        // A person's token in an app's hands: the app acted.
        check(&[entry("labeled", &ada, &app)], &["+ready app/99 ada by helper (bot)"]);
        let bot = json!({ "id": 8, "login": "helper[bot]", "type": "Bot" });
        check(&[entry("labeled", &bot, &app)], &["+ready 8 helper[bot] (bot)"]);
        check(&[entry("labeled", &Value::Null, &Value::Null)], &["+ready nobody"]);
        // An account whose type is not `User` is not a person.
        let odd = json!({ "id": 9, "login": "x", "type": "Mannequin" });
        check(&[entry("labeled", &odd, &Value::Null)], &["+ready 9 x (bot)"]);
    }

    #[test]
    fn an_unknown_entry_between_two_labels_hides_neither() {
        let ada = json!({ "id": 7, "login": "ada", "type": "User" });
        let on = json!({ "event": "labeled", "actor": ada, "created_at": "2026-01-01T00:00:00Z",
            "label": { "name": "ready" } });
        let off = json!({ "event": "unlabeled", "actor": ada, "created_at": "2026-01-01T00:00:02Z",
            "label": "ready" });
        let entries = json!([
            on,
            { "event": "blocked_by_added", "blocking_issue": { "id": 1 } },
            { "sha": "abc", "author": { "name": "x" } },
            { "event": "issue_type_added", "label": 7, "created_at": null },
            off,
        ]);
        assert_eq!(told(&entries).unwrap(), ["+ready 7 ada", "-ready 7 ada"]);
        assert!(told(&json!([{ "event": "labeled" }])).is_err());
        assert!(told(&json!([{ "event": "labeled", "label": { "name": "ready" } }])).is_err());
        let nameless = json!({ "event": "labeled", "created_at": "2026-01-01T00:00:00Z" });
        assert!(told(&json!([nameless])).is_err());
    }

    fn edited(last: Option<i64>, all: &Value) -> Vec<(i64, Option<String>)> {
        let issue = EditedIssue { last_edited_at: last.map(at), user_content_edits: None };
        let all: Vec<Option<Edit>> = serde_json::from_value(all.clone()).unwrap();
        let events = edits(&issue, all).into_iter();
        let told = events.map(|e| (e.at.as_second() - 1_800_000_000, e.actor.map(|a| a.id)));
        told.collect()
    }

    #[test]
    fn an_edit_that_nobody_is_known_to_have_made_is_nobodys() {
        let edit = |n, editor: Value, deleted: Value| json!({ "editedAt": at(n), "editor": editor, "deletedAt": deleted });
        let ada = json!({ "__typename": "User", "login": "ada", "databaseId": 7 });
        let none = Value::Null;
        assert_eq!(edited(None, &json!([])), []);
        let one = json!([edit(5, ada.clone(), none.clone())]);
        assert_eq!(edited(Some(5), &one), [(5, Some("7".into()))]);
        // Edited again after the last one that is listed.
        assert_eq!(edited(Some(9), &one), [(5, Some("7".into())), (9, None)]);
        assert_eq!(edited(Some(5), &json!([edit(5, none.clone(), none.clone())])), [(5, None)]);
        let deleted = json!([edit(5, ada, json!(at(6)))]);
        assert_eq!(edited(Some(5), &deleted), [(5, None)]);
        assert_eq!(edited(Some(5), &json!([null])), [(5, None)]);
        let org = json!({ "__typename": "Organization", "login": "o" });
        assert_eq!(edited(Some(5), &json!([edit(5, org, none)])), [(5, None)]);
    }

    #[test]
    fn an_edit_within_the_second_of_a_label_comes_after_it() {
        let event = |n, what| IssueEvent { at: at(n), actor: None, what };
        let label = || IssueChange::Labeled { label: "ready".into() };
        let all = merged(
            vec![event(1, label()), event(3, IssueChange::Closed)],
            vec![event(1, IssueChange::Edited), event(0, IssueChange::Edited)],
        );
        let order: Vec<_> = all.iter().map(|event| (event.at, event.what.clone())).collect();
        assert_eq!(
            order,
            [
                (at(0), IssueChange::Edited),
                (at(1), label()),
                (at(1), IssueChange::Edited),
                (at(3), IssueChange::Closed)
            ]
        );
    }
}
