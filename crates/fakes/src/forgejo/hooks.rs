//! Webhooks, as repos list them and as the server sends them.

use afk_core::ids::{IssueRef, RepoName};
use serde_json::{Value, json};

use super::answers::{Answered, CheckedRequest, Content, Forge, Paging, refuse};
use super::payloads::WEB;
use super::state::Kind;
use crate::hmac::hmac;
use afk_sim::world::own;

/// The events that a hook may be for, each with the names of groups that include it.
const EVENTS: [(&str, &[&str]); 20] = [
    ("create", &[]),
    ("delete", &[]),
    ("fork", &[]),
    ("push", &[]),
    ("issues", &["issues_only"]),
    ("issue_assign", &["issues"]),
    ("issue_label", &["issues"]),
    ("issue_milestone", &["issues"]),
    ("issue_comment", &["issues"]),
    ("pull_request", &["pull_request_only"]),
    ("pull_request_assign", &["pull_request"]),
    ("pull_request_label", &["pull_request"]),
    ("pull_request_milestone", &["pull_request"]),
    ("pull_request_comment", &["pull_request"]),
    ("pull_request_review", &["pull_request"]),
    ("pull_request_review_request", &["pull_request"]),
    ("pull_request_sync", &["pull_request"]),
    ("wiki", &[]),
    ("repository", &[]),
    ("release", &[]),
];

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
    /// How the body is sent: `json` or `form`.
    pub content_type: String,
}

