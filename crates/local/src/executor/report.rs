//! Reads an agent's output, and reports its turns.
//!
//! Each turn has one [`Reading`], which begins where the turn's output begins and reads each byte
//! once. If a process serves several turns, a turn ends with the first result that is its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use afk_agent::agents::{
    AgentEvent, AgentKind, Exit, FailReason, Recovery, TokenUsage, TurnOutcome, TurnReader,
    UnmetNeed,
};
use afk_agent::host::EndHow;
use afk_agent::sandbox::Strength;
use afk_core::ask::PendingQuestion;
use afk_core::digest::Digest;
use afk_core::evidence::SandboxStrength;
use afk_core::ids::{At, RepoName, RunId};
use afk_core::run::{AgentNeed, TurnCost, TurnEnd, TurnFacts, TurnSeen};
use afk_core::spend::{Cost, Entry, PriceTable, TurnKey, Usage};
use afk_core::text::{Keep, bounded};
use afk_core::usd::Usd;
use afk_engine::ports::{PortResult, TurnReport};
use serde::{Deserialize, Serialize};

use super::super::output::Output;

/// How much of the end of the agent's last message is kept, in bytes.
const WORDS: usize = 8 << 10;
/// What is left of a budget that a turn of unknown cost has used up. It pays for nothing, but a run
/// whose whole budget is spent ends before anything else is done with its turn.
const CENT: Usd = Usd::micros(10_000);

/// How far a turn's output was read, and what was found in it.
pub(super) struct Reading {
    kind: AgentKind,
    pub(super) reader: TurnReader,
    /// Where the turn's output begins, and how far it was read.
    from: u64,
    pub(super) offset: u64,
    /// The digest of the whole output, once the turn is over and sealed.
    sealed: Option<Digest>,
    version: String,
    model: String,
    last: Option<String>,
    /// How often the agent has said or done something.
    acts: u32,
    finished: bool,
    /// The id of this turn's line, in a process that serves several turns.
    message: Option<String>,
    /// Whether this turn's own result was read; nothing is read after it.
    pub(super) over: bool,
    /// Whether the process has ended and all its output was read.
    pub(super) ended: bool,
    /// The ids of the questions for which a waiting pass was woken already.
    pub(super) woken: BTreeSet<String>,
}

/// What a turn's cost is booked on.
pub(super) struct Account<'a> {
    pub(super) run: RunId,
    pub(super) repo: &'a RepoName,
    /// The key of the turn's entry in the ledger.
    pub(super) key: TurnKey,
    /// When the turn began.
    pub(super) at: At,
    /// What it is charged if its agent does not report what it used; none for an agent that reports
    /// every request, and if a version began it that did not note this.
    pub(super) assumed: Option<Assumed>,
}

/// What a turn is assumed to have cost if its agent does not report what it used. Without it, no
/// budget and no cap would ever stop such an agent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Assumed {
    /// What the agent's table says that a turn costs.
    pub(super) turn_usd: Option<Usd>,
    /// What was reserved for the turn: all that was left of its run's budget.
    pub(super) reserved: Usd,
}

/// How a turn ended, apart from its output.
pub(super) struct TurnEnding<'a> {
    pub(super) account: Account<'a>,
    pub(super) sandbox: Option<Strength>,
    /// What the box was refused on the network, a line each.
    pub(super) refused: Vec<String>,
    pub(super) exit: Exit,
    /// Why the host ended the process, in words, if neither its output nor its exit tells.
    pub(super) cause: Option<String>,
    pub(super) stderr: &'a str,
    /// Whether the control plane stopped the turn.
    pub(super) ours: bool,
}

impl Reading {
    /// Returns a new reading of the output of a process that serves one turn.
    pub(super) fn new(kind: AgentKind) -> Self {
        Self {
            kind,
            reader: TurnReader::new(kind),
            from: 0,
            offset: 0,
            sealed: None,
            version: String::new(),
            model: String::new(),
            last: None,
            acts: 0,
            finished: false,
            message: None,
            over: false,
            ended: false,
            woken: BTreeSet::new(),
        }
    }

