//! The ports of the engine, made real on one machine: git mirrors and workspaces, jobs
//! under hosts, and the agents that run as processes here.
//!
//! Each adapter knows its port and [`world`], and none knows another but for the
//! folders and boxes that they share. What decides comes through the engine's `Settings`,
//! what is this crate's own as [`LocalSettings`]; nothing here reads a file of settings or
//! prints.

mod archive;
pub mod ask;
mod boxes;
mod clock;
mod executor;
pub mod git;
mod git_port;
mod git_words;
mod invocations;
mod jobs;
mod known;
mod output;
pub mod owner;
mod sandbox;
pub mod secret;
mod settings;
mod sign_in;
mod transcripts;
mod world;

pub use archive::FileArchive;
pub use boxes::{Cache, boxed};
pub use clock::{FreshIds, SystemClock};
pub use executor::LocalExecutor;
pub use git_port::LocalGit;
pub use invocations::find_claude;
pub use jobs::LocalJobs;
pub use known::KnownSecrets;
pub use sandbox::Sandbox;
pub use secret::LocalSecrets;
pub use settings::{Agent, AgentTable, Claude, LocalRepo, LocalSettings, Scripted};
pub use transcripts::Transcripts;
pub use world::{FREE, Local};
