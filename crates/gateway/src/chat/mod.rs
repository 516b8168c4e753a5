//! `/v1/chat/completions`: OpenAI's protocol over the Claude CLI.
//!
//! [`request`] checks what was sent, [`prompt`] makes one text of it, [`chunks`] shapes the answer,
//! [`stop`] cuts it, [`whole`] and [`stream`] run it.

pub(crate) mod chunks;
pub(crate) mod prompt;
pub(crate) mod request;
pub(crate) mod stop;
pub(crate) mod stream;
pub(crate) mod whole;

use jiff::Timestamp;

use chunks::Head;

/// Returns the head of a new answer of `model`, with a random id.
fn head(model: String) -> Head {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let created = Timestamp::now().as_second();
    Head { id: format!("chatcmpl-{}", &id[..24]), created, model }
}
