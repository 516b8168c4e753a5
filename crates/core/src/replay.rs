//! Makes the decisions in a run's journal again: `afk replay`.
//!
//! Each row keeps what its pass observed ([`Context`]). Applying the rows in order gives the record
//! at that time; from the record and the observations, `record`, the situation and the plan are
//! computed again and compared with what was stored. A difference is not a fault by itself: it
//! means that this binary decides differently, or that somebody wrote the row. Whether rows were
//! edited is checked by the chain.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::At;
use crate::plan::{End, Plan, Situation, plan};
use crate::run::{Limits, Names, Observation, Run, Transition, record};

/// The first [`Context::format`] that holds everything that the run's end depends on.
const ENDS_ARE_PLANNED: u32 = 1;

/// The first [`Context::format`] of passes that stop a turn when the budget is lowered below what
/// the turn may spend.
const LOWERED_BUDGETS_STOP: u32 = 2;

/// What a pass observed and decided, kept with each row that it wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// The format of this context: 0 in journals from before every end was planned, 1 in those
    /// from before a lowered budget stopped the turn under way.
    #[serde(default)]
    pub format: u32,
    /// The version of the record that the pass read.
    pub version: u64,
    /// The time that the pass decided by.
    pub now: At,
    /// What the pass saw, without what no decision depends on.
    pub seen: Observation,
    /// The labels that events were judged by.
    pub names: KeptNames,
    /// The limits in force, including the repo's own.
    pub limits: Limits,
    /// The situation; none if what the pass saw had to be recorded first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub situation: Option<Situation>,
    /// The plan for the situation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// A stored [`Names`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptNames {
    /// The ready label.
    pub ready: String,
    /// The in-progress label.
    pub in_progress: String,
}

impl KeptNames {
    fn names(&self) -> Names<'_> {
        let Self { ready, in_progress } = self;
        Names { ready, in_progress }
    }
}

impl Context {
    /// The context of a pass that saw `seen`, before it has planned.
    pub fn new(
        run: &Run,
        version: u64,
        seen: &Observation,
        names: Names<'_>,
        limits: Limits,
        now: At,
    ) -> Self {
        let kept =
            KeptNames { ready: names.ready.to_owned(), in_progress: names.in_progress.to_owned() };
        let seen = seen.kept(run, names);
        let format = LOWERED_BUDGETS_STOP;
        Self { format, version, now, seen, names: kept, limits, situation: None, plan: None }
    }

    /// How and why the run with the record `run` ends according to this context; none if the plan
    /// does not end it.
    pub fn ending(&self, run: &Run) -> Option<(End, String)> {
        let situation = self.situation.as_ref()?;
        match plan(situation) {
            Plan::Conclude { end } => {
                Some((end, run.ended_because(end, &self.seen, &self.limits, situation)))
            }
            Plan::Settle
            | Plan::Interrupt
            | Plan::Open
            | Plan::Reset
            | Plan::StartTurn
            | Plan::Turn { .. }
            | Plan::Answer
            | Plan::Integrate
            | Plan::Judge
            | Plan::Try
            | Plan::CheckCandidate
            | Plan::CheckBase
            | Plan::Land
            | Plan::Find
            | Plan::Confirm
            | Plan::OpenPullRequest
            | Plan::StepAside
            | Plan::TakeUp
            | Plan::Adopt
            | Plan::CheckStages
            | Plan::CheckDescendants
            | Plan::ProveLanded
            | Plan::Wait { .. } => None,
        }
    }
}

/// A row of a run's journal.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its number, from 1; also the version of the record after it.
    pub seq: u64,
    /// When it was written.
    pub at: At,
    /// Transition and context.
    pub body: serde_json::Value,
}

/// A parsed row.
#[derive(Deserialize)]
pub(crate) struct Body {
    pub(crate) transition: Transition,
    pub(crate) context: Option<Context>,
}

/// A decision or a row that differs from what was stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The row.
    pub seq: u64,
    /// What differs.
    pub what: Differs,
}

/// How the replay can differ from the journal.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "differs", rename_all = "snake_case")]
pub enum Differs {
    /// This binary cannot read the row.
    Unreadable {
        /// Why it cannot be read.
        why: String,
    },
    /// The row does not follow the record that its pass read.
    OutOfOrder {
        /// The version that its pass read.
        looked_at: u64,
        /// The version at that point.
        stood_at: u64,
    },
    /// Something else would be recorded from the same observations.
    Recorded {
        /// The kind of the stored transition; none if a plan was stored.
        stored: Option<String>,
        /// The kind, or the content, that would be recorded now.
        now: Option<String>,
    },
    /// The situation would differ.
    Situation {
        /// As stored.
        stored: Box<Situation>,
        /// As it would be.
        now: Box<Situation>,
    },
    /// The plan would differ.
    Plan {
        /// As stored.
        stored: Plan,
        /// As it would be.
        now: Plan,
    },
    /// The run would end differently, for another reason, or not at all.
    Ending {
        /// How it ended, and why.
        stored: (End, String),
        /// How it would end now; none if it would not.
        now: Option<(End, String)>,
    },
    /// A row is missing before it, or was added.
    Misplaced {
        /// The number of the row that it follows; 0 if it is the first.
        follows: u64,
    },
    /// The journal does not give the stored record.
    Record,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "row {}: ", self.seq)?;
        match &self.what {
            Differs::Unreadable { why } => write!(f, "cannot be read by this version: {why}"),
            Differs::OutOfOrder { looked_at, stood_at } => {
                write!(
                    f,
                    "its pass looked at version {looked_at}, and the record was at {stood_at}"
                )
            }
            Differs::Recorded { stored, now } => {
                write!(f, "recorded {}, would record {}", word(stored), word(now))
            }
            Differs::Situation { stored, now } => {
                write!(f, "the situation differs: {}", changed(stored, now))
            }
            Differs::Plan { stored, now } => write!(f, "planned {stored:?}, would plan {now:?}"),
            Differs::Ending { stored: (end, why), now: None } => {
                write!(f, "ended as {end:?} ({why}), would not end")
            }
            Differs::Ending { stored: (end, why), now: Some((other, because)) } => {
                write!(f, "ended as {end:?} ({why}), would end as {other:?} ({because})")
            }
            Differs::Misplaced { follows } => {
                write!(f, "follows row {follows}: a row before it is missing or was added")
            }
            Differs::Record => f.write_str("the journal does not give the stored record"),
        }
    }
}

