//! Bounds on what the world is waited for, by the clock that the engine is given.
//!
//! Adapters have bounds of their own. These hold whatever an adapter does, so that no
//! part of the engine waits for ever for one thing while others could go on.

use std::fmt::Display;

use afk_core::ids::At;
use jiff::SignedDuration;

use crate::ports::{Clock, PortError, PortResult};

/// `at` and `by` more, or the end of time.
pub(crate) fn later(at: At, by: SignedDuration) -> At {
    at.checked_add(by).unwrap_or(At::MAX)
}

/// What `work` came to, or a transient error that names `what` where it took longer than
/// `bound`. The work is dropped then: its effect may have happened or may not.
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
