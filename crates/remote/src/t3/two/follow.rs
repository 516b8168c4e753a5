//! A subscription to a thread on a server of protocol 2, which tells the newest sequence.
//!
//! Changes are not taken from the socket: that there are some says when to read the thread again.
//! So threads are read in one way only, and a subscription that breaks, or never comes about, costs
//! only the wait until the next read.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use super::socket::{Frame, ID, Socket};
use crate::http::Account;
use crate::t3::protocol::Follow;

/// The largest frame that is taken, in bytes: some contain a whole thread.
const LARGEST: usize = 32 << 20;
/// How long a subscription lasts; a reader that is still there then begins another.
const LASTS: Duration = Duration::from_mins(5);

/// Subscribes to changes of `thread` after the sequence `after`.
pub(super) fn follow(account: Arc<Account>, thread: String, after: u64) -> Follow {
    let (newest, seen) = tokio::sync::watch::channel(after);
    let task = tokio::spawn(async move {
        let listened = listen(&account, &thread, after, &newest);
        if let Ok(Err(why)) = tokio::time::timeout(LASTS, listened).await {
            tracing::debug!(thread, why, "a thread is read now and then, not followed");
        }
    });
    Follow::new(seen, AbortOnDropHandle::new(task))
}

/// Listens until the socket ends.
async fn listen(
    account: &Account,
    thread: &str,
    after: u64,
    newest: &tokio::sync::watch::Sender<u64>,
) -> Result<(), String> {
    let mut socket = Socket::open(account, LARGEST).await.map_err(|error| error.chain())?;
    let thread = json!({ "threadId": thread, "afterSequence": after });
    let asked = socket.ask("orchestration.subscribeThread", &thread).await;
    asked.map_err(|error| error.to_string())?;
    loop {
        match socket.next().await? {
            Frame::Chunk { values } => {
                let last = values.iter().filter_map(|one| one.sequence.or(one.snapshot)).max();
                newest.send_if_modified(|newest| {
                    let before = *newest;
                    *newest = before.max(last.unwrap_or_default());
                    *newest > before
                });
                // The server sends the next chunk only after this one was acknowledged.
                let ack = socket.send(&json!({ "_tag": "Ack", "requestId": ID })).await;
                ack.map_err(|error| error.to_string())?;
            }
            Frame::Exit { .. } => return Err("the subscription was ended".to_owned()),
            Frame::Defect { defect } => return Err(format!("not taken: {defect}")),
            Frame::Other => {}
        }
    }
}
