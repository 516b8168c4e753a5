//! The lines of the CLI's `stream-json` output, as far as they are used.
//!
//! Lines are distinguished by the value of their `type`: the order of keys varies between lines,
//! and unknown types and fields are ignored. Versions seen: 2.1.197 and 2.1.329. Fields are
//! optional if a version or a kind of line omits them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads a field, and counts one of an unexpected type as absent. Used for what ends a turn: if one
/// odd number lost the whole line, the turn would never end.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).unwrap_or_default())
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line {
    System(System),
    StreamEvent(StreamEvent),
    Assistant(SpokenMessage),
    User(SpokenMessage),
    RateLimitEvent {
        rate_limit_info: RateLimitInfo,
    },
    ControlRequest {
        request_id: String,
        request: ControlRequest,
    },
    ControlCancelRequest {
        request_id: String,
    },
    Result(Box<ResultLine>),
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub(super) enum System {
    Init {
        #[serde(default)]
        session_id: String,
        #[serde(default)]
        model: String,
        #[serde(default)]
        claude_code_version: String,
    },
    ApiRetry {
        #[serde(default)]
        attempt: u32,
        #[serde(default)]
        max_retries: u32,
        // Always an integer so far; a fraction of a millisecond must not lose the line.
        #[serde(default)]
        retry_delay_ms: f64,
        error_status: Option<u16>,
    },
    PermissionDenied {
        #[serde(default)]
        tool_name: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "subtype", rename_all = "snake_case")]
pub(super) enum ControlRequest {
    CanUseTool {
        tool_name: String,
        #[serde(default)]
        input: Value,
        #[serde(default)]
        tool_use_id: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamEvent {
    pub(super) event: ApiEvent,
    pub(super) parent_tool_use_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ApiEvent {
    MessageStart {
        message: ApiMessage,
    },
    MessageDelta {
        usage: Option<Usage>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct SpokenMessage {
    pub(super) message: ApiMessage,
    pub(super) parent_tool_use_id: Option<String>,
    /// On an echo of our own line, the id that we gave it.
    pub(super) uuid: Option<String>,
    #[serde(default, rename = "isReplay")]
    pub(super) is_replay: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct ApiMessage {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) content: Content,
    pub(super) usage: Option<Usage>,
}

/// A message's content: a list of blocks, or just text. Blocks stay JSON values here, so that one
/// of an unknown shape does not lose the others.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Blocks(Vec<Value>),
    Other(serde::de::IgnoredAny),
}

impl Default for Content {
    fn default() -> Self {
        Self::Blocks(Vec::new())
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        is_error: Option<bool>,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    #[serde(rename = "input_tokens", deserialize_with = "lenient")]
    pub(super) input: Option<u64>,
    #[serde(rename = "output_tokens", deserialize_with = "lenient")]
    pub(super) output: Option<u64>,
    #[serde(rename = "cache_read_input_tokens", deserialize_with = "lenient")]
    pub(super) cache_read: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens", deserialize_with = "lenient")]
    pub(super) cache_creation: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RateLimitInfo {
    pub(super) status: String,
    /// Unix time, in seconds.
    pub(super) resets_at: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResultLine {
    #[serde(deserialize_with = "lenient")]
    pub(super) subtype: String,
    /// If absent, the turn counts as failed: success must be explicit.
    #[serde(deserialize_with = "lenient")]
    pub(super) is_error: Option<bool>,
    pub(super) result: Option<Value>,
    #[serde(deserialize_with = "lenient")]
    pub(super) errors: Option<Vec<Value>>,
    #[serde(deserialize_with = "lenient")]
    pub(super) num_turns: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) duration_ms: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) usage: Option<Usage>,
    #[serde(deserialize_with = "lenient")]
    pub(super) total_cost_usd: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    pub(super) model_usage_since_last_result: Option<BTreeMap<String, ModelUsage>>,
    #[serde(deserialize_with = "lenient")]
    pub(super) permission_denials: Option<Vec<Value>>,
    pub(super) api_error_status: Option<Value>,
    #[serde(deserialize_with = "lenient")]
    pub(super) terminal_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ModelUsage {
    #[serde(deserialize_with = "lenient")]
    pub(super) input_tokens: u64,
    #[serde(deserialize_with = "lenient")]
    pub(super) output_tokens: u64,
    #[serde(deserialize_with = "lenient")]
    pub(super) cache_read_input_tokens: u64,
    #[serde(deserialize_with = "lenient")]
    pub(super) cache_creation_input_tokens: u64,
    #[serde(rename = "costUSD", deserialize_with = "lenient")]
    pub(super) cost_usd: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Denial {
    #[serde(deserialize_with = "lenient")]
    pub(super) tool_name: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) tool_use_id: String,
}