    /// Returns a new reading of the part of a thread's output that begins at `offset` and belongs
    /// to the turn whose line has the id `message`.
    pub(super) fn of_turn(kind: AgentKind, offset: u64, message: String) -> Self {
        Self { from: offset, offset, message: Some(message), ..Self::new(kind) }
    }

    /// Seals the output of a turn that is over, if that was not done before.
    pub(super) async fn seal(&mut self, output: &Output<'_>) -> PortResult<()> {
        if self.sealed.is_none() {
            self.sealed = Some(output.seal(self.from..self.offset).await?);
        }
        Ok(())
    }

    /// Takes a last line without a newline, if that was not done before.
    fn finish(&mut self) {
        if !self.finished && !self.over {
            self.finished = true;
            let events = self.reader.finish();
            self.note(&events);
        }
    }

    /// Takes the next bytes, up to the turn's end.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.over {
                return;
            }
            self.offset += line.len() as u64;
            let events = self.reader.feed(line);
            self.note(&events);
            let (Some(message), Some(end)) = (&self.message, self.reader.end()) else { continue };
            // An error is this turn's own: a turn over its budget ends before its line is echoed.
            if end.is_error || self.reader.echoed() == Some(message) {
                self.over = true;
            } else {
                // The result is of a turn that the agent started by itself.
                self.reader = TurnReader::new(self.kind);
            }
        }
    }

    /// Remembers what live views show: model, version, and the last thing that the agent did.
    fn note(&mut self, events: &[AgentEvent]) {
        for event in events {
            match event {
                AgentEvent::Started { model, version, .. } => {
                    self.model.clone_from(model);
                    self.version.clone_from(version);
                }
                AgentEvent::Text { text } => {
                    self.acts = self.acts.saturating_add(1);
                    self.last = Some(afk_core::text::line(text, 120));
                }
                AgentEvent::ToolStarted { name, summary, .. } => {
                    self.acts = self.acts.saturating_add(1);
                    self.last = Some(afk_core::text::line(&format!("{name}: {summary}"), 120));
                }
                AgentEvent::Retrying { attempt, max, .. } => {
                    self.last = Some(format!(
                        "the request to the model's API is retried ({attempt}/{max})"
                    ));
                }
                AgentEvent::ToolEnded { .. }
                | AgentEvent::PermissionDenied { .. }
                | AgentEvent::UsageLimit { .. }
                | AgentEvent::Usage(_)
                | AgentEvent::Ended(_) => {}
            }
        }
    }

    /// Returns the report of a turn that is not over.
    pub(super) fn running(
        &self,
        prices: &PriceTable,
        account: Account<'_>,
        seen: TurnSeen,
    ) -> TurnReport {
        let told = self.reader.spent().is_some_and(|usage| usage.cost_usd_cumulative > 0.0);
        let assumed = account.assumed.is_some() && self.is_unreported(None);
        let known = told || assumed || !self.reader.tokens().is_zero();
        let streamed = known.then(|| self.cost(prices, account, None));
        TurnReport { streamed: streamed.flatten(), ..self.report(seen, None) }
    }

    fn report(&self, seen: TurnSeen, transcript: Option<String>) -> TurnReport {
        let tokens = self.reader.tokens();
        let told = self.reader.spent().and_then(|usage| {
            Usd::from_f64(usage.turn_cost_usd().unwrap_or(usage.cost_usd_cumulative))
        });
        // A cost of zero counts only for agents that report their cost.
        let tells = matches!(self.kind, AgentKind::Claude | AgentKind::Scripted);
        let told = told.filter(|told| tells || *told > Usd::ZERO);
        TurnReport {
            seen,
            tokens: (tokens.input + tokens.cache_read + tokens.cache_write, tokens.output),
            cost: told,
            streamed: None,
            last: self.last.clone(),
            link: None,
            transcript,
        }
    }

    /// Returns the outcome of a turn whose process ended like this.
    pub(super) fn outcome(&mut self, exit: &Exit, stderr: &str, ours: bool) -> TurnOutcome {
        self.finish();
        self.reader.outcome(exit, stderr, ours)
    }

    /// Returns the report of a turn that is over and sealed.
    pub(super) fn over(&mut self, prices: &PriceTable, mut over: TurnEnding<'_>) -> TurnReport {
        let outcome = self.outcome(&over.exit, over.stderr, over.ours);
        let how = turn_end(outcome, over.cause.as_deref());
        let transcript = self.sealed.clone();
        let cost = self.cost(prices, over.account, Some(&how));
        let facts = TurnFacts {
            usage: usage(self.reader.tokens()),
            transcript: transcript.clone(),
            sandbox: over.sandbox.map(strength),
            refused: std::mem::take(&mut over.refused),
            cost,
        };
        let seen = TurnSeen::Ended { how, facts: Box::new(facts) };
        self.report(seen, transcript.map(|digest| digest.to_string()))
    }

    /// Whether the turn used a model, as far as anybody can tell, although its agent has not
    /// reported anything that it used.
    fn is_unreported(&self, end: Option<&TurnEnd>) -> bool {
        let unanswered = match end {
            // All that it said may be the error itself.
            Some(TurnEnd::Unavailable { .. } | TurnEnd::Limited { .. }) => self.acts <= 1,
            // An agent that speaks a protocol shows what its model answers. What any other program
            // was doing is not known.
            Some(TurnEnd::Interrupted | TurnEnd::Lost) => {
                self.acts == 0 && self.kind != AgentKind::Command
            }
            Some(
                TurnEnd::Finished { .. }
                | TurnEnd::Failed { .. }
                | TurnEnd::Hopeless { .. }
                | TurnEnd::Stalled,
            )
            | None => false,
        };
        self.reader.prompted() && self.reader.tokens().is_zero() && !unanswered
    }

    /// The cost of the turn with this `end`, or so far while it goes on.
    fn cost(
        &self,
        prices: &PriceTable,
        account: Account<'_>,
        end: Option<&TurnEnd>,
    ) -> Option<TurnCost> {
        let told = self.reader.spent();
        let tokens = self.reader.tokens();
        let estimate = |tokens| prices.estimate(&self.model, &usage(tokens));
        // A reported cost of zero is believed of the scripted agent, which costs what its script
        // says, and of Claude if it made no request, because it reports every one. Others may have
        // used something that they do not report.
        let free = match self.kind {
            AgentKind::Scripted => true,
            AgentKind::Claude => tokens.is_zero(),
            AgentKind::Acp | AgentKind::Codex | AgentKind::Command | AgentKind::T3 => false,
        };
        let cut = self.reader.cut_off();
        let cost = match told {
            Some(usage) if usage.cost_usd_cumulative > 0.0 || free => Cost::Reported {
                total: Usd::from_f64(usage.cost_usd_cumulative)?,
                delta: usage.turn_cost_usd().and_then(Usd::from_f64),
                cut: (!cut.is_zero()).then(|| estimate(cut)),
            },
            Some(_) | None => Cost::Estimated {
                amount: match account.assumed {
                    Some(assumed) if self.is_unreported(end) => assumed.charge(end),
                    Some(_) | None => estimate(tokens),
                },
            },
        };
        let (run, repo, at) = (account.run, account.repo.clone(), account.at);
        let entry = Entry { run, repo, at, cli_version: self.version.clone(), cost };
        Some(TurnCost { key: account.key, entry })
    }
}

