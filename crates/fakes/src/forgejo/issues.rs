//! Issues, their comments, and the issues that they wait for.
//!
//! Whatever adds an entry to the timeline changes the time of the issue's last update, and so does
//! an edit of the body. The edit of a comment changes the comment's time only (`UpdateComment` in
//! `models/issues/comment.go`), and closing a blocker does not change the time of what waits for
//! it.

use std::cmp::Reverse;

use afk_core::ids::{At, IssueRef, RepoName};
use afk_engine::ports::PortErrorKind;
use serde_json::Value;

use super::answers::{
    Answered, CheckedRequest, Content, Forge, Paging, Refusal, forbid, missing, refuse,
};
use super::state::Kind;
use afk_sim::world::{IssueRecord, own};

/// An entry of the list of issues, with what it is sorted by.
pub(super) struct Entry {
    pub(super) created: At,
    pub(super) updated: At,
    pub(super) number: u64,
    pub(super) shown: Value,
}

impl Forge<'_> {
    /// The issue, or the refusal if there is none.
    pub(super) fn record(&self, issue: &IssueRef) -> Result<IssueRecord, Refusal> {
        self.world.tracker.issues.get(issue).cloned().map_or_else(missing, Ok)
    }

    /// The same, except that Gitea answers 500 where there is no issue, as older versions of
    /// Forgejo do (`routers/api/v1/repo/issue_comment.go`).
    pub(super) fn record_or_fault(&self, issue: &IssueRef) -> Result<IssueRecord, Refusal> {
        match self.record(issue) {
            Err(_) if self.state.settings.kind == Kind::Gitea => refuse(500, ""),
            found => found,
        }
    }

    /// The label by which a list is filtered. Names that the repo does not have are dropped, so
    /// that a list filtered by such a name only has every issue.
    fn wanted_label(
        &mut self,
        asked: &CheckedRequest,
        repo: &RepoName,
    ) -> Result<Option<String>, Refusal> {
        let Some(names) = asked.query.get("labels") else { return Ok(None) };
        self.state.learn(self.world, repo);
        let names = names.split(',').filter(|name| self.state.has_label(repo, name));
        let names: Vec<String> = names.map(str::to_owned).collect();
        if names.len() > 1 {
            // The description says that any of them counts; servers want all
            // (`applyLabelsCondition` in `models/issues/issue_search.go`).
            let what = "filters by several labels: whether any or all count, servers disagree";
            return self.wrong(what);
        }
        Ok(names.into_iter().next())
    }

    pub(super) fn issues(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let span = asked.span()?;
        let label = self.wanted_label(asked, &repo)?;
        let state = asked.query.get("state").map_or("open", String::as_str);
        let kind = asked.query.get("type").map(String::as_str);
        let counts = |open: bool| state == "all" || open == (state == "open");
        let mut all = Vec::new();
        if kind != Some("pulls") {
            let of_repo = self.world.tracker.issues.iter().filter(|(issue, _)| issue.repo == repo);
            let records = of_repo.map(|(_, record)| record).filter(|record| {
                let has = label.as_ref().is_none_or(|label| record.has(label));
                has && counts(record.issue.open) && span.has(record.updated)
            });
            all.extend(records.map(|record| Entry {
                created: record.created,
                updated: record.updated,
                number: record.issue.issue.number,
                shown: self.state.issue(record),
            }));
        }
        if kind != Some("issues") && label.is_none() {
            let pulls = self.pulls_among_issues(&repo, &counts);
            all.extend(pulls.into_iter().filter(|entry| span.has(entry.updated)));
        }
        let by =
            |entry: &Entry| (entry.updated.as_second(), entry.created.as_second(), entry.number);
        match asked.query.get("sort").map(String::as_str) {
            Some("oldest") => all.sort_by_key(|entry| (entry.created.as_second(), entry.number)),
            Some("recentupdate") => all.sort_by_key(|entry| Reverse(by(entry))),
            Some("leastupdate") => all.sort_by_key(by),
            _ => all.sort_by_key(|entry| Reverse((entry.created.as_second(), entry.number))),
        }
        let shown = all.into_iter().map(|entry| entry.shown).collect();
        Ok(Content::List(shown, Paging::LINKED))
    }

    pub(super) fn issue(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        if let Some(pull) = self.pull_as_issue(&issue) {
            return Ok(Content::One(200, pull));
        }
        let record = self.record(&issue)?;
        Ok(Content::One(200, self.state.issue(&record)))
    }

    pub(super) fn edit_issue(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        let record = self.record(&issue)?;
        let open = match asked.body["state"].as_str() {
            Some("open") => true,
            Some("closed") => false,
            // Real servers take every other word for "open".
            _ => return self.wrong("an issue is closed or opened, and nothing else"),
        };
        if self.state.locked.contains(&issue) {
            let fields = "No permission to edit the following issue fields: state(locked)";
            return refuse(403, fields);
        }
        let waits = record.blockers.iter().any(|blocker| {
            let issues = &self.world.tracker.issues;
            issues.get(blocker).is_some_and(|blocker| blocker.issue.open)
        });
        if record.issue.open && !open && waits {
            let why = "cannot close this issue because it still has open dependencies";
            return refuse(412, why);
        }
        self.world.set_open(&issue, open, &own());
        let record = self.record(&issue)?;
        Ok(Content::One(201, self.state.issue(&record)))
    }

    /// The comments on an issue, which have no pages.
    pub(super) fn issue_comments(&mut self, asked: &CheckedRequest) -> Answered {
        let span = asked.span()?;
        let issue = Self::issue_ref(asked)?;
        let record = self.record_or_fault(&issue)?;
        let mut all = Vec::new();
        for comment in &record.comments {
            let edited = self.state.changed(comment);
            if span.has(edited) {
                all.push(self.state.comment(&issue, comment));
            }
        }
        let count = all.len();
        Ok(Content::Counted(all.into(), count))
    }

    pub(super) fn repo_comments(&mut self, asked: &CheckedRequest) -> Answered {
        let span = asked.span()?;
        let repo = Self::repo(asked)?;
        let records = self.world.tracker.issues.iter().filter(|(issue, _)| issue.repo == repo);
        let comments = records.flat_map(|(issue, record)| {
            record.comments.iter().map(|comment| (issue.clone(), comment.clone()))
        });
        let mut comments: Vec<_> = comments.collect();
        comments.sort_by_key(|(_, comment)| (comment.at, comment.id.parse::<u64>().ok()));
        let mut all = Vec::new();
        for (issue, comment) in comments {
            let edited = self.state.changed(&comment);
            if span.has(edited) {
                all.push(self.state.comment(&issue, &comment));
            }
        }
        Ok(Content::List(all, Paging::IF_ASKED))
    }

    pub(super) fn post_comment(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        self.record_or_fault(&issue)?;
        if self.state.locked.contains(&issue) {
            return refuse(403, "You cannot change a locked issue.");
        }
        let Some(body) = asked.body["body"].as_str().filter(|body| !body.is_empty()) else {
            return refuse(422, "[Body]: Required");
        };
        let Ok(id) = self.world.add_comment(&issue, body, &own()) else { return missing() };
        self.one_comment(201, &issue, &id)
    }

    pub(super) fn edit_comment(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let id = asked.open.get(2).cloned().unwrap_or_default();
        let Some(body) = asked.body["body"].as_str().filter(|body| !body.is_empty()) else {
            return refuse(422, "[Body]: Required");
        };
        let of_repo = self.world.tracker.issues.iter().filter(|(issue, _)| issue.repo == repo);
        let mut found =
            of_repo.filter(|(_, record)| record.comments.iter().any(|one| one.id == id));
        let found = found.next().map(|(issue, record)| (issue.clone(), record.updated));
        let Some((issue, updated)) = found else { return missing() };
        match self.world.change_comment(&issue, &id, body) {
            Ok(()) => {}
            Err(error) if error.kind == PortErrorKind::NotFound => return missing(),
            Err(_) => return forbid(),
        }
        self.touched(&issue, updated);
        self.state.edited.insert(id.clone(), self.world.tracker_now());
        self.one_comment(200, &issue, &id)
    }

    /// Sets when the issue was last changed, whatever has just happened to it.
    fn touched(&mut self, issue: &IssueRef, at: At) {
        if let Some(record) = self.world.tracker.issues.get_mut(issue) {
            record.updated = at;
        }
    }

    fn one_comment(&mut self, status: u16, issue: &IssueRef, id: &str) -> Answered {
        let record = self.record(issue)?;
        match record.comments.iter().find(|comment| comment.id == id) {
            Some(comment) => Ok(Content::One(status, self.state.comment(issue, comment))),
            None => missing(),
        }
    }

    /// The issues that an issue waits for: first those of the same repo, newest first.
    pub(super) fn dependencies(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        let record = self.record(&issue)?;
        let there = record.blockers.iter();
        let there = there.filter_map(|blocker| self.world.tracker.issues.get(blocker));
        let mut all: Vec<IssueRecord> = there.cloned().collect();
        all.sort_by_key(|one| {
            let elsewhere = one.issue.issue.repo != issue.repo;
            let repo = elsewhere.then(|| one.issue.issue.repo.clone());
            (repo, Reverse((one.created, one.issue.issue.number)))
        });
        let may_write = !self.state.locked.contains(&issue);
        let shown = all.iter().map(|one| {
            let hidden = self.state.hidden.contains(&one.issue.issue.repo);
            match (hidden, may_write) {
                (false, _) => self.state.issue(one),
                (true, true) => self.state.confidential(one),
                (true, false) => self.state.secret(),
            }
        });
        Ok(Content::List(shown.collect(), Paging::BARE))
    }
}
