//! Which operation is answered where, and the answers about accounts, permissions and the app.

use std::collections::BTreeMap;

use afk_core::ids::{IssueRef, RepoName};
use afk_core::issue::Permission;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Route;
use super::payloads::{join, time};
use super::state::{Account, Login, Minted, State, later};
use afk_sim::world::World;

/// How long a token of an installation lasts.
const TOKEN_LASTS: SignedDuration = SignedDuration::from_hours(1);

/// A request that was found to be in order.
pub(super) struct CheckedRequest {
    pub(super) route: Route,
    /// The varying parts of its address.
    pub(super) open: Vec<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Value,
}

/// What an operation answers.
#[derive(Debug)]
pub(super) enum Content {
    /// One thing, under this status.
    One(u16, Value),
    /// A list, before it is cut into pages.
    Many(Vec<Value>),
    /// A list as this field of an object, which also counts all entries.
    Within(&'static str, Vec<Value>),
    /// A list that has one page only.
    Page(Value),
    /// A redirect to this address.
    Elsewhere(String),
}

/// A refusal: its status, its message, and where to go instead.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
    pub(super) location: Option<String>,
}

pub(super) type Answered = Result<Content, Refusal>;

/// Refuses.
pub(super) fn refuse<T>(status: u16, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { status, message: message.into(), location: None })
}

/// The fake at work on one request: its own state and the world.
pub(super) struct Forge<'a> {
    pub(super) state: &'a mut State,
    pub(super) world: &'a mut World,
}

