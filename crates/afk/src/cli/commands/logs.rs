//! `logs`: a run's transcript, turn by turn, optionally followed until the run is settled.
//!
//! Level-triggered: each look reads the run's record first and the transcripts after it, so a turn
//! that has ended according to the record is shown to its end.

use std::time::Duration;

use afk_agent::agents::{AgentKind, TurnReader};
use afk_app::App;
use afk_app::Error;
use afk_app::operator::Operator;
use afk_core::ids::RunId;
use afk_core::run::{Run, Turn};
use afk_engine::ports::{Executor, Store as _};

use super::Context;
use crate::cli::args::LogsArgs;
use crate::cli::exit::{Answer, Exit};
use crate::cli::out::Out;
use crate::cli::render::{OpenTools, turn_begun, turn_over};
use crate::cli::sources::sources;

/// Pause between two looks at a followed run.
const BEAT: Duration = Duration::from_millis(250);

pub(super) async fn run(context: &Context<'_>, args: &LogsArgs) -> Answer {
    let operator = context.operator_to_look().await?;
    let run = operator.run(&args.run).await?.run;
    let app = App::open_to_look(sources(context.config())).await?;
    let executor = &*app.engine.ports().executor;
    let mut view = View::new(context.out, executor, args.turn);
    let shown = tokio::select! {
        shown = view.show(&operator, run.id, args.follow) => shown?,
        // Ctrl-C ends following at once: this command has nothing to clean up.
        Ok(()) = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
    };
    view.finish(&shown)?;
    operator.store.close().await;
    Ok(Exit::Done)
}

/// How far a run has been shown.
struct View<'a> {
    out: &'a Out,
    executor: &'a dyn Executor,
    /// The only turn to show; none shows all.
    only: Option<u32>,
    /// The first turn that has not been shown to its end.
    next: u32,
    cursor: Cursor,
    /// How many turns had a transcript, and how many had none.
    found: u32,
    gone: u32,
}

/// How far one turn has been shown.
#[derive(Default)]
struct Cursor {
    begun: bool,
    there: bool,
    offset: u64,
    /// Whether the last byte ended a line.
    whole: bool,
    /// Number of the transcript's bytes that were not kept.
    cut: u64,
    reader: Option<TurnReader>,
    told: OpenTools,
}

impl<'a> View<'a> {
    fn new(out: &'a Out, executor: &'a dyn Executor, only: Option<u32>) -> Self {
        let cursor = Cursor::default();
        Self { out, executor, only, next: 1, cursor, found: 0, gone: 0 }
    }

    /// Shows what there is, and with `follow` what is added later; returns the run as last seen.
    async fn show(&mut self, operator: &Operator, id: RunId, follow: bool) -> Answer<Run> {
        loop {
            let stored = operator.store.load(id).await?;
            let run = stored
                .ok_or_else(|| Error::invalid(format!("there is no run {id} in this store")))?;
            let run = run.run;
            self.look(&run).await?;
            let whole = self.only.is_some_and(|only| self.next > only);
            if !follow || whole || run.settled_at.is_some() || self.out.is_gone() {
                return Ok(run);
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    async fn look(&mut self, run: &Run) -> Answer<()> {
        let turns = run.attempts.iter().flat_map(|attempt| &attempt.turns);
        let from = self.next;
        let wanted = |turn: &&Turn| turn.n >= from && self.only.is_none_or(|only| only == turn.n);
        let turns: Vec<&Turn> = turns.filter(wanted).collect();
        for turn in turns {
            self.read(run, turn).await?;
            if turn.ended.is_none() {
                return Ok(());
            }
            self.end(run, turn);
        }
        Ok(())
    }

    /// Shows what `turn` has written since the last look.
    async fn read(&mut self, run: &Run, turn: &Turn) -> Answer<()> {
        if !std::mem::replace(&mut self.cursor.begun, true) && !self.out.json {
            self.out.say(turn_begun(turn, self.out.paint));
        }
        let key = run.turn_key(turn.n);
        loop {
            let at = self.cursor.offset;
            let part = self.executor.transcript(&run.issue.repo, &key, at).await?;
            let Some(part) = part else { return Ok(()) };
            self.cursor.there = true;
            self.cursor.cut = part.cut;
            let Some(last) = part.bytes.last() else { return Ok(()) };
            self.cursor.whole = *last == b'\n';
            self.cursor.offset += part.bytes.len() as u64;
            if self.out.json {
                self.out.raw(&part.bytes);
                continue;
            }
            let Some(kind) = AgentKind::named(&part.agent) else {
                let agent = part.agent;
                return Err(Error::failed(format!(
                    "the output of {agent} cannot be formatted: use --json"
                )));
            };
            let reader = self.cursor.reader.get_or_insert_with(|| TurnReader::new(kind));
            let events = reader.feed(&part.bytes);
            let (told, paint) = (&mut self.cursor.told, self.out.paint);
            events.iter().filter_map(|event| told.line(event, paint)).for_each(|l| self.out.say(l));
        }
    }

    /// Shows how `turn` ended, after everything it wrote.
    fn end(&mut self, run: &Run, turn: &Turn) {
        let mut cursor = std::mem::take(&mut self.cursor);
        self.next = turn.n + 1;
        if cursor.there {
            self.found += 1;
        } else {
            self.gone += 1;
        }
        if self.out.json {
            // The next turn must start on a new line.
            if cursor.offset > 0 && !cursor.whole {
                self.out.raw(b"\n");
            }
            let refused = turn.ended.iter().flat_map(|end| &end.facts.refused);
            for what in refused {
                let note = serde_json::json!({ "type": "network_refused", "what": what });
                self.out.raw(format!("{note}\n").as_bytes());
            }
            return;
        }
        let events = cursor.reader.as_mut().map(TurnReader::finish).unwrap_or_default();
        let (told, paint) = (&mut cursor.told, self.out.paint);
        events.iter().filter_map(|event| told.line(event, paint)).for_each(|l| self.out.say(l));
        self.out.say(turn_over(run, turn, cursor.there.then_some(cursor.cut), paint));
    }

    /// The closing remark, once there is nothing more to show.
    fn finish(&self, run: &Run) -> Answer<()> {
        let (id, issue) = (run.id, &run.issue);
        let turns = run.turn().map_or(0, |turn| turn.n);
        if let Some(only) = self.only.filter(|only| *only > turns) {
            return Err(Error::invalid(format!("run {id} on {issue} has no turn {only} yet")));
        }
        if self.gone > 0 && self.found == 0 && !self.cursor.there {
            return Err(Error::failed(format!(
                "the transcript of run {id} on {issue} is no longer kept: `afk evidence {id}` \
                     shows what it came to, `afk show {id}` its turns"
            )));
        }
        match (&run.conclusion, self.cursor.begun) {
            _ if turns == 0 => self.out.note(format!("run {id} on {issue} has no turn yet")),
            (None, true) => self.out.note("the turn is in progress: use -f to follow it"),
            (Some(_), true) | (_, false) => {}
        }
        Ok(())
    }
}
