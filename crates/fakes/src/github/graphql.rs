//! The one query that is made over GraphQL: who edited an issue's body.
//!
//! The first edit of a body keeps the text that was there before as a revision of its own, by the
//! issue's author at the time that it was filed.

use afk_core::ids::{Actor, At, IssueRef, RepoName};
use afk_core::issue::IssueChange;
use serde_json::{Value, json};

use super::answers::{Answered, CheckedRequest, Content, Forge, refuse};
use super::payloads::time;
use super::state::Account;
use afk_sim::world::IssueRecord;

impl Forge<'_> {
    pub(super) fn graphql(&mut self, asked: &CheckedRequest) -> Answered {
        let query = asked.body["query"].as_str().unwrap_or_default();
        if !query.contains("userContentEdits(first: 100, after: $after)") {
            return self.wrong("a query that the fake does not know");
        }
        let variables = &asked.body["variables"];
        let text = |name: &str| variables[name].as_str().unwrap_or_default();
        let repo = format!("{}/{}", text("owner"), text("name")).parse::<RepoName>();
        let (Ok(repo), Some(number)) = (repo, variables["number"].as_u64()) else {
            return refuse(400, "a variable is missing");
        };
        let repo = self.state.renamed.get(&repo).cloned().unwrap_or(repo);
        let Ok(record) = self.record(&IssueRef { repo, number }) else {
            let message = format!(
                "Could not resolve to an issue or pull request with the number of {number}."
            );
            return Ok(Content::One(
                200,
                json!({
                    "data": { "repository": { "issue": null } },
                    "errors": [{
                        "type": "NOT_FOUND",
                        "path": ["repository", "issue"],
                        "locations": [{ "line": 3, "column": 5 }],
                        "message": message,
                    }],
                }),
            ));
        };
        let edits = self.edits(&record);
        let start: usize = match variables["after"].as_str() {
            Some(cursor) => cursor.parse().unwrap_or(usize::MAX),
            None => 0,
        };
        let page: Vec<Value> = edits.iter().skip(start).take(100).cloned().collect();
        let end = start.saturating_add(page.len());
        let last = record.events.iter().rev().find(|event| event.what == IssueChange::Edited);
        let cursor = if page.is_empty() { Value::Null } else { end.to_string().into() };
        let answer = json!({
            "data": { "repository": { "issue": {
                "lastEditedAt": last.map_or(Value::Null, |event| time(event.at)),
                "userContentEdits": {
                    "nodes": page,
                    "pageInfo": { "hasNextPage": end < edits.len(), "endCursor": cursor },
                },
            } } },
        });
        Ok(Content::One(200, answer))
    }

    /// The revisions of a body, newest first; none if it was never edited.
    fn edits(&mut self, record: &IssueRecord) -> Vec<Value> {
        let edits = record.events.iter().enumerate();
        let edits = edits.filter(|(_, event)| event.what == IssueChange::Edited);
        let edits: Vec<(usize, At, Option<Actor>)> =
            edits.map(|(nth, event)| (nth, event.at, event.actor.clone())).collect();
        if edits.is_empty() {
            return Vec::new();
        }
        let mut all = vec![self.edit(record.created, Some(&record.author), false)];
        for (nth, at, actor) in edits {
            let key = (record.issue.issue.clone(), nth);
            let deleted = self.state.deleted_revisions.contains(&key);
            all.push(self.edit(at, actor.as_ref(), deleted));
        }
        all.reverse();
        all
    }

    fn edit(&mut self, at: At, editor: Option<&Actor>, deleted: bool) -> Value {
        let editor = editor.map(|editor| self.state.acted(editor).0);
        let editor = editor.map_or(Value::Null, |Account { id, login, is_bot }| {
            let kind = if is_bot { "Bot" } else { "User" };
            // A bot's name has no suffix here.
            let login = login.trim_end_matches("[bot]");
            json!({ "__typename": kind, "login": login, "databaseId": id })
        });
        json!({
            "editedAt": time(at),
            "deletedAt": if deleted { time(at) } else { Value::Null },
            "editor": editor,
        })
    }
}
