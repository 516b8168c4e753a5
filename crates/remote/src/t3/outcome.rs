//! What a turn's view means to the loop.
//!
//! "Completed" is not success: where the model's API fails, these servers call the turn completed
//! and show the error as the agent's words. So where nothing else tells, the words are read, but
//! only for texts that the Claude CLI itself writes in place of an answer.

use afk_core::ids::At;
use afk_core::run::{AgentNeed, TurnEnd};
use afk_core::text::{Keep, bounded};
use jiff::SignedDuration;

use super::view::{Ending, Liveness, View};

/// How long the agents of a server that was ended may go on working. Nothing tells when they stop,
/// so no turn of theirs is believed to be over before.
pub(super) const ORPHANS: SignedDuration = SignedDuration::from_mins(15);
/// How many bytes of what an agent said are kept.
const WORDS: usize = 4_000;
/// What the Claude CLI says when a conversation has become too long.
const TOO_LONG: &str = "Prompt is too long";
/// The longest text, in bytes, that is read as an error of the API.
const ERROR: usize = 2_000;
/// What the Claude CLI says when its credential is missing or refused.
const SIGNED_OUT: [&str; 5] = [
    "Invalid API key",
    "Please run /login",
    "Not logged in",
    "OAuth token has expired",
    "Failed to authenticate",
];
/// What it says after "API Error: ", without a status, when the API was not reached or too busy.
const UNREACHED: [&str; 9] = [
    "Repeated 529 Overloaded errors",
    "Server is temporarily limiting requests",
    "Server error",
    "Unable to connect to API",
    "Connection error",
    "Connection lost",
    "Connection to the API was lost",
    "The response stalled",
    "The response stopped arriving",
];

/// What a view means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// The turn is not there.
    Absent,
    /// The turn is under way, or will be.
    Running,
    /// The turn is over.
    Over(TurnEnd),
    /// Nobody knows whether the turn is over.
    Unknown,
}

/// What we know of a turn beside its view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct OurRecord {
    /// Whether we told it to stop.
    pub(super) interrupted: bool,
    /// When its server last did not answer while the turn was, or may have been, under way.
    pub(super) away: Option<At>,
}

/// Decides what `view` means at `now`.
pub(super) fn conclude(view: &View, record: OurRecord, now: At) -> Conclusion {
    let restarted = match view.liveness {
        Liveness::Ended(Ending::Restarted { at }) => Some(at),
        // A server that did not answer may have been ended, and not know it: an agent that did not
        // end by itself may still be at work.
        Liveness::Ended(Ending::Interrupted | Ending::Failed { .. }) => record.away,
        Liveness::Ended(Ending::Completed) => {
            // A dead turn is shown as completed, too, once somebody has answered its request.
            record.away.filter(|_| record.interrupted || view.said.is_none())
        }
        // When we told it to stop, it was at work or about to be.
        Liveness::NeverStarted { .. } => record.away.filter(|_| record.interrupted),
        Liveness::Absent | Liveness::Pending | Liveness::Busy { .. } | Liveness::Unknown => None,
    };
    if restarted.is_some_and(|at| now.duration_since(at) < ORPHANS) {
        return Conclusion::Unknown;
    }
    let ended = match &view.liveness {
        Liveness::Absent => return Conclusion::Absent,
        Liveness::Pending | Liveness::Busy { .. } => return Conclusion::Running,
        Liveness::Unknown => return Conclusion::Unknown,
        // Whatever the server says: only our own record tells that we stopped it.
        Liveness::Ended(_) | Liveness::NeverStarted { .. } if record.interrupted => {
            TurnEnd::Interrupted
        }
        Liveness::Ended(Ending::Completed) => completed(view.said.as_deref()),
        // A person in the cockpit or the server stopped it. That counts as a failure, so that the
        // turn is not repeated endlessly.
        Liveness::Ended(Ending::Interrupted) => {
            let message = "somebody interrupted it on the T3 server".to_owned();
            TurnEnd::Failed { message }
        }
        Liveness::Ended(Ending::Failed { why, status }) => failed(why, *status),
        Liveness::Ended(Ending::Restarted { .. }) => TurnEnd::Lost,
        Liveness::NeverStarted { why } => not_started(why),
    };
    Conclusion::Over(ended)
}

