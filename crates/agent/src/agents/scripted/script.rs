//! The script: what the agent does in each turn.
//!
//! JSON, for example:
//!
//! ```json
//! {"turns": [{"steps": [
//!   {"say": {"text": "adding the file"}},
//!   {"write": {"path": "a.txt", "content": "hello\n"}},
//!   {"run": {"argv": ["sh", "test.sh"], "expect": 0}},
//!   {"commit": {"subject": "Add a.txt", "body": "It was missing.", "paths": ["a.txt"]}}
//! ]}]}
//! ```

use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The largest script that is read, in bytes.
pub const MAX_SCRIPT: u64 = 16 * 1024 * 1024;

/// A whole script.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The turns, in order; the first is turn 1.
    pub turns: Vec<Turn>,
}

/// One turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// What to do, in order. The turn finishes after the last step.
    pub steps: Vec<Step>,
}

/// One step. Paths are relative to the working directory, and may not lead out of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Says a text.
    Say {
        /// The text.
        text: String,
    },
    /// Fails the turn unless the prompt contains a text.
    ExpectPrompt {
        /// The text.
        contains: String,
    },
    /// Writes a file, with the folders above it.
    Write {
        /// The file.
        path: PathBuf,
        /// All of its content.
        content: String,
    },
    /// Appends to a file, creating it if necessary.
    Append {
        /// The file.
        path: PathBuf,
        /// What to append.
        content: String,
    },
    /// Deletes a file.
    Delete {
        /// The file.
        path: PathBuf,
    },
    /// Runs a program and says the end of its output.
    Run {
        /// The program and its arguments.
        argv: Vec<String>,
        /// The exit code that it must have; none for any.
        #[serde(default)]
        expect: Option<i32>,
        /// How long it may take, in milliseconds; ten minutes by default.
        #[serde(default)]
        timeout_ms: Option<u64>,
    },
    /// Commits paths, staged by name.
    Commit {
        /// The subject.
        subject: String,
        /// The body; may be empty.
        #[serde(default)]
        body: String,
        /// The paths to stage, deleted ones too. An empty list commits without staging anything.
        paths: Vec<PathBuf>,
    },
    /// Switches to a branch, creating it if necessary.
    Checkout {
        /// The branch.
        branch: String,
    },
    /// Changes a file and leaves it uncommitted.
    LeaveDirty {
        /// The file.
        path: PathBuf,
    },
    /// Waits until a file exists, or for a time.
    Wait {
        /// The file; may be absolute, because a test creates it.
        #[serde(default)]
        until_file: Option<PathBuf>,
        /// How long to wait, in milliseconds; ten minutes by default. With a file this is the
        /// limit, and exceeding it fails the turn.
        #[serde(default)]
        ms: Option<u64>,
    },
    /// Ignores SIGTERM and SIGINT from here on.
    IgnoreTerm {},
    /// Prints lines that are not events.
    Garbage {
        /// How many.
        #[serde(default = "one")]
        lines: u32,
        /// How long each is, in bytes.
        bytes: u32,
    },
    /// Claims that more tokens and cost were used.
    Usage {
        /// Input tokens.
        input_tokens: u64,
        /// Output tokens.
        output_tokens: u64,
        /// Cost in US dollars.
        #[serde(default)]
        cost: f64,
    },
    /// Claims that the account's usage limit is reached, which fails the turn.
    UsageLimit {
        /// When the limit resets.
        #[serde(default)]
        resets_at: Option<Timestamp>,
    },
    /// Ends the turn as failed.
    Fail {
        /// The error's text.
        message: String,
    },
    /// Ends the process at once, without ending the turn.
    Exit {
        /// The exit code.
        code: i32,
    },
    /// Prints nothing more and stays until it is killed, for at most an hour.
    Silence {},
}

fn one() -> u32 {
    1
}

/// Why there is no script, or no such turn.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("cannot read the script {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("the script {path} is over {MAX_SCRIPT} bytes", path = .0.display())]
    TooLarge(PathBuf),
    /// The content is not a valid script.
    #[error("the script {path} is not valid: {what}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        what: String,
    },
    /// There is no such turn.
    #[error("the script has {have} turns, but turn {asked} was requested: add it to the script")]
    NoTurn {
        /// How many turns the script has.
        have: usize,
        /// The number of the requested turn.
        asked: u32,
    },
}

