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

/// Whether a workflow run with this path is the work of a bot of GitHub's own: a look for updates
/// by Dependabot, or a session or review of an agent. Such a run is on the newest commit of the
/// default branch, with the event `dynamic`, and shows nothing about it. Other dynamic runs do: one
/// builds Pages, one scans the code.
pub(super) fn by_bot(path: &str) -> bool {
    const BOTS: [&str; 3] = ["dynamic/dependabot/", "dynamic/copilot-", "dynamic/agents/"];
    BOTS.iter().any(|bot| path.starts_with(bot))
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

    #[test]
    fn a_dynamic_run_counts_unless_a_bot_works_in_it() {
        let check = |path: &str, expected: bool| assert_eq!(by_bot(path), expected, "{path}");
        check("dynamic/dependabot/dependabot-updates", true);
        check("dynamic/copilot-swe-agent/copilot", true);
        check("dynamic/copilot-pull-request-reviewer/copilot-pull-request-reviewer", true);
        check("dynamic/agents/copilot", true);
        check("dynamic/pages/pages-build-deployment", false);
        check("dynamic/github-code-scanning/codeql", false);
        check(".github/workflows/dependabot.yml", false);
        check("", false);
    }
}
