//! Every single port call of a story fails once, before it did anything and after its
//! effect; the story must end as if nothing had happened. The same with the process
//! dying there, and, where a story is short, with the next process dying, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod coverage;
mod pairs;
mod plots;
mod sweep;

use plots::Plot;
use sweep::{Part, sweep};

/// Both sweeps of one plot, a test each.
macro_rules! swept {
    ($($module:ident: $plot:expr, $part:expr;)*) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn any_call_may_fail_once() {
                sweep(&$plot, false, $part).await;
            }

            #[tokio::test]
            async fn the_process_may_die_at_any_call() {
                sweep(&$plot, true, $part).await;
            }
        }
    )*};
}

swept! {
    straight: plots::STRAIGHT, Part::All;
    fix_forward: plots::FIX_FORWARD, Part::All;
    refused_once: plots::REFUSED_ONCE, Part::All;
    a_descendant_speaks: plots::DESCENDANT, Part::All;
    tested: plots::TESTED, Part::Try;
    tested_red: plots::TESTED_RED, Part::Try;
    somebody_else_lands_first: plots::RACED, Part::FromPush;
    a_usage_limit: plots::LIMITED, Part::UntilTurn(2);
    the_agent_asks: plots::ASKED, Part::UntilTurn(2);
    a_comment_says_something: plots::SAID, Part::UntilTurn(2);
    halted_and_resumed: plots::HALTED, Part::UntilTurn(2);
    capped: plots::CAPPED, Part::UntilTurn(2);
    a_bell_out_of_order: plots::MUTE, Part::FromPush;
    gives_up: plots::GIVES_UP, Part::All;
    frozen: plots::FROZEN, Part::FromPush;
    a_person_stops_it: plots::LET_GO, Part::All;
}
