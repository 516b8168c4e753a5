//! The bundle as it is kept: the evidence, and the journal that it was made of, so that
//! the file can be checked by itself.
//!
//! What such a file proves is that its statements are what its rows come to and that its
//! rows hang together. A file that somebody made anew, rows, hashes and all, proves that
//! too: against it helps only to know the last hash from elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Evidence;
use crate::chain::{self, Link};
use crate::digest::Digest;
use crate::ids::At;
use crate::replay::Body;
use crate::run::{Run, Transition};
use crate::verdict::Stages;

/// How much of a value is told, in characters.
const TOLD: usize = 200;

/// Evidence and the journal that it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// What is stated.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// What it was made of; none where no journal was kept with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<Journal>,
}

/// A run's journal, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// How many rows there are.
    pub count: u64,
    /// The hash of the last, which stands for all of them.
    pub head: String,
    /// The rows, oldest first.
    pub rows: Vec<Link>,
}

/// Bytes that are no bundle, or none any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotABundle {
    /// The file ends in the middle.
    #[error("the file is torn: it ends in the middle, after {bytes} bytes")]
    Torn {
        /// How many there are.
        bytes: usize,
    },
    /// It is something else, or damaged.
    #[error("the file is no evidence bundle, or a damaged one: {0}")]
    Malformed(String),
    /// Another shape than this program knows.
    #[error("the bundle has shape {0}, which this program does not know: use a newer one")]
    Schema(u32),
}

/// Something in a bundle that is not what it must be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "flaw", rename_all = "snake_case")]
pub enum Flaw {
    /// No journal is in it.
    NoJournal,
    /// A row is not what was written.
    Row(chain::Fault),
    /// A row cannot be read, so that nothing is made of it.
    Unreadable {
        /// Its place in the run.
        row: u64,
        /// Why.
        why: String,
    },
    /// A row calls itself another kind than what is in it.
    Kind {
        /// Its place in the run.
        row: u64,
        /// What it is called.
        stated: String,
        /// What is in it.
        is: String,
    },
    /// A statement is not what the rows come to.
    Statement {
        /// Which, as a JSON pointer.
        field: String,
        /// As it is stated.
        stated: Value,
        /// What the rows come to.
        derived: Value,
    },
    /// The text is not as it is written, though what it says may be the same.
    Text {
        /// The first byte that is another, from 0.
        byte: usize,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoJournal => f.write_str(
                "no journal is in it: it was taken out, or an older program kept the bundle",
            ),
            Self::Row(fault) => fault.fmt(f),
            Self::Unreadable { row, why } => write!(f, "row {row} cannot be read: {why}"),
            Self::Kind { row, stated, is } => {
                write!(f, "row {row}: its kind says {stated:?}, its body {is:?}")
            }
            Self::Statement { field, stated, derived } => {
                let (stated, derived) = (told(stated), told(derived));
                write!(f, "{field}: stated {stated}, the rows come to {derived}")
            }
            Self::Text { byte } => write!(f, "the text is not as it is written, from byte {byte}"),
        }
    }
}

/// What checking a bundle came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The record that the rows come to; none where they cannot be read.
    pub run: Option<Run>,
    /// Everything that is not what it must be.
    pub flaws: Vec<Flaw>,
}

impl Bundle {
    /// `evidence` with the rows that it was made of. The stages are those that the last
    /// decision was made under, whatever has been configured since.
    pub fn new(mut evidence: Evidence, rows: Vec<Link>) -> Self {
        if let Ok(made) = Made::of(&rows) {
            evidence.stages_configured = made.evidence().stages_configured;
        }
        let head = rows.last().map_or_else(String::new, |row| row.hash.clone());
        Self { evidence, journal: Some(Journal { count: rows.len() as u64, head, rows }) }
    }

    /// The bytes that are kept.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads what was kept.
    pub fn read(bytes: &[u8]) -> Result<Self, NotABundle> {
        /// The part that says which shape the rest has.
        #[derive(Deserialize)]
        struct Shape {
            schema: u32,
        }
        let refused = |error: serde_json::Error| {
            if error.is_eof() {
                NotABundle::Torn { bytes: bytes.len() }
            } else {
                NotABundle::Malformed(error.to_string())
            }
        };
        let shape: Shape = serde_json::from_slice(bytes).map_err(refused)?;
        if shape.schema != super::SCHEMA {
            return Err(NotABundle::Schema(shape.schema));
        }
        serde_json::from_slice(bytes).map_err(refused)
    }