impl Forge<'_> {
    /// Does what is asked, and returns the answer.
    pub(super) fn answer(&mut self, asked: &CheckedRequest) -> Answered {
        match asked.route {
            Route::Issues => self.issues(asked),
            Route::Issue => self.issue(asked),
            Route::EditIssue => self.edit_issue(asked),
            Route::Timeline => self.timeline(asked),
            Route::IssueComments => self.issue_comments(asked),
            Route::PostComment => self.post_comment(asked),
            Route::RepoComments => self.repo_comments(asked),
            Route::EditComment => self.edit_comment(asked),
            Route::AddLabels => self.add_labels(asked),
            Route::RemoveLabel => self.remove_label(asked),
            Route::BlockedBy => self.blocked_by(asked),
            Route::Permission => self.permission(asked),
            Route::Pulls => self.pulls(asked),
            Route::OpenPull => self.open_pull(asked),
            Route::EditPull => self.edit_pull(asked),
            Route::Repo => self.whole_repository(asked),
            Route::Branch => self.branch(asked),
            Route::BranchRules => self.rules(asked),
            Route::Label => self.repo_label(asked),
            Route::CreateLabel => self.create_label(asked),
            Route::Hooks => self.list_hooks(asked),
            Route::CreateHook => self.create_hook(asked),
            Route::CheckRuns => self.check_runs(asked),
            Route::Statuses => self.statuses(asked),
            Route::WorkflowRuns => self.workflow_runs(asked),
            Route::Jobs => self.jobs(asked),
            Route::JobLog => self.log(asked),
            Route::StartAgain => self.start_again(asked),
            Route::User => self.user(),
            Route::UserByName => self.user_by_name(asked),
            Route::App => self.own_app(),
            Route::Installations => self.installations(),
            Route::AccessTokens => self.access_tokens(asked),
            Route::GraphQl => self.graphql(asked),
        }
    }

    /// The repo of the request.
    pub(super) fn repo(asked: &CheckedRequest) -> Result<RepoName, Refusal> {
        match asked.open.as_slice() {
            [owner, name, ..] => {
                format!("{owner}/{name}").parse().or_else(|_| refuse(404, "Not Found"))
            }
            _ => refuse(404, "Not Found"),
        }
    }

    /// The issue of the request.
    pub(super) fn issue_ref(asked: &CheckedRequest) -> Result<IssueRef, Refusal> {
        let number = asked.open.get(2).and_then(|number| number.parse().ok());
        match number {
            Some(number) => Ok(IssueRef { repo: Self::repo(asked)?, number }),
            None => refuse(404, "Not Found"),
        }
    }

    /// Refuses a mistake that no client may make, and records it.
    pub(super) fn wrong<T>(&mut self, what: impl Into<String>) -> Result<T, Refusal> {
        let what = what.into();
        self.world.wrong.push(what.clone());
        refuse(400, what)
    }

    fn permission(&mut self, asked: &CheckedRequest) -> Answered {
        let Some(login) = asked.open.get(2) else { return refuse(404, "Not Found") };
        if self.world.tracker.unknown.contains(login) {
            return refuse(403, "Must have push access to view collaborator permission.");
        }
        let is_bot = login.ends_with("[bot]");
        if is_bot || self.state.no_users.contains(login) {
            return refuse(404, format!("{login} is not a user"));
        }
        let known = self.world.tracker.permissions.get(login).copied();
        if known.is_none() && !self.state.knows_account(login) {
            return refuse(404, "Not Found");
        }
        let has = known.unwrap_or(Permission::None);
        let (permission, role) = match has {
            Permission::Admin => ("admin", "admin"),
            Permission::Maintain => ("write", "maintain"),
            Permission::Write => ("write", "write"),
            Permission::Triage => ("read", "triage"),
            Permission::Read => ("read", "read"),
            Permission::None => ("none", "none"),
        };
        let account =
            Account { id: self.state.account_id(login), login: login.clone(), is_bot: false };
        let mut user = self.state.account(&account);
        let may = json!({
            "role_name": role,
            "permissions": {
                "pull": has >= Permission::Read,
                "triage": has >= Permission::Triage,
                "push": has >= Permission::Write,
                "maintain": has >= Permission::Maintain,
                "admin": has >= Permission::Admin,
            },
        });
        join(&mut user, may);
        let answer = json!({ "permission": permission, "role_name": role, "user": user });
        Ok(Content::One(200, answer))
    }

    fn user(&mut self) -> Answered {
        if matches!(self.state.login, Login::App(_)) {
            return refuse(403, "Resource not accessible by integration");
        }
        let own = self.state.own();
        Ok(Content::One(200, self.state.whole_account(&own, self.world.now)))
    }

    fn user_by_name(&mut self, asked: &CheckedRequest) -> Answered {
        let login = asked.open.first().cloned().unwrap_or_default();
        let own = self.state.own();
        if login == own.login {
            return Ok(Content::One(200, self.state.whole_account(&own, self.world.now)));
        }
        if !self.state.knows_account(&login) {
            return refuse(404, "Not Found");
        }
        let is_bot = login.ends_with("[bot]");
        let account = Account { id: self.state.account_id(&login), login, is_bot };
        Ok(Content::One(200, self.state.whole_account(&account, self.world.now)))
    }

    fn own_app(&mut self) -> Answered {
        let Login::App(app) = self.state.login.clone() else { return refuse(404, "Not Found") };
        let mut answer = self.state.app(app.id, &app.slug, self.world.now);
        join(&mut answer, json!({ "installations_count": app.installations.len() }));
        Ok(Content::One(200, answer))
    }

    fn installations(&mut self) -> Answered {
        let Login::App(app) = self.state.login.clone() else { return refuse(404, "Not Found") };
        let base = self.state.base.clone();
        let since = time(self.world.now);
        let owner = |n: u64| Account { id: n, login: format!("owner-{n}"), is_bot: false };
        let one = |&id: &u64| {
            let mut owner = self.state.account(&owner(id));
            // This account alone is described without that field.
            if let Some(fields) = owner.as_object_mut() {
                fields.remove("user_view_type");
            }
            json!({
                "id": id,
                "account": owner,
                "repository_selection": "all",
                "access_tokens_url": format!("{base}/app/installations/{id}/access_tokens"),
                "repositories_url": format!("{base}/installation/repositories"),
                "html_url": format!("https://github.test/settings/installations/{id}"),
                "app_id": app.id,
                "target_id": id,
                "target_type": "Organization",
                "permissions": { "issues": "write", "metadata": "read", "contents": "write" },
                "events": [],
                "single_file_name": null,
                "has_multiple_single_files": false,
                "single_file_paths": [],
                "app_slug": app.slug,
                "suspended_at": null,
                "suspended_by": null,
                "created_at": since,
                "updated_at": since,
            })
        };
        Ok(Content::Many(app.installations.iter().map(one).collect()))
    }

    fn access_tokens(&mut self, asked: &CheckedRequest) -> Answered {
        let Login::App(app) = self.state.login.clone() else { return refuse(404, "Not Found") };
        let id = asked.open.first().and_then(|id| id.parse().ok());
        if !id.is_some_and(|id| app.installations.contains(&id)) {
            return refuse(404, "Integration not found");
        }
        let names = asked.body["repositories"].as_array().map(|names| {
            names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
        });
        let names: Option<Vec<String>> = names;
        let here = |name: &String| !self.state.foreign.contains(name);
        if names.as_ref().is_some_and(|names| !names.iter().all(here)) {
            let why = "There is at least one repository that does not exist or is not accessible to \
                       the parent installation.";
            return refuse(422, why);
        }
        let workflows = !asked.body["permissions"]["workflows"].is_null();
        if workflows && self.state.no_workflows {
            return refuse(422, "The permissions requested are not granted to this installation.");
        }
        let token = self.state.fresh_token(app.id);
        let ends = later(self.world.tracker_now(), TOKEN_LASTS);
        let permissions = asked.body["permissions"].clone();
        let selection = if names.is_some() { "selected" } else { "all" };
        let answer = json!({
            "token": token,
            "expires_at": time(ends),
            "permissions": if permissions.is_null() { json!({}) } else { permissions.clone() },
            "repository_selection": selection,
        });
        self.state.minted.push(Minted { token, ends, permissions, repositories: names });
        Ok(Content::One(201, answer))
    }
}
