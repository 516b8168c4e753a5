//! What `doctor` looks at and makes: the labels of a repo, its webhooks, and what the credential
//! may do. And how tests prepare these.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::ids::{At, RepoName};
use afk_core::issue::same_label;
use serde_json::{Value, json};

use super::GitHubFake;
use super::answers::{Answered, CheckedRequest, Content, Forge, refuse};
use super::payloads::{join, time};

/// A webhook of a repo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The address that it is sent to.
    pub url: String,
    /// The secret that it is signed with, if there is one.
    pub secret: Option<String>,
    /// The events that it is sent for.
    pub events: Vec<String>,
    /// Whether it is sent at all.
    pub active: bool,
}

/// What the fake knows of labels, webhooks and credentials.
#[derive(Debug, Default)]
pub(super) struct Admin {
    /// Labels that were made, whether an issue has them or not.
    labels: BTreeMap<RepoName, BTreeSet<String>>,
    hooks: BTreeMap<RepoName, Vec<Hook>>,
    /// The scopes of the token, if it is a classic one.
    pub(super) scopes: Option<String>,
    /// Whether the account administers every repo.
    pub(super) administers: bool,
    /// Repos whose default branch takes changes by pull request only.
    pub(super) by_pulls: BTreeSet<RepoName>,
}

impl GitHubFake {
    /// Makes a label of the repo, which is on no issue yet.
    pub fn add_label(&self, repo: &RepoName, label: &str) {
        let mut state = self.shared.state();
        state.admin.labels.entry(repo.clone()).or_default().insert(label.to_owned());
    }

    /// Makes the token a classic one with these scopes.
    pub fn has_scopes(&self, scopes: &str) {
        self.shared.state().admin.scopes = Some(scopes.to_owned());
    }

    /// Makes the account administer every repo.
    pub fn administers(&self) {
        self.shared.state().admin.administers = true;
    }

    /// Adds a ruleset by which the default branch takes changes by pull request only.
    pub fn wants_pulls(&self, repo: &RepoName) {
        self.shared.state().admin.by_pulls.insert(repo.clone());
    }

    /// Adds a webhook to a repo.
    pub fn add_hook(&self, repo: &RepoName, hook: Hook) {
        self.shared.state().admin.hooks.entry(repo.clone()).or_default().push(hook);
    }

    /// The webhooks of a repo.
    pub fn hooks(&self, repo: &RepoName) -> Vec<Hook> {
        self.shared.state().admin.hooks.get(repo).cloned().unwrap_or_default()
    }
}

impl Forge<'_> {
    pub(super) fn repo_label(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let name = asked.open.get(2).cloned().unwrap_or_default();
        if !self.has_label(&repo, &name) {
            return refuse(404, "Not Found");
        }
        Ok(Content::One(200, self.state.label(&repo, &name)))
    }

    pub(super) fn create_label(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let text = |name: &str| asked.body[name].as_str().unwrap_or_default();
        let (name, color) = (text("name"), text("color"));
        if self.has_label(&repo, name) {
            return refuse(422, "Validation Failed");
        }
        let is_color = color.len() == 6 && color.chars().all(|digit| digit.is_ascii_hexdigit());
        if name.is_empty() || !is_color {
            return self.wrong("a label needs a name, and a colour of six digits without #");
        }
        self.state.admin.labels.entry(repo.clone()).or_default().insert(name.to_owned());
        let mut label = self.state.label(&repo, name);
        label["color"] = color.into();
        label["description"] = asked.body["description"].clone();
        Ok(Content::One(201, label))
    }

    /// Whether the repo has a label: somebody made it, or an issue has it.
    fn has_label(&self, repo: &RepoName, name: &str) -> bool {
        let is_this = |label: &String| same_label(label, name);
        let made = self.state.admin.labels.get(repo);
        let mut issues = self.world.tracker.issues.iter().filter(|(issue, _)| issue.repo == *repo);
        made.is_some_and(|labels| labels.iter().any(is_this))
            || issues.any(|(_, record)| record.issue.labels.iter().any(is_this))
    }

    pub(super) fn list_hooks(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = self.administered(asked)?;
        let hooks = self.state.admin.hooks.get(&repo).cloned().unwrap_or_default();
        let at = self.world.tracker_now();
        let shown = hooks.iter().enumerate().map(|(nth, hook)| self.hook(&repo, nth, hook, at));
        Ok(Content::Many(shown.collect()))
    }

    pub(super) fn create_hook(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = self.administered(asked)?;
        let config = &asked.body["config"];
        let text = |name: &str| config[name].as_str().map(str::to_owned);
        let Some(url) = text("url") else { return self.wrong("a webhook needs an address") };
        if text("content_type").as_deref() != Some("json") {
            // GitHub would send a form, which is signed as well, and which the receiver does not
            // understand.
            return self.wrong("a webhook without content_type is sent as a form");
        }
        let events = asked.body["events"].as_array().into_iter().flatten();
        let hook = Hook {
            url,
            secret: text("secret").filter(|secret| !secret.is_empty()),
            events: events.filter_map(Value::as_str).map(str::to_owned).collect(),
            active: asked.body["active"] != false,
        };
        let hooks = self.state.admin.hooks.entry(repo.clone()).or_default();
        hooks.push(hook.clone());
        let nth = hooks.len() - 1;
        let at = self.world.tracker_now();
        Ok(Content::One(201, self.hook(&repo, nth, &hook, at)))
    }

    /// The repo of the request, if the account administers it: nobody else sees webhooks.
    fn administered(&self, asked: &CheckedRequest) -> Result<RepoName, super::answers::Refusal> {
        if self.state.admin.administers {
            return Self::repo(asked);
        }
        refuse(404, "Not Found")
    }

    /// A hook as GitHub shows it, with its secret hidden.
    fn hook(&mut self, repo: &RepoName, nth: usize, hook: &Hook, at: At) -> Value {
        let id = self.state.id(&format!("hook {repo} {nth}"));
        let url = format!("{}/hooks/{id}", self.state.repo_url(repo));
        let mut config = json!({ "url": hook.url, "content_type": "json", "insecure_ssl": "0" });
        if hook.secret.is_some() {
            join(&mut config, json!({ "secret": "********" }));
        }
        json!({
            "type": "Repository", "id": id, "name": "web", "active": hook.active,
            "events": hook.events, "config": config, "created_at": time(at), "updated_at": time(at),
            "url": url, "test_url": format!("{url}/tests"), "ping_url": format!("{url}/pings"),
            "deliveries_url": format!("{url}/deliveries"),
            "last_response": { "code": null, "status": "unused", "message": null },
        })
    }
}
