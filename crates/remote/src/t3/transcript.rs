//! The transcript of a turn: what its agent said and did, as the events of every agent's
//! transcript, and how it is given out while the turn goes on.
//!
//! A reader of a transcript asks for its bytes from an offset on, while a server shows a list that
//! grows, changes and is tidied up. So the bytes that were given out are kept in that order: an
//! entry is appended once it will not change any more, and at the end of the turn whatever is left.
//! A process that was not asked before the turn was over gives out its entries in their own order.
//!
//! The server is read again every two seconds, or as soon as it says that there is something new,
//! where it has subscriptions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use afk_core::ids::{At, JobKey};
use afk_core::text::{Keep, Mask, bounded, line};
use afk_engine::ports::Transcript;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::protocol::Follow;
use super::view::{Liveness, View};

/// The agent that transcripts name, which says how to read them.
const AGENT: &str = "t3";
/// How many bytes of a transcript are given out at once.
const CHUNK: usize = 1 << 20;
/// How many bytes of a turn are kept while it goes on.
const LARGEST: usize = 32 << 20;
/// How many turns are kept.
const KEPT: usize = 16;
/// The pause between two reads of a server for a transcript.
const LOOKS: SignedDuration = SignedDuration::from_secs(2);
/// The same when the server says that there is something new: an agent may write without pause.
const HEARS: SignedDuration = SignedDuration::from_millis(200);
/// The shortest time between the beginnings of two subscriptions to a turn.
const FOLLOWS: SignedDuration = SignedDuration::from_secs(30);
/// The longest text of an entry, in bytes, and the longest summary of a tool, in characters.
const TEXT: usize = 256 << 10;
const SUMMARY: usize = 200;

/// Something that an agent said or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TranscriptEntry {
    /// When it happened, by the server's clock.
    at: At,
    /// The server's id of it.
    id: String,
    /// Its events, a line of JSON each.
    lines: String,
    /// Whether it will not change any more.
    settled: bool,
}

impl TranscriptEntry {
    /// An entry of something that the agent said.
    pub(super) fn said(at: At, id: &str, text: &str, settled: bool) -> Self {
        let text = bounded(text, TEXT, Keep::Head);
        Self::of(at, id, &[json!({ "type": "text", "text": text, "at": at })], settled)
    }

    /// An entry of a tool's use. `failed` is none if that is not known.
    pub(super) fn used(
        at: At,
        id: &str,
        (name, about): (&str, &str),
        failed: Option<bool>,
        settled: bool,
    ) -> Self {
        let summary = line(about, SUMMARY);
        let begun =
            json!({ "type": "tool_started", "id": id, "name": name, "summary": summary, "at": at });
        let failed = failed.unwrap_or(false);
        let ended = json!({ "type": "tool_ended", "id": id, "is_error": failed, "at": at });
        Self::of(at, id, &[begun, ended], settled)
    }

    /// An entry of anything else that the server shows; formatted transcripts leave it out.
    pub(super) fn noted(at: At, id: &str, note: &Value, settled: bool) -> Self {
        Self::of(at, id, &[json!({ "type": "t3", "note": note, "at": at })], settled)
    }

    fn of(at: At, id: &str, events: &[Value], settled: bool) -> Self {
        let mut lines = String::new();
        for event in events {
            lines.push_str(&event.to_string());
            lines.push('\n');
        }
        Self { at, id: id.to_owned(), lines, settled }
    }

    /// Masks secrets in the entry.
    pub(super) fn masked(self, mask: &Mask) -> Self {
        let bytes = mask.bytes(self.lines.as_bytes());
        Self { lines: String::from_utf8_lossy(&bytes).into_owned(), ..self }
    }

    #[cfg(test)]
    pub(super) fn lines(&self) -> &str {
        &self.lines
    }
}

/// Sorts entries by time.
pub(super) fn sorted(mut all: Vec<TranscriptEntry>) -> Vec<TranscriptEntry> {
    all.sort_by_key(|entry| entry.at);
    all
}

/// The whole transcript of a turn that is over, in the order of its entries.
pub(super) fn whole(view: &View) -> Vec<u8> {
    view.entries.iter().flat_map(|entry| entry.lines.bytes()).collect()
}

/// The transcripts of turns, as far as they were given out.
#[derive(Default)]
pub(super) struct ToldTurns {
    turns: Mutex<BTreeMap<JobKey, ToldTurn>>,
}

#[derive(Default)]
struct ToldTurn {
    /// When the server was last read.
    looked: At,
    /// The server's sequence at that read.
    sequence: u64,
    /// The subscription to the thread, and when it began.
    follow: Option<(Follow, At)>,
    /// Whether the turn is over, so that nothing will be added.
    over: bool,
    /// The ids of the entries in `bytes`.
    told: BTreeSet<String>,
    bytes: Vec<u8>,
}

impl ToldTurns {
    /// The transcript from `offset` on, if the server need not be read again for it.
    pub(super) fn known(&self, key: &JobKey, offset: u64, now: At) -> Option<Transcript> {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.get(key)?;
        let newer = turn.follow.as_ref().is_some_and(|(one, _)| one.is_newer(turn.sequence));
        let pause = if newer { HEARS } else { LOOKS };
        let fresh = turn.over || now.duration_since(turn.looked) < pause;
        let unread = turn.bytes.len() > usize::try_from(offset).unwrap_or(usize::MAX);
        (fresh || unread).then(|| turn.part(offset))
    }

