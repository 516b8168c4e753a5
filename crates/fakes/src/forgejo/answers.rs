//! Which operation is answered where, and the answers about accounts, permissions, repos and
//! branches.

use std::collections::BTreeMap;

use afk_core::ids::{At, IssueRef, RepoName};
use afk_core::issue::Permission;
use serde_json::{Value, json};

use super::state::Kind;
use super::{Route, State};
use afk_sim::world::{World, own};

/// How many entries a page has where the request does not say (`DEFAULT_PAGING_NUM`).
const PAGE: usize = 30;
/// How many it has at most, whatever the request says (`MAX_RESPONSE_ITEMS`).
const MOST: usize = 50;

/// A request that was found to be in order.
pub(super) struct CheckedRequest {
    pub(super) route: Route,
    /// The varying parts of its address.
    pub(super) open: Vec<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Value,
}

impl CheckedRequest {
    /// The page that is asked for, if any, and the length of pages.
    pub(super) fn page(&self) -> (Option<usize>, usize) {
        let number = |name: &str| self.query.get(name).and_then(|text| text.parse().ok());
        (number("page"), number("limit").unwrap_or(PAGE).min(MOST))
    }

    /// The times in the parameters `since` and `before`, in whole seconds; both are inclusive.
    pub(super) fn span(&self) -> Result<Span, Refusal> {
        let second = |name: &str| match self.query.get(name).map(|text| text.parse::<At>()) {
            None => Ok(None),
            Some(Ok(at)) => Ok(Some(at.as_second())),
            Some(Err(error)) => Err(Refusal::new(422, error.to_string())),
        };
        Ok(Span { since: second("since")?, before: second("before")? })
    }
}

/// A span of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) since: Option<i64>,
    pub(super) before: Option<i64>,
}

impl Span {
    pub(super) fn has(self, at: At) -> bool {
        let at = at.as_second();
        self.since.is_none_or(|since| at >= since) && self.before.is_none_or(|before| at <= before)
    }
}

/// Which entries of a list a page has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) skip: usize,
    pub(super) take: usize,
}

/// Which entries of a list are sent. Most lists are sent as a whole where no page is asked for,
/// whatever `limit` says (`FindAndCount` in `models/db/list.go`).
pub(super) fn window(asked: &CheckedRequest, always: bool) -> Window {
    match asked.page() {
        (None, _) if !always => Window { skip: 0, take: usize::MAX },
        (page, size) => Window { skip: (page.unwrap_or(1) - 1) * size, take: size },
    }
}

/// How a list is cut into pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paging {
    /// Whether it has pages even if none is asked for.
    pub(super) always: bool,
    /// Whether a header says how long it is.
    pub(super) counted: bool,
    /// Whether a header names the other pages.
    pub(super) linked: bool,
}

impl Paging {
    pub(super) const LINKED: Self = Self { always: true, counted: true, linked: true };
    pub(super) const LINKED_IF_ASKED: Self = Self { always: false, counted: true, linked: true };
    pub(super) const IF_ASKED: Self = Self { always: false, counted: true, linked: false };
    pub(super) const BARE: Self = Self { always: true, counted: false, linked: false };
}

/// What an operation answers.
#[derive(Debug)]
pub(super) enum Content {
    /// One thing, with this status.
    One(u16, Value),
    /// Nothing, with this status.
    Empty(u16),
    /// A list, before it is cut into pages.
    List(Vec<Value>, Paging),
    /// A list as it is sent, and the length that a header gives.
    Counted(Value, usize),
    /// Plain text.
    Text(String),
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// What it says; none if its body is empty.
    pub(super) message: Option<String>,
    /// The errors that some refusals list.
    pub(super) errors: Option<Vec<String>>,
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: Some(message.into()), errors: None }
    }
}

pub(super) type Answered = Result<Content, Refusal>;

/// Refuses.
pub(super) fn refuse<T>(status: u16, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(status, message))
}

/// Refuses with 403 and an empty body.
pub(super) const fn forbid<T>() -> Result<T, Refusal> {
    Err(Refusal { status: 403, message: None, errors: None })
}

/// Refuses with 404: there is no such thing.
pub(super) fn missing<T>() -> Result<T, Refusal> {
    let message = Some("The target couldn't be found.".to_owned());
    Err(Refusal { status: 404, message, errors: Some(Vec::new()) })
}

