//! The template: text with `{{ variables }}` and nothing else.
//!
//! Without filters, conditions or loops its output is bounded by its own length, and an unknown
//! variable is reported before a turn begins. Values are inserted once and not scanned again, so
//! that an issue's title cannot name a variable.

use crate::ids::{IssueRef, RunId};
use crate::text::line;

use super::WorkflowError;

/// Maximum length of one value.
const VALUE: usize = 300;
/// How the lines begin that frame outside text in a prompt.
const FRAME: &str = "-----";

/// The variables of a template.
#[derive(Debug, Clone, Copy)]
pub struct Variables<'a> {
    /// `run`: the run's id.
    pub run: RunId,
    /// `issue`, `repo` and `number`: such as `owner/name#7`, `owner/name` and `7`.
    pub issue: &'a IssueRef,
    /// `title`: the issue's title as it was accepted.
    pub title: &'a str,
    /// `branch`: the default branch.
    pub branch: &'a str,
    /// `attempt`: which attempt the turn belongs to, from 1.
    pub attempt: u32,
}

/// The names, for errors.
const NAMES: [&str; 7] = ["run", "issue", "repo", "number", "title", "branch", "attempt"];

impl Variables<'_> {
    fn value(&self, name: &str) -> Option<String> {
        Some(match name {
            "run" => self.run.to_string(),
            "issue" => self.issue.to_string(),
            "repo" => self.issue.repo.to_string(),
            "number" => self.issue.number.to_string(),
            "title" => line(self.title, VALUE),
            "branch" => line(self.branch, VALUE),
            "attempt" => self.attempt.to_string(),
            _ => return None,
        })
    }
}

/// Refuses what cannot be rendered; `first` is the line at which the template begins.
pub(super) fn check(template: &str, first: usize) -> Result<(), WorkflowError> {
    for (n, text) in template.split('\n').enumerate() {
        let wrong = |what: String| Err(WorkflowError::at(first + n, what));
        if let Some(mark) = ["{%", "{#"].into_iter().find(|mark| text.contains(mark)) {
            return wrong(format!("{mark} is not supported: a template has variables only"));
        }
        for piece in pieces(text) {
            match piece {
                Piece::Text(_) => {}
                Piece::Unclosed => {
                    return wrong("{{ has no }} on the same line".to_owned());
                }
                Piece::Name(name) if NAMES.contains(&name) => {}
                Piece::Name(name) => {
                    return wrong(format!(
                        "{:?} is not a variable; known are {}",
                        line(name, 60),
                        NAMES.join(", ")
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The template with its variables filled in. What [`check`] refuses is left as it is.
pub(super) fn render(template: &str, variables: &Variables<'_>) -> String {
    let run = variables.run.to_string();
    let mut out = String::with_capacity(template.len());
    for (n, text) in template.split('\n').enumerate() {
        if n > 0 {
            out.push('\n');
        }
        let mut rendered = String::new();
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => rendered.push_str(text),
                Piece::Unclosed => rendered.push_str("{{"),
                Piece::Name(name) => match variables.value(name) {
                    Some(value) => rendered.push_str(&value),
                    None => rendered.extend(["{{", name, "}}"]),
                },
            }
        }
        // A line of this form with the run's id could end the frame that the template is in.
        if rendered.trim_start().starts_with(FRAME) && rendered.contains(&run) {
            rendered = rendered.replacen(FRAME, "—", 1);
        }
        out.push_str(&rendered);
    }
    out
}

/// A piece of a line.
enum Piece<'a> {
    /// Text as it stands.
    Text(&'a str),
    /// The text between `{{` and `}}`.
    Name(&'a str),
    /// A `{{` without its `}}`.
    Unclosed,
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        found.push(Piece::Text(before));
        rest = if let Some((name, rest)) = after.split_once("}}") {
            found.push(Piece::Name(name.trim()));
            rest
        } else {
            found.push(Piece::Unclosed);
            after
        };
    }
    found.push(Piece::Text(rest));
    found
}
