//! One command over the socket of a server of protocol 2: opened, asked once, closed.
//!
//! Nothing is subscribed to: threads are read over HTTP. So a socket lives as long as one answer
//! takes, and a bearer that has expired is found out at once.

use std::time::Duration;

use afk_engine::ports::{PortError, PortErrorKind};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::http::{Account, Request};
use crate::t3::protocol::Refusal;

/// The largest frame that is taken: an answer to a command is small.
const LARGEST: usize = 1 << 20;
/// How many frames are passed over that belong to no command of ours.
const STRAY: usize = 100;
/// The id of the only request on a socket.
const ID: &str = "1";

/// A frame from the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "_tag")]
enum Frame {
    Exit {
        #[serde(rename = "requestId")]
        request: String,
        exit: Exit,
    },
    Defect {
        defect: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "_tag")]
enum Exit {
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
enum Cause {
    /// It was refused.
    Fail { error: Value },
    /// It is not what the server takes.
    Die { defect: Value },
    #[serde(other)]
    Other,
}

/// Sends `payload` as a command, and gives what the server answered, within `patience`.
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
    let request = Request::get(["ws"]).with("orchestrationProtocol", 2);
    let link = account.upgrade(&request).await.map_err(|no| Refusal::Again(no.error))?;
    let config =
        WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let mut socket = WebSocketStream::from_raw_socket(link, Role::Client, Some(config)).await;
    let asked = json!({
        // Without headers the socket is closed.
        "_tag": "Request", "id": ID, "tag": "orchestration.dispatchCommand", "payload": payload,
        "headers": [],
    });
    socket
        .send(Message::text(asked.to_string()))
        .await
        .map_err(|error| lost(format!("the command was not sent: {error}")))?;
    for _ in 0..STRAY {
        let Some(frame) = socket.next().await else {
            return Err(lost("the socket was closed before the answer".to_owned()));
        };
        let text = match frame.map_err(|error| lost(format!("the socket broke: {error}")))? {
            Message::Text(text) => text,
            Message::Close(_) => {
                return Err(lost("the socket was closed before the answer".to_owned()));
            }
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                continue;
            }
        };
        let frame = serde_json::from_str(&text)
            .map_err(|error| lost(format!("the answer is not what it should be: {error}")))?;
        match frame {
            Frame::Exit { request, exit } if request == ID => {
                // Whoever is told goodbye need not answer.
                let _ = socket.close(None).await;
                return answered(home, exit);
            }
            Frame::Defect { defect } => return Err(not_taken(home, &defect)),
            Frame::Exit { .. } | Frame::Other => {}
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
