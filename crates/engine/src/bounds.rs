//! Bounds on waiting for adapters, by the clock that the engine is given.
//!
//! Adapters have bounds of their own. These apply whatever an adapter does, so that no part of the
//! engine waits for ever for one call while others could go on.

use std::fmt::Display;

use afk_core::ids::At;
use jiff::SignedDuration;

use crate::ports::{Clock, PortError, PortResult};

/// `at` plus `by`, or the end of time.
pub(crate) fn later(at: At, by: SignedDuration) -> At {
    at.checked_add(by).unwrap_or(At::MAX)
}

/// The result of `work`, or a transient error that names `what` if it takes longer than `bound`.
/// The work is dropped then: its effect may or may not have happened.
pub(crate) async fn within<T>(
    clock: &dyn Clock,
    bound: SignedDuration,
    what: impl Display + Send,
    work: impl Future<Output = PortResult<T>> + Send,
) -> PortResult<T> {
    let until = later(clock.now(), bound);
    tokio::select! {
        biased;
        done = work => done,
        () = clock.sleep_until(until) => {
            let seconds = bound.as_secs();
            Err(PortError::transient(format!("{what} took longer than {seconds} s")))
        }
    }
}
