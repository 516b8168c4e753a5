//! The composed control plane: the configuration, the wiring of every adapter, and the views and
//! operations that people and programs use.
//!
//! The command line, and later HTTP, call these functions, so that all of them give the same
//! answers. Nothing here prints, and nothing here decides what a run does next.

pub mod adapters;
mod ancestry;
mod claude_access;
pub mod config;
pub mod doctor;
mod error;
mod logins;
pub mod operations;
pub mod operator;
pub mod presence;
mod secrets;
pub mod serve;
pub mod settings;
pub mod starter;
pub mod terminal;
pub mod views;
mod wiring;
pub mod words;

pub use claude_access::{ClaudeAccess, claude_access};
pub use error::{Error, ErrorKind};
pub use wiring::{
    App, AppError, EVIDENCE, STORE_FILE, data_dir, keeper, store_is_there, user_name,
};
