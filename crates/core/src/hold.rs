//! Why dispatch is held before there is a run. One doorbell rings for each cause.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::AdapterName;

/// What lacks something that runs need. Stored as text: `machine`, or `agent:` and a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HoldCause {
    /// An agent: its program or its sign-in.
    Agent(AdapterName),
    /// This machine: its sandbox or its disk.
    Machine,
}

/// Text that names no cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no cause for holding dispatch: it is \"machine\", or \"agent:\" and a name")]
pub struct UnknownCause;

const MACHINE: &str = "machine";
const AGENT: &str = "agent:";

impl fmt::Display for HoldCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "{AGENT}{name}"),
            Self::Machine => f.write_str(MACHINE),
        }
    }
}

impl FromStr for HoldCause {
    type Err = UnknownCause;
    fn from_str(text: &str) -> Result<Self, UnknownCause> {
        match text.strip_prefix(AGENT) {
            Some(name) => name.parse().map(Self::Agent).map_err(|_| UnknownCause),
            None if text == MACHINE => Ok(Self::Machine),
            None => Err(UnknownCause),
        }
    }
}

impl TryFrom<String> for HoldCause {
    type Error = UnknownCause;
    fn try_from(text: String) -> Result<Self, UnknownCause> {
        text.parse()
    }
}

impl From<HoldCause> for String {
    fn from(cause: HoldCause) -> Self {
        cause.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_read_as_it_was_written() {
        let check = |text: &str, cause: &HoldCause| {
            assert_eq!(cause.to_string(), text);
            assert_eq!(text.parse().as_ref(), Ok(cause));
        };
        check("machine", &HoldCause::Machine);
        check("agent:claude", &HoldCause::Agent("claude".parse().unwrap()));
        for other in ["", "agent", "agent:", "agent:a b", "Machine"] {
            assert_eq!(other.parse::<HoldCause>(), Err(UnknownCause), "{other}");
        }
    }
}
