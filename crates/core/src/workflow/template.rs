//! The template: text with `{{ variables }}` and nothing else.
//!
//! No filter, condition or loop: whatever it holds, its output is bounded by its
//! own length, and a variable that is not known is told before a turn begins.
//! Values are put in once and not looked at again, so that an issue's title cannot
//! name a variable.

use crate::ids::{IssueRef, RunId};
use crate::text::line;

use super::WorkflowError;

/// The most of one value.
const VALUE: usize = 300;
/// A line that begins like this is a frame of ours around outside text.
const FRAME: &str = "-----";

/// What a template may name.
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

/// The names, as errors list them.
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

/// Refuses what cannot be rendered; `first` is the line that the template begins at.
pub(super) fn check(template: &str, first: usize) -> Result<(), WorkflowError> {
    for (n, text) in template.split('\n').enumerate() {
        let wrong = |what: String| Err(WorkflowError::at(first + n, what));
        if let Some(mark) = ["{%", "{#"].into_iter().find(|mark| text.contains(mark)) {
            return wrong(format!("{mark} is not known here: a template has variables only"));
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
                        "{:?} is no variable; there are {}",
                        line(name, 60),
                        NAMES.join(", ")
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The template with its variables filled in. What [`check`] refuses stays as it is.
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
        // With the run's id it could end the frame that holds it in the prompt.
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
    /// What stands between `{{` and `}}`.
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
