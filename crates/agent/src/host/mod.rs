//! The small process that owns a local job.
//!
//! A control plane [`Hosts::ensure`]s a job by key: the spec is written to the job's folder once,
//! and `afk host FOLDER` ([`main`]) is started once; from then on the folder alone tells everything
//! about the job.
//!
//! Invariants:
//! - one key, one folder, at most one host and one box, ever, whoever asks and however often;
//! - the job lives on when the control plane dies, and dies when its host does;
//! - when a job is [`JobState::Ended`] or [`JobState::Lost`], none of its processes is left;
//! - nothing waits without a bound, and a host that no control plane renews ends its job.
//!
//! ```text
//! spec.json    what to run; never changes            host.json   which host, which box
//! stdin        all input so far, a log               end.json    how it ended; never changes
//! stdout       all output so far                     lost        the host died; nothing is left
//! stderr                                             host.lock   held by the living host
//! sock         control socket                        token       grants access to the socket
//! refused.jsonl  network access that was refused to the box
//! ```

mod conclude;
mod control;
mod error;
mod files;
mod hosts;
mod job;
mod life;
mod outlet;
mod owner;
mod pump;
mod serve;
mod spec;
mod start;
mod sweep;

pub use error::HostError;
pub use files::boot;
pub use hosts::Hosts;
pub use job::{Job, JobState};
pub use serve::{SUBCOMMAND, main};
pub use spec::{End, EndHow, JobKey, JobSpec, KilledBy, Stdin, StopSignal};
