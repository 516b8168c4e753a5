//! The checks of `doctor` of a repo on GitHub: whether the credential may do what the loop does,
//! and whether the repo allows it.

use afk_core::ids::RepoName;
use afk_engine::ports::{PortError, PortErrorKind, PortResult};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;

use super::{GitHub, empty_without_rules};
use crate::forges::{Needs, RemoteFinding};
use crate::http::{Method, Request};
use crate::issues::IssuesApi as _;

/// The colour of labels that are made.
const COLOUR: &str = "5319e7";
/// The events of a webhook that wakes the loop.
const EVENTS: [&str; 9] = [
    "issues",
    "issue_comment",
    "issue_dependencies",
    "label",
    "push",
    "pull_request",
    "check_suite",
    "status",
    "workflow_run",
];

/// A repo, as the credential sees it.
#[derive(Debug, Deserialize)]
struct Repository {
    full_name: String,
    default_branch: String,
    #[serde(default)]
    archived: bool,
    #[serde(default = "yes")]
    has_issues: bool,
    #[serde(default)]
    permissions: Permissions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Permissions {
    admin: bool,
    push: bool,
    triage: bool,
}

/// A rule that is in force on a branch.
#[derive(Debug, Deserialize)]
struct Rule {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Branch {
    #[serde(default)]
    protected: bool,
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

impl GitHub {
    /// Checks everything that the loop needs of `repo`, and makes what is missing if it may.
    pub(super) async fn examined(&self, repo: &RepoName, needs: &Needs) -> Vec<RemoteFinding> {
        let answer = match self.account.send(&self.get(repo, &[])).await {
            Ok(answer) => answer,
            Err(error) => return vec![RemoteFinding::unreachable(&error)],
        };
        let scopes = answer.header("x-oauth-scopes").map(str::to_owned);
        let found: Repository = match answer.json() {
            Ok(found) => found,
            Err(error) => return vec![RemoteFinding::unreachable(&error)],
        };
        let mut all = credential(repo, &found, scopes.as_deref(), needs, &self.places.of(repo));
        if all.is_empty() {
            let says = format!("{} opens {}", self.account.home(), found.full_name);
            all.push(RemoteFinding::fine("credential", says));
        }
        if let Some(labels) = &needs.labels {
            all.extend(self.labels(repo, labels, needs.make).await);
            all.push(self.permissions_of_others(repo).await);
        }
        if needs.pushes {
            all.push(self.branch(repo, &found.default_branch).await);
        }
        if needs.pushes || needs.opens_pulls {
            all.extend(self.workflows(repo).await);
        }
        if let Some(url) = &needs.webhook {
            all.push(self.webhook(repo, url, needs.make).await);
        }
        all
    }

    async fn labels(
        &self,
        repo: &RepoName,
        labels: &[(String, &str)],
        make: bool,
    ) -> Vec<RemoteFinding> {
        let mut all = Vec::new();
        for (label, meaning) in labels {
            let known = self.account.send(&self.get(repo, &["labels", label])).await;
            let about = "labels";
            match known {
                Ok(_) => continue,
                Err(error) if error.kind == PortErrorKind::NotFound => {}
                Err(error) => {
                    let says = format!("the label {label} cannot be read: {}", error.chain());
                    let remedy = "let the credential read issues, and run `afk doctor` again";
                    all.push(RemoteFinding::failure(about, says).remedy(remedy));
                    continue;
                }
            }
            if !make {
                let says = format!("there is no label {label}");
                all.push(RemoteFinding::failure(about, says).remedy("`afk doctor --fix` makes it"));
                continue;
            }
            let body = json!({ "name": label, "color": COLOUR, "description": meaning });
            let request = Request::new(Method::Post, self.path(repo, &["labels"])).json(body);
            all.push(match self.account.send(&request).await {
                Ok(_) => RemoteFinding::fine(about, format!("made the label {label}")),
                Err(error) => RemoteFinding::failure(about, error.chain())
                    .remedy("let the credential write issues, or make the label by hand"),
            });
        }
        if all.is_empty() {
            all.push(RemoteFinding::fine("labels", "all are there"));
        }
        all
    }