impl Assumed {
    /// The charge for a turn with this `end`, or for one that goes on.
    fn charge(self, end: Option<&TurnEnd>) -> Usd {
        match (self.turn_usd, end) {
            (Some(each), _) => each,
            // What it did is still to be judged, and to land; or people are told why it failed.
            (None, Some(TurnEnd::Finished { .. } | TurnEnd::Hopeless { .. }))
                if self.reserved > CENT =>
            {
                self.reserved.saturating_sub(CENT)
            }
            // The run is to wait and to go on, which it could not without a budget.
            (None, Some(TurnEnd::Unavailable { .. } | TurnEnd::Limited { .. })) => Usd::ZERO,
            (
                None,
                Some(
                    TurnEnd::Finished { .. }
                    | TurnEnd::Hopeless { .. }
                    | TurnEnd::Failed { .. }
                    | TurnEnd::Stalled
                    | TurnEnd::Lost
                    | TurnEnd::Interrupted,
                )
                | None,
            ) => self.reserved,
        }
    }
}

/// Returns the report of a turn that does not exist.
pub(super) fn absent() -> TurnReport {
    TurnReport {
        seen: TurnSeen::Absent,
        tokens: (0, 0),
        cost: None,
        streamed: None,
        last: None,
        link: None,
        transcript: None,
    }
}

