//! What the fake serves: each operation with its address, the parameters of its query and the
//! fields of its body. Any other request is a mistake of the client, and so is a parameter's value
//! that no server knows, which real ones ignore in silence.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Kind;
use crate::frame::{self, read, write};

/// An operation, named after what it answers or does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// The server's version.
    Version,
    /// The account that asks.
    User,
    /// A repo.
    Repo,
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
    /// The labels of an issue.
    IssueLabels,
    /// Adds labels to an issue.
    AddLabels,
    /// Removes a label from an issue.
    RemoveLabel,
    /// Lists the issues that an issue waits for.
    Dependencies,
    /// What an account may do on a repo.
    Permission,
    /// The labels of a repo.
    Labels,
    /// Makes a label.
    CreateLabel,
    /// The webhooks of a repo.
    Hooks,
    /// Makes a webhook.
    CreateHook,
    /// A branch.
    Branch,
    /// The rules that protect branches of a repo.
    BranchProtections,
    /// The pull requests of a repo.
    Pulls,
    /// Opens a pull request.
    OpenPull,
    /// Changes a pull request.
    EditPull,
    /// The statuses of a commit.
    Statuses,
    /// The statuses of the commit that a name, such as a branch, stands for.
    RefStatuses,
    /// The runs of Actions of a repo.
    Runs,
    /// The jobs of a run.
    RunJobs,
    /// The log of a job.
    JobLog,
    /// Starts a run of Actions again.
    Rerun,
}

/// An operation's address, and what a request may give it.
pub(super) type Operation = frame::Operation<Route>;

/// Where the API begins.
pub(super) const ROOT: &str = "/api/v1";

const ISSUES: &str = "/repos/{owner}/{repo}/issues";
const ISSUE: &str = "/repos/{owner}/{repo}/issues/{index}";
const COMMENTS: &str = "/repos/{owner}/{repo}/issues/{index}/comments";
const ISSUE_LABELS: &str = "/repos/{owner}/{repo}/issues/{index}/labels";
const LABELS: &str = "/repos/{owner}/{repo}/labels";
const HOOKS: &str = "/repos/{owner}/{repo}/hooks";
const PULLS: &str = "/repos/{owner}/{repo}/pulls";
const PAGES: &[&str] = &["page", "limit"];
const SORTED_PAGES: &[&str] = &["sort", "state", "page", "limit"];
const SPAN: &[&str] = &["since", "before"];
const SPAN_AND_PAGES: &[&str] = &["since", "before", "page", "limit"];

/// Every operation. Where a path fits two templates, the more specific one comes first.
pub(super) const OPERATIONS: &[Operation] = &[
    read(Route::Version, "/version", &[]),
    read(Route::User, "/user", &[]),
    read(Route::Repo, "/repos/{owner}/{repo}", &[]),
    read(
        Route::Issues,
        ISSUES,
        &["state", "labels", "type", "since", "before", "page", "limit", "sort"],
    ),
    read(Route::RepoComments, "/repos/{owner}/{repo}/issues/comments", SPAN_AND_PAGES),
    write(Route::EditComment, "PATCH", "/repos/{owner}/{repo}/issues/comments/{id}", &["body"]),
    read(Route::Issue, ISSUE, &[]),
    write(Route::EditIssue, "PATCH", ISSUE, &["state"]),
    read(Route::Timeline, "/repos/{owner}/{repo}/issues/{index}/timeline", SPAN_AND_PAGES),
    read(Route::IssueComments, COMMENTS, SPAN),
    write(Route::PostComment, "POST", COMMENTS, &["body"]),
    read(Route::IssueLabels, ISSUE_LABELS, &[]),
    write(Route::AddLabels, "POST", ISSUE_LABELS, &["labels"]),
    write(
        Route::RemoveLabel,
        "DELETE",
        "/repos/{owner}/{repo}/issues/{index}/labels/{identifier}",
        &[],
    ),
    read(Route::Dependencies, "/repos/{owner}/{repo}/issues/{index}/dependencies", PAGES),
    read(Route::Permission, "/repos/{owner}/{repo}/collaborators/{collaborator}/permission", &[]),
    read(Route::Labels, LABELS, PAGES),
    write(Route::CreateLabel, "POST", LABELS, &["name", "color", "description", "exclusive"]),
    read(Route::Hooks, HOOKS, PAGES),
    write(Route::CreateHook, "POST", HOOKS, &["type", "config", "events", "active"]),
    read(Route::Branch, "/repos/{owner}/{repo}/branches/{branch}", &[]),
    read(Route::BranchProtections, "/repos/{owner}/{repo}/branch_protections", &[]),
    read(Route::Pulls, PULLS, &["state", "sort", "base", "head", "page", "limit"]),
    write(Route::OpenPull, "POST", PULLS, &["title", "body", "head", "base"]),
    write(
        Route::EditPull,
        "PATCH",
        "/repos/{owner}/{repo}/pulls/{index}",
        &["state", "title", "body"],
    ),
    read(Route::Statuses, "/repos/{owner}/{repo}/statuses/{sha}", SORTED_PAGES),
    read(Route::RefStatuses, "/repos/{owner}/{repo}/commits/{ref}/statuses", SORTED_PAGES),
    read(Route::Runs, "/repos/{owner}/{repo}/actions/runs", &["head_sha", "page", "limit"]),
    read(Route::RunJobs, "/repos/{owner}/{repo}/actions/runs/{run_id}/jobs", &[]),
    read(Route::JobLog, "/repos/{owner}/{repo}/actions/jobs/{job_id}/logs", &[]),
    write(Route::Rerun, "POST", "/repos/{owner}/{repo}/actions/runs/{run_id}/rerun", &[]),
];