/// Whether the conversation may not be able to take another turn after one that ended like this.
pub(super) fn ends_conversation(view: &View) -> bool {
    // What the model's API has refused stays in the history, so it will be refused again.
    let is_refused = |said: &str| {
        [TOO_LONG, "API Error: 400", "API Error: 413"].iter().any(|words| said.starts_with(words))
    };
    match &view.liveness {
        Liveness::NeverStarted { .. } => true,
        Liveness::Ended(Ending::Completed) => view.said.as_deref().is_some_and(is_refused),
        Liveness::Ended(Ending::Failed { status: Some(400 | 413), .. }) => true,
        Liveness::Ended(Ending::Failed { why, .. }) if is_refused(why) => true,
        Liveness::Ended(Ending::Failed { why, .. }) => {
            let why = why.to_lowercase();
            why.contains("no conversation found") || why.contains("session not found")
        }
        Liveness::Absent
        | Liveness::Pending
        | Liveness::Busy { .. }
        | Liveness::Unknown
        | Liveness::Ended(Ending::Interrupted | Ending::Restarted { .. }) => false,
    }
}

fn completed(said: Option<&str>) -> TurnEnd {
    let Some(said) = said else {
        let message = "the turn ended without a word of the agent".to_owned();
        return TurnEnd::Failed { message };
    };
    api_error(said).unwrap_or_else(|| TurnEnd::Finished {
        message: bounded(said, WORDS, Keep::Tail).into_owned(),
    })
}

fn failed(why: &str, status: Option<u16>) -> TurnEnd {
    let message = bounded(why, WORDS, Keep::Head).into_owned();
    match (api_error(&message), status) {
        // Only the words tell a usage limit from other causes of its status.
        (Some(limited @ TurnEnd::Limited { .. }), _) => limited,
        (_, Some(status)) => of_status(status, &message),
        (Some(error), None) => error,
        (None, None) => no_program(&message).unwrap_or(TurnEnd::Failed { message }),
    }
}

fn not_started(why: &str) -> TurnEnd {
    match failed(why, None) {
        TurnEnd::Failed { message } => {
            TurnEnd::Failed { message: format!("the turn was never started: {message}") }
        }
        other => other,
    }
}

/// The end that a text of the Claude CLI in place of an answer means; none if it is no such text.
fn api_error(said: &str) -> Option<TurnEnd> {
    let said = said.trim();
    if said.len() > ERROR {
        return None;
    }
    let begins = |words: &[&str]| words.iter().any(|word| said.starts_with(word));
    if begins(&SIGNED_OUT) {
        return Some(of_status(401, said));
    }
    if let Some(rest) = said.strip_prefix("Claude AI usage limit reached") {
        let reset = rest.trim_start_matches('|').trim().parse().ok();
        return Some(TurnEnd::Limited { resets_at: reset.and_then(|at| At::from_second(at).ok()) });
    }
    if begins(&["You've hit your", "You have hit your"]) {
        return Some(TurnEnd::Limited { resets_at: None });
    }
    let model = [
        "Credit balance is too low",
        "There's an issue with the selected model",
        "Request timed out. ",
    ];
    if begins(&model) || said == "Request timed out" {
        return Some(unavailable(AgentNeed::Model, said));
    }
    if said.starts_with(TOO_LONG) {
        return Some(TurnEnd::Failed { message: said.to_owned() });
    }
    let error = said.strip_prefix("API Error")?.trim_start_matches([':', ' ']);
    Some(match status_in(error) {
        Some(status) => of_status(status, said),
        None if UNREACHED.iter().any(|words| error.starts_with(words)) => {
            unavailable(AgentNeed::Model, said)
        }
        None => TurnEnd::Failed { message: said.to_owned() },
    })
}

/// The HTTP status in `500 …` or `Request rejected (429) …`.
fn status_in(error: &str) -> Option<u16> {
    let error = error.strip_prefix("Request rejected (").unwrap_or(error);
    let digits = error.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|status| (100..600).contains(status))
}

/// The end that a status of the model's API means; the same as for an agent on this machine.
fn of_status(status: u16, said: &str) -> TurnEnd {
    match status {
        401 | 403 => unavailable(AgentNeed::SignIn, said),
        // A rate limit, a conflict or a timeout passes; a missing model can be provided.
        404 | 408 | 409 | 425 | 429 | 500.. => unavailable(AgentNeed::Model, said),
        _ => TurnEnd::Failed { message: said.to_owned() },
    }
}

fn unavailable(what: AgentNeed, said: &str) -> TurnEnd {
    TurnEnd::Unavailable { what, message: said.to_owned() }
}

