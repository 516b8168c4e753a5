//! What happened to an issue.
//!
//! Pages are cut first and filtered then, and the header counts what is left of the page: a short
//! page says nothing about the next one, and a page without entries is `null`. Labels are shown by
//! the names that they have now (`ListIssueCommentsAndTimeline` in
//! `routers/api/v1/repo/issue_comment.go`, `ToTimelineComment` in
//! `services/convert/issue_comment.go`).

use afk_core::ids::{Actor, At, IssueRef};
use afk_core::issue::IssueChange;
use serde_json::{Value, json};

use super::answers::{Answered, CheckedRequest, Content, Forge, window};
use super::payloads::{WEB, join};
use super::state::More;
use afk_sim::world::IssueRecord;

/// An entry before pages are cut: when it was added, when it last changed, and what is shown of it,
/// if anything is.
struct Row {
    at: At,
    updated: At,
    shown: Option<Value>,
}

impl Forge<'_> {
    pub(super) fn timeline(&mut self, asked: &CheckedRequest) -> Answered {
        let span = asked.span()?;
        let issue = Self::issue_ref(asked)?;
        let record = self.record_or_fault(&issue)?;
        let mut rows = Vec::new();
        for nth in 0..record.events.len() {
            let at = record.events[nth].at;
            let shown = self.event(&record, nth);
            rows.extend(shown.map(|shown| Row { at, updated: at, shown: Some(shown) }));
        }
        for comment in &record.comments {
            let id = comment.id.parse().unwrap_or_default();
            let by = comment.author.as_ref();
            let mut shown = self.entry(id, &issue, "comment", by, comment.at);
            let own = self.state.comment(&issue, comment);
            for field in ["body", "updated_at"] {
                shown[field] = own[field].clone();
            }
            let updated = self.state.changed(comment);
            rows.push(Row { at: comment.at, updated, shown: Some(shown) });
        }
        let more = self.state.more.get(&issue).cloned().unwrap_or_default();
        for (nth, (at, more)) in more.into_iter().enumerate() {
            let id = self.state.id(&format!("more {issue} {nth}"));
            let shown = self.more(id, &issue, at, &more);
            rows.push(Row { at, updated: at, shown });
        }
        rows.sort_by_key(|row| row.at);
        rows.retain(|row| span.has(row.updated));
        let window = window(asked, false);
        let page = rows.into_iter().skip(window.skip).take(window.take);
        let page: Vec<Value> = page.filter_map(|row| row.shown).collect();
        let count = page.len();
        let body = if page.is_empty() { Value::Null } else { page.into() };
        Ok(Content::Counted(body, count))
    }

    /// An event of the world as an entry. Edits of the text have none, nor have events that were
    /// deleted with their label.
    fn event(&mut self, record: &IssueRecord, nth: usize) -> Option<Value> {
        let event = record.events.get(nth)?;
        let issue = &record.issue.issue;
        if self.state.dropped.contains(&(issue.clone(), nth)) {
            return None;
        }
        let (kind, more) = match &event.what {
            IssueChange::Labeled { label } => ("label", self.labelled(issue, label, "1")),
            IssueChange::Unlabeled { label } => ("label", self.labelled(issue, label, "")),
            IssueChange::Renamed => {
                let now = &record.issue.title;
                let more = json!({ "old_title": "as it was called", "new_title": now });
                ("change_title", more)
            }
            IssueChange::Closed => ("close", json!({})),
            IssueChange::Reopened => ("reopen", json!({})),
            IssueChange::Edited => return None,
        };
        let id = self.state.id(&format!("event {issue} {nth}"));
        let mut entry = self.entry(id, issue, kind, event.actor.as_ref(), event.at);
        join(&mut entry, more);
        Some(entry)
    }

    fn labelled(&mut self, issue: &IssueRef, label: &str, body: &str) -> Value {
        json!({ "body": body, "label": self.state.label_payload(&issue.repo, label) })
    }

    /// The entry for something that is no event of the world.
    fn more(&mut self, id: u64, issue: &IssueRef, at: At, more: &More) -> Option<Value> {
        let other = |forge: &mut Self, other: &IssueRef| {
            let record = forge.world.tracker.issues.get(other).cloned();
            record.map_or(Value::Null, |record| forge.state.issue(&record))
        };
        match more {
            More::Hidden => None,
            More::Null => Some(Value::Null),
            More::Odd => {
                let mut entry = self.entry(id, issue, "moved_to_mars", None, at);
                entry["user"] = Value::Null;
                Some(entry)
            }
            More::Dependency { added, other: dependency, by } => {
                let kind = if *added { "add_dependency" } else { "remove_dependency" };
                let mut entry = self.entry(id, issue, kind, Some(by), at);
                entry["dependent_issue"] = other(self, dependency);
                Some(entry)
            }
            More::Referred { from, by } => {
                let mut entry = self.entry(id, issue, "issue_ref", Some(by), at);
                entry["ref_issue"] = other(self, from);
                Some(entry)
            }
        }
    }

    /// An entry of that kind, with only the fields that all kinds have.
    fn entry(
        &mut self,
        id: u64,
        issue: &IssueRef,
        kind: &str,
        by: Option<&Actor>,
        at: At,
    ) -> Value {
        let page = format!("{WEB}/{}/issues/{}", issue.repo, issue.number);
        let user = self.state.acted(by);
        json!({
            "assignee": null, "assignee_team": null, "body": "", "created_at": self.state.time(at),
            "dependent_issue": null, "html_url": format!("{page}#issuecomment-{id}"), "id": id,
            "issue_url": page, "label": null, "milestone": null, "new_ref": "", "new_title": "",
            "old_milestone": null, "old_project_id": 0, "old_ref": "", "old_title": "",
            "project_id": 0, "pull_request_url": "", "ref_action": "none", "ref_comment": null,
            "ref_commit_sha": "", "ref_issue": null, "removed_assignee": false,
            "resolve_doer": null, "review_id": 0, "tracked_time": null, "type": kind,
            "updated_at": self.state.time(at), "user": self.state.user(&user),
        })
    }
}
