//! Workflow runs that were started by an event unrelated to the code: they say nothing about the
//! commit they ran on.
//!
//! What happens beside the code (an issue, a comment, a label, a fork, a point in time) starts its
//! workflows on the newest commit of the default branch, whatever that is. Many of these events
//! anybody can cause, and the loop's own comments and labels cause some. Events whose workflows
//! test or deploy a commit count, and so does every event that is not listed.

/// Whether runs of this event are on their commit by chance.
///
/// The names are those of GitHub's documentation, "Events that trigger workflows", and those of
/// `modules/webhook/type.go` where Forgejo and Gitea have others.
pub(super) fn by_chance(event: &str) -> bool {
    matches!(
        event,
        "branch_protection_rule"
            | "delete"
            | "discussion"
            | "discussion_comment"
            | "fork"
            | "gollum"
            | "issue_assign"
            | "issue_comment"
            | "issue_label"
            | "issue_milestone"
            | "issues"
            | "label"
            | "member"
            | "milestone"
            | "public"
            | "repository"
            | "schedule"
            | "watch"
            | "wiki"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_code_counts_and_so_does_what_is_not_known() {
        for event in [
            "push",
            "pull_request",
            "pull_request_target",
            "merge_group",
            "workflow_dispatch",
            "workflow_run",
            "repository_dispatch",
            "deployment",
            "deployment_status",
            "check_run",
            "check_suite",
            "status",
            "create",
            "release",
            "registry_package",
            "of_next_year",
            "",
        ] {
            assert!(!by_chance(event), "{event}");
        }
    }
}