/// The fake at work on one request: its own state and the world.
pub(super) struct Forge<'a> {
    pub(super) state: &'a mut State,
    pub(super) world: &'a mut World,
}

impl Forge<'_> {
    /// Does what is asked, and returns the answer.
    pub(super) fn answer(&mut self, asked: &CheckedRequest) -> Answered {
        if asked.route.is_a_repos() {
            self.admitted(asked)?;
        }
        match asked.route {
            Route::Version => {
                let version = self.state.settings.kind.version();
                Ok(Content::One(200, json!({ "version": version })))
            }
            Route::User => Ok(Content::One(200, self.own_user())),
            Route::Repo => {
                let repo = Self::repo(asked)?;
                Ok(Content::One(200, self.repository(&repo)))
            }
            Route::Issues => self.issues(asked),
            Route::Issue => self.issue(asked),
            Route::EditIssue => self.edit_issue(asked),
            Route::Timeline => self.timeline(asked),
            Route::IssueComments => self.issue_comments(asked),
            Route::PostComment => self.post_comment(asked),
            Route::RepoComments => self.repo_comments(asked),
            Route::EditComment => self.edit_comment(asked),
            Route::IssueLabels => {
                let issue = Self::issue_ref(asked)?;
                self.labels_of(&issue)
            }
            Route::AddLabels => self.add_labels(asked),
            Route::RemoveLabel => self.remove_label(asked),
            Route::Dependencies => self.dependencies(asked),
            Route::Permission => self.permission(asked),
            Route::Labels => self.labels(asked),
            Route::CreateLabel => self.create_label(asked),
            Route::Hooks => self.hooks(asked),
            Route::CreateHook => self.create_hook(asked),
            Route::Branch => self.branch(asked),
            Route::BranchProtections => self.branch_protections(asked),
            Route::Pulls => self.pulls(asked),
            Route::OpenPull => self.open_pull(asked),
            Route::EditPull => self.edit_pull(asked),
            Route::Statuses => self.statuses(asked),
            Route::RefStatuses => self.ref_statuses(asked),
            Route::Runs => self.runs(asked),
            Route::RunJobs => self.run_jobs(asked),
            Route::JobLog => self.job_log(asked),
            Route::Rerun => self.rerun(asked),
        }
    }

    /// Refuses what the account may not ask of the repo at all.
    fn admitted(&self, asked: &CheckedRequest) -> Result<(), Refusal> {
        let repo = Self::repo(asked)?;
        if self.state.hidden.contains(&repo) {
            return missing();
        }
        if asked.route.is_the_admins() && !self.state.settings.admin {
            let who = "user should be an owner or a collaborator with admin write of a repository";
            return refuse(403, who);
        }
        if asked.route.spares_archives() && self.state.archived.contains(&repo) {
            return refuse(423, format!("{repo} is archived"));
        }
        Ok(())
    }

    /// The repo of the request.
    pub(super) fn repo(asked: &CheckedRequest) -> Result<RepoName, Refusal> {
        match asked.open.as_slice() {
            [owner, name, ..] => format!("{owner}/{name}").parse().or_else(|_| missing()),
            _ => missing(),
        }
    }

    /// The issue of the request.
    pub(super) fn issue_ref(asked: &CheckedRequest) -> Result<IssueRef, Refusal> {
        let number = asked.open.get(2).and_then(|number| number.parse().ok());
        match number {
            Some(number) => Ok(IssueRef { repo: Self::repo(asked)?, number }),
            None => missing(),
        }
    }

    /// Refuses a mistake that no client may make, and records it.
    pub(super) fn wrong<T>(&mut self, what: impl Into<String>) -> Result<T, Refusal> {
        let what = what.into();
        self.world.wrong.push(what.clone());
        refuse(400, what)
    }

    /// What an account may do on a repo. Forgejo first looks whether the account exists and then
    /// whether we may ask, Gitea the other way round (`GetRepoPermissions` in
    /// `routers/api/v1/repo/collaborators.go` of each).
    fn permission(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let Some(login) = asked.open.get(2).cloned() else { return missing() };
        let is_own = login == own().login;
        let has = self.world.tracker.permissions.get(&login).copied();
        let exists = is_own || has.is_some() || self.state.knows_account(&login);
        let may_ask =
            is_own || (self.state.settings.admin && !self.world.tracker.unknown.contains(&login));
        let unknown = format!("user does not exist [uid: 0, name: {login}]");
        if self.state.settings.kind == Kind::Forgejo && !exists {
            return refuse(404, unknown);
        }
        if !may_ask {
            let who = "Only admins can query all permissions, repo admins can query all repo \
                permissions, collaborators can query only their own";
            return refuse(403, who);
        }
        if !exists {
            return refuse(404, unknown);
        }
        // These servers do not have the levels maintain and triage.
        let mode = match has.unwrap_or(Permission::None) {
            _ if is_own && self.state.settings.admin => "admin",
            _ if is_own => "write",
            _ if login == repo.owner() => "owner",
            Permission::Admin => "admin",
            Permission::Maintain | Permission::Write => "write",
            Permission::Triage | Permission::Read => "read",
            Permission::None => "none",
        };
        let account = self.state.account(&login);
        let user = self.state.user(&account);
        let answer = json!({ "permission": mode, "role_name": mode, "user": user });
        Ok(Content::One(200, answer))
    }

    fn own_user(&mut self) -> Value {
        let own = self.state.own();
        let now = self.world.now;
        let mut user = self.state.user(&own);
        user["active"] = true.into();
        user["language"] = "en-US".into();
        user["last_login"] = self.state.time(now);
        user["email"] = format!("{}@example.org", own.login).into();
        user
    }

    /// The name of a repo's default branch.
    pub(super) fn default_branch(&self, repo: &RepoName) -> String {
        let switched = self.world.git.switched.get(repo);
        switched.map_or_else(|| "main".to_owned(), Clone::clone)
    }

    fn branch(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let Some(name) = asked.open.get(2).cloned() else { return missing() };
        self.read_git(&repo)?;
        let head = self.world.head(&repo, &name);
        let Some(head) = head else { return missing() };
        let rule = self.state.protections.get(&repo).filter(|_| self.default_branch(&repo) == name);
        let (guarded, rule) = (rule.is_some(), rule.cloned().unwrap_or_default());
        let contexts: Vec<String> = rule.contexts.clone().unwrap_or_default();
        let rule_name = if guarded && self.state.settings.admin { name.as_str() } else { "" };
        let commit = self.commit(&repo, &head);
        let answer = json!({
            "commit": commit, "effective_branch_protection_name": rule_name,
            "enable_status_check": rule.contexts.is_some(), "name": name, "protected": guarded,
            "required_approvals": rule.approvals, "status_check_contexts": contexts,
            "user_can_merge": true, "user_can_push": !guarded || rule.may_push,
        });
        Ok(Content::One(200, answer))
    }

    fn branch_protections(&mut self, asked: &CheckedRequest) -> Answered {
        let repo = Self::repo(asked)?;
        let since = self.state.time(self.world.now);
        let Some(rule) = self.state.protections.get(&repo) else {
            return Ok(Content::One(200, json!([])));
        };
        let name = self.default_branch(&repo);
        let contexts: Vec<String> = rule.contexts.clone().unwrap_or_default();
        let answer = json!([{
            "apply_to_admins": true, "approvals_whitelist_teams": [],
            "approvals_whitelist_username": [], "block_on_official_review_requests": false,
            "block_on_outdated_branch": false, "block_on_rejected_reviews": false,
            "branch_name": name, "created_at": since, "dismiss_stale_approvals": false,
            "enable_approvals_whitelist": false, "enable_merge_whitelist": false,
            "enable_push": rule.may_push, "enable_push_whitelist": false,
            "enable_status_check": rule.contexts.is_some(), "ignore_stale_approvals": false,
            "merge_whitelist_teams": [], "merge_whitelist_usernames": [],
            "protected_file_patterns": "", "push_whitelist_deploy_keys": false,
            "push_whitelist_teams": [], "push_whitelist_usernames": [],
            "require_signed_commits": false, "required_approvals": rule.approvals,
            "rule_name": name, "status_check_contexts": contexts,
            "unprotected_file_patterns": "", "updated_at": since,
        }]);
        Ok(Content::One(200, answer))
    }
}