/// Returns the state of a turn at work, which last wrote something at `last`, with its open
/// questions.
pub(super) fn at_work(last: SystemTime, tool_open: bool, asks: Vec<PendingQuestion>) -> TurnSeen {
    let last_event_at = At::try_from(last).unwrap_or(At::UNIX_EPOCH);
    TurnSeen::Running { last_event_at, tool_open, asks }
}

/// Returns when the job in `dir` last wrote to its standard output.
pub(super) fn written(dir: &Path) -> Option<SystemTime> {
    dir.join("stdout").metadata().ok()?.modified().ok()
}

fn usage(tokens: TokenUsage) -> Usage {
    Usage {
        input: tokens.input,
        output: tokens.output,
        cache_read: tokens.cache_read,
        cache_write: tokens.cache_write,
    }
}

/// Whether the process was killed on purpose: for a person, for a halt, or by its host because no
/// control plane was there.
pub(super) const fn is_ours(how: &EndHow) -> bool {
    matches!(how, EndHow::Killed(_))
}

/// Says which limit ended the process, if its host ended it for one, and what to do about it.
pub(super) fn cause(how: &EndHow) -> Option<String> {
    let remedy = match how {
        EndHow::TimedOut => "see what took so long, or split the issue",
        EndHow::OutOfMemory => "let it run less at a time",
        EndHow::TooManyProcesses => "see what it starts, and does not end",
        EndHow::TooMuchOutput => "see what it prints",
        EndHow::OutputLost(_) => "see the disk under data_dir",
        EndHow::Exited(_)
        | EndHow::Signalled(_)
        | EndHow::Killed(_)
        | EndHow::Unbegun(_)
        | EndHow::WorkspaceBusy
        | EndHow::CouldNotStart(_) => return None,
    };
    Some(format!("the agent {how}: {remedy}"))
}

pub(super) fn exit(how: &EndHow) -> Exit {
    match how {
        EndHow::Exited(code) => Exit::Exited { code: *code },
        EndHow::Signalled(signal) => Exit::Signalled { signal: *signal },
        EndHow::Killed(_) => Exit::Signalled { signal: 15 },
        EndHow::TimedOut | EndHow::OutOfMemory | EndHow::TooManyProcesses => {
            Exit::Signalled { signal: 9 }
        }
        EndHow::TooMuchOutput | EndHow::OutputLost(_) => Exit::Signalled { signal: 9 },
        EndHow::Unbegun(_) => Exit::Lost,
        EndHow::WorkspaceBusy | EndHow::CouldNotStart(_) => {
            Exit::NotStarted { message: format!("the agent {how}") }
        }
    }
}

