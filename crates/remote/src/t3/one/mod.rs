//! Protocol 1 (0.0.27 to 0.0.45): commands and reads over HTTP.
//!
//! Before 0.0.29 the only read is a snapshot of everything, which can take a busy server down: it
//! is read seldom, and one read serves all who wait.

mod command;
mod liveness;
mod show;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use afk_core::ids::At;
use afk_engine::ports::{Clock, PortError, PortErrorKind, PortResult};
use async_trait::async_trait;
use jiff::SignedDuration;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::protocol::{
    AnyThread, CLEAN_UP, Command, Freshness, LARGEST, Project, Protocol, Refusal, ThreadRead,
};
use crate::http::{Account, Method, Request};
pub(super) use show::{asked, at_work, is_archived, is_deleted, view};
pub(super) use wire::Thread;
use wire::{Snapshot, ThreadAnswer};

/// The pause between two reads of a thread while somebody waits.
const LIGHT: SignedDuration = SignedDuration::from_secs(5);
/// The pause between two reads of everything, where threads cannot be read by themselves.
const HEAVY: SignedDuration = SignedDuration::from_secs(20);
/// How many turns of a thread are asked for; not every version heeds that.
const TURNS: u32 = 10;
/// How often one command is sent at most.
const TRIES: usize = 3;
/// The pause between two tries.
const BETWEEN: SignedDuration = SignedDuration::from_millis(500);
/// What a server says both when it refused a command and when it failed at one.
const FAILED: &str = "orchestration_dispatch_failed";

/// A server of protocol 1.
pub(super) struct One {
    account: Arc<Account>,
    clock: Arc<dyn Clock>,
    /// Whether threads can be read by themselves.
    light: bool,
    /// The pause between two reads while somebody waits.
    pace: SignedDuration,
    /// The newest snapshot, and when it was read.
    snapshot: Mutex<Option<(At, Arc<Snapshot>)>>,
    /// Whether a command was sent since the snapshot was read.
    sent: AtomicBool,
}

#[derive(Deserialize)]
struct Taken {
    sequence: u64,
}

impl One {
    /// The server behind `account`; `light` says whether its threads can be read by themselves.
    pub(super) fn new(
        account: Arc<Account>,
        clock: Arc<dyn Clock>,
        light: bool,
        pace: Option<SignedDuration>,
    ) -> Self {
        let pace = pace.unwrap_or(if light { LIGHT } else { HEAVY });
        Self {
            account,
            clock,
            light,
            pace,
            snapshot: Mutex::default(),
            sent: AtomicBool::new(false),
        }
    }

    /// Returns the snapshot of everything, which is read if the known one is not fresh enough.
    async fn everything(&self, fresh: Freshness) -> PortResult<Arc<Snapshot>> {
        let mut known = self.snapshot.lock().await;
        let now = self.clock.now();
        let may_use = fresh == Freshness::Poll && !self.sent.load(Ordering::Acquire);
        if let Some((read, snapshot)) = known.as_ref().filter(|_| may_use)
            && now.duration_since(*read) < self.pace
        {
            return Ok(snapshot.clone());
        }
        self.sent.store(false, Ordering::Release);
        // If this read fails, what was read before the newest command must not be used again.
        *known = None;
        let request = Request::get(["api", "orchestration", "snapshot"]).at_most(LARGEST, CLEAN_UP);
        let snapshot: Arc<Snapshot> = Arc::new(self.account.json(&request).await?);
        *known = Some((self.clock.now(), snapshot.clone()));
        Ok(snapshot)
    }

    /// Reads projects and threads without their contents, and the sequence.
    async fn shell(&self) -> PortResult<Snapshot> {
        let request = Request::get(["api", "orchestration", "shell"]).at_most(LARGEST, CLEAN_UP);
        self.account.json(&request).await
    }

    async fn try_send(&self, request: &Request) -> Result<u64, (bool, PortError)> {
        let answer = self.account.try_send(request).await;
        let answer = answer.map_err(|failure| {
            let refused = match failure.status {
                Some(400) => true,
                Some(500) => failure.text == FAILED,
                _ => false,
            };
            let error = match failure.status {
                Some(400) if failure.text.is_empty() => PortError::permanent(format!(
                    "{}; the command is not what this version of T3 Code takes",
                    failure.error.chain()
                )),
                _ => failure.error,
            };
            (refused, error)
        })?;
        answer.json::<Taken>().map(|taken| taken.sequence).map_err(|error| (false, error))
    }
}

#[async_trait]
impl Protocol for One {
    async fn projects(&self) -> PortResult<Vec<Project>> {
        let there = |project: &wire::Project| {
            let project = project.clone();
            project
                .deleted_at
                .is_none()
                .then_some(Project { id: project.id, root: project.workspace_root })
        };
        Ok(if self.light {
            self.shell().await?.projects.iter().filter_map(there).collect()
        } else {
            self.everything(Freshness::Now).await?.projects.iter().filter_map(there).collect()
        })
    }

    async fn look(&self, thread: &str, fresh: Freshness) -> PortResult<ThreadRead> {
        if !self.light {
            let all = self.everything(fresh).await?;
            let found = all.threads.iter().find(|one| one.id == thread);
            let thread = found.cloned().map(AnyThread::One);
            return Ok(ThreadRead { sequence: Some(all.sequence), thread });
        }
        let request = Request::get(["api", "orchestration", "threads", thread]);
        let request = request.with("turnLimit", TURNS).at_most(LARGEST, CLEAN_UP);
        match self.account.json::<ThreadAnswer>(&request).await {
            Ok(ThreadAnswer { sequence, thread }) => {
                let thread = Some(AnyThread::One(thread));
                Ok(ThreadRead { sequence: Some(sequence), thread })
            }
            // The server's sequence tells whether the thread should be there by now.
            Err(error) if error.kind == PortErrorKind::NotFound => {
                let sequence = Some(self.shell().await?.sequence);
                Ok(ThreadRead { sequence, thread: None })
            }
            Err(error) => Err(error),
        }
    }

    async fn send(&self, command: &Command<'_>) -> Result<u64, Refusal> {
        let segments = ["api", "orchestration", "dispatch"];
        let request = Request::new(Method::Post, segments).json(command::body(command));
        self.sent.store(true, Ordering::Release);
        let (mut tries, mut refusals) = (0, 0);
        let sent = loop {
            tries += 1;
            let (refused, error) = match self.try_send(&request).await {
                Ok(sequence) => break Ok(sequence),
                Err(failed) => failed,
            };
            refusals += usize::from(refused);
            // A server that fails at a command answers as if it refused it, but hardly twice.
            let certain = refused && (error.kind == PortErrorKind::Permanent || refusals > 1);
            if certain {
                break Err(Refusal::Refused(error));
            }
            if error.kind != PortErrorKind::Transient || tries >= TRIES {
                break Err(Refusal::Again(error));
            }
            let next = self.clock.now().checked_add(BETWEEN).unwrap_or(At::MAX);
            self.clock.sleep_until(next).await;
        };
        self.sent.store(true, Ordering::Release);
        sent
    }

    fn pace(&self) -> SignedDuration {
        self.pace
    }

    fn counts_tokens(&self) -> bool {
        true
    }

    fn stops_sessions(&self) -> bool {
        true
    }
}
