//! The composed control plane: the configuration, the wiring of every adapter, and what a
//! person or a program can ask for.
//!
//! The doors (command line, HTTP) ask here, so that all of them give the same answer.
//! Nothing here prints, and nothing here decides what a run does next.

pub mod config;
pub mod doctor;
mod error;
pub mod operations;
pub mod operator;
pub mod presence;
pub mod serve;
pub mod settings;
pub mod starter;
pub mod terminal;
pub mod views;
mod wiring;
pub mod words;

pub use error::{Error, ErrorKind};
pub use wiring::{
    App, AppError, EVIDENCE, STORE_FILE, data_dir, keeper, store_is_there, user_name,
};
