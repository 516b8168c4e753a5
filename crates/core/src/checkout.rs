//! Where an executor's agent works, which decides who lands its commits, and who can be asked
//! about it.

use serde::{Deserialize, Serialize};

use crate::ids::AdapterName;

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

/// The machine that an executor's agent works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Machine {
    /// This one, where every agent is a job that can be seen and stopped, whoever started it.
    This,
    /// Another one. Only the executor that started the agent there can be asked about it.
    Far {
        /// The name of that executor.
        executor: AdapterName,
    },
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