fn turn_end(outcome: TurnOutcome, cause: Option<&str>) -> TurnEnd {
    let said = match (&outcome, cause) {
        (TurnOutcome::Failed { reason: FailReason::Killed { .. }, .. }, Some(cause)) => {
            cause.to_owned()
        }
        (outcome, _) => outcome.to_string(),
    };
    match outcome {
        TurnOutcome::Finished { text } => {
            TurnEnd::Finished { message: bounded(&text, WORDS, Keep::Tail).into_owned() }
        }
        TurnOutcome::Interrupted => TurnEnd::Interrupted,
        TurnOutcome::Lost => TurnEnd::Lost,
        TurnOutcome::Failed { reason, message: _ } => match reason.recovery() {
            Recovery::WaitUntil(resets_at) => TurnEnd::Limited { resets_at },
            Recovery::Later(lack) => TurnEnd::Unavailable { what: need(lack), message: said },
            Recovery::Person => TurnEnd::Hopeless { message: said },
            // The next turn enters the conversation the other way, or begins another.
            Recovery::Retry | Recovery::Resume | Recovery::Open | Recovery::NewConversation => {
                TurnEnd::Failed { message: said }
            }
        },
    }
}

fn need(lack: UnmetNeed) -> AgentNeed {
    match lack {
        UnmetNeed::SignIn => AgentNeed::SignIn,
        UnmetNeed::Model => AgentNeed::Model,
        UnmetNeed::Program => AgentNeed::Program,
    }
}

fn strength(strength: Strength) -> SandboxStrength {
    match strength {
        Strength::None => SandboxStrength::None,
        Strength::Partial => SandboxStrength::Partial,
        Strength::Full => SandboxStrength::Full,
    }
}

#[cfg(test)]
mod tests {
    use afk_agent::agents::ask::Access;
    use afk_agent::agents::relay::wire::{Protocol, RelayEntry, RelayRequest};
    use afk_agent::host::KilledBy;
    use serde_json::json;

    use super::*;

    /// The charge for a turn that had 5 dollars reserved, whose agent said `log` and ended with
    /// `exit`, perhaps because we stopped it.
    fn charged(
        (kind, protocol): (AgentKind, Protocol),
        log: &[RelayEntry],
        (exit, ours): (Exit, bool),
        turn_usd: Option<Usd>,
    ) -> Usd {
        let request = RelayRequest {
            protocol,
            argv: vec!["agent".to_owned()],
            cwd: "/clone".to_owned(),
            earlier: None,
            prompt: String::new(),
            opening_prompt: String::new(),
            access: Access::Full,
            model: None,
            mode: None,
            auth_method: None,
            start_ms: 1,
            grace_ms: 1,
        };
        let mut reading = Reading::new(kind);
        reading.take(&RelayEntry::Begun(Box::new(request)).line());
        for entry in log {
            reading.take(&entry.line());
        }
        let repo = "o/r".parse().unwrap();
        let account = Account {
            run: "00000001-0000-0000-0000-000000000007".parse().unwrap(),
            repo: &repo,
            key: TurnKey { session: "s".to_owned(), process: 1, turn: 1 },
            at: At::UNIX_EPOCH,
            assumed: Some(Assumed { turn_usd, reserved: Usd::dollars(5) }),
        };
        let (sandbox, refused, cause) = (None, Vec::new(), None);
        let over = TurnEnding { account, sandbox, refused, exit, cause, stderr: "", ours };
        let report = reading.over(&PriceTable::default(), over);
        let facts = match report.seen {
            TurnSeen::Ended { facts, .. } => facts,
            other => panic!("{other:?}"),
        };
        match facts.cost.unwrap().entry.cost {
            Cost::Estimated { amount } => amount,
            other @ Cost::Reported { .. } => panic!("{other:?}"),
        }
    }

    /// What a relayed agent ends with.
    fn exited(code: i32) -> RelayEntry {
        RelayEntry::Exited { code: Some(code), signal: None, ours: false }
    }

    /// The log of an agent of the protocol up to its prompt.
    fn prompted(rest: &[RelayEntry]) -> Vec<RelayEntry> {
        let result = |id: u32, result| {
            RelayEntry::Agent(json!({"jsonrpc": "2.0", "id": id, "result": result}))
        };
        let mut log =
            vec![result(1, json!({"protocolVersion": 1})), result(4, json!({"sessionId": "s"}))];
        log.extend_from_slice(rest);
        log
    }

    const DONE: (Exit, bool) = (Exit::Exited { code: 0 }, false);
    const STOPPED: (Exit, bool) = (Exit::Signalled { signal: 15 }, true);

