//! The control plane around the engine: adapters, store, configuration and the
//! command line. `main` wires them; nothing here decides what a run does next.

pub mod adapters;
pub mod app;
mod ask;
pub mod cli;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod presence;
pub mod scripted;
pub mod serve;
pub mod starter;
pub mod store;
