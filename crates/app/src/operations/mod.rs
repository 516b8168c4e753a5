//! What a person can ask for, as functions that every door calls: they check, do it, and
//! say what was done.

mod lock;
mod requests;
mod switches;

pub use lock::{LockReleased, release_lock};
pub use requests::{Requested, Retried, find_live, request, retry};
pub use switches::{
    Acknowledged, Resumed, Stopped, acknowledge, resume, stop_all, throw, unfreeze,
};
