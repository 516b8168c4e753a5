//! The process dies at each call of its store, before it and after it, and in the middle
//! of each write: another goes on from the files that are left, and the story ends as if
//! nothing had happened.
//!
//! The store is the real one, over a file; the rest of the world is the simulated one,
//! whose own calls are swept where it lives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod coverage;
mod files;
mod plots;
mod sweep;
mod torn;
mod witness;

/// Both sweeps of one plot, a test each.
macro_rules! swept {
    ($($module:ident: $plot:expr;)*) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn the_process_may_die_at_any_call() {
                sweep::sweep(&$plot).await;
            }

            #[tokio::test]
            async fn the_process_may_die_in_any_write() {
                torn::sweep(&$plot).await;
            }
        }
    )*};
}

swept! {
    straight: plots::STRAIGHT;
    fix_forward: plots::FIX_FORWARD;
    gives_up: plots::GIVES_UP;
    a_person_stops_it: plots::STOPPED;
    frozen: plots::FROZEN;
}