    /// Checks whether the permissions of people who label can be read: otherwise nobody is trusted
    /// by permission.
    async fn permissions_of_others(&self, repo: &RepoName) -> RemoteFinding {
        let about = "permissions";
        let read = async {
            let own = self.own_account().await?;
            // A bot is not found there, but an answer of 404 proves as well that one may ask.
            let path = ["collaborators", &own.login, "permission"];
            match self.account.send(&self.get(repo, &path)).await {
                Err(error) if error.kind != PortErrorKind::NotFound => Err(error),
                _ => PortResult::Ok(own.login),
            }
        };
        match read.await {
            Ok(login) => RemoteFinding::fine(about, format!("can be read by {login}")),
            Err(error) => RemoteFinding::failure(about, error.chain()).remedy(
                "who labels an issue is trusted by their permission: let the credential read \
                 collaborators (metadata: read; for a classic token the scope repo)",
            ),
        }
    }

    /// Checks whether the default branch takes our pushes.
    async fn branch(&self, repo: &RepoName, branch: &str) -> RemoteFinding {
        let rules = async {
            let path = ["rules", "branches", branch];
            let read = self.get(repo, &path);
            let rules = self.account.try_pages(&read, |page: Vec<Rule>| page).await;
            let rules = rules.or_else(empty_without_rules)?;
            let found: Branch = self.account.json(&self.get(repo, &["branches", branch])).await?;
            PortResult::Ok((rules, found.protected))
        };
        match rules.await {
            Ok((rules, protected)) => rules_of(branch, &rules, protected),
            Err(error) => RemoteFinding::warning("branch", error.chain()),
        }
    }

    /// Checks whether an app's pushes may change workflows; none for a token, whose scopes say
    /// that.
    async fn workflows(&self, repo: &RepoName) -> Option<RemoteFinding> {
        const ABOUT: &str = "workflows";
        let may = self.app.as_ref()?.may_change_workflows(self.places.of(repo).name()).await;
        Some(match may {
            Ok(true) => RemoteFinding::fine(ABOUT, "pushes may change them"),
            Ok(false) => {
                let says = "the app lacks the permission workflows: pushes that change workflows \
                            are refused";
                RemoteFinding::warning(ABOUT, says)
                    .remedy("give the app the permission workflows: write, and accept it")
            }
            Err(error) => RemoteFinding::warning(ABOUT, error.chain()),
        })
    }