impl Forge<'_> {
    pub(super) fn hooks(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let hooks = self.state.hooks.get(&repo).cloned().unwrap_or_default();
        let shown = hooks.iter().enumerate().map(|(nth, hook)| self.hook(&repo, nth, hook));
        Ok(Content::List(shown.collect(), Paging::IF_ASKED))
    }

    /// Makes a hook. It is active only if that is asked for (`addHook` in
    /// `routers/api/v1/utils/hook.go`).
    pub(super) fn create_hook(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let kind = asked.body["type"].as_str().unwrap_or_default();
        if kind != "gitea" {
            return self.wrong(format!("a webhook of the type {kind}: both servers know gitea"));
        }
        let config = &asked.body["config"];
        let text = |name: &str| config[name].as_str().map(str::to_owned);
        let Some(url) = text("url") else {
            return refuse(422, "Missing config option: url");
        };
        let Some(content_type) = text("content_type") else {
            return refuse(422, "Missing config option: content_type");
        };
        if !["json", "form"].contains(&content_type.as_str()) {
            return refuse(422, "Invalid content type");
        }
        let wanted = asked.body["events"].as_array().into_iter().flatten();
        let mut wanted: Vec<&str> = wanted.filter_map(Value::as_str).collect();
        if wanted.is_empty() {
            wanted.push("push");
        }
        let known = |name: &&str| {
            EVENTS.iter().any(|(event, groups)| event == name || groups.contains(name))
        };
        if let Some(odd) = wanted.iter().find(|name| !known(name)) {
            // Real servers drop it in silence.
            return self.wrong(format!("no webhook is for {odd}"));
        }
        let chosen = |(event, groups): &(&str, &[&str])| {
            wanted.contains(event) || groups.iter().any(|group| wanted.contains(group))
        };
        let events = EVENTS.iter().filter(|one| chosen(one));
        let hook = Hook {
            url,
            secret: text("secret").filter(|secret| !secret.is_empty()),
            events: events.map(|(event, _)| (*event).to_owned()).collect(),
            active: asked.body["active"] == true,
            content_type,
        };
        let hooks = self.state.hooks.entry(repo.clone()).or_default();
        hooks.push(hook.clone());
        let nth = hooks.len() - 1;
        Ok(Content::One(201, self.hook(&repo, nth, &hook)))
    }

    /// A hook as the server shows it, without its secret.
    fn hook(&mut self, repo: &RepoName, nth: usize, hook: &Hook) -> Value {
        let at = self.state.time(self.world.now);
        json!({
            "active": hook.active, "authorization_header": "", "branch_filter": "",
            "config": { "content_type": hook.content_type, "url": hook.url },
            "content_type": hook.content_type, "created_at": at, "events": hook.events,
            "id": self.state.id(&format!("hook {repo} {nth}")), "metadata": null,
            "type": "gitea", "updated_at": at, "url": hook.url,
        })
    }

    /// What the server would send for an event that just happened in `repo`: headers and body
    /// (`AddDefaultHeaders` in `services/webhook/shared/payloader.go`; the older signature by SHA-1
    /// is left out).
    pub(super) fn delivery(
        &mut self,
        event: &str,
        repo: &RepoName,
    ) -> (Vec<(String, String)>, Vec<u8>) {
        let group = match event {
            "issue_assign" | "issue_label" | "issue_milestone" => "issues",
            "pull_request_comment" => "issue_comment",
            "pull_request_assign"
            | "pull_request_label"
            | "pull_request_milestone"
            | "pull_request_review_request"
            | "pull_request_sync" => "pull_request",
            other => other,
        };
        let payload = self.payload(event, group, repo);
        let body = serde_json::to_vec_pretty(&payload).unwrap_or_default();
        let hooks = self.state.hooks.get(repo).into_iter().flatten();
        let secret = hooks.filter(|hook| hook.active).find_map(|hook| hook.secret.clone());
        // Without a secret there is no signature, but the headers are there all the same.
        let signature = secret.map(|secret| hmac(secret.as_bytes(), &body)).unwrap_or_default();
        self.state.deliveries += 1;
        let delivery = uuid::Uuid::from_u128(u128::from(self.state.deliveries)).to_string();
        let mut headers = vec![
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("X-Hub-Signature-256".to_owned(), format!("sha256={signature}")),
        ];
        let ours = ["Forgejo", "Gitea", "Gogs"];
        let ours = match self.state.settings.kind {
            Kind::Forgejo => &ours[..],
            Kind::Gitea => &ours[1..],
        };
        let mut named = |name: &str, values: [&str; 4]| {
            let parts = ["Delivery", "Event", "Event-Type", "Signature"];
            let all = parts.into_iter().zip(values);
            headers.extend(all.map(|(part, value)| (format!("X-{name}-{part}"), value.to_owned())));
        };
        for name in ours {
            named(name, [&delivery, group, event, &signature]);
        }
        headers.extend(
            [("Delivery", delivery.as_str()), ("Event", group), ("Event-Type", event)]
                .map(|(part, value)| (format!("X-GitHub-{part}"), value.to_owned())),
        );
        (headers, body)
    }

    fn payload(&mut self, event: &str, group: &str, repo: &RepoName) -> Value {
        let (repository, sender) = (self.repository(repo), self.state.account(&own().login));
        let sender = self.state.user(&sender);
        let mut payload = json!({ "repository": repository, "sender": sender });
        if group == "push" {
            let head = self.world.git.remotes.get(repo).cloned();
            let commit = head.as_ref().map_or(Value::Null, |head| self.commit(repo, head));
            let id = commit["id"].clone();
            payload["ref"] = format!("refs/heads/{}", self.default_branch(repo)).into();
            payload["before"] = id.clone();
            payload["after"] = id;
            payload["compare_url"] = format!("{WEB}/{repo}/compare").into();
            payload["commits"] = json!([commit]);
            payload["total_commits"] = 1.into();
            payload["head_commit"] = commit;
            payload["pusher"] = payload["sender"].clone();
            return payload;
        }
        // The event is taken to be about the issue that changed last.
        let of_repo = self.world.tracker.issues.iter().filter(|(issue, _)| issue.repo == *repo);
        let newest = of_repo.max_by_key(|(_, record)| record.updated);
        if let Some((IssueRef { number, .. }, record)) = newest {
            payload["number"] = (*number).into();
            payload["issue"] = self.state.issue(record);
        }
        payload["action"] = match event {
            "issue_label" | "pull_request_label" => "label_updated",
            "issue_comment" | "pull_request_comment" => "created",
            _ => "edited",
        }
        .into();
        payload["commit_id"] = "".into();
        payload
    }
}
