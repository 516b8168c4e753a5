//! Every single port call of a story fails once before it did anything, and once after its effect;
//! the story must end as if nothing had happened. Then the same with the process dying there and,
//! where a story is short, with the next process dying, too.

mod coverage;
mod pairs;
mod plots;
mod sweep;

use plots::Plot;
use sweep::sweep;

/// Both sweeps of one plot, a test each.
macro_rules! swept {
    ($($module:ident: $plot:expr;)*) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn any_call_may_fail_once() {
                sweep(&$plot, false).await;
            }

            #[tokio::test]
            async fn the_process_may_die_at_any_call() {
                sweep(&$plot, true).await;
            }
        }
    )*};
}

swept! {
    straight: plots::STRAIGHT;
    fix_forward: plots::FIX_FORWARD;
    refused_once: plots::REFUSED_ONCE;
    reworded: plots::REWORDED;
    a_descendant_speaks: plots::DESCENDANT;
    tested: plots::TESTED;
    tested_red: plots::TESTED_RED;
    polled: plots::POLLED;
    pulled: plots::PULLED;
    taken_back: plots::TAKEN_BACK;
    somebody_else_lands_first: plots::RACED;
    purged_and_refused: plots::PURGED;
    far: plots::FAR;
    far_stopped: plots::FAR_STOPPED;
    a_usage_limit: plots::LIMITED;
    the_agent_asks: plots::ASKED;
    a_comment_says_something: plots::SAID;
    halted_and_resumed: plots::HALTED;
    capped: plots::CAPPED;
    a_bell_out_of_order: plots::MUTE;
    an_agent_is_missing: plots::LACKING;
    gives_up: plots::GIVES_UP;
    frozen: plots::FROZEN;
    a_person_stops_it: plots::LET_GO;
}
