//! A repo's own policy for its runs: `.afk/WORKFLOW.md`, front matter and a template.
//!
//! The engine reads it once for each run, as a blob of the default branch's head, and records the
//! result ([`Workflow`]); from then on every pass tightens the operator's configuration by that
//! record ([`tighten`]) and adds the rendered template to the prompt. It can only tighten. A file
//! that cannot be understood completely is an error of the run, because what it asks for is never
//! guessed.

mod policy;
mod template;
#[cfg(test)]
mod tests;

pub use policy::{RepoGuardrails, RepoNetwork, RepoPolicy, RepoProof, Tightened, tighten};
pub use template::Variables;

use serde::{Deserialize, Serialize};

use crate::config::{Policy, Repo};
use crate::digest::Digest;
use crate::globs::Globs;
use crate::shared::Shared;

/// Its path in a repo.
pub const PATH: &str = ".afk/WORKFLOW.md";
/// Its maximum length, in bytes; a prompt has no room for more.
pub const MAX_BYTES: u64 = 12_000;
/// The line before and after the front matter.
const FENCE: &str = "+++";

/// What a repo asks of its runs, according to the default branch when the run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workflow {
    /// The digest of the whole file.
    pub digest: Digest,
    /// Its front matter.
    pub policy: RepoPolicy,
    /// Its template, which is added to the prompt; variables not yet filled in.
    pub template: String,
    /// What it asked for in vain, because it would have loosened the operator's configuration.
    pub ignored: Vec<String>,
}

/// Why the file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{PATH}{}: {what}", .line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct WorkflowError {
    /// The line, from 1; none if the whole file is meant.
    pub line: Option<usize>,
    /// What is wrong, and how to fix it.
    pub what: String,
}

impl WorkflowError {
    /// An error of the file as a whole.
    pub fn whole(what: impl Into<String>) -> Self {
        Self { line: None, what: what.into() }
    }

    fn at(line: usize, what: impl Into<String>) -> Self {
        Self { line: Some(line), what: what.into() }
    }
}

impl Workflow {
    /// Reads the file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, WorkflowError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| WorkflowError::whole("is not UTF-8: save it as UTF-8"))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(too_large(bytes.len() as u64));
        }
        let parts = split(text)?;
        let policy = toml::from_str(&parts.front).map_err(|error| {
            let before = error.span().and_then(|span| parts.front.get(..span.start));
            let line = before.map_or(0, |before| before.matches('\n').count());
            WorkflowError::at(parts.front_line + line, in_words(error.message()))
        })?;
        template::check(&parts.template, parts.template_line)?;
        let template = parts.template.trim().to_owned();
        Ok(Self { digest: Digest::of(bytes), policy, template, ignored: Vec::new() })
    }

    /// Returns this policy with what it asks for in vain under this configuration. It is an error
    /// if one of its patterns does not compile, or if it contradicts the configuration.
    pub fn met(self, config: &Policy, repo: &Shared<Repo>) -> Result<Self, WorkflowError> {
        // Compiled before the lists are merged, so that an error tells the place in this file.
        Globs::compile("guardrails.deny", &self.policy.guardrails.deny)
            .map_err(|error| WorkflowError::whole(error.to_string()))?;
        let tightened = tighten(config, repo, &self.policy);
        match tightened.mistakes().first() {
            Some(problem) => Err(WorkflowError::whole(format!(
                "conflicts with this installation's configuration: {problem}"
            ))),
            None => Ok(Self { ignored: tightened.ignored, ..self }),
        }
    }

    /// What it adds to the prompt, if anything.
    pub fn additions(&self, variables: &Variables<'_>) -> Option<String> {
        (!self.template.is_empty()).then(|| template::render(&self.template, variables))
    }
}

/// A parser's message in words of ours, without what was found, which it quotes.
fn in_words(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
        return match expected {
            Some(expected) if message.starts_with("unknown variant ") => {
                format!("must be {}", expected.replace('`', "\""))
            }
            Some(expected) if message.starts_with("invalid ") => {
                let expected = match expected {
                    "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 up",
                    "a sequence" => "a list",
                    "a string" => "text in quotes",
                    "a map" => "a table",
                    other if other.starts_with("struct ") => "a table",
                    other => other,
                };
                format!("must be {expected}")
            }
            Some(_) | None => message.to_owned(),
        };
    };
    let key = rest.split('`').next().unwrap_or_default();
    match rest.split_once(", expected ") {
        Some((_, known)) => {
            let known = known.trim_start_matches("one of ").replace('`', "");
            format!("{key} is not a key of a policy; known here: {known}")
        }
        None => format!("{key} is not a key of a policy"),
    }
}

/// The error for a file of `size` bytes, which is too large.
pub fn too_large(size: u64) -> WorkflowError {
    WorkflowError::whole(format!(
        "has {size} bytes, but the limit is {MAX_BYTES}: keep it short, and refer to \
         other files of the repository"
    ))
}

/// The file's two parts, and the lines at which they begin.
struct Parts {
    front: String,
    front_line: usize,
    template: String,
    template_line: usize,
}

fn split(text: &str) -> Result<Parts, WorkflowError> {
    let lines: Vec<&str> = text.strip_prefix('\u{FEFF}').unwrap_or(text).lines().collect();
    let first = lines.iter().position(|line| !line.trim().is_empty()).unwrap_or(lines.len());
    let fenced = |line: &&str| line.trim() == FENCE;
    let join = |lines: &[&str]| lines.join("\n");
    let rest = lines.get(first..).unwrap_or_default();
    match rest.split_first() {
        Some((line, _)) if line.trim() == "---" => Err(WorkflowError::at(
            first + 1,
            "front matter is TOML between two lines of +++, and not YAML between ---",
        )),
        Some((line, rest)) if fenced(line) => {
            let Some(end) = rest.iter().position(&fenced) else {
                return Err(WorkflowError::at(
                    first + 1,
                    "the front matter has no end: close it with a line of +++",
                ));
            };
            Ok(Parts {
                front: join(rest.get(..end).unwrap_or_default()),
                front_line: first + 2,
                template: join(rest.get(end + 1..).unwrap_or_default()),
                template_line: first + end + 3,
            })
        }
        Some(_) | None => match lines.iter().position(fenced) {
            // Read as text, it would be a policy that nobody obeys.
            Some(late) => Err(WorkflowError::at(
                late + 1,
                "front matter must begin on the first line of the file",
            )),
            None => Ok(Parts {
                front: String::new(),
                front_line: 1,
                template: join(&lines),
                template_line: 1,
            }),
        },
    }
}
