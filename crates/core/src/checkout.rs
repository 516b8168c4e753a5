//! Where an executor's agent works, which decides who lands its commits.

use serde::{Deserialize, Serialize};

/// Where an executor's agent works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checkout {
    /// In a clone that the control plane made for the run, and from which it lands.
    #[default]
    Ours,
    /// In a checkout of the agent's own, wherever that is. The control plane only sees what the
    /// agent pushes to the default branch.
    Own,
}

/// Who puts the commits on the default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lands {
    /// The control plane; the agent only commits.
    ControlPlane,
    /// The agent, which pushes its commits itself.
    Agent,
}

impl Checkout {
    /// Returns who lands the commits that are made in this checkout.
    pub const fn lands(self) -> Lands {
        match self {
            Self::Ours => Lands::ControlPlane,
            Self::Own => Lands::Agent,
        }
    }
}