    #[test]
    fn a_command_is_charged_although_it_never_says_what_it_used() {
        let command = (AgentKind::Command, Protocol::Command);
        let said = |code| [RelayEntry::Text("Done.".to_owned()), exited(code)];
        let check = |log: &[RelayEntry], end: (Exit, bool), expected: Usd| {
            assert_eq!(charged(command, log, end.clone(), None), expected, "{log:?}");
            let each = Some(Usd::dollars(1));
            let with = if expected == Usd::ZERO { Usd::ZERO } else { Usd::dollars(1) };
            assert_eq!(charged(command, log, end.clone(), each), with, "{log:?}");
            assert_eq!(charged(command, log, end, Some(Usd::ZERO)), Usd::ZERO, "{log:?}");
        };
        // A cent is left, or the run would end before its work is judged.
        let all_but_a_cent = Usd::dollars(5).saturating_sub(CENT);
        check(&said(0), DONE, all_but_a_cent);
        check(&said(3), (Exit::Exited { code: 1 }, false), all_but_a_cent);
        check(&[exited(0)], (Exit::Exited { code: 1 }, false), Usd::dollars(5));
        check(&[RelayEntry::Cancel {}], STOPPED, Usd::dollars(5));
        check(&[], (Exit::Lost, false), Usd::dollars(5));
        let missing = RelayEntry::NotStarted { message: "no such file".to_owned() };
        check(&[missing], (Exit::Exited { code: 1 }, false), Usd::ZERO);
    }

    #[test]
    fn an_agent_of_the_protocol_is_charged_for_what_it_did_and_did_not_report() {
        let acp = (AgentKind::Acp, Protocol::Acp);
        let check = |log: &[RelayEntry], end: (Exit, bool), (alone, with): (u64, u64)| {
            let charged = |turn_usd| charged(acp, log, end.clone(), turn_usd);
            assert_eq!(charged(None), Usd::dollars(alone), "{log:?}");
            assert_eq!(charged(Some(Usd::dollars(1))), Usd::dollars(with), "{log:?}");
        };
        let failed = |code: i32, kind: &str| {
            let error = json!({"code": code, "message": "no", "data": {"errorKind": kind}});
            RelayEntry::Agent(json!({"jsonrpc": "2.0", "id": 6, "error": error}))
        };
        let called = |id: &str| {
            let update = json!({"sessionUpdate": "tool_call", "toolCallId": id, "title": "Run",
                "kind": "execute", "rawInput": {"command": "true"}});
            RelayEntry::Agent(json!({"jsonrpc": "2.0", "method": "session/update",
                "params": {"sessionId": "s", "update": update}}))
        };
        let end = (Exit::Exited { code: 1 }, false);
        check(&prompted(&[exited(0)]), end.clone(), (5, 1));
        // The model refused to answer, at once or after it had worked: then the run waits.
        check(&prompted(&[failed(-32603, "overloaded")]), end.clone(), (0, 0));
        let worked = [called("a"), called("b"), failed(-32603, "overloaded")];
        check(&prompted(&worked), end.clone(), (0, 1));
        // Stopped before it did anything, and after that.
        check(&prompted(&[RelayEntry::Cancel {}]), STOPPED, (0, 0));
        check(&prompted(&[called("a"), RelayEntry::Cancel {}]), STOPPED, (5, 1));
        // It never got its prompt.
        check(&[exited(1)], end.clone(), (0, 0));
        // An error that only a person can fix is what people are told.
        let error = prompted(&[failed(-32603, "")]);
        assert_eq!(charged(acp, &error, end, None), Usd::dollars(5).saturating_sub(CENT));
    }