/// The end of a turn for which the server does not find the agent's program; none for other
/// reasons.
fn no_program(why: &str) -> Option<TurnEnd> {
    let missing = ["native binary not found", "unknown provider instance", "ENOENT"];
    missing.iter().any(|words| why.contains(words)).then(|| TurnEnd::Unavailable {
        what: AgentNeed::Program,
        message: format!("{why}; set up that agent on the T3 server, or correct provider"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As recorded of CLI 2.1.329.
    const RATE_LIMITED: &str = "API Error: Request rejected (429) · mock limit";

    fn view(liveness: Liveness, said: Option<&str>) -> View {
        View { liveness, said: said.map(str::to_owned), ..View::absent() }
    }

    fn told_to_stop(away: Option<At>) -> OurRecord {
        OurRecord { interrupted: true, away }
    }

    fn at(second: i64) -> At {
        At::from_second(second).unwrap()
    }

    #[track_caller]
    fn check(said: &str, expected: &str) {
        let view = view(Liveness::Ended(Ending::Completed), Some(said));
        let told = match conclude(&view, OurRecord::default(), at(0)) {
            Conclusion::Over(TurnEnd::Finished { .. }) => "finished".to_owned(),
            Conclusion::Over(TurnEnd::Unavailable { what, .. }) => format!("lacks {what:?}"),
            Conclusion::Over(TurnEnd::Limited { resets_at }) => {
                format!("limited {:?}", resets_at.map(At::as_second))
            }
            Conclusion::Over(TurnEnd::Failed { .. }) => "failed".to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(told, expected, "{said}");
    }

    #[test]
    fn completed_is_read_by_its_words() {
        check("Done.", "finished");
        check("Invalid API key · Fix external API key", "lacks SignIn");
        check("API Error: 401 x", "lacks SignIn");
        check("API Error: 500 mock internal error. Try again.", "lacks Model");
        check("API Error: 529 overloaded", "lacks Model");
        check("API Error: 400 mock bad request", "failed");
        check("Prompt is too long", "failed");
        check(RATE_LIMITED, "lacks Model");
        check("API Error: Repeated 529 Overloaded errors. The API is at capacity", "lacks Model");
        check("API Error: Server is temporarily limiting requests (not your usage", "lacks Model");
        check("API Error: Unable to connect to API (ConnectionRefused)", "lacks Model");
        check("Request timed out", "lacks Model");
        check("Request timed out. If the API is slow to answer, set", "lacks Model");
        check("API Error: 403 x", "lacks SignIn");
        check("API Error: 404 model: x", "lacks Model");
        check("There's an issue with the selected model (x). It may not exist.", "lacks Model");
        check("API Error: Claude's response exceeded the 32000 output token maximum.", "failed");
        check("Claude AI usage limit reached|1800000000", "limited Some(1800000000)");
        check("You've hit your limit · resets 3am", "limited None");
        // An agent that talks about an error has not failed.
        check("Request timed out errors are retried now.", "finished");
        check("I fixed it: API Error: 500 is handled now.", "finished");
        check(&format!("API Error: 500{}", " and I explain it".repeat(200)), "finished");
        let silent = view(Liveness::Ended(Ending::Completed), None);
        assert!(matches!(
            conclude(&silent, OurRecord::default(), at(0)),
            Conclusion::Over(TurnEnd::Failed { .. })
        ));
    }

    #[test]
    fn a_failure_is_read_by_its_status_where_that_is_told() {
        let check = |why: &str, status, expected: &TurnEnd| {
            let view = view(Liveness::Ended(Ending::Failed { why: why.to_owned(), status }), None);
            let told = conclude(&view, OurRecord::default(), at(0));
            assert_eq!(told, Conclusion::Over(expected.clone()), "{why}");
        };
        let message = || "of another version".to_owned();
        let lacks = |what, message| TurnEnd::Unavailable { what, message };
        let (model, sign_in) = (AgentNeed::Model, AgentNeed::SignIn);
        check(RATE_LIMITED, Some(429), &lacks(model, RATE_LIMITED.to_owned()));
        check(RATE_LIMITED, None, &lacks(model, RATE_LIMITED.to_owned()));
        check(&message(), Some(429), &lacks(model, message()));
        check(&message(), Some(529), &lacks(model, message()));
        check(&message(), Some(401), &lacks(sign_in, message()));
        check(&message(), Some(400), &TurnEnd::Failed { message: message() });
        check(&message(), None, &TurnEnd::Failed { message: message() });
        let limited = TurnEnd::Limited { resets_at: None };
        check("You've hit your limit · resets 3am", Some(429), &limited);
    }

    #[test]
    fn what_somebody_else_interrupted_counts_as_a_failure() {
        let stopped = view(Liveness::Ended(Ending::Interrupted), Some("Half of"));
        let conclusion = conclude(&stopped, OurRecord::default(), at(0));
        assert!(matches!(conclusion, Conclusion::Over(TurnEnd::Failed { .. })), "{conclusion:?}");
    }

    #[test]
    fn a_conversation_whose_history_is_refused_is_left() {
        let check = |liveness: Liveness, said: &str, expected: bool| {
            assert_eq!(ends_conversation(&view(liveness, Some(said))), expected, "{said}");
        };
        let failed =
            |why: &str| Liveness::Ended(Ending::Failed { why: why.to_owned(), status: None });
        let status = |status| {
            let why = "of another version".to_owned();
            Liveness::Ended(Ending::Failed { why, status: Some(status) })
        };
        check(status(400), "", true);
        check(status(429), "", false);
        check(Liveness::Ended(Ending::Completed), "Prompt is too long", true);
        check(Liveness::Ended(Ending::Completed), "API Error: 400 unpaired tool use", true);
        check(failed("API Error: 413 too large"), "", true);
        check(Liveness::Ended(Ending::Completed), "Done.", false);
        check(Liveness::Ended(Ending::Completed), "API Error: 500 x", false);
        check(failed("API Error: 500 x"), "", false);
        check(Liveness::Ended(Ending::Interrupted), "Half of", false);
    }

    #[test]
    fn what_we_interrupted_was_interrupted_however_it_ended() {
        let why = || "[ede_diagnostic] result_type=user".to_owned();
        for liveness in [
            Liveness::Ended(Ending::Completed),
            Liveness::Ended(Ending::Interrupted),
            Liveness::Ended(Ending::Failed { why: why(), status: None }),
            Liveness::NeverStarted { why: why() },
        ] {
            let view = view(liveness, Some("Half of"));
            assert_eq!(
                conclude(&view, told_to_stop(None), at(0)),
                Conclusion::Over(TurnEnd::Interrupted)
            );
        }
        let alone = view(Liveness::Ended(Ending::Failed { why: why(), status: None }), None);
        assert!(matches!(
            conclude(&alone, OurRecord::default(), at(0)),
            Conclusion::Over(TurnEnd::Failed { .. })
        ));
        let busy = view(Liveness::Busy { active: None }, None);
        assert_eq!(conclude(&busy, told_to_stop(None), at(0)), Conclusion::Running);
    }

    #[test]
    fn the_agents_of_a_server_that_was_ended_are_unknown_for_a_while() {
        let lost = view(Liveness::Ended(Ending::Restarted { at: at(0) }), None);
        let orphans = ORPHANS.as_secs();
        let (alone, stopped) = (OurRecord::default(), told_to_stop(None));
        assert_eq!(conclude(&lost, alone, at(orphans - 1)), Conclusion::Unknown);
        assert_eq!(conclude(&lost, stopped, at(orphans - 1)), Conclusion::Unknown);
        assert_eq!(conclude(&lost, alone, at(orphans)), Conclusion::Over(TurnEnd::Lost));
        // The server did not notice that it was ended, but we did.
        let away = told_to_stop(Some(at(10)));
        let failed = Ending::Failed { why: "x".to_owned(), status: None };
        for how in [Ending::Interrupted, Ending::Completed, failed] {
            let ended = view(Liveness::Ended(how), Some("Half of"));
            assert_eq!(conclude(&ended, away, at(orphans)), Conclusion::Unknown);
            let never =
                view(Liveness::NeverStarted { why: "its session was stopped".into() }, None);
            assert_eq!(conclude(&never, away, at(orphans)), Conclusion::Unknown);
            assert_eq!(
                conclude(&ended, away, at(orphans + 10)),
                Conclusion::Over(TurnEnd::Interrupted)
            );
        }
        let silent = view(Liveness::Ended(Ending::Completed), None);
        let record = OurRecord { away: Some(at(10)), interrupted: false };
        assert_eq!(conclude(&silent, record, at(orphans)), Conclusion::Unknown);
        // A turn that ended by itself is over.
        let done = view(Liveness::Ended(Ending::Completed), Some("Done."));
        assert!(matches!(
            conclude(&done, record, at(11)),
            Conclusion::Over(TurnEnd::Finished { .. })
        ));
    }

    #[test]
    fn a_start_that_failed_says_what_is_missing() {
        let told = |why: &str| {
            let view = view(Liveness::NeverStarted { why: why.to_owned() }, None);
            conclude(&view, OurRecord::default(), at(0))
        };
        let unknown = told("Thread 't' references unknown provider instance 'nope'.");
        assert!(
            matches!(
                &unknown,
                Conclusion::Over(TurnEnd::Unavailable { what: AgentNeed::Program, .. })
            ),
            "{unknown:?}"
        );
        let other = told("ProviderAdapterSessionNotFoundError");
        assert!(
            matches!(&other, Conclusion::Over(TurnEnd::Failed { message }) if message.contains("never started")),
            "{other:?}"
        );
    }
}
