//! Short phrases for a request, a turn's end and a refused connection, for the page of a run, its
//! timeline and its logs.

use afk_core::request::Request;
use afk_core::run::TurnEnd;

use crate::cli::style::Paint;
use crate::cli::words::{line, moment};

/// What was requested, in a few words.
pub(super) fn verb(what: &Request) -> String {
    match what {
        Request::Retry => "retry".to_owned(),
        Request::Stop => "stop".to_owned(),
        Request::Budget { usd } => format!("budget {usd}"),
        Request::Unfreeze => "unfreeze".to_owned(),
        Request::Say { text } => format!("say {:?}", line(text, 120)),
        Request::Release => "release the issue again".to_owned(),
        Request::Unclear { .. } => "nothing known".to_owned(),
        Request::Answer { ask, text } => format!("answer{} {:?}", named(*ask), line(text, 120)),
        Request::Allow { ask } => format!("allow{}", named(*ask)),
        Request::Deny { ask, why } if why.is_empty() => format!("deny{}", named(*ask)),
        Request::Deny { ask, why } => format!("deny{} {:?}", named(*ask), line(why, 120)),
    }
}

fn named(ask: Option<u32>) -> String {
    ask.map_or_else(String::new, |n| format!(" {n}"))
}

/// How a turn ended, in a line.
pub(super) fn ended(how: &TurnEnd) -> String {
    match how {
        TurnEnd::Finished { message } => format!("finished: {}", line(message, 200)),
        TurnEnd::Failed { message } => format!("failed: {}", line(message, 300)),
        TurnEnd::Hopeless { message } => format!("failed for good: {}", line(message, 300)),
        TurnEnd::Unavailable { message, .. } => {
            format!("stopped, because its agent could not work: {}", line(message, 300))
        }
        TurnEnd::Stalled => "stalled, and was stopped".to_owned(),
        TurnEnd::Lost => "its process died".to_owned(),
        TurnEnd::Interrupted => "interrupted".to_owned(),
        TurnEnd::Limited { resets_at: Some(at) } => {
            format!("stopped by a usage limit until {}", moment(*at))
        }
        TurnEnd::Limited { resets_at: None } => "stopped by a usage limit".to_owned(),
    }
}

/// A connection that a turn was refused, in a line.
pub(super) fn network_refused(what: &str, indent: &str, paint: Paint) -> String {
    format!("{indent}{} {}", paint.warn("refused on the network:"), line(what, 300))
}
