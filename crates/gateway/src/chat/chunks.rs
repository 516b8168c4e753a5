//! The bytes of an answer in OpenAI's shapes: chunks of a stream, and the whole completion.
//!
//! Pure, and on the path of every delta, so what is the same in all chunks of a stream is written
//! once ([`Chunks::new`]). Invariants of a stream: every chunk has the same id, time and model;
//! exactly one has a finish reason unless the stream ends with an error, and then none has; the
//! last frame is `[DONE]`; no frame is anything but `data:` or a comment.

use bytes::{BufMut as _, BytesMut};
use serde_json::{Value, json};

use afk_agent::agents::TokenUsage;

use crate::error::ApiError;

/// A frame that clients skip, sent so that a silent connection stays open.
pub(crate) const COMMENT: &[u8] = b": still working\n\n";
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The model was done, or a stop sequence came.
    Stop,
    /// The model reached its limit of tokens or of context.
    Length,
    /// The model refused to answer.
    ContentFilter,
}

impl Finish {
    /// Maps a `stop_reason` of the model's API.
    pub(crate) fn of(reason: &str) -> Self {
        match reason {
            "max_tokens" | "model_context_window_exceeded" => Self::Length,
            "refusal" => Self::ContentFilter,
            _ => Self::Stop,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// What identifies one answer in all its frames.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// `chatcmpl-` and 24 hexadecimal digits.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: i64,
    /// The model as the caller named it.
    pub(crate) model: String,
}

/// Writes the frames of one stream.
#[derive(Debug)]
pub(crate) struct Chunks {
    before: String,
    after: &'static str,
    head: Head,
    usage: bool,
}

impl Chunks {
    /// Prepares the frames of `head`, with token counts at the end if `usage`.
    pub(crate) fn new(head: Head, usage: bool) -> Self {
        let before = format!(
            "data: {{\"id\":{},\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{},\
             \"choices\":[{{\"index\":0,\"delta\":",
            json!(head.id),
            head.created,
            json!(head.model)
        );
        // If usage is wanted, every chunk but the last has a null one, as OpenAI's have.
        let after = if usage { "}],\"usage\":null}\n\n" } else { "}]}\n\n" };
        Self { before, after, head, usage }
    }

    /// Writes the first chunk, which says who speaks.
    pub(crate) fn role(&self, out: &mut BytesMut) {
        self.frame(out, |out| out.put_slice(b"{\"role\":\"assistant\",\"content\":\"\"}"), None);
    }

    /// Writes one piece of text.
    pub(crate) fn delta(&self, text: &str, out: &mut BytesMut) {
        self.frame(
            out,
            |out| {
                out.put_slice(b"{\"content\":");
                // Writing into a buffer that grows cannot fail.
                let _ = serde_json::to_writer((&mut *out).writer(), text);
                out.put_slice(b"}");
            },
            None,
        );
    }

    /// Writes the end of a complete answer.
    pub(crate) fn finish(&self, finish: Finish, tokens: TokenUsage, out: &mut BytesMut) {
        self.frame(out, |out| out.put_slice(b"{}"), Some(finish));
        if self.usage {
            let chunk = json!({
                "id": self.head.id, "object": "chat.completion.chunk",
                "created": self.head.created, "model": self.head.model, "choices": [],
                "usage": usage(tokens),
            });
            out.put_slice(format!("data: {chunk}\n\n").as_bytes());
        }
        out.put_slice(DONE);
    }

    /// Writes the end of a failed answer: clients take a stream that just stops for complete.
    pub(crate) fn fail(error: &ApiError, out: &mut BytesMut) {
        let frame = json!({"error": error.object()});
        out.put_slice(format!("data: {frame}\n\n").as_bytes());
        out.put_slice(DONE);
    }

    fn frame(&self, out: &mut BytesMut, delta: impl FnOnce(&mut BytesMut), finish: Option<Finish>) {
        out.reserve(self.before.len() + self.after.len() + 128);
        out.put_slice(self.before.as_bytes());
        delta(out);
        match finish {
            None => out.put_slice(b",\"finish_reason\":null"),
            Some(finish) => {
                out.put_slice(b",\"finish_reason\":\"");
                out.put_slice(finish.name().as_bytes());
                out.put_slice(b"\"");
            }
        }
        out.put_slice(self.after.as_bytes());
    }
}

/// Returns the body of a completion in one piece.
pub(crate) fn completion(head: &Head, text: &str, finish: Finish, tokens: TokenUsage) -> Value {
    json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null},
            "logprobs": null,
            "finish_reason": finish.name(),
        }],
        "usage": usage(tokens),
    })
}

