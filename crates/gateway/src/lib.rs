//! The agent as a service, for other programs: jobs, OpenAI's chat completions, and conversations,
//! over the Claude CLI.
//!
//! `afk serve` mounts it; [`Gateway::open`] and [`Gateway::router`] are all that it needs. The crate
//! drives processes through `afk-agent` and knows nothing of issues, runs or repositories.
//!
//! Reading order: [`routes`] (who may call what), [`service`] (what they share), [`chat`],
//! [`conversations`] and [`jobs`] (what they do), [`turn`] (one turn of the CLI). Decisions are
//! pure and have their tests beside them: the [admission queue](admission), [which fields are
//! honoured](chat::request), [the prompt](chat::prompt), [the frames](chat::chunks), [what a turn
//! said](turn::transcript), [how many processes wait](turn::sizing), [the limits of tokens](usage).
//!
//! Invariants: nothing but the three probes is served without a token; no process outlives its
//! request, nor the service; a turn without a good result is never reported as a success; whatever
//! is queued, buffered or kept has a bound.

mod admission;
mod attach;
mod chat;
mod conversations;
mod error;
mod jobs;
mod metrics;
mod outlet;
mod routes;
mod run;
mod service;
mod settings;
mod shipped;
mod sign_in;
mod tokens;
mod turn;
mod usage;

pub use service::{Gateway, GatewayError, GatewayStart};
pub use settings::{GatewayPart, GatewaySettings, TOKEN_VARIABLE, VariableError, WarmSettings};
pub use shipped::install as install_agents;
pub use tokens::{KeptToken, Scope, TokenCheck, TokenError, TokenFile, TokenLimits};
