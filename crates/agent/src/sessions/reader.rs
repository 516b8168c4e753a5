//! One reader of a log: replays, then tails.
//!
//! [`EventLog::reader`](super::EventLog::reader) makes it. It holds a position and nothing else; no
//! event waits for it in memory, so that a reader that pauses for hours costs nothing and misses
//! nothing.

use std::sync::Arc;

use tokio::sync::watch;

use super::log::{Head, Inner, LogError, blocking};

/// One event with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// The event's number: its position in the log, from 0.
    pub number: u64,
    /// The event's line, without the line feed.
    pub text: String,
}

/// A position in a log.
#[derive(Debug)]
pub struct EventReader {
    log: Arc<Inner>,
    head: watch::Receiver<Head>,
    next: u64,
    /// The number of an event at or before `next`, and the offset where that event begins; unknown
    /// at first.
    place: Option<(u64, u64)>,
}

impl EventReader {
    pub(super) fn new(log: Arc<Inner>, head: watch::Receiver<Head>, first: u64) -> Self {
        Self { log, head, next: first, place: None }
    }

    /// The number of the next event that [`EventReader::read`] returns.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Reads the next events: about `bytes` bytes of them, but at least one. Empty if everything
    /// was read.
    pub async fn read(&mut self, bytes: usize) -> Result<Vec<LogEvent>, LogError> {
        let head = *self.head.borrow_and_update();
        if self.next >= head.events {
            return Ok(Vec::new());
        }
        let (log, next) = (Arc::clone(&self.log), self.next);
        let place = self.place;
        let read = move || {
            let place = place.unwrap_or_else(|| log.mark_before(next));
            read(&log, head, place, next, bytes)
        };
        let (events, place) = blocking(read).await?;
        self.next = place.0;
        self.place = Some(place);
        Ok(events)
    }

    /// Waits until there is an event to read. Fails with [`LogError::Removed`] once the log is
    /// deleted.
    pub async fn ready(&mut self) -> Result<(), LogError> {
        let next = self.next;
        let changed = self.head.wait_for(|head| head.removed || head.events > next).await;
        match changed.map(|head| head.removed) {
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => Err(LogError::Removed),
        }
    }
}

/// Reads whole lines from `place` on, skips events before `next`, and returns the events and the
/// place after the last one. A place is an event's number and offset.
fn read(
    log: &Inner,
    head: Head,
    place: (u64, u64),
    next: u64,
    bytes: usize,
) -> Result<(Vec<LogEvent>, (u64, u64)), LogError> {
    let (mut number, mut offset) = place;
    let mut events = Vec::new();
    let mut size = bytes.clamp(1, log.longest_line());
    while events.is_empty() && offset < head.bytes {
        let left = usize::try_from(head.bytes - offset).unwrap_or(usize::MAX);
        let mut buffer = vec![0; size.min(left)];
        log.read_at(&mut buffer, offset)?;
        let mut lines = 0;
        for line in buffer.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else { break };
            lines += 1;
            offset += line.len() as u64 + 1;
            if number >= next {
                events.push(LogEvent { number, text: String::from_utf8_lossy(line).into_owned() });
            }
            number += 1;
        }
        if lines == 0 {
            // One event may be longer than `bytes`, and even than the present limit, if it was
            // written under a larger one.
            size = size.saturating_mul(4).min(left);
        }
    }
    Ok((events, (number, offset)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sessions::{Durability, EventLog, LogLimits};

    const BOUND: Duration = Duration::from_mins(1);

    async fn log(folder: &tempfile::TempDir) -> EventLog {
        let path = folder.path().join("events");
        EventLog::open(path, LogLimits::default(), Durability::Process).await.expect("opened")
    }

    /// Reads until it has `count` events, in pieces of `bytes`.
    async fn collect(mut reader: EventReader, count: usize, bytes: usize) -> Vec<LogEvent> {
        let mut all = Vec::new();
        let reading = async {
            while all.len() < count {
                reader.ready().await.expect("there");
                all.extend(reader.read(bytes).await.expect("read"));
            }
        };
        tokio::time::timeout(BOUND, reading).await.expect("all of them in time");
        all
    }

    fn text(number: u64) -> String {
        // Texts of many lengths, some longer than what is read at once.
        format!("{number}:{}", "é".repeat((number * number % 97) as usize))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn readers_at_any_speed_and_from_anywhere_lose_and_repeat_nothing() {
        const EVENTS: u64 = 5000;
        let folder = tempfile::tempdir().expect("a folder");
        let log = log(&folder).await;
        let mut readers = Vec::new();
        for n in 0..20_u64 {
            let (first, bytes) = (n * 231, [1, 7, 64, 4096, 1 << 20][n as usize % 5]);
            let count = (EVENTS - first) as usize;
            let reader = log.reader(first);
            readers.push((first, tokio::spawn(collect(reader, count, bytes))));
        }
        let mut number = 0;
        while number < EVENTS {
            let batch = 1 + number % 7;
            let batch: Vec<String> = (number..(number + batch).min(EVENTS)).map(text).collect();
            number = log.append(batch).await.expect("written").end;
        }
        for (first, reader) in readers {
            let seen = reader.await.expect("no panic");
            let numbers: Vec<u64> = seen.iter().map(|event| event.number).collect();
            assert_eq!(numbers, (first..EVENTS).collect::<Vec<_>>());
            assert!(seen.iter().all(|event| event.text == text(event.number)), "from {first}");
        }
    }

    #[tokio::test]
    async fn a_reader_waits_for_what_is_not_there_yet() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = log(&folder).await;
        let mut reader = log.reader(2);
        assert_eq!(reader.read(100).await.expect("read"), []);
        log.append(vec!["a".into(), "b".into()]).await.expect("written");
        assert_eq!(reader.read(100).await.expect("read"), [], "0 and 1 were not asked for");
        assert!(is_pending(reader.ready()), "still waits");
        log.append(vec!["c".into()]).await.expect("written");
        reader.ready().await.expect("ready");
        let c = LogEvent { number: 2, text: "c".into() };
        assert_eq!(reader.read(100).await.expect("read"), [c]);
    }

    /// Whether a future is pending when it is polled once.
    fn is_pending(future: impl Future) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(future).poll(&mut context).is_pending()
    }
}