impl Route {
    /// The operation of the route.
    pub(super) fn operation(self) -> &'static Operation {
        let found = OPERATIONS.iter().find(|operation| operation.route == self);
        found.unwrap_or_else(|| panic!("{self:?} has no operation"))
    }

    /// Whether the operation belongs to a repo.
    pub(super) fn is_a_repos(self) -> bool {
        self.operation().template.starts_with("/repos/")
    }

    /// Whether the token needs the scope for issues (the group of `routers/api/v1/api.go`).
    pub(super) fn is_for_issues(self) -> bool {
        let template = self.operation().template;
        template.contains("/issues") || template.ends_with("/labels")
    }

    /// Whether only administrators of the repo may ask it.
    pub(super) const fn is_the_admins(self) -> bool {
        matches!(self, Self::Hooks | Self::CreateHook | Self::BranchProtections)
    }

    /// Whether it is refused on an archived repo. Labels may be written there.
    pub(super) const fn spares_archives(self) -> bool {
        matches!(
            self,
            Self::EditIssue
                | Self::PostComment
                | Self::EditComment
                | Self::OpenPull
                | Self::EditPull
        )
    }

    /// The values that a parameter may have; none if it may have any.
    fn words(self, name: &str) -> Option<&'static [&'static str]> {
        const TIMES: &[&str] = &["latest", "oldest", "recentupdate", "leastupdate"];
        match (self, name) {
            (Self::Issues | Self::Pulls, "state") => Some(&["open", "closed", "all"]),
            (Self::Issues, "type") => Some(&["issues", "pulls"]),
            (Self::Issues, "sort") => Some(TIMES),
            (Self::Pulls, "sort") => Some(&TIMES[1..]),
            (_, "sort") => Some(&["leastindex", "highestindex"]),
            (_, "state") => Some(&["pending", "success", "error", "failure", "warning"]),
            _ => None,
        }
    }
}

impl Operation {
    /// What is wrong with a request beyond its address.
    pub(super) fn mistakes(
        &self,
        kind: Kind,
        query: &BTreeMap<String, String>,
        body: &Value,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, value) in query {
            // Gitea always sorts in its one order: a client that asks for another is mistaken.
            let unknown = kind == Kind::Gitea && self.route == Route::Issues && name == "sort";
            if !self.query.contains(&name.as_str()) || unknown {
                wrong.push(format!("knows no parameter {name}"));
            } else if self.route.words(name).is_some_and(|words| !words.contains(&value.as_str())) {
                wrong.push(format!("knows no {name} {value}"));
            } else if PAGES.contains(&name.as_str()) && !value.parse::<u32>().is_ok_and(|n| n > 0) {
                wrong.push(format!("takes a number from 1 as {name}"));
            }
        }
        wrong.extend(self.wrong_body(body));
        wrong
    }
}

/// The operation of a request, and the varying parts of its address.
pub(super) fn find(method: &str, path: &str) -> Option<(&'static Operation, Vec<String>)> {
    let below = path.strip_prefix(ROOT).filter(|below| below.starts_with('/'))?;
    Operation::find(OPERATIONS, method, below)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        check("GET", "/api/v1/version", Some((Route::Version, &[])));
        check("GET", "/api/v1/repos/o/r/issues/7", Some((Route::Issue, &["o", "r", "7"])));
        check("GET", "/api/v1/repos/o/r/issues/comments", Some((Route::RepoComments, &["o", "r"])));
        check(
            "DELETE",
            "/api/v1/repos/o/r/issues/7/labels/needs%20a%2Fb",
            Some((Route::RemoveLabel, &["o", "r", "7", "needs a/b"])),
        );
        check("DELETE", "/api/v1/repos/o/r/issues/7", None);
        check("GET", "/version", None);
        check("GET", "/api/v1", None);
        check("GET", "/api/v1/", None);
    }

    #[test]
    fn what_it_does_not_know_is_a_mistake() {
        let check = |route: Route, kind: Kind, asked: &str, body: Value, expected: &[&str]| {
            let mistakes = route.operation().mistakes(kind, &query(asked), &body);
            assert_eq!(mistakes, expected, "{route:?} {kind:?} {asked} {body}");
        };
        let (forgejo, gitea, none) = (Kind::Forgejo, Kind::Gitea, Value::Null);
        check(Route::Issues, forgejo, "state=all&labels=a+b&sort=oldest", none.clone(), &[]);
        check(Route::Issues, forgejo, "q=x", none.clone(), &["knows no parameter q"]);
        check(Route::Issues, gitea, "sort=oldest", none.clone(), &["knows no parameter sort"]);
        check(Route::Pulls, gitea, "head=x", none.clone(), &[]);
        check(Route::Pulls, forgejo, "head=x&sort=latest", none.clone(), &["knows no sort latest"]);
        check(Route::Issues, forgejo, "state=opened", none.clone(), &["knows no state opened"]);
        check(Route::Issues, gitea, "page=0", none.clone(), &["takes a number from 1 as page"]);
        check(Route::EditIssue, forgejo, "", json!({ "title": "x" }), &["knows no field title"]);
        let object = "takes an object as its body, or none";
        check(Route::EditIssue, forgejo, "", none, &[object]);
        check(Route::PostComment, forgejo, "", "no JSON".into(), &[object]);
    }
}
