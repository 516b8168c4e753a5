//! What a person can do, as functions for every interface. Each validates its request, acts, and
//! returns what was done.

mod doorbells;
mod hosts;
mod lock;
mod remote;
mod requests;
mod switches;
mod t3;

pub use doorbells::{DoorbellTested, test_doorbells};
pub(crate) use hosts::jobs;
pub use hosts::{HostsStopped, stop_hosts};
pub use lock::{LockReleased, release_lock};
pub use remote::unworkable;
pub use requests::{RequestMade, Retried, find_live, request, retry};
pub use switches::{
    Acknowledged, Resumed, Stopped, acknowledge, resume, stop_all, throw, unfreeze,
};
pub use t3::{T3Checked, T3Paired, T3Step, check_t3, pair};
