//! The demo's issues: in afk's own tracker, or on the demo's forge.

use afk_app::adapters::LocalTracker;
use afk_app::user_name;
use afk_core::ids::{IssueRef, RepoName};

use super::error::DemoError;
use super::forge::{Forge, YOU};
use super::{READY, Scenario, sample};

/// The person who releases an issue without being trusted.
const STRANGER: &str = "mallory";

/// Where the issues live.
pub(super) enum Issues<'a> {
    /// In afk's own tracker.
    Own(&'a LocalTracker),
    /// On the demo's fake forge.
    On(&'a Forge),
}

impl Issues<'_> {
    /// Files the scenario's first issue, and before it the one that blocks it if there is one, and
    /// releases the first issue.
    pub(super) async fn first(
        &self,
        repo: &RepoName,
        scenario: Scenario,
    ) -> Result<IssueRef, DemoError> {
        let you = self.you();
        let body = match scenario {
            Scenario::Blocked => {
                let blocker = self.file(repo, sample::BLOCKER_TITLE, "", &you).await?;
                sample::blocked_body(blocker.number)
            }
            Scenario::Success
            | Scenario::Tested
            | Scenario::CiRed
            | Scenario::Frozen
            | Scenario::Restart
            | Scenario::NeedsHuman
            | Scenario::Guardrail
            | Scenario::Untrusted => sample::BODY.to_owned(),
        };
        let issue = self.file(repo, sample::TITLE, &body, &you).await?;
        let labeller = match scenario {
            Scenario::Untrusted => STRANGER,
            Scenario::Success
            | Scenario::Tested
            | Scenario::CiRed
            | Scenario::Frozen
            | Scenario::Restart
            | Scenario::NeedsHuman
            | Scenario::Guardrail
            | Scenario::Blocked => &you,
        };
        self.release(&issue, labeller).await?;
        Ok(issue)
    }

    /// Files and releases a second issue in the scenario that shows how it waits; none in others.
    pub(super) async fn next(
        &self,
        repo: &RepoName,
        scenario: Scenario,
    ) -> Result<Option<IssueRef>, DemoError> {
        if scenario != Scenario::Frozen {
            return Ok(None);
        }
        let you = self.you();
        let issue = self.file(repo, sample::NEXT_TITLE, sample::NEXT_BODY, &you).await?;
        self.release(&issue, &you).await?;
        Ok(Some(issue))
    }

    /// The person who watches the demo, by their name in this tracker.
    fn you(&self) -> String {
        match self {
            Self::Own(_) => user_name(),
            Self::On(_) => YOU.to_owned(),
        }
    }

    async fn file(
        &self,
        repo: &RepoName,
        title: &str,
        body: &str,
        by: &str,
    ) -> Result<IssueRef, DemoError> {
        match self {
            Self::Own(tracker) => {
                let (person, now) = (LocalTracker::user(by), jiff::Timestamp::now());
                Ok(tracker.create(repo, title, body, &person, now).await?)
            }
            Self::On(forge) => Ok(forge.file(repo, title, body, by)),
        }
    }

    async fn release(&self, issue: &IssueRef, by: &str) -> Result<(), DemoError> {
        match self {
            Self::Own(tracker) => {
                let (person, now) = (LocalTracker::user(by), jiff::Timestamp::now());
                tracker.label(issue, READY, &person, now).await?;
            }
            Self::On(forge) => forge.release(issue, by),
        }
        Ok(())
    }
}
