//! The engine's ports on one machine: git mirrors and workspaces, jobs under hosts, and agents that
//! run as local processes.
//!
//! Each adapter depends on its port and on [`world`], and on other adapters only for shared folders
//! and boxes. The policy comes through the engine's `Settings`, this crate's own settings as
//! [`LocalSettings`]; nothing here reads a settings file or prints.

mod archive;
pub mod ask;
mod boxes;
mod clock;
mod executor;
mod fetched;
pub mod git;
mod git_port;
mod git_words;
mod invocations;
mod jobs;
mod known;
mod missing;
mod network;
mod output;
pub mod owner;
mod relayed;
mod sandbox;
pub mod secret;
mod settings;
mod sign_in;
mod signing;
mod slots;
mod transcripts;
mod world;

pub use archive::{FileArchive, envelope_beside, statement_beside};
pub use boxes::{Cache, boxed};
pub use clock::{FreshIds, SystemClock};
pub use executor::LocalExecutor;
pub use git_port::LocalGit;
pub use invocations::find_claude;
pub use jobs::LocalJobs;
pub use known::KnownSecrets;
pub use missing::MissingProgram;
pub use relayed::{find_codex, find_process};
pub use sandbox::Sandbox;
pub use secret::LocalSecrets;
pub use settings::{
    Acp, Agent, AgentTable, Claude, Codex, Command, LocalRepo, LocalSettings, ModelApi, Process,
    Scripted,
};
pub use signing::{KeyError, PublicKey, SigningKey};
pub use transcripts::Transcripts;
pub use world::{ANY_USER, FREE, Local, Logins};
