//! The checks of `doctor` of a repo on Forgejo: whether the token may do what the loop does, and
//! whether the repo allows it.

use afk_core::ids::RepoName;
use afk_core::issue::same_label;
use afk_engine::ports::{PortError, PortResult};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;

use super::Forgejo;
use crate::forges::{Needs, RemoteFinding};
use crate::http::{Method, Request};

/// The colour of labels that are made.
const COLOUR: &str = "#5319e7";
/// The events of a webhook that wakes the loop.
const EVENTS: [&str; 5] = ["issues", "issue_label", "issue_comment", "push", "pull_request"];

/// A repo, as the token's account sees it.
#[derive(Debug, Deserialize)]
struct Repository {
    full_name: String,
    default_branch: String,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    mirror: bool,
    #[serde(default = "yes")]
    has_issues: bool,
    #[serde(default = "yes")]
    has_pull_requests: bool,
    #[serde(default)]
    permissions: Option<Permissions>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Permissions {
    admin: bool,
    push: bool,
}

#[derive(Debug, Deserialize)]
struct Branch {
    #[serde(default)]
    protected: bool,
    #[serde(default = "yes")]
    user_can_push: bool,
}

#[derive(Debug, Deserialize)]
struct Hook {
    #[serde(default)]
    active: bool,
    #[serde(default)]
    config: HookConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HookConfig {
    url: String,
}

fn yes() -> bool {
    true
}

impl Forgejo {
    /// Checks everything that the loop needs of `repo`, and makes what is missing if it may.
    pub(super) async fn examined(&self, repo: &RepoName, needs: &Needs) -> Vec<RemoteFinding> {
        let found: Repository = match self.account.json(&self.get(repo, &[])).await {
            Ok(found) => found,
            Err(error) => return vec![RemoteFinding::unreachable(&error)],
        };
        let mut all = credential(repo, &found, needs, &self.places.of(repo));
        if all.is_empty() {
            let says = format!("{} opens {}", self.account.home(), found.full_name);
            all.push(RemoteFinding::fine("credential", says));
        }
        if let Some(labels) = &needs.labels {
            all.extend(self.examined_labels(repo, labels, needs.make).await);
            all.push(permissions_of_others(found.permissions.unwrap_or_default()));
        }
        if needs.pushes {
            all.push(self.examined_branch(repo, &found.default_branch).await);
        }
        if let Some(url) = &needs.webhook {
            all.push(self.examined_webhook(repo, url, needs.make).await);
        }
        all
    }

    async fn examined_labels(
        &self,
        repo: &RepoName,
        labels: &[(String, &str)],
        make: bool,
    ) -> Vec<RemoteFinding> {
        const ABOUT: &str = "labels";
        let there = match self.labels_of(repo).await {
            Ok(there) => there,
            Err(error) => {
                let remedy = "let the token read issues (scope read:issue)";
                return vec![RemoteFinding::failure(ABOUT, error.chain()).remedy(remedy)];
            }
        };
        let is_there = |label: &str| there.iter().any(|one| same_label(&one.name, label));
        let mut all = Vec::new();
        for (label, meaning) in labels.iter().filter(|(label, _)| !is_there(label)) {
            if !make {
                let says = format!("there is no label {label}");
                all.push(RemoteFinding::failure(ABOUT, says).remedy("`afk doctor --fix` makes it"));
                continue;
            }
            let body = json!({ "name": label, "color": COLOUR, "description": meaning });
            let request = Request::new(Method::Post, self.path(repo, &["labels"])).json(body);
            all.push(match self.account.send(&request).await {
                Ok(_) => RemoteFinding::fine(ABOUT, format!("made the label {label}")),
                Err(error) => RemoteFinding::failure(ABOUT, error.chain())
                    .remedy("let the token write issues (scope write:issue), or make it by hand"),
            });
        }
        if all.is_empty() {
            all.push(RemoteFinding::fine(ABOUT, "all are there"));
        }
        all
    }

    /// Checks whether the default branch takes our pushes.
    async fn examined_branch(&self, repo: &RepoName, branch: &str) -> RemoteFinding {
        const ABOUT: &str = "branch";
        let read = self.account.json(&self.get(repo, &["branches", branch])).await;
        let found: Branch = match read {
            Ok(found) => found,
            Err(error) => {
                return RemoteFinding::warning(ABOUT, error.chain())
                    .remedy("check that the default branch has a commit");
            }
        };
        let remedy = "let the account push in the branch's protection, or set landing = \
                    \"pull-request\"";
        if !found.user_can_push {
            let says = format!("{branch} refuses our pushes");
            return RemoteFinding::failure(ABOUT, says).remedy(remedy);
        }
        let says = if found.protected { "is protected, and takes" } else { "takes" };
        RemoteFinding::fine(ABOUT, format!("{branch} {says} our pushes"))
    }

