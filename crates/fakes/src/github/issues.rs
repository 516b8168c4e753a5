//! Issues, their comments, labels and blockers.

use std::cmp::Reverse;

use afk_core::ids::{At, IssueRef};
use afk_engine::ports::PortErrorKind;
use serde_json::{Value, json};

use super::answers::{Answered, CheckedRequest, Content, Forge, Refusal, refuse};
use afk_sim::world::{IssueRecord, own};

impl Forge<'_> {
    /// The issue, or the refusal if it is moved, deleted or not there.
    pub(super) fn record(&mut self, issue: &IssueRef) -> Result<IssueRecord, Refusal> {
        if let Some(now) = self.state.transferred.get(issue).cloned() {
            let location = format!("{}/issues/{}", self.state.repo_url(&now.repo), now.number);
            let message = "Moved Permanently".to_owned();
            return Err(Refusal { status: 301, message, location: Some(location) });
        }
        if self.world.tracker.deleted.contains(issue) {
            return refuse(410, "This issue was deleted");
        }
        match self.world.tracker.issues.get(issue) {
            Some(record) => Ok(record.clone()),
            None => refuse(404, "Not Found"),
        }
    }

    /// For each dependency on another issue: the issue that is waited for, and whether the waiting
    /// one is open.
    fn awaited(&self) -> Vec<(IssueRef, bool)> {
        let waiting = self.world.tracker.issues.values();
        let waiting = waiting.flat_map(|record| {
            record.blockers.iter().map(|blocker| (blocker.clone(), record.issue.open))
        });
        waiting.collect()
    }

    fn shown(&mut self, record: &IssueRecord, awaited: &[(IssueRef, bool)]) -> Value {
        let issues = &self.world.tracker.issues;
        let open = |issue: &IssueRef| issues.get(issue).is_some_and(|record| record.issue.open);
        let blockers = &record.blockers;
        let blocked = (blockers.iter().filter(|one| open(one)).count(), blockers.len());
        let waiting = awaited.iter().filter(|(issue, _)| *issue == record.issue.issue);
        let waiting: Vec<bool> = waiting.map(|(_, open)| *open).collect();
        let blocking = (waiting.iter().filter(|open| **open).count(), waiting.len());
        self.state.issue(record, blocked, blocking)
    }

    pub(super) fn issues(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let get = |name: &str, default: &str| {
            asked.query.get(name).map_or(default.to_owned(), String::clone)
        };
        let (state, sort, direction) =
            (get("state", "open"), get("sort", "created"), get("direction", "desc"));
        let labels = get("labels", "").to_lowercase();
        let labels: Vec<&str> = labels.split(',').filter(|label| !label.is_empty()).collect();
        let since = since(asked)?;
        let records = self.world.tracker.issues.iter().filter(|(issue, record)| {
            let has =
                |label: &&str| record.issue.labels.iter().any(|one| one.to_lowercase() == **label);
            issue.repo == repo
                && !self.state.transferred.contains_key(issue)
                && (state == "all" || record.issue.open == (state == "open"))
                && labels.iter().all(has)
                && since.is_none_or(|since| record.updated >= since)
        });
        let records: Vec<IssueRecord> = records.map(|(_, record)| record.clone()).collect();
        let (mut all, awaited) = (Vec::new(), self.awaited());
        for record in records {
            let by = if sort == "updated" { record.updated } else { record.created };
            all.push((by.as_second(), record.issue.issue.number, self.shown(&record, &awaited)));
        }
        if labels.is_empty() && since.is_none() {
            all.extend(self.pulls_among_issues(&repo, &state, &sort));
        }
        match direction.as_str() {
            "asc" => all.sort_by_key(|(at, number, _)| (*at, *number)),
            _ => all.sort_by_key(|(at, number, _)| Reverse((*at, *number))),
        }
        Ok(Content::Many(all.into_iter().map(|(_, _, entry)| entry).collect()))
    }

    pub(super) fn issue(&mut self, asked: &CheckedRequest) -> Answered {
        let (record, awaited) = (self.record(&Self::issue_ref(asked)?)?, self.awaited());
        Ok(Content::One(200, self.shown(&record, &awaited)))
    }

    pub(super) fn edit_issue(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        let record = self.record(&issue)?;
        let open = match asked.body["state"].as_str() {
            Some("open") => true,
            Some("closed") => false,
            _ => return refuse(422, "Validation Failed"),
        };
        // The reason counts only where the state changes.
        if record.issue.open != open {
            let reason = asked.body["state_reason"].as_str().unwrap_or("completed");
            if open {
                self.state.reasons.remove(&issue);
            } else {
                self.state.reasons.insert(issue.clone(), reason.to_owned());
            }
            self.world.set_open(&issue, open, &own());
        }
        self.issue(asked)
    }

    pub(super) fn timeline(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        let record = self.record(&issue)?;
        let mut all: Vec<(At, Value)> = Vec::new();
        for nth in 0..record.events.len() {
            let entry = self.state.entry(&record, nth);
            all.extend(entry.map(|entry| (record.events[nth].at, entry)));
        }
        for comment in &record.comments {
            all.push((comment.at, self.state.commented(&issue, comment)));
        }
        all.extend(self.state.odd.get(&issue).cloned().unwrap_or_default());
        all.sort_by_key(|(at, _)| *at);
        Ok(Content::Many(all.into_iter().map(|(_, entry)| entry).collect()))
    }

    pub(super) fn issue_comments(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        let record = self.record(&issue)?;
        let since = since(asked)?;
        let mut all = Vec::new();
        for comment in &record.comments {
            let updated = self.state.changed(comment);
            if since.is_none_or(|since| updated >= since) {
                all.push(self.state.comment(&issue, comment));
            }
        }
        Ok(Content::Many(all))
    }

    pub(super) fn repo_comments(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let since = since(asked)?;
        let by_update = asked.query.get("sort").is_some_and(|sort| sort == "updated");
        let records = self.world.tracker.issues.iter().filter(|(issue, _)| issue.repo == repo);
        let comments = records.flat_map(|(issue, record)| {
            record.comments.iter().map(|comment| (issue.clone(), comment.clone()))
        });
        let comments: Vec<_> = comments.collect();
        let mut all = Vec::new();
        for (issue, comment) in comments {
            let updated = self.state.changed(&comment);
            if since.is_none_or(|since| updated.as_second() >= since.as_second()) {
                let by = if by_update { updated } else { comment.at };
                all.push((by, self.state.comment(&issue, &comment)));
            }
        }
        all.sort_by_key(|(by, _)| *by);
        if asked.query.get("direction").is_some_and(|direction| direction == "desc") {
            all.reverse();
        }
        Ok(Content::Many(all.into_iter().map(|(_, comment)| comment).collect()))
    }

    pub(super) fn post_comment(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        self.record(&issue)?;
        let Some(body) = asked.body["body"].as_str().filter(|body| !body.trim().is_empty()) else {
            return refuse(422, "Validation Failed");
        };
        let Ok(id) = self.world.add_comment(&issue, body, &own()) else {
            return refuse(404, "Not Found");
        };
        let record = self.record(&issue)?;
        match record.comments.iter().find(|comment| comment.id == id) {
            Some(comment) => Ok(Content::One(201, self.state.comment(&issue, comment))),
            None => refuse(404, "Not Found"),
        }
    }

    pub(super) fn edit_comment(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let id = asked.open.get(2).cloned().unwrap_or_default();
        let Some(body) = asked.body["body"].as_str() else {
            return refuse(422, "Validation Failed");
        };
        let of_repo = self.world.tracker.issues.iter().filter(|(issue, _)| issue.repo == repo);
        let found = of_repo.filter(|(_, record)| record.comments.iter().any(|one| one.id == id));
        let Some(issue) = found.map(|(issue, _)| issue.clone()).next() else {
            return refuse(404, "Not Found");
        };
        match self.world.change_comment(&issue, &id, body) {
            Ok(()) => {}
            Err(error) if error.kind == PortErrorKind::NotFound => {
                return refuse(404, "Not Found");
            }
            Err(_) => return refuse(403, "Must have admin rights to Repository."),
        }
        self.state.edited.insert(id.clone(), self.world.tracker_now());
        let record = self.record(&issue)?;
        match record.comments.iter().find(|comment| comment.id == id) {
            Some(comment) => Ok(Content::One(200, self.state.comment(&issue, comment))),
            None => refuse(404, "Not Found"),
        }
    }

    pub(super) fn add_labels(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        self.record(&issue)?;
        let names = asked.body["labels"].as_array().cloned().unwrap_or_default();
        if names.is_empty() {
            return refuse(422, "Validation Failed");
        }
        for name in names {
            let Some(name) = name.as_str() else { return refuse(422, "Validation Failed") };
            self.world.set_label(&issue, name, true, &own());
        }
        self.labels_of(&issue)
    }

    pub(super) fn remove_label(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        self.record(&issue)?;
        let name = asked.open.get(3).cloned().unwrap_or_default();
        if !self.world.set_label(&issue, &name, false, &own()) {
            return refuse(404, "Label does not exist");
        }
        self.labels_of(&issue)
    }

    fn labels_of(&mut self, issue: &IssueRef) -> Answered {
        let record = self.record(issue)?;
        let labels = record.issue.labels.iter();
        let labels = labels.map(|label| self.state.label(&issue.repo, label)).collect();
        Ok(Content::Page(labels))
    }

    pub(super) fn blocked_by(&mut self, asked: &CheckedRequest) -> Answered {
        let record = self.record(&Self::issue_ref(asked)?)?;
        let (mut all, awaited) = (Vec::new(), self.awaited());
        for blocker in &record.blockers {
            // Blockers that are deleted or invisible are left out.
            if let Ok(blocker) = self.record(blocker) {
                all.push(self.shown(&blocker, &awaited));
            }
        }
        Ok(Content::Many(all))
    }
}

/// The time in the parameter `since`.
fn since(asked: &CheckedRequest) -> Result<Option<At>, Refusal> {
    match asked.query.get("since").map(|text| text.parse::<At>()) {
        None => Ok(None),
        Some(Ok(since)) => Ok(Some(since)),
        Some(Err(_)) => refuse(422, json!("since is not a time").to_string()),
    }
}
