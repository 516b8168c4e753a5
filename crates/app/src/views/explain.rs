//! Why an issue is or is not dispatched, decided by the code that dispatches.

use afk_core::gates::{Dispatcher, Explanation};
use afk_core::ids::IssueRef;
use serde::{Serialize, Serializer};

use crate::{App, Error};

/// The gates of one issue.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The issue's title, as it is now.
    pub title: String,
    /// The answer of each gate.
    pub gates: Explanation,
}

impl Explained {
    /// Reads the issue and asks every gate about it, as the loop would.
    pub async fn read(app: &App, issue: &IssueRef) -> Result<Self, Error> {
        let view = app.engine.ports().tracker.issue(issue).await?;
        let gates = app.engine.explain(issue, Dispatcher::Loop, &app.brake().await).await?;
        Ok(Self { title: view.issue.title, gates })
    }
}

impl Serialize for Explained {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document<'a> {
            issue: &'a IssueRef,
            title: &'a str,
            eligible: bool,
            open: bool,
            priority: Option<i64>,
            gates: &'a [afk_core::gates::GateResult],
            dropped: &'a [afk_core::text::Dropped],
        }
        let said = &self.gates;
        Document {
            issue: &said.issue,
            title: &self.title,
            eligible: said.eligible(),
            open: said.open,
            priority: said.priority,
            gates: &said.gates,
            dropped: &said.dropped,
        }
        .serialize(serializer)
    }
}
