//! The `WebSocket` of a server of protocol 2, and commands over it. A socket carries one request.
//!
//! Each command has a socket of its own, which is closed after the answer, so that an expired
//! bearer is noticed at once. Subscriptions are in `follow`.

use std::time::Duration;

use afk_engine::ports::{PortError, PortErrorKind};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::http::{Account, Request, read_json};
use crate::t3::protocol::Refusal;

/// The largest frame that is taken for a command, in bytes: the answers are small.
const LARGEST: usize = 1 << 20;
/// How many frames are skipped at most that are not the answer.
const STRAY: usize = 100;
/// The id of the only request on a socket.
pub(super) const ID: &str = "1";

/// A frame from the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "_tag")]
pub(super) enum Frame {
    /// The answer to a request, or the end of a subscription.
    Exit {
        #[serde(rename = "requestId")]
        request: String,
        exit: Exit,
    },
    /// A part of a subscription. The next one comes once this one was acknowledged.
    Chunk { values: Vec<Change> },
    /// The server could not read what we sent.
    Defect { defect: Value },
    #[serde(other)]
    Other,
}

/// A change in a subscription, of which only the sequence is read.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    /// The sequence of an event.
    pub(super) sequence: Option<u64>,
    /// The sequence of a snapshot, which the server may send in place of events.
    #[serde(rename = "snapshotSequence")]
    pub(super) snapshot: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "_tag")]
pub(super) enum Exit {
    Success {
        value: Value,
    },
    Failure {
        #[serde(default)]
        cause: Vec<Cause>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "_tag")]
pub(super) enum Cause {
    /// The server refused the command.
    Fail { error: Value },
    /// The command has not the shape that the server takes.
    Die { defect: Value },
    #[serde(other)]
    Other,
}

/// An open socket.
pub(super) struct Socket(WebSocketStream<reqwest::Upgraded>);

impl Socket {
    /// Opens a socket that takes frames of at most `largest` bytes.
    pub(super) async fn open(account: &Account, largest: usize) -> Result<Self, PortError> {
        let request = Request::get(["ws"]).with("orchestrationProtocol", 2);
        let link = account.upgrade(&request).await.map_err(|failure| failure.error)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(largest))
            .max_frame_size(Some(largest));
        Ok(Self(WebSocketStream::from_raw_socket(link, Role::Client, Some(config)).await))
    }

    /// Sends the only request of the socket.
    pub(super) async fn ask(&mut self, tag: &str, payload: &Value) -> Result<(), Error> {
        self.send(&json!({
            // Without the field `headers`, the server closes the socket.
            "_tag": "Request", "id": ID, "tag": tag, "payload": payload, "headers": [],
        }))
        .await
    }

    pub(super) async fn send(&mut self, frame: &Value) -> Result<(), Error> {
        self.0.send(Message::text(frame.to_string())).await
    }

    /// Waits for the next frame. An error says why there are no more.
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        loop {
            let frame = self.0.next().await.ok_or("the socket was closed")?;
            match frame.map_err(|error| format!("the socket broke: {error}"))? {
                Message::Text(text) => {
                    return read_json(text.as_bytes())
                        .map_err(|error| format!("a frame is not what it should be: {error}"));
                }
                Message::Close(_) => return Err("the socket was closed".to_owned()),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Closes the socket without waiting for the server's answer to that.
    async fn close(mut self) {
        let _ = self.0.close(None).await;
    }
}

/// Sends `payload` as a command, and returns the server's answer, which must come within
/// `patience`.
pub(super) async fn dispatch(
    account: &Account,
    payload: &Value,
    patience: Duration,
) -> Result<Value, Refusal> {
    let home = account.home();
    let asked = ask(account, payload);
    tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| {
        let why = format!("{home} did not answer a command in time");
        Err(Refusal::Again(PortError::transient(why)))
    })
}