    /// Takes in what the server showed at `now`, when it was at `sequence`, and returns the
    /// transcript from `offset` on.
    pub(super) fn tell(
        &self,
        key: &JobKey,
        (view, sequence): (&View, Option<u64>),
        offset: u64,
        now: At,
    ) -> Transcript {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if !turns.contains_key(key) && turns.len() >= KEPT {
            let oldest = turns.iter().min_by_key(|(_, turn)| turn.looked);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                turns.remove(&oldest);
            }
        }
        let turn = turns.entry(key.clone()).or_default();
        turn.looked = now;
        turn.sequence = sequence.unwrap_or_default();
        turn.over = matches!(view.liveness, Liveness::Ended(_) | Liveness::NeverStarted { .. });
        for entry in &view.entries {
            let fits = turn.over || turn.bytes.len() + entry.lines.len() <= LARGEST;
            if (entry.settled || turn.over) && fits && turn.told.insert(entry.id.clone()) {
                turn.bytes.extend(entry.lines.bytes());
            }
        }
        if turn.over {
            turn.follow = None;
        }
        turn.part(offset)
    }

    /// Subscribes to a turn by `follow`, unless it is over, has a subscription, or had one just
    /// now. `follow` gets the sequence at which the turn was read.
    pub(super) fn follow(&self, key: &JobKey, now: At, follow: impl FnOnce(u64) -> Option<Follow>) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(turn) = turns.get_mut(key).filter(|turn| !turn.over) else { return };
        let anew = turn.follow.as_ref().is_none_or(|(follow, since)| {
            follow.is_over() && now.duration_since(*since) >= FOLLOWS
        });
        if anew {
            turn.follow = follow(turn.sequence).map(|follow| (follow, now));
        }
    }
}

impl ToldTurn {
    fn part(&self, offset: u64) -> Transcript {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let to = from.saturating_add(CHUNK).min(self.bytes.len());
        let bytes = self.bytes.get(from..to).unwrap_or_default().to_vec();
        Transcript { agent: AGENT.to_owned(), bytes, cut: 0 }
    }
}

#[cfg(test)]
mod tests {
    use afk_core::ids::{JobOf, RunId};

    use super::*;
    use crate::t3::view::Ending;

    fn at(second: i64) -> At {
        At::from_second(second).unwrap()
    }

    fn said(second: i64, id: &str, settled: bool) -> TranscriptEntry {
        TranscriptEntry::said(at(second), id, &format!("I am {id}."), settled)
    }

    fn view(over: bool, entries: Vec<TranscriptEntry>) -> View {
        let liveness =
            if over { Liveness::Ended(Ending::Completed) } else { Liveness::Busy { active: None } };
        View { liveness, entries: sorted(entries), ..View::absent() }
    }

    #[test]
    fn what_was_told_stays_where_it_was_whatever_comes_before_it_later() {
        let run: RunId = "01920000-0000-7000-8000-000000000001".parse().unwrap();
        let key = JobKey::new(run, JobOf::Turn, "1");
        let turns = ToldTurns::default();
        let first = turns.tell(&key, (&view(false, vec![said(2, "b", true)]), None), 0, at(3));
        assert!(String::from_utf8(first.bytes.clone()).unwrap().contains("I am b."));
        let offset = first.bytes.len() as u64;
        // An entry that may still change is held back, and one that comes late is appended late.
        let entries = || vec![said(1, "a", true), said(2, "b", true), said(3, "c", false)];
        assert_eq!(turns.known(&key, offset, at(4)).unwrap().bytes, b"");
        assert_eq!(turns.known(&key, offset, at(9)), None, "the server is asked again");
        let more = turns.tell(&key, (&view(false, entries()), None), offset, at(9));
        let more = String::from_utf8(more.bytes).unwrap();
        assert!(more.contains("I am a.") && !more.contains("I am b.") && !more.contains("I am c."));
        let rest =
            turns.tell(&key, (&view(true, entries()), None), offset + more.len() as u64, at(20));
        let rest = String::from_utf8(rest.bytes).unwrap();
        assert!(rest.contains("I am c.") && rest.lines().count() == 1, "{rest}");
        // Once it is over the server is not read again, and a new process gives it out in order.
        assert!(turns.known(&key, 0, at(9000)).is_some());
        let order = whole(&view(true, entries()));
        let later = ToldTurns::default().tell(&key, (&view(true, entries()), None), 0, at(9000));
        assert_eq!(later.bytes, order);
    }

    #[test]
    fn only_so_many_turns_are_remembered() {
        let turns = ToldTurns::default();
        let run: RunId = "01920000-0000-7000-8000-000000000001".parse().unwrap();
        let key = |n: i64| JobKey::new(run, JobOf::Turn, &n.to_string());
        for n in 0..=i64::try_from(KEPT).unwrap() {
            turns.tell(&key(n), (&view(true, vec![said(1, "a", true)]), None), 0, at(10 + n));
        }
        assert!(turns.known(&key(0), 0, at(20)).is_none());
        assert!(turns.known(&key(1), 0, at(20)).is_some());
    }
}
