//! Findings of `doctor` about a forge, or about an executor on another machine.

use afk_engine::ports::{PortError, PortErrorKind};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Everything is in order.
    Fine,
    /// The loop works, but not as well as it could.
    Warning,
    /// The loop cannot work.
    Failure,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFinding {
    /// A word for what was checked, such as `labels` or `credential`.
    pub about: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The finding, as text for people.
    pub says: String,
    /// How to fix it, as text for people.
    pub remedy: Option<String>,
}

impl RemoteFinding {
    pub(crate) fn fine(about: &'static str, says: impl Into<String>) -> Self {
        Self { about, severity: Severity::Fine, says: says.into(), remedy: None }
    }

    pub(crate) fn warning(about: &'static str, says: impl Into<String>) -> Self {
        Self { about, severity: Severity::Warning, says: says.into(), remedy: None }
    }

    pub(crate) fn failure(about: &'static str, says: impl Into<String>) -> Self {
        Self { about, severity: Severity::Failure, says: says.into(), remedy: None }
    }

    /// The finding that the repo cannot be read at all.
    pub(crate) fn unreachable(error: &PortError) -> Self {
        let remedy = match error.kind {
            PortErrorKind::Auth => "make a new token, or correct where it comes from",
            PortErrorKind::NotFound => {
                "check the repo's name on the forge (names), and that the credential may see it"
            }
            PortErrorKind::RateLimited { .. } => {
                "wait, or use a credential with a quota of its own"
            }
            PortErrorKind::Transient | PortErrorKind::Permanent | PortErrorKind::Cancelled => {
                "provide what it names, or check the forge's url and whether it can be reached from \
                 here"
            }
        };
        Self::failure("credential", error.chain()).remedy(remedy)
    }

    #[must_use]
    pub(crate) fn remedy(self, how: impl Into<String>) -> Self {
        Self { remedy: Some(how.into()), ..self }
    }
}

/// What the loop needs of a repo on its forge.
#[derive(Debug, Clone)]
pub struct Needs {
    /// The labels that people and the loop put on issues, each with its meaning as text for people;
    /// none if the repo's issues are elsewhere.
    pub labels: Option<Vec<(String, &'static str)>>,
    /// Whether the loop pushes to the default branch by itself.
    pub pushes: bool,
    /// Whether it opens pull requests.
    pub opens_pulls: bool,
    /// The URL that the forge is to send webhooks to, if they are wanted.
    pub webhook: Option<String>,
    /// Whether to make missing labels and the webhook.
    pub make: bool,
}
