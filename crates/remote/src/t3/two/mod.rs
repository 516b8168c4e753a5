//! Protocol 2 (nightlies from 0.0.46 on, and 0.1): threads are read over HTTP; commands and
//! subscriptions use a `WebSocket`.
//!
//! Tested with recordings of a build from before the server checked the protocol of its clients,
//! and of a reconstruction of that check; no release with it was available.

mod command;
mod follow;
mod liveness;
#[cfg(test)]
mod recorded;
mod show;
mod socket;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use afk_core::ids::At;
use afk_engine::ports::{Clock, PortError, PortErrorKind, PortResult};
use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::json;

use super::protocol::{
    Action, AnyThread, CLEAN_UP, Command, Follow, Freshness, LARGEST, Project, Protocol, Refusal,
    ThreadRead,
};
use crate::http::{Account, Method, Request};
pub(super) use show::{asked, at_work, is_archived, is_deleted, view};
pub(super) use wire::Thread;
use wire::{Projects, Shell, ThreadAnswer};

/// The pause between two reads of a thread while somebody waits.
const PACE: SignedDuration = SignedDuration::from_secs(5);
/// How often one command is sent at most.
const TRIES: usize = 3;
/// The pause between two tries.
const BETWEEN: SignedDuration = SignedDuration::from_millis(500);
/// What a server says when it refuses to make a project.
const FAILED: &str = "project_mutation_failed";

/// A server of protocol 2.
pub(super) struct Two {
    account: Arc<Account>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    pace: SignedDuration,
}

impl Two {
    /// The server behind `account`; a command without an answer within `patience` has failed.
    pub(super) fn new(
        account: Arc<Account>,
        clock: Arc<dyn Clock>,
        patience: Duration,
        pace: Option<SignedDuration>,
    ) -> Self {
        Self { account, clock, patience, pace: pace.unwrap_or(PACE) }
    }

    async fn try_send(&self, command: &Command<'_>) -> Result<u64, Refusal> {
        if let Action::CreateProject { project, title, root, .. } = command.action {
            let body = json!({
                "type": "project.create", "commandId": command.id, "projectId": project,
                "title": title, "workspaceRoot": root,
            });
            let request = Request::new(Method::Post, ["api", "projects", "mutate"]).json(body);
            return match self.account.try_send(&request).await {
                Ok(_) => Ok(0),
                Err(failure) if failure.status == Some(400) || failure.text == FAILED => {
                    Err(Refusal::Refused(failure.error))
                }
                Err(failure) => Err(Refusal::Again(failure.error)),
            };
        }
        let payload = command::payload(command).ok_or_else(|| {
            let why = "nothing of it can be named yet that could be stopped";
            Refusal::Again(PortError::transient(why))
        })?;
        let value = socket::dispatch(&self.account, &payload, self.patience).await?;
        value["sequence"].as_u64().ok_or_else(|| {
            let why = format!("{}: the answer to a command has no sequence", self.account.home());
            Refusal::Again(PortError::transient(why))
        })
    }
}

#[async_trait]
impl Protocol for Two {
    async fn projects(&self) -> PortResult<Vec<Project>> {
        let read: Projects = self.account.json(&Request::get(["api", "projects"])).await?;
        let there = read.projects.into_iter().filter(|one| one.deleted_at.is_none());
        Ok(there.map(|one| Project { id: one.id, root: one.workspace_root }).collect())
    }

    async fn look(&self, thread: &str, _fresh: Freshness) -> PortResult<ThreadRead> {
        let request = Request::get(["api", "orchestration", "threads", thread, "bounded"])
            .at_most(LARGEST, CLEAN_UP);
        match self.account.json::<ThreadAnswer>(&request).await {
            Ok(ThreadAnswer { sequence, projection }) => Ok(ThreadRead {
                sequence: Some(sequence),
                thread: Some(AnyThread::Two(projection)),
            }),
            // The server's sequence tells whether the thread should be there by now.
            Err(error) if error.kind == PortErrorKind::NotFound => {
                let request =
                    Request::get(["api", "orchestration", "shell"]).at_most(LARGEST, CLEAN_UP);
                let shell: Shell = self.account.json(&request).await?;
                Ok(ThreadRead { sequence: Some(shell.sequence), thread: None })
            }
            Err(error) => Err(error),
        }
    }

    async fn send(&self, command: &Command<'_>) -> Result<u64, Refusal> {
        let mut tries = 0;
        loop {
            tries += 1;
            let refusal = match self.try_send(command).await {
                Ok(sequence) => return Ok(sequence),
                Err(refusal) => refusal,
            };
            match refusal {
                Refusal::Again(error)
                    if error.kind == PortErrorKind::Transient && tries < TRIES =>
                {
                    let next = self.clock.now().checked_add(BETWEEN).unwrap_or(At::MAX);
                    self.clock.sleep_until(next).await;
                }
                refusal => return Err(refusal),
            }
        }
    }

    fn pace(&self) -> SignedDuration {
        self.pace
    }

    fn follow(&self, thread: &str, after: u64) -> Option<Follow> {
        Some(follow::follow(self.account.clone(), thread.to_owned(), after))
    }

    fn counts_tokens(&self) -> bool {
        false
    }

    fn stops_sessions(&self) -> bool {
        false
    }
}

/// Headers of every request to a server of this protocol.
pub(super) const HEADERS: &[(&str, &str)] = &[("x-t3-orchestration-protocol", "2")];
