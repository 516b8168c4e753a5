//! What the fake serves: each operation with its address, the parameters that it takes and the
//! fields of its body. Everything else is a mistake of the client.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// An operation, named by what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// The issues of a repo, pull requests among them.
    Issues,
    /// One issue.
    Issue,
    /// Changes an issue.
    EditIssue,
    /// What happened to an issue.
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
    /// What issues an issue waits for.
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
    /// Where the app is installed.
    Installations,
    /// Makes a token of an installation.
    AccessTokens,
    /// GraphQL.
    GraphQl,
}

/// An operation's address and what may be given to it.
pub(super) struct Operation {
    pub(super) route: Route,
    pub(super) method: &'static str,
    pub(super) template: &'static str,
    query: &'static [&'static str],
    body: &'static [&'static str],
}

const fn read(route: Route, template: &'static str, query: &'static [&'static str]) -> Operation {
    Operation { route, method: "GET", template, query, body: &[] }
}

const fn write(
    route: Route,
    method: &'static str,
    template: &'static str,
    body: &'static [&'static str],
) -> Operation {
    Operation { route, method, template, query: &[], body }
}

const ISSUES: &str = "/repos/{owner}/{repo}/issues";
const ISSUE: &str = "/repos/{owner}/{repo}/issues/{issue_number}";
const COMMENTS: &str = "/repos/{owner}/{repo}/issues/{issue_number}/comments";
const LABELS: &str = "/repos/{owner}/{repo}/issues/{issue_number}/labels";
const PULLS: &str = "/repos/{owner}/{repo}/pulls";
const PAGES: &[&str] = &["per_page", "page"];
/// The same, of all there are or of the newest of each kind.
const FILTERED: &[&str] = &["filter", "per_page", "page"];

/// Every operation. An address that begins like another's is before it where both would fit.
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
    /// Its operation.
    pub(super) fn operation(self) -> &'static Operation {
        let found = OPERATIONS.iter().find(|operation| operation.route == self);
        found.unwrap_or_else(|| panic!("{self:?} has no operation"))
    }

    /// Whether it is the app itself that asks, and not one of its installations.
    pub(super) const fn is_the_apps(self) -> bool {
        matches!(self, Self::App | Self::Installations | Self::AccessTokens)
    }

    /// Whether it belongs to a repo.
    pub(super) fn is_a_repos(self) -> bool {
        self.operation().template.starts_with("/repos/")
    }
}

impl Operation {
    /// The parts of `path` that the template leaves open, if the path is one of the template's.
    fn matches(&self, path: &[&str]) -> Option<Vec<String>> {
        let template: Vec<&str> = self.template.trim_start_matches('/').split('/').collect();
        if template.len() != path.len() {
            return None;
        }
        let mut open = Vec::new();
        for (part, given) in template.into_iter().zip(path) {
            if part.starts_with('{') {
                open.push(percent_decode_str(given).decode_utf8_lossy().into_owned());
            } else if part != *given {
                return None;
            }
        }
        Some(open)
    }

    /// What is wrong with a request beyond its address.
    pub(super) fn mistakes(&self, query: &BTreeMap<String, String>, body: &Value) -> Vec<String> {
        let unknown = query.keys().filter(|name| !self.query.contains(&name.as_str()));
        let mut wrong: Vec<String> =
            unknown.map(|name| format!("knows no parameter {name}")).collect();
        match body {
            Value::Null if self.body.is_empty() => {}
            Value::Object(fields) => {
                let unknown = fields.keys().filter(|name| !self.body.contains(&name.as_str()));
                wrong.extend(unknown.map(|name| format!("knows no field {name}")));
            }
            _ => wrong.push("takes an object as its body, or none".to_owned()),
        }
        wrong
    }
}

/// The operation of a request, and the open parts of its address.
pub(super) fn find(method: &str, path: &str) -> Option<(&'static Operation, Vec<String>)> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let mut of_method = OPERATIONS.iter().filter(|operation| operation.method == method);
    of_method.find_map(|operation| Some((operation, operation.matches(&parts)?)))
}

/// A query's parameters.
pub(super) fn query(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes())
        .map(|(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
