//! The process dies before and after each call of its store, and in the middle of each write.
//! Another process goes on from the files that are left, and the story ends as if nothing had
//! happened.
//!
//! The store is the real one, over a file. The rest of the world is the simulated one; deaths at
//! calls of its ports are tested in its own crate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod coverage;
mod files;
mod plots;
mod sweep;
mod torn;
mod witness;

/// The two sweeps of one plot, each as a test.
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