    async fn webhook(&self, repo: &RepoName, url: &str, make: bool) -> RemoteFinding {
        const ABOUT: &str = "webhook";
        let hooks = self.account.pages::<Hook>(&self.get(repo, &["hooks"])).await;
        let hooks = match hooks {
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
                Ok(()) => RemoteFinding::fine(ABOUT, format!("made one to {url}")),
                Err(error) => RemoteFinding::warning(ABOUT, error.chain())
                    .remedy("make it by hand, or let the credential administer the repo"),
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
            "url": url,
            "content_type": "json",
            "insecure_ssl": "0",
            "secret": secret.expose_secret(),
        });
        let body = json!({ "name": "web", "active": true, "events": EVENTS, "config": config });
        let request = Request::new(Method::Post, self.path(repo, &["hooks"])).json(body);
        self.account.send(&request).await.map(drop)
    }
}

/// Findings about what the credential may not do although the loop must.
fn credential(
    repo: &RepoName,
    found: &Repository,
    scopes: Option<&str>,
    needs: &Needs,
    place: &RepoName,
) -> Vec<RemoteFinding> {
    const ABOUT: &str = "credential";
    let mut all = Vec::new();
    if !found.full_name.eq_ignore_ascii_case(place.as_str()) {
        let says = format!("{repo} is called {} there now", found.full_name);
        all.push(RemoteFinding::failure(ABOUT, says).remedy("correct its entry in names"));
    }
    if found.archived {
        let says = format!("{} is archived, and takes neither issues nor pushes", found.full_name);
        all.push(RemoteFinding::failure(ABOUT, says).remedy("unarchive it, or remove it"));
    }
    if needs.labels.is_some() && !found.has_issues {
        let says = format!("{} has no issues", found.full_name);
        all.push(RemoteFinding::failure(ABOUT, says).remedy("switch issues on in its settings"));
    }
    // A classic token has scopes; for other credentials only the permissions below tell.
    let classic = scopes.filter(|scopes| !scopes.is_empty());
    if let Some(scopes) = classic {
        let has = |scope: &str| scopes.split(',').any(|one| one.trim() == scope);
        if !has("repo") && !has("public_repo") {
            let says = format!("the token has the scopes {scopes}, and not repo");
            all.push(RemoteFinding::failure(ABOUT, says).remedy("make one with the scope repo"));
        } else if needs.pushes && !has("workflow") {
            let says =
                "the token lacks the scope workflow: pushes that change workflows are refused";
            all.push(
                RemoteFinding::warning(ABOUT, says).remedy("make one with the scope workflow"),
            );
        }
    }
    let Permissions { admin, push, triage } = found.permissions;
    if needs.labels.is_some() && !(admin || push || triage) {
        let says = "the account may not label issues";
        let remedy = "give it the role write, or triage if people merge its pull requests";
        all.push(RemoteFinding::failure(ABOUT, says).remedy(remedy));
    } else if (needs.pushes || needs.opens_pulls) && !(admin || push) {
        let says = "the account may not push";
        all.push(RemoteFinding::failure(ABOUT, says).remedy("give it the role write"));
    }
    all
}

/// The finding about pushes to the default branch, by its rules.
fn rules_of(branch: &str, rules: &[Rule], protected: bool) -> RemoteFinding {
    const ABOUT: &str = "branch";
    let refuses = rules.iter().find_map(|rule| match rule.kind.as_str() {
        "pull_request" => Some("asks for a pull request"),
        "merge_queue" => Some("only accepts commits from its merge queue"),
        "update" => Some("may only be updated by certain accounts"),
        "required_signatures" => Some("only accepts signed commits"),
        "required_status_checks" => Some("asks for checks before a push"),
        _ => None,
    });
    let remedy = "let the account bypass the rule, or set landing = \"pull-request\"";
    match refuses {
        Some(how) => RemoteFinding::failure(ABOUT, format!("{branch} {how}")).remedy(remedy),
        None if protected => {
            let says = format!("{branch} is protected, which may refuse our push");
            RemoteFinding::warning(ABOUT, says).remedy(remedy)
        }
        None => RemoteFinding::fine(ABOUT, format!("{branch} takes pushes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forges::Severity;

    fn needs(pushes: bool) -> Needs {
        let (labels, webhook) = (Some(vec![]), None);
        Needs { labels, pushes, opens_pulls: false, webhook, make: false }
    }

    fn check(repository: &serde_json::Value, scopes: Option<&str>, expected: &[&str]) {
        let mut whole = json!({
            "full_name": "o/r", "default_branch": "main", "has_issues": true, "archived": false,
            "permissions": { "admin": false, "push": true, "triage": true },
        });
        for (key, value) in repository.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let found: Repository = serde_json::from_value(whole).unwrap();
        let name: RepoName = "o/r".parse().unwrap();
        let all = credential(&name, &found, scopes, &needs(true), &name);
        assert_eq!(all.len(), expected.len(), "{all:?}");
        for (found, expected) in all.iter().zip(expected) {
            assert!(found.says.contains(expected), "{found:?}");
            assert!(found.remedy.is_some(), "{found:?}");
        }
    }

    #[test]
    fn what_the_credential_may_not_do_is_told() {
        check(&json!({}), None, &[]);
        check(&json!({}), Some("repo, workflow"), &[]);
        check(&json!({}), Some("repo"), &["lacks the scope workflow"]);
        check(&json!({}), Some("gist"), &["and not repo"]);
        check(&json!({ "archived": true }), None, &["archived"]);
        check(&json!({ "has_issues": false }), None, &["no issues"]);
        check(&json!({ "full_name": "o/new" }), None, &["is called o/new there now"]);
        check(&json!({ "permissions": { "triage": true } }), None, &["may not push"]);
        check(&json!({ "permissions": {} }), None, &["may not label"]);
        // A repo whose issues are elsewhere needs none here.
        let elsewhere = Needs { labels: None, ..needs(true) };
        let found = json!({ "full_name": "o/r", "default_branch": "main", "has_issues": false });
        let found: Repository = serde_json::from_value(found).unwrap();
        let name: RepoName = "o/r".parse().unwrap();
        let all = credential(&name, &found, None, &elsewhere, &name);
        let says: Vec<_> = all.iter().map(|one| one.says.as_str()).collect();
        assert_eq!(says, ["the account may not push"]);
    }

    #[test]
    fn rules_that_refuse_a_push_are_told() {
        let check = |kinds: &[&str], protected, severity, says: &str| {
            let rules: Vec<Rule> =
                kinds.iter().map(|kind| Rule { kind: (*kind).to_owned() }).collect();
            let found = rules_of("main", &rules, protected);
            assert_eq!(found.severity, severity, "{found:?}");
            assert!(found.says.contains(says), "{found:?}");
        };
        check(&[], false, Severity::Fine, "takes pushes");
        check(&["deletion", "non_fast_forward"], false, Severity::Fine, "takes pushes");
        check(&["pull_request"], false, Severity::Failure, "pull request");
        check(&["merge_queue"], true, Severity::Failure, "merge queue");
        check(&["required_signatures"], false, Severity::Failure, "signed");
        check(&[], true, Severity::Warning, "protected");
    }
}