impl Script {
    /// Reads a script from a file.
    pub fn read(path: &Path) -> Result<Self, ScriptError> {
        let read = |source| ScriptError::Read { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(read)?.len() > MAX_SCRIPT {
            return Err(ScriptError::TooLarge(path.to_owned()));
        }
        let bytes = std::fs::read(path).map_err(read)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| ScriptError::Parse { path: path.to_owned(), what: in_words(&error) })
    }

    /// A turn by its number, from 1.
    pub fn turn(&self, number: u32) -> Result<&Turn, ScriptError> {
        (number as usize)
            .checked_sub(1)
            .and_then(|index| self.turns.get(index))
            .ok_or(ScriptError::NoTurn { have: self.turns.len(), asked: number })
    }
}

/// Says what is wrong with a script's form, without the vocabulary of the JSON parser.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let at = format!("line {}, column {}", error.line(), error.column());
    let quoted = |text: &str| text.split('`').nth(1).unwrap_or_default().to_owned();
    let known = text
        .split_once(", expected one of ")
        .map(|(_, known)| known.split(" at line ").next().unwrap_or(known).replace('`', ""));
    if text.starts_with("unknown variant ") {
        let known = known.unwrap_or_default();
        format!("{at}: there is no step {:?}; the steps are {known}", quoted(&text))
    } else if text.starts_with("unknown field ") {
        format!("{at}: there is no key {:?} here", quoted(&text))
    } else if text.starts_with("missing field ") {
        format!("{at}: the key {:?} is missing", quoted(&text))
    } else if error.is_data() {
        format!("{at}: the value has another form than the key takes")
    } else {
        format!("{at}: is not JSON")
    }
}

/// Whether a path of an editing step stays in the working directory, going by its text: links are
/// not resolved.
pub(super) fn stays_inside(path: &Path) -> bool {
    !path.as_os_str().is_empty()
        && path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_strictly() {
        fn check(json: &str, fine: bool) {
            let parsed = serde_json::from_str::<Script>(json);
            assert_eq!(parsed.is_ok(), fine, "{json}: {parsed:?}");
        }
        check(r#"{"turns":[]}"#, true);
        check(r#"{"turns":[{"steps":[{"say":{"text":"x"}}]}]}"#, true);
        check(r#"{"turns":[{"steps":[{"ignore_term":{}},{"silence":{}}]}]}"#, true);
        check(r#"{"turns":[{"steps":[{"run":{"argv":["true"]}}]}]}"#, true);
        check(r#"{"turns":[{"steps":[{"garbage":{"bytes":3}}]}]}"#, true);
        check(r#"{"turns":[{"steps":[{"wait":{"ms":3}}]}]}"#, true);
        check(r#"{"turns":[{"steps":[{"say":{"txt":"x"}}]}]}"#, false);
        check(r#"{"turns":[{"steps":[{"sing":{}}]}]}"#, false);
        check(r#"{"turns":[{"steps":[],"extra":1}]}"#, false);
        check(r#"{"turns":[{"steps":[{"run":{"argv":["x"],"shell":true}}]}]}"#, false);
        check(r"{}", false);
    }

    #[test]
    fn what_is_wrong_with_a_script_is_told_in_words() {
        let check = |json: &str, expected: &str| {
            let error = serde_json::from_str::<Script>(json).unwrap_err();
            let told = in_words(&error);
            assert!(told.contains(expected), "{json}: {told}");
        };
        let step = r#"{"turns":[{"steps":[{"sing":{}}]}]}"#;
        check(step, "there is no step \"sing\"; the steps are say, expect_prompt, write");
        check(r#"{"turns":[{"steps":[{"say":{"txt":"x"}}]}]}"#, "there is no key \"txt\" here");
        check("{}", "the key \"turns\" is missing");
        check(r#"{"turns":[{"steps":[{"say":{"text":1}}]}]}"#, "another form");
        check("{", "line 1, column 1: is not JSON");
    }

    #[test]
    fn turns_count_from_one() {
        let script = Script { turns: vec![Turn::default(), Turn::default()] };
        for (number, fine) in [(0, false), (1, true), (2, true), (3, false)] {
            assert_eq!(script.turn(number).is_ok(), fine, "{number}");
        }
    }

    #[test]
    fn edits_stay_in_the_working_directory() {
        for (path, inside) in [
            ("a", true),
            ("./a/b", true),
            ("", false),
            ("/a", false),
            ("../a", false),
            ("a/../../b", false),
        ] {
            assert_eq!(stays_inside(Path::new(path)), inside, "{path}");
        }
    }
}
