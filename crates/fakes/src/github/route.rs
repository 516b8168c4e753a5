//! What the fake serves: each operation with its address, the parameters of its query and the
//! fields of its body. Any other request is a mistake of the client.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::frame::{self, read, write};

/// An operation, named after what it answers or does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// Lists the issues of a repo, pull requests among them.
    Issues,
    /// One issue.
    Issue,
    /// Changes an issue.
    EditIssue,
    /// Lists what happened to an issue.
    Timeline,
    /// The comments on an issue.
    IssueComments,
    /// Comments on an issue.
    PostComment,
    /// The comments on every issue of a repo.
    RepoComments,
    /// Replaces a comment's text.
    EditComment,
    /// Adds labels to an issue.
    AddLabels,
    /// Removes a label from an issue.
    RemoveLabel,
    /// Lists the issues that an issue waits for.
    BlockedBy,
    /// What an account may do on a repo.
    Permission,
    /// The pull requests of a repo.
    Pulls,
    /// Opens a pull request.
    OpenPull,
    /// Changes a pull request.
    EditPull,
    /// A repo.
    Repo,
    /// A branch of a repo, with its classic protection.
    Branch,
    /// The rules that are in force on a branch.
    BranchRules,
    /// A label of a repo.
    Label,
    /// Makes a label.
    CreateLabel,
    /// The webhooks of a repo.
    Hooks,
    /// Makes a webhook.
    CreateHook,
    /// The check runs of a commit.
    CheckRuns,
    /// The statuses of a commit.
    Statuses,
    /// The workflow runs of a repo.
    WorkflowRuns,
    /// The jobs of a workflow run.
    Jobs,
    /// The log of a job.
    JobLog,
    /// Starts the failed jobs of a workflow run again.
    StartAgain,
    /// The account that asks.
    User,
    /// An account by its name.
    UserByName,
    /// The app that asks.
    App,
    /// Lists the installations of the app.
    Installations,
    /// Makes a token of an installation.
    AccessTokens,
    /// GraphQL.
    GraphQl,
}

/// An operation's address, and what a request may give it.
pub(super) type Operation = frame::Operation<Route>;

const ISSUES: &str = "/repos/{owner}/{repo}/issues";
const ISSUE: &str = "/repos/{owner}/{repo}/issues/{issue_number}";
const COMMENTS: &str = "/repos/{owner}/{repo}/issues/{issue_number}/comments";
const LABELS: &str = "/repos/{owner}/{repo}/issues/{issue_number}/labels";
const PULLS: &str = "/repos/{owner}/{repo}/pulls";
const PAGES: &[&str] = &["per_page", "page"];
/// The same, and whether all are listed or the newest of each name only.
const FILTERED: &[&str] = &["filter", "per_page", "page"];

/// Every operation. Where a path fits two templates, the more specific one comes first.
pub(super) const OPERATIONS: &[Operation] = &[
    read(
        Route::Issues,
        ISSUES,
        &["state", "sort", "direction", "labels", "since", "per_page", "page"],
    ),
    read(
        Route::RepoComments,
        "/repos/{owner}/{repo}/issues/comments",
        &["sort", "direction", "since", "per_page", "page"],
    ),
    write(
        Route::EditComment,
        "PATCH",
        "/repos/{owner}/{repo}/issues/comments/{comment_id}",
        &["body"],
    ),
    read(Route::Issue, ISSUE, &[]),
    write(Route::EditIssue, "PATCH", ISSUE, &["state", "state_reason"]),
    read(Route::Timeline, "/repos/{owner}/{repo}/issues/{issue_number}/timeline", PAGES),
    read(Route::IssueComments, COMMENTS, &["since", "per_page", "page"]),
    write(Route::PostComment, "POST", COMMENTS, &["body"]),
    write(Route::AddLabels, "POST", LABELS, &["labels"]),
    write(
        Route::RemoveLabel,
        "DELETE",
        "/repos/{owner}/{repo}/issues/{issue_number}/labels/{name}",
        &[],
    ),
    read(
        Route::BlockedBy,
        "/repos/{owner}/{repo}/issues/{issue_number}/dependencies/blocked_by",
        PAGES,
    ),
    read(Route::Permission, "/repos/{owner}/{repo}/collaborators/{username}/permission", &[]),
    read(Route::Pulls, PULLS, &["state", "head", "base", "sort", "direction", "per_page", "page"]),
    write(Route::OpenPull, "POST", PULLS, &["title", "body", "head", "base", "draft"]),
    write(
        Route::EditPull,
        "PATCH",
        "/repos/{owner}/{repo}/pulls/{pull_number}",
        &["state", "title", "body"],
    ),
    read(Route::Repo, "/repos/{owner}/{repo}", &[]),
    read(Route::Branch, "/repos/{owner}/{repo}/branches/{branch}", &[]),
    read(Route::BranchRules, "/repos/{owner}/{repo}/rules/branches/{branch}", PAGES),
    read(Route::Label, "/repos/{owner}/{repo}/labels/{name}", &[]),
    write(
        Route::CreateLabel,
        "POST",
        "/repos/{owner}/{repo}/labels",
        &["name", "color", "description"],
    ),
    read(Route::Hooks, "/repos/{owner}/{repo}/hooks", PAGES),
    write(
        Route::CreateHook,
        "POST",
        "/repos/{owner}/{repo}/hooks",
        &["name", "config", "events", "active"],
    ),
    read(Route::CheckRuns, "/repos/{owner}/{repo}/commits/{ref}/check-runs", FILTERED),
    read(Route::Statuses, "/repos/{owner}/{repo}/commits/{ref}/statuses", PAGES),
    read(
        Route::WorkflowRuns,
        "/repos/{owner}/{repo}/actions/runs",
        &["head_sha", "per_page", "page"],
    ),
    read(Route::Jobs, "/repos/{owner}/{repo}/actions/runs/{run_id}/jobs", FILTERED),
    read(Route::JobLog, "/repos/{owner}/{repo}/actions/jobs/{job_id}/logs", &[]),
    write(
        Route::StartAgain,
        "POST",
        "/repos/{owner}/{repo}/actions/runs/{run_id}/rerun-failed-jobs",
        &[],
    ),
    read(Route::User, "/user", &[]),
    read(Route::UserByName, "/users/{username}", &[]),
    read(Route::App, "/app", &[]),
    read(Route::Installations, "/app/installations", PAGES),
    write(
        Route::AccessTokens,
        "POST",
        "/app/installations/{installation_id}/access_tokens",
        &["repositories", "repository_ids", "permissions"],
    ),
    write(Route::GraphQl, "POST", "/graphql", &["query", "variables"]),
];