    async fn examined_webhook(&self, repo: &RepoName, url: &str, make: bool) -> RemoteFinding {
        const ABOUT: &str = "webhook";
        let hooks: Vec<Hook> = match self.all(&self.get(repo, &["hooks"])).await {
            Ok(hooks) => hooks,
            Err(error) => {
                return RemoteFinding::warning(ABOUT, error.chain()).remedy(
                    "only an administrator of the repo can see its webhooks; without one, afk \
                     polls it",
                );
            }
        };
        match hooks.iter().find(|hook| hook.config.url == url) {
            Some(hook) if hook.active => RemoteFinding::fine(ABOUT, format!("sends to {url}")),
            Some(_) => RemoteFinding::warning(ABOUT, format!("the one to {url} is switched off"))
                .remedy("switch it on in the repo's settings"),
            None if make => match self.make_webhook(repo, url).await {
                Ok(()) => RemoteFinding::fine(
                    ABOUT,
                    format!(
                        "made one to {url}; if that is a private address, the server must list it \
                         in webhook.ALLOWED_HOST_LIST"
                    ),
                ),
                Err(error) => RemoteFinding::warning(ABOUT, error.chain())
                    .remedy("make it by hand, or let the token's account administer the repo"),
            },
            None => RemoteFinding::warning(ABOUT, format!("none sends to {url}"))
                .remedy("`afk doctor --fix` makes it; without it, the repo is polled"),
        }
    }

    async fn make_webhook(&self, repo: &RepoName, url: &str) -> PortResult<()> {
        let secret = self.webhook_secret.as_ref().ok_or_else(|| {
            PortError::permanent("a webhook needs a secret: set webhook_secret of the forge")
        })?;
        let secret = secret.secret().await?;
        let config = json!({
            "url": url, "content_type": "json", "secret": secret.expose_secret(),
        });
        // Both servers know this type, and sign its webhooks alike.
        let body = json!({ "type": "gitea", "active": true, "events": EVENTS, "config": config });
        let request = Request::new(Method::Post, self.path(repo, &["hooks"])).json(body);
        self.account.send(&request).await.map(drop)
    }
}

/// Findings about what the token's account may not do although the loop must.
fn credential(
    repo: &RepoName,
    found: &Repository,
    needs: &Needs,
    place: &RepoName,
) -> Vec<RemoteFinding> {
    const ABOUT: &str = "credential";
    let fail = |says: String, remedy: &str| RemoteFinding::failure(ABOUT, says).remedy(remedy);
    let mut all = Vec::new();
    let name = &found.full_name;
    if !name.eq_ignore_ascii_case(place.as_str()) {
        let says = format!("{repo} is called {name} there now");
        all.push(fail(says, "correct its entry in names"));
    }
    if found.archived {
        let says = format!("{name} is archived, and takes neither issues nor pushes");
        all.push(fail(says, "unarchive it, or remove it"));
    }
    if found.mirror && needs.pushes {
        let says = format!("{name} is a mirror, and takes no pushes");
        all.push(fail(says, "set remote to the repository that it mirrors"));
    }
    if needs.labels.is_some() && !found.has_issues {
        all.push(fail(format!("{name} has no issues"), "switch issues on in its settings"));
    }
    if needs.opens_pulls && !found.has_pull_requests {
        let says = format!("{name} has no pull requests");
        all.push(fail(says, "switch them on in its settings, or choose another landing"));
    }
    let Permissions { admin, push } = found.permissions.unwrap_or_default();
    if (needs.pushes || needs.opens_pulls) && !(admin || push) {
        let says = "the account may not push".to_owned();
        all.push(fail(says, "give it the permission to write, and the token write:repository"));
    }
    all
}

/// Checks whether the permissions of people who label can be read: otherwise nobody is trusted by
/// permission.
fn permissions_of_others(own: Permissions) -> RemoteFinding {
    const ABOUT: &str = "permissions";
    if own.admin {
        return RemoteFinding::fine(ABOUT, "can be read: the account administers the repo");
    }
    RemoteFinding::failure(ABOUT, "only an administrator of the repo can read others' permissions")
        .remedy(
            "make the token's account an administrator of the repo, or list by id whom you trust \
         (trust.allow_ids)",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(repository: &serde_json::Value, opens_pulls: bool, expected: &[&str]) {
        let mut whole = json!({
            "full_name": "o/r", "default_branch": "main", "has_issues": true, "archived": false,
            "mirror": false, "has_pull_requests": true,
            "permissions": { "admin": false, "push": true, "pull": true },
        });
        for (key, value) in repository.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let found: Repository = serde_json::from_value(whole).unwrap();
        let name: RepoName = "o/r".parse().unwrap();
        let (labels, pushes, webhook) = (Some(vec![]), !opens_pulls, None);
        let needs = Needs { labels, pushes, opens_pulls, webhook, make: false };
        let all = credential(&name, &found, &needs, &name);
        assert_eq!(all.len(), expected.len(), "{all:?}");
        for (found, expected) in all.iter().zip(expected) {
            assert!(found.says.contains(expected), "{found:?}");
            assert!(found.remedy.is_some(), "{found:?}");
        }
    }

    #[test]
    fn what_the_account_may_not_do_is_told() {
        check(&json!({}), false, &[]);
        check(&json!({ "archived": true }), false, &["archived"]);
        check(&json!({ "mirror": true }), false, &["takes no pushes"]);
        check(&json!({ "has_issues": false }), false, &["no issues"]);
        check(&json!({ "has_pull_requests": false }), true, &["no pull requests"]);
        check(&json!({ "has_pull_requests": false }), false, &[]);
        check(&json!({ "full_name": "o/new" }), false, &["is called o/new there now"]);
        check(&json!({ "permissions": null }), false, &["may not push"]);
    }

    #[test]
    fn only_an_administrator_reads_the_permissions_of_others() {
        use crate::forges::Severity;
        let severity = |admin| permissions_of_others(Permissions { admin, push: true }).severity;
        assert_eq!(severity(true), Severity::Fine);
        assert_eq!(severity(false), Severity::Failure);
    }
}