/// Returns OpenAI's token counts; the prompt's include reads and writes of the cache.
fn usage(tokens: TokenUsage) -> Value {
    let prompt = tokens.input + tokens.cache_read + tokens.cache_write;
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": tokens.output,
        "total_tokens": prompt + tokens.output,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { id: "chatcmpl-1".into(), created: 7, model: "son\"net".into() }
    }

    fn frames(out: &BytesMut) -> Vec<String> {
        let text = std::str::from_utf8(out).unwrap();
        assert!(text.ends_with("\n\n"));
        text.trim_end().split("\n\n").map(|frame| frame.replacen("data: ", "", 1)).collect()
    }

    #[test]
    fn a_stream_has_one_head_one_finish_and_one_end() {
        let tokens = TokenUsage { input: 1, output: 2, cache_read: 3, cache_write: 4 };
        for usage in [false, true] {
            let (chunks, mut out) = (Chunks::new(head(), usage), BytesMut::new());
            chunks.role(&mut out);
            chunks.delta("Здравей \"ти\"\n", &mut out);
            chunks.finish(Finish::Length, tokens, &mut out);
            let frames = frames(&out);
            assert_eq!(frames.last().map(String::as_str), Some("[DONE]"));
            assert!(frames[1].contains("Здравей"), "no escapes: {}", frames[1]);
            let json: Vec<Value> = frames[..frames.len() - 1]
                .iter()
                .map(|frame| serde_json::from_str(frame).unwrap())
                .collect();
            for chunk in &json {
                assert_eq!(chunk["id"], "chatcmpl-1");
                assert_eq!(chunk["model"], "son\"net");
                assert_eq!(chunk["created"], 7);
                assert!(chunk["choices"].is_array() && chunk.get("error").is_none());
            }
            assert_eq!(json[0]["choices"][0]["delta"]["role"], "assistant");
            assert_eq!(json[1]["choices"][0]["delta"]["content"], "Здравей \"ти\"\n");
            let finishes = json.iter().filter(|c| c["choices"][0]["finish_reason"] == "length");
            assert_eq!(finishes.count(), 1);
            assert_eq!(json.len(), if usage { 4 } else { 3 });
            if usage {
                assert_eq!(json[3]["choices"], json!([]));
                assert_eq!(json[3]["usage"]["prompt_tokens"], 8);
                assert_eq!(json[3]["usage"]["total_tokens"], 10);
                assert_eq!(json[3]["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
                assert!(json[..3].iter().all(|chunk| chunk["usage"].is_null()));
            }
        }
    }

    #[test]
    fn a_failed_stream_has_an_error_no_finish_and_an_end() {
        let mut out = BytesMut::new();
        Chunks::fail(&ApiError::failed("agent timed out"), &mut out);
        let frames = frames(&out);
        assert_eq!(frames[1], "[DONE]");
        let error: Value = serde_json::from_str(&frames[0]).unwrap();
        assert_eq!(error["error"]["message"], "execution failed: agent timed out");
        assert!(error["error"]["type"].is_string() && error["error"]["code"].is_string());
    }

    #[test]
    fn reasons_of_the_api_become_those_of_the_protocol() {
        for (reason, finish) in [
            ("end_turn", Finish::Stop),
            ("stop_sequence", Finish::Stop),
            ("tool_use", Finish::Stop),
            ("max_tokens", Finish::Length),
            ("refusal", Finish::ContentFilter),
        ] {
            assert_eq!(Finish::of(reason), finish, "{reason}");
        }
    }
}
