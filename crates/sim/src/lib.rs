//! Stand-ins and fakes for the tests of afk.

pub mod claude_cli;
pub mod model_api;
