//! The group-commit writer: the one connection of this process that writes.
//!
//! Pieces of work queue up to a limit. The writer takes what is queued, runs each piece inside a
//! SAVEPOINT of one `BEGIN IMMEDIATE` transaction, commits once, and only then answers. While the
//! disk flushes, the next group gathers by itself, so that a lone write waits for nobody. A piece
//! that fails is undone alone; a COMMIT that fails fails them all, before any was answered.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::error::{StoreError, StoreErrorKind};

/// How many pieces of work may be queued; further callers wait for room in the queue.
const QUEUE: usize = 1024;
/// Maximum number of pieces in one transaction, so that the first of them does not wait for ever.
const GROUP: usize = 256;

#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    task: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Work(Box<dyn Work>),
    Close,
}

impl Writer {
    pub(super) fn start(connection: SqliteConnection) -> Self {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let task = tokio::spawn(serve(connection, inbox));
        Self { queue, task: Mutex::new(Some(task)) }
    }

    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>
            + Send
            + 'static,
    {
        let closed = || StoreError::new(StoreErrorKind::Closed);
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Piece { work: Some(work), outcome: None, reply });
        self.queue.send(Message::Work(work)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Finishes the work that was queued before, then closes the connection.
    pub(super) async fn close(&self) {
        // Fails only if the writer is gone already.
        let _ = self.queue.send(Message::Close).await;
        let task = self.task.lock().ok().and_then(|mut task| task.take());
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

/// A queued piece of work, whose result is held back until it is durable.
trait Work: Send {
    fn run<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    fn answer(self: Box<Self>, verdict: Result<(), StoreError>);
}

struct Piece<T, F> {
    work: Option<F>,
    outcome: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Piece<T, F>
where
    T: Send,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send,
{
    fn run<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let closed = || StoreError::new(StoreErrorKind::Closed);
            let work = self.work.take().ok_or_else(closed)?;
            // A panic in one caller's code must not end the writer for all.
            let done = AssertUnwindSafe(async move { work(connection).await }).catch_unwind().await;
            self.outcome = Some(done.map_err(|_| closed())??);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, verdict: Result<(), StoreError>) {
        let closed = StoreError::new(StoreErrorKind::Closed);
        let Self { outcome, reply, work: _ } = *self;
        let result = verdict.and_then(|()| outcome.ok_or(closed));
        // The caller may have stopped waiting; the work is done all the same.
        let _ = reply.send(result);
    }
}

async fn serve(mut connection: SqliteConnection, mut inbox: mpsc::Receiver<Message>) {
    let mut messages = Vec::with_capacity(GROUP);
    let mut open = true;
    while open && inbox.recv_many(&mut messages, GROUP).await > 0 {
        let mut group = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            match message {
                Message::Work(work) => group.push(work),
                Message::Close => open = false,
            }
        }
        if !group.is_empty() {
            commit_group(&mut connection, group).await;
        }
    }
    inbox.close();
    // Work that was queued after the close is dropped, which its callers see as `Closed`.
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the store did not close cleanly");
    }
}

async fn commit_group(connection: &mut SqliteConnection, mut group: Vec<Box<dyn Work>>) {
    let verdicts = run_group(connection, &mut group).await;
    match verdicts {
        Ok(verdicts) => {
            for (work, verdict) in group.into_iter().zip(verdicts) {
                work.answer(verdict);
            }
        }
        Err(error) => {
            // Fails, rightly, if SQLite has ended the transaction by itself.
            let _ = execute(connection, "ROLLBACK").await;
            for work in group {
                work.answer(Err(error.clone()));
            }
        }
    }
}

/// Runs a group in one transaction: the result of each piece, or the failure of them all.
async fn run_group(
    connection: &mut SqliteConnection,
    group: &mut [Box<dyn Work>],
) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    execute(connection, "BEGIN IMMEDIATE").await?;
    if let [alone] = group {
        // A single piece needs no savepoint: if it fails, the transaction is rolled back.
        alone.run(connection).await?;
        execute(connection, "COMMIT").await?;
        return Ok(vec![Ok(())]);
    }
    let mut verdicts = Vec::with_capacity(group.len());
    for work in group {
        execute(connection, "SAVEPOINT work").await?;
        let verdict = work.run(connection).await;
        if verdict.is_err() {
            // Fails, and the whole group with it, if the transaction is gone: the disk may be full.
            execute(connection, "ROLLBACK TO work").await?;
        }
        execute(connection, "RELEASE work").await?;
        verdicts.push(verdict);
    }
    execute(connection, "COMMIT").await?;
    Ok(verdicts)
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[tokio::test]
    async fn a_panic_of_one_work_is_its_own_error_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("afk.db")).await.unwrap();
        let panics = store.write(|_| -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async { panic!("its own") })
        });
        assert_eq!(*panics.await.unwrap_err().kind(), StoreErrorKind::Closed);
        assert_eq!(store.write(|_| Box::pin(async { Ok(7) })).await.unwrap(), 7);
    }
}