async fn ask(account: &Account, payload: &Value) -> Result<Value, Refusal> {
    let home = account.home();
    let lost = |why: String| Refusal::Again(PortError::transient(format!("{home}: {why}")));
    let mut socket = Socket::open(account, LARGEST).await.map_err(Refusal::Again)?;
    socket
        .ask("orchestration.dispatchCommand", payload)
        .await
        .map_err(|error| lost(format!("the command was not sent: {error}")))?;
    for _ in 0..STRAY {
        let frame = socket.next().await;
        match frame.map_err(|why| lost(format!("no answer to a command: {why}")))? {
            Frame::Exit { request, exit } if request == ID => {
                socket.close().await;
                return answered(home, exit);
            }
            Frame::Defect { defect } => return Err(not_taken(home, &defect)),
            Frame::Exit { .. } | Frame::Chunk { .. } | Frame::Other => {}
        }
    }
    Err(lost(format!("none of {STRAY} frames was the answer")))
}

fn answered(home: &str, exit: Exit) -> Result<Value, Refusal> {
    let cause = match exit {
        Exit::Success { value } => return Ok(value),
        Exit::Failure { cause } => cause.into_iter().next(),
    };
    match cause {
        Some(Cause::Die { defect }) => Err(not_taken(home, &defect)),
        Some(Cause::Fail { error }) => Err(refused(home, &error)),
        Some(Cause::Other) | None => {
            let why = format!("{home} failed at a command, and says nothing of it");
            Err(Refusal::Again(PortError::transient(why)))
        }
    }
}

fn refused(home: &str, error: &Value) -> Refusal {
    let said = error["message"].as_str().unwrap_or("without a reason");
    let said: String = said.chars().take(300).collect();
    if error["_tag"] == "EnvironmentAuthorizationError" {
        let why = format!("{home}: {said}");
        return Refusal::Again(PortError::new(PortErrorKind::Auth, why));
    }
    Refusal::Refused(PortError::transient(format!("{home} refused a command: {said}")))
}

fn not_taken(home: &str, defect: &Value) -> Refusal {
    let said = defect.as_str().map_or_else(|| defect.to_string(), str::to_owned);
    let said: String = said.chars().take(200).collect();
    Refusal::Refused(PortError::permanent(format!(
        "{home}: the command is not what this version of T3 Code takes: {said}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(exit: Value, expected: &str) {
        let told = match answered("t3", serde_json::from_value(exit).unwrap()) {
            Ok(value) => value.to_string(),
            Err(Refusal::Refused(error)) => format!("refused {:?} {error}", error.kind),
            Err(Refusal::Again(error)) => format!("again {:?} {error}", error.kind),
        };
        assert!(told.starts_with(expected), "{told}");
    }

    #[test]
    fn of_a_subscription_the_sequences_are_read() {
        // As recorded, but for what is not read.
        let chunk = json!({
            "_tag": "Chunk", "requestId": "1",
            "values": [
                { "kind": "snapshot", "snapshotSequence": 16, "projection": {} },
                { "kind": "synchronized" },
                { "kind": "event", "sequence": 17, "event": { "type": "node.updated" } },
            ],
        });
        let Frame::Chunk { values } = serde_json::from_value(chunk).unwrap() else {
            panic!("another frame")
        };
        let read: Vec<_> = values.iter().map(|one| (one.sequence, one.snapshot)).collect();
        assert_eq!(read, [(None, Some(16)), (None, None), (Some(17), None)]);
    }

    #[test]
    fn each_answer_says_what_to_do_next() {
        check(json!({ "_tag": "Success", "value": { "sequence": 7 } }), r#"{"sequence":7}"#);
        let failed = |cause: Value| json!({ "_tag": "Failure", "cause": [cause] });
        let die = json!({ "_tag": "Die", "defect": "Missing key\n  at [\"createdBy\"]" });
        check(failed(die), "refused Permanent t3: the command is not what");
        let fail = json!({
            "_tag": "Fail",
            "error": {
                "_tag": "OrchestrationV2DispatchCommandError",
                "message": "Run r is not interruptible.",
            },
        });
        check(failed(fail), "refused Transient t3 refused a command: Run r is not");
        let scope = json!({
            "_tag": "Fail",
            "error": { "_tag": "EnvironmentAuthorizationError", "message": "missing scope" },
        });
        check(failed(scope), "again Auth t3: missing scope");
        check(failed(json!({ "_tag": "Interrupt" })), "again Transient");
        check(json!({ "_tag": "Failure", "cause": [] }), "again Transient");
    }
}