    #[test]
    fn codex_is_charged_for_a_turn_that_it_never_finished() {
        let codex = (AgentKind::Codex, Protocol::CodexExec);
        let begun = RelayEntry::Agent(json!({"type": "turn.started"}));
        let item = json!({"id": "i", "type": "command_execution", "command": "true"});
        let worked = RelayEntry::Agent(json!({"type": "item.started", "item": item}));
        let stopped = RelayEntry::Cancel {};
        let log = [begun.clone(), worked, stopped.clone()];
        assert_eq!(charged(codex, &log, STOPPED, None), Usd::dollars(5));
        assert_eq!(charged(codex, &[begun, stopped], STOPPED, None), Usd::ZERO);
        assert_eq!(charged(codex, &[exited(2)], DONE, None), Usd::ZERO);
    }

    #[test]
    fn what_a_turn_has_streamed_is_on_its_account_before_it_ends() {
        let (repo, prices) = ("o/r".parse().unwrap(), PriceTable::default());
        let mut reading = Reading::new(AgentKind::Claude);
        let key = TurnKey { session: "s".to_owned(), process: 1, turn: 2 };
        let streamed = |reading: &Reading| {
            let run = "00000001-0000-0000-0000-000000000007".parse().unwrap();
            let (at, assumed) = (At::UNIX_EPOCH, None);
            let account = Account { run, repo: &repo, key: key.clone(), at, assumed };
            let seen = at_work(SystemTime::UNIX_EPOCH, false, Vec::new());
            reading.running(&prices, account, seen).streamed
        };
        assert_eq!(streamed(&reading), None, "nothing is known of it yet");
        let line = r#"{"type":"assistant","message":{"id":"m","type":"message","role":"assistant","model":"claude-opus-5-5","content":[{"type":"text","text":"Hm."}],"usage":{"input_tokens":1000,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":5}}}"#;
        reading.take(format!("{line}\n").as_bytes());
        let cost = streamed(&reading).unwrap();
        let usage = Usage { input: 1000, output: 5, ..Usage::default() };
        let amount = prices.estimate("", &usage);
        assert!(amount > Usd::ZERO);
        assert_eq!((cost.key, cost.entry.cost), (key, Cost::Estimated { amount }));
    }

    #[test]
    fn what_ended_the_process_is_told_with_its_cure() {
        let check = |how: EndHow, says: &str| {
            let mut reading = Reading::new(AgentKind::Claude);
            let outcome = reading.outcome(&exit(&how), "", is_ours(&how));
            let told = match turn_end(outcome, cause(&how).as_deref()) {
                TurnEnd::Failed { message } => message,
                other => format!("{other:?}"),
            };
            assert!(told.starts_with(says), "{how:?}: {told}");
        };
        check(EndHow::OutOfMemory, "the agent used more memory than it may: ");
        check(EndHow::TooManyProcesses, "the agent ran more processes than it may: ");
        check(EndHow::TooMuchOutput, "the agent wrote more output than it may: ");
        check(EndHow::TimedOut, "the agent ran out of time: ");
        let lost = EndHow::OutputLost("no space left".to_owned());
        check(lost, "the agent ended because its output cannot be stored: no space left: ");
        check(EndHow::Signalled(9), "signal 9 ended the agent, and we did not send it");
        // No control plane was there to renew the job, which is no failure of the agent.
        for by in [KilledBy::Expired, KilledBy::Halt, KilledBy::Interrupt] {
            check(EndHow::Killed(by), "Interrupted");
        }
        check(EndHow::Unbegun(9), "Lost");
    }

    #[test]
    fn a_failure_is_told_with_its_cure() {
        let check = |reason: FailReason, says: &str| {
            let message = "its last words".to_owned();
            let how = turn_end(TurnOutcome::Failed { reason, message }, None);
            let (TurnEnd::Failed { message }
            | TurnEnd::Hopeless { message }
            | TurnEnd::Unavailable { message, .. }) = how
            else {
                panic!("{how:?}")
            };
            assert!(message.contains(says) && message.contains("its last words"), "{message}");
        };
        let tools = vec!["Bash".to_owned()];
        check(FailReason::PermissionDenied { tools }, "was refused Bash: allow it");
        check(FailReason::NoResult, "retry it");
        check(FailReason::ApiError { status: Some(404) }, "check the model's name");
        check(FailReason::NoCredit, "no credit left");
    }
}