    /// Checks a bundle that was read from `bytes`: its rows' chain, and each statement
    /// against what the rows come to.
    pub fn check(&self, bytes: &[u8]) -> Checked {
        let mut flaws = Vec::new();
        let mut run = None;
        match &self.journal {
            None => flaws.push(Flaw::NoJournal),
            Some(journal) => {
                let Journal { count, head, rows } = journal;
                let id = self.evidence.run.to_string();
                let faults = chain::faults(&id, *count, head, rows);
                flaws.extend(faults.into_iter().map(Flaw::Row));
                match Made::of(rows) {
                    Err(flaw) => flaws.push(flaw),
                    Ok(made) => {
                        flaws.extend(made.misnamed.iter().cloned());
                        let derived = made.evidence();
                        let value = |one: &Evidence| serde_json::to_value(one).unwrap_or_default();
                        compare("", &value(&self.evidence), &value(&derived), &mut flaws);
                        run = Some(made.run);
                    }
                }
            }
        }
        let written = self.to_bytes().unwrap_or_default();
        if written != bytes {
            let same = written.iter().zip(bytes).take_while(|(one, other)| one == other).count();
            flaws.push(Flaw::Text { byte: same });
        }
        Checked { run, flaws }
    }
}

/// What rows come to.
struct Made {
    run: Run,
    stages: Option<Stages>,
    misnamed: Vec<Flaw>,
}

impl Made {
    /// Applies the rows in the order of their numbers.
    fn of(rows: &[Link]) -> Result<Self, Flaw> {
        let mut ordered: Vec<&Link> = rows.iter().collect();
        ordered.sort_by_key(|row| row.seq);
        let mut made: Option<Self> = None;
        for row in ordered {
            let unreadable = |why: String| Flaw::Unreadable { row: row.seq, why };
            let body: Body =
                serde_json::from_str(&row.body).map_err(|e| unreadable(e.to_string()))?;
            let at = At::from_microsecond(row.at).map_err(|e| unreadable(e.to_string()))?;
            let is = body.transition.kind();
            let stages = body.context.map(|context| context.limits.stages);
            let made = match (&mut made, body.transition) {
                (None, Transition::Admitted { run }) => {
                    made.insert(Self { run: *run, stages: None, misnamed: Vec::new() })
                }
                (None, _) => {
                    let why = "the first row there is does not admit the run".to_owned();
                    return Err(unreadable(why));
                }
                (Some(made), transition) => {
                    // Of the stages those count that the run was concluded under.
                    if let Some(stages) = stages.filter(|_| made.run.conclusion.is_none()) {
                        made.stages = stages;
                    }
                    made.run.apply(at, transition);
                    made
                }
            };
            if row.kind != is {
                let (stated, is) = (row.kind.clone(), is.to_owned());
                made.misnamed.push(Flaw::Kind { row: row.seq, stated, is });
            }
        }
        made.ok_or_else(|| Flaw::Unreadable { row: 1, why: "there is no row".to_owned() })
    }

    fn evidence(&self) -> Evidence {
        self.run.evidence(self.stages.as_ref())
    }
}

impl Checked {
    /// The turns whose transcripts have a digest in the journal: number and digest.
    pub fn transcripts(&self) -> Vec<(u32, Digest)> {
        let attempts = self.run.iter().flat_map(|run| &run.attempts);
        let turns = attempts.flat_map(|attempt| &attempt.turns);
        let digest = |ended: &crate::run::Ended| ended.facts.transcript.clone();
        turns.filter_map(|turn| Some((turn.n, turn.ended.as_ref().and_then(digest)?))).collect()
    }
}

/// Tells every place where two values differ, as deep down as it can be named.
fn compare(field: &str, stated: &Value, derived: &Value, flaws: &mut Vec<Flaw>) {
    match (stated, derived) {
        (Value::Object(one), Value::Object(other)) => {
            let added = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(added) {
                let value = |of: &serde_json::Map<String, Value>| of.get(key).cloned();
                let (one, other) =
                    (value(one).unwrap_or_default(), value(other).unwrap_or_default());
                compare(&format!("{field}/{key}"), &one, &other, flaws);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (n, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{field}/{n}"), one, other, flaws);
            }
        }
        (stated, derived) if stated == derived => {}
        (stated, derived) => flaws.push(Flaw::Statement {
            field: field.to_owned(),
            stated: stated.clone(),
            derived: derived.clone(),
        }),
    }
}

/// A value as people are told it, shortened.
fn told(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
