//! Breakglass: the emergency console for one wedged machine.
//!
//! A server of its own, with its own key and its own narrow secrets, on which an agent diagnoses
//! and repairs the machine over SSH, and on which a person can power-cycle it with no agent in the
//! path. It knows nothing of issues, runs or repositories, and reads no untrusted text as
//! instructions.
//!
//! Reading order: [`wire`] (what clients see), [`conversation`] (turns), [`turn`] (the agent),
//! [`power`] (the verbs), [`http`] (the routes), [`server`] (everything together).

pub mod audit;
pub mod cli;
pub mod conversation;
pub mod definition;
pub mod demo;
pub mod http;
pub mod identity;
pub mod power;
pub mod server;
pub mod settings;
pub mod supervisor;
pub mod turn;
pub mod wire;
