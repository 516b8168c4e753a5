//! Labels, of issues and of repos.
//!
//! A label must be made before it is put on an issue: names that the repo does not have are dropped
//! in silence, and the answer shows which labels the issue has now (`prepareForReplaceOrAdd` and
//! `DeleteIssueLabel` in `routers/api/v1/repo/issue_label.go`). Names are case-sensitive.

use afk_core::ids::IssueRef;
use serde_json::Value;

use super::answers::{Answered, CheckedRequest, Content, Forge, Paging, forbid, refuse};
use super::state::{Kind, Label};
use afk_sim::world::own;

impl Forge<'_> {
    pub(super) fn add_labels(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        self.record(&issue)?;
        if self.state.locked.contains(&issue) {
            return forbid();
        }
        self.state.learn(self.world, &issue.repo);
        let Some(given) = asked.body["labels"].as_array() else {
            return self.wrong("labels are a list of names or of numbers");
        };
        let names: Vec<&str> = given.iter().filter_map(Value::as_str).collect();
        let ids: Vec<u64> = given.iter().filter_map(Value::as_u64).collect();
        if names.len() + ids.len() < given.len() || (!names.is_empty() && !ids.is_empty()) {
            return self.wrong("labels should be an array of strings or integers");
        }
        let mut known: Vec<String> = names.into_iter().map(str::to_owned).collect();
        known.retain(|name| self.state.has_label(&issue.repo, name));
        known.extend(ids.into_iter().filter_map(|id| self.state.label_by_id(&issue.repo, id)));
        for name in known {
            self.world.set_label(&issue, &name, true, &own());
        }
        self.labels_of(&issue)
    }

    /// Removes a label, which Forgejo finds by name or number, and Gitea by number only. Removing a
    /// label that the issue does not have succeeds.
    pub(super) fn remove_label(&mut self, asked: &CheckedRequest) -> Answered {
        let issue = Self::issue_ref(asked)?;
        self.record(&issue)?;
        if self.state.locked.contains(&issue) {
            return forbid();
        }
        self.state.learn(self.world, &issue.repo);
        let given = asked.open.get(3).cloned().unwrap_or_default();
        let id = given.parse().ok();
        let kind = self.state.settings.kind;
        if kind == Kind::Gitea && id.is_none() {
            return self.wrong(format!("Gitea knows labels by number, and {given} is none"));
        }
        let by_name = kind == Kind::Forgejo && self.state.has_label(&issue.repo, &given);
        let by_id = || self.state.label_by_id(&issue.repo, id?);
        let Some(name) = by_name.then_some(given).or_else(by_id) else {
            let id = id.unwrap_or_default();
            return refuse(422, format!("label does not exist [label_id: {id}]"));
        };
        self.world.set_label(&issue, &name, false, &own());
        Ok(Content::Empty(204))
    }

    /// The labels of an issue, which have no pages.
    pub(super) fn labels_of(&mut self, issue: &IssueRef) -> Answered {
        let record = self.record(issue)?;
        let labels = self.state.label_payloads(&issue.repo, &record.issue.labels);
        Ok(Content::One(200, labels))
    }

    pub(super) fn labels(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        self.state.learn(self.world, &repo);
        let names = self.state.labels_of(&repo).into_iter().flatten();
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        let all = names.iter().map(|name| self.state.label_payload(&repo, name)).collect();
        Ok(Content::List(all, Paging::IF_ASKED))
    }

    pub(super) fn create_label(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        self.state.learn(self.world, &repo);
        let text = |name: &str| asked.body[name].as_str().unwrap_or_default().to_owned();
        let (name, color) = (text("name"), text("color").to_lowercase());
        if name.is_empty() {
            return refuse(422, "[Name]: Required");
        }
        let digits = color.trim_start_matches('#');
        let is_color = digits.len() == 6 && digits.chars().all(|digit| digit.is_ascii_hexdigit());
        if !is_color {
            return refuse(422, format!("invalid color string: {color}"));
        }
        if self.state.has_label(&repo, &name) {
            // Real servers accept it, and then the name stands for two labels.
            return self.wrong(format!("{repo} has a label {name} already"));
        }
        let made = Label {
            color: digits.to_owned(),
            description: text("description"),
            exclusive: asked.body["exclusive"] == true,
            ..self.state.label(&repo, &name)
        };
        self.state.put_label(&repo, &name, made);
        Ok(Content::One(201, self.state.label_payload(&repo, &name)))
    }
}
