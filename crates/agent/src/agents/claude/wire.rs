//! The lines of the CLI's `stream-json` output, as far as they are used.
//!
//! Distinguished by the value of their `type`: the order of keys varies between lines, and unknown
//! types and fields are ignored. Versions seen: 2.1.197 and 2.1.329. Fields are optional if a
//! version or a kind of line omits them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One line.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line {
    System(System),
    StreamEvent(StreamEvent),
    Assistant(Spoken),
    User(Spoken),
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
pub(super) struct Spoken {
    pub(super) message: ApiMessage,
    pub(super) parent_tool_use_id: Option<String>,
    /// The sender's own id, on an echoed line of ours.
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

/// A message's content: a list of blocks, or just text. Blocks stay values, so that one of an
/// unknown shape does not lose the rest.
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
pub(super) struct Usage {
    #[serde(rename = "input_tokens")]
    pub(super) input: Option<u64>,
    #[serde(rename = "output_tokens")]
    pub(super) output: Option<u64>,
    #[serde(rename = "cache_read_input_tokens")]
    pub(super) cache_read: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens")]
    pub(super) cache_creation: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RateLimitInfo {
    pub(super) status: String,
    /// Seconds since 1970.
    pub(super) resets_at: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResultLine {
    pub(super) subtype: String,
    /// Absent counts as an error: success must be explicit.
    pub(super) is_error: Option<bool>,
    pub(super) result: Option<Value>,
    pub(super) errors: Option<Vec<Value>>,
    pub(super) num_turns: Option<u32>,
    pub(super) duration_ms: Option<f64>,
    pub(super) usage: Option<Usage>,
    pub(super) total_cost_usd: Option<f64>,
    pub(super) model_usage_since_last_result: Option<BTreeMap<String, ModelUsage>>,
    pub(super) permission_denials: Option<Vec<Denial>>,
    pub(super) api_error_status: Option<u16>,
    pub(super) terminal_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ModelUsage {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cache_read_input_tokens: u64,
    pub(super) cache_creation_input_tokens: u64,
    #[serde(rename = "costUSD")]
    pub(super) cost_usd: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Denial {
    pub(super) tool_name: String,
    pub(super) tool_use_id: String,
}
