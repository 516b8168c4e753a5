//! Stand-ins and fakes for the tests of afk.

pub mod claude_cli;
pub mod fakes;
pub mod model_api;
pub mod story;
pub mod world;
