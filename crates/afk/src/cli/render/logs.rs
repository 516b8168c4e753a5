//! A transcript as people read it: what the agent said, a line for each tool call, and how each
//! turn began and ended.

use std::collections::BTreeMap;

use afk_agent::agents::AgentEvent;
use afk_app::views::cause;
use afk_core::run::{Run, Turn, TurnEnd};
use afk_core::spend::{Basis, Charge};

use super::phrases::{ended, network_refused};
use crate::cli::style::{Mark, Paint};
use crate::cli::words::{between, count, duration, line, moment, printable};

/// Maximum number of open tool calls whose names are remembered; a failure of any other is shown
/// without its name.
const MAX_OPEN: usize = 1024;

/// The open tool calls of one turn, so that a call's end can name it.
#[derive(Debug, Default)]
pub(crate) struct OpenTools {
    open: BTreeMap<String, String>,
}

impl OpenTools {
    /// An event as a person reads it; none if it says nothing new.
    pub(crate) fn line(&mut self, event: &AgentEvent, paint: Paint) -> Option<String> {
        match event {
            AgentEvent::Started { model, version, .. } => {
                let text = format!("  {}, version {}", line(model, 60), line(version, 40));
                Some(paint.faint(text))
            }
            AgentEvent::Text { text } => {
                let text = printable(text.trim_end());
                (!text.trim().is_empty()).then_some(text)
            }
            AgentEvent::ToolStarted { id, name, summary } => {
                let name = line(name, 60);
                if self.open.len() < MAX_OPEN {
                    self.open.insert(id.clone(), name.clone());
                }
                let what = line(summary, 200);
                Some(format!("  {} {name}  {what}", paint.mark(Mark::Now)).trim_end().to_owned())
            }
            AgentEvent::ToolEnded { id, is_error } => {
                let name = self.open.remove(id).unwrap_or_else(|| "a tool call".to_owned());
                let mark = paint.mark(Mark::No);
                is_error.then(|| format!("  {mark} {name} failed"))
            }
            AgentEvent::Retrying { attempt, max, delay_ms, status } => {
                let status = status.map(|status| format!(", it answered {status}"));
                let status = status.unwrap_or_default();
                let text = format!("  the request to the model's API is retried ({attempt}/{max})");
                Some(paint.warn(format!("{text} after {delay_ms} ms{status}")))
            }
            AgentEvent::PermissionDenied { tool } => {
                let (mark, tool) = (paint.mark(Mark::No), line(tool, 60));
                Some(format!("  {mark} {tool} was refused permission"))
            }
            AgentEvent::UsageLimit { resets_at } => {
                let until = resets_at.map(|at| format!(" until {}", moment(at)));
                let until = until.unwrap_or_default();
                Some(paint.warn(format!("  the usage limit is reached{until}")))
            }
            // The run's record has these, and is shown at the end of the turn.
            AgentEvent::Usage(_) | AgentEvent::Ended(_) => None,
        }
    }
}

/// The heading of a turn.
pub(crate) fn turn_begun(turn: &Turn, paint: Paint) -> String {
    let (n, why, at) = (turn.n, cause(turn.cause), moment(turn.begun_at));
    format!("{} {why}, {}", paint.strong(format!("Turn {n}:")), paint.faint(at))
}

/// How a turn ended, and what it cost; `cut` is the number of bytes of its transcript that were not
/// kept, none if there is no transcript.
pub(crate) fn turn_over(run: &Run, turn: &Turn, cut: Option<u64>, paint: Paint) -> String {
    let Some(end) = &turn.ended else { return String::new() };
    let how = match &end.how {
        // The transcript has shown the agent's last message already.
        TurnEnd::Finished { .. } if cut.is_some() => "finished".to_owned(),
        how => ended(how),
    };
    let usage = &end.facts.usage;
    let tokens_in = usage.input + usage.cache_read + usage.cache_write;
    let ledger = run.ledger();
    let key = end.facts.cost.as_ref().map(|cost| &cost.key);
    let charge = ledger.charges().find(|(own, ..)| Some(*own) == key).map(|(.., charge)| charge);
    let took = format!(
        "{}, {} tokens in, {} out{}",
        duration(between(turn.begun_at, end.at)),
        count(tokens_in),
        count(usage.output),
        charge.map(|charge| format!(", {}", cost(charge))).unwrap_or_default(),
    );
    let gone = match cut {
        Some(0) => String::new(),
        Some(bytes) => {
            let text = format!("  {} bytes in the middle of it were not kept\n", count(bytes));
            paint.warn(text)
        }
        None => paint.warn("  its transcript is no longer kept\n"),
    };
    let refused = end.facts.refused.iter().map(|what| network_refused(what, "  ", paint) + "\n");
    let refused: String = refused.collect();
    format!(
        "{gone}{refused}{} {how} {}\n\n",
        paint.strong(format!("Turn {}", turn.n)),
        paint.faint(format!("({took})"))
    )
}

fn cost(charge: Charge) -> String {
    match charge.basis {
        Basis::Estimated => format!("about {}", charge.amount),
        Basis::Delta | Basis::Difference | Basis::Whole => charge.amount.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn tool(id: &str, name: &str, summary: &str) -> AgentEvent {
        let (id, name, summary) = (id.to_owned(), name.to_owned(), summary.to_owned());
        AgentEvent::ToolStarted { id, name, summary }
    }

    fn over(id: &str, is_error: bool) -> AgentEvent {
        AgentEvent::ToolEnded { id: id.to_owned(), is_error }
    }

    #[test]
    fn a_turn_is_told_from_its_heading_to_its_end() {
        let text = |text: &str| AgentEvent::Text { text: text.to_owned() };
        let events = [
            AgentEvent::Started {
                session: "s".to_owned(),
                model: "a-model".to_owned(),
                version: "2.1.329".to_owned(),
            },
            text("A door:\n\n- it opens\u{1b}[2J inwards\u{202e}\n"),
            text(" \n"),
            tool("a", "Read", "doors.rs"),
            over("a", false),
            tool("b", "Bash", "cargo test\u{7} --all"),
            over("b", true),
            over("c", true),
            AgentEvent::Retrying { attempt: 1, max: 10, delay_ms: 500, status: Some(529) },
            AgentEvent::PermissionDenied { tool: "WebFetch".to_owned() },
            AgentEvent::UsageLimit { resets_at: Some(samples::at(0)) },
            AgentEvent::Ended(afk_agent::agents::TurnEnd::default()),
        ];
        let run = samples::after(usize::MAX);
        let turn = &run.attempts[0].turns[0];
        let mut told = OpenTools::default();
        let lines = events.iter().filter_map(|event| told.line(event, Paint::PLAIN));
        let lines: Vec<String> = lines.collect();
        let shown = [
            turn_begun(turn, Paint::PLAIN),
            lines.join("\n"),
            turn_over(&run, turn, Some(0), Paint::PLAIN),
            turn_over(&run, turn, Some(1_234_567), Paint::PLAIN),
            turn_over(&run, turn, None, Paint::PLAIN),
        ];
        insta::assert_snapshot!(shown.join("\n"));
    }
}