/// The facts that differ between two situations.
fn changed(stored: &Situation, now: &Situation) -> String {
    let facts = |one: &Situation| match serde_json::to_value(one) {
        Ok(serde_json::Value::Object(facts)) => facts,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let (stored, now) = (facts(stored), facts(now));
    let differing = stored.iter().filter(|(key, value)| now.get(*key) != Some(value));
    let told = differing.map(|(key, value)| {
        format!("{key} was {value}, would be {}", now.get(key).unwrap_or_default())
    });
    told.collect::<Vec<_>>().join("; ")
}

/// The result of a replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// How many rows there are.
    pub rows: usize,
    /// How many decisions were made again.
    pub decisions: usize,
    /// The differences, in the order of the rows.
    pub differences: Vec<Difference>,
}

/// A pass that wrote rows: its context, what is recorded now from what it saw, and how many of its
/// rows were compared with that.
struct RecordedPass {
    context: Context,
    found: Vec<Transition>,
    written: usize,
}

/// Makes every decision of the journal again; `stored` is the stored record.
pub fn replay(rows: &[Row], stored: &Run) -> Replayed {
    let mut out = Replayed { rows: rows.len(), decisions: 0, differences: Vec::new() };
    // Any record will do before the first row, which brings its own.
    let mut run = stored.clone();
    let mut looked: Option<RecordedPass> = None;
    for (n, row) in rows.iter().enumerate() {
        let mut differ = |what| out.differences.push(Difference { seq: row.seq, what });
        let body = match Body::deserialize(&row.body) {
            Ok(body) => body,
            Err(error) => {
                differ(Differs::Unreadable { why: error.to_string() });
                continue;
            }
        };
        let admits = matches!(body.transition, Transition::Admitted { .. });
        if admits != (n == 0) {
            let why = "the first row, and no other, admits the run".to_owned();
            differ(Differs::Unreadable { why });
        }
        if let Some(context) = body.context {
            let same = looked.as_ref().is_some_and(|looked| looked.context == context);
            if !same {
                out.decisions += 1;
                looked = Some(decide(&run, context, row.seq, &mut differ));
            }
            if let Some(looked) = looked.as_mut().filter(|looked| looked.context.plan.is_none()) {
                let now = looked.found.get(looked.written);
                looked.written += 1;
                if now != Some(&body.transition) {
                    differ(recorded(Some(&body.transition), now));
                }
            }
            let context = looked.as_ref().map(|looked| &looked.context);
            if let (Some(context), Transition::Concluded { end, why, .. }) =
                (context, &body.transition)
                && context.format >= ENDS_ARE_PLANNED
            {
                let (stored, now) = ((*end, why.clone()), context.ending(&run));
                if now.as_ref() != Some(&stored) {
                    differ(Differs::Ending { stored, now });
                }
            }
        }
        let follows = n.checked_sub(1).and_then(|before| rows.get(before)).map_or(0, |row| row.seq);
        if row.seq != follows + 1 {
            differ(Differs::Misplaced { follows });
        }
        run.apply(row.at, body.transition);
    }
    if run != *stored {
        let seq = rows.last().map_or(0, |row| row.seq);
        out.differences.push(Difference { seq, what: Differs::Record });
    }
    out
}

/// The decision of one pass, made again on the record that it read.
fn decide(run: &Run, context: Context, seq: u64, differ: &mut impl FnMut(Differs)) -> RecordedPass {
    let stood_at = seq.saturating_sub(1);
    if context.version != stood_at {
        differ(Differs::OutOfOrder { looked_at: context.version, stood_at });
    }
    let found = record(run, &context.seen, context.names.names(), &context.limits, context.now);
    if let (Some(stored), Some(planned)) = (context.situation, context.plan) {
        if let Some(first) = found.first() {
            differ(recorded(None, Some(first)));
        }
        let mut now = run.situation(&context.seen, &context.limits, context.now);
        if context.format < LOWERED_BUDGETS_STOP {
            now.lowered = stored.lowered;
        }
        if now != stored {
            differ(Differs::Situation { stored: Box::new(stored), now: Box::new(now) });
        }
        // Planned from the stored situation, so that a situation that differs is not reported
        // twice.
        let again = plan(&stored);
        if again != planned {
            differ(Differs::Plan { stored: planned, now: again });
        }
    }
    RecordedPass { context, found, written: 0 }
}

/// Two transitions that differ: their kinds, or that their content differs.
fn recorded(stored: Option<&Transition>, now: Option<&Transition>) -> Differs {
    let kind = |one: Option<&Transition>| one.map(|one| one.kind().to_owned());
    let (stored, mut now) = (kind(stored), kind(now));
    if stored == now {
        now = now.map(|kind| format!("{kind} with another content"));
    }
    Differs::Recorded { stored, now }
}
