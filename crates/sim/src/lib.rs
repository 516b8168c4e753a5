//! See the package description.

pub mod claude_cli;
pub mod model_api;
