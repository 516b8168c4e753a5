//! Where an executor's agent works, and by that who lands what it makes.

use serde::{Deserialize, Serialize};

/// Where an executor's agent works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checkout {
    /// In a clone that the control plane made for the run, and lands from.
    #[default]
    Ours,
    /// In a checkout of its own, wherever that is. The control plane sees of it what the agent
    /// has pushed to the default branch, and nothing else.
    Own,
}

/// Who puts the commits on the default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lands {
    /// The control plane; the agent only commits.
    ControlPlane,
    /// The agent pushes by itself.
    Agent,
}

impl Checkout {
    /// Who lands what is made there.
    pub const fn lands(self) -> Lands {
        match self {
            Self::Ours => Lands::ControlPlane,
            Self::Own => Lands::Agent,
        }
    }
}