impl Route {
    /// The operation of the route.
    pub(super) fn operation(self) -> &'static Operation {
        let found = OPERATIONS.iter().find(|operation| operation.route == self);
        found.unwrap_or_else(|| panic!("{self:?} has no operation"))
    }

    /// Whether the app itself asks, and not one of its installations.
    pub(super) const fn is_the_apps(self) -> bool {
        matches!(self, Self::App | Self::Installations | Self::AccessTokens)
    }

    /// Whether the operation belongs to a repo.
    pub(super) fn is_a_repos(self) -> bool {
        self.operation().template.starts_with("/repos/")
    }
}

impl Operation {
    /// What is wrong with a request beyond its address.
    pub(super) fn mistakes(&self, query: &BTreeMap<String, String>, body: &Value) -> Vec<String> {
        let unknown = self.unknown(query).into_iter();
        let mut wrong: Vec<String> =
            unknown.map(|name| format!("knows no parameter {name}")).collect();
        wrong.extend(self.wrong_body(body));
        wrong
    }
}

/// The operation of a request, and the varying parts of its address.
pub(super) fn find(method: &str, path: &str) -> Option<(&'static Operation, Vec<String>)> {
    Operation::find(OPERATIONS, method, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::query;

    #[test]
    fn an_address_has_one_operation() {
        let check = |method: &str, path: &str, expected: Option<(Route, &[&str])>| {
            let found = find(method, path).map(|(operation, open)| (operation.route, open));
            let expected = expected
                .map(|(route, open)| (route, open.iter().map(|s| (*s).to_owned()).collect()));
            assert_eq!(found, expected, "{method} {path}");
        };
        check("GET", "/repos/o/r/issues", Some((Route::Issues, &["o", "r"])));
        check("GET", "/repos/o/r/issues/7", Some((Route::Issue, &["o", "r", "7"])));
        check("GET", "/repos/o/r/issues/comments", Some((Route::RepoComments, &["o", "r"])));
        check(
            "DELETE",
            "/repos/o/r/issues/7/labels/needs%20a%2Fb",
            Some((Route::RemoveLabel, &["o", "r", "7", "needs a/b"])),
        );
        check("GET", "/repos/o/r", Some((Route::Repo, &["o", "r"])));
        check("GET", "/repos/o/r/branches/a%2Fb", Some((Route::Branch, &["o", "r", "a/b"])));
        check("GET", "/repos/o/r/actions/runs", Some((Route::WorkflowRuns, &["o", "r"])));
        check("DELETE", "/repos/o/r/issues/7", None);
        check("GET", "/", None);
    }

    #[test]
    fn what_it_does_not_know_is_a_mistake() {
        let issues = Route::Issues.operation();
        assert_eq!(issues.mistakes(&query("state=all&labels=a+b"), &Value::Null).len(), 0);
        assert_eq!(issues.mistakes(&query("status=all"), &Value::Null).len(), 1);
        let edit = Route::EditIssue.operation();
        let body = serde_json::json!({ "state": "open", "labels": [] });
        assert_eq!(edit.mistakes(&BTreeMap::new(), &body).len(), 1);
        assert_eq!(edit.mistakes(&BTreeMap::new(), &Value::Null).len(), 1);
    }
}
