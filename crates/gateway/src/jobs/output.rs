//! What a job printed: its lines, bounded in their total size, as the events of its log.
//!
//! Every line keeps its newline, so that callers join them with nothing between. Invalid UTF-8 is
//! replaced a line at a time, so that a character that is cut by a read stays whole. Each line is
//! one event of the job's [`EventLog`], stored as it is sent to clients that follow the job:
//! `{"line": "…"}`.

use afk_agent::sessions::{EventLog, LogError, LogEvent, LogLimits};
use serde::{Deserialize, Serialize};

/// How much of a job's output is kept, in bytes.
const KEPT: usize = 8 * 1024 * 1024;
/// What a line counts in addition to its bytes, because many short lines take memory, too.
const LINE: usize = 24;
/// How much of a log is read at once, in bytes.
const PIECE: usize = 256 * 1024;

/// The limits of a job's log, large enough for whatever [`Lines`] lets through.
pub(crate) const LIMITS: LogLimits = LogLimits {
    // JSON may escape every byte, as six bytes.
    event_bytes: 6 * KEPT + 64,
    log_bytes: 6 * KEPT as u64 + 64,
    reserve_bytes: 0,
};

/// One event of the log.
#[derive(Debug, Serialize, Deserialize)]
struct Printed {
    line: String,
}

/// Cuts output into lines, up to [`KEPT`] bytes in all.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    size: usize,
    truncated: bool,
}

impl Lines {
    /// Takes the next bytes and returns the lines that they complete, as events.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = KEPT.saturating_sub(self.size);
            let taken = &piece[..piece.len().min(room)];
            self.partial.extend_from_slice(taken);
            self.size += taken.len();
            if taken.len() < piece.len() {
                self.truncated = true;
                return events;
            }
            if piece.ends_with(b"\n") {
                self.size += LINE;
                events.push(event(&self.partial));
                self.partial.clear();
            }
        }
        events
    }

    /// Returns the last line as an event, if it has no newline.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let partial = std::mem::take(&mut self.partial);
        (!partial.is_empty()).then(|| event(&partial))
    }

    /// Whether there was more output than is kept.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }
}

fn event(line: &[u8]) -> String {
    let printed = Printed { line: String::from_utf8_lossy(line).into_owned() };
    // Serialising a string cannot fail.
    serde_json::to_string(&printed).unwrap_or_default()
}

/// Reads all lines of a log.
pub(crate) async fn read(log: &EventLog) -> Result<Vec<String>, LogError> {
    let (mut reader, mut lines) = (log.reader(0), Vec::new());
    loop {
        let events = reader.read(PIECE).await?;
        if events.is_empty() {
            return Ok(lines);
        }
        lines.extend(events.iter().filter_map(line));
    }
}

fn line(event: &LogEvent) -> Option<String> {
    Some(serde_json::from_str::<Printed>(&event.text).ok()?.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_newlines_however_they_are_cut() {
        let text = "Здравей\n\nlast".as_bytes();
        let expected = [r#"{"line":"Здравей\n"}"#, r#"{"line":"\n"}"#, r#"{"line":"last"}"#];
        for cut in 0..=text.len() {
            let mut lines = Lines::default();
            let mut events = lines.push(&text[..cut]);
            events.extend(lines.push(&text[cut..]));
            events.extend(lines.finish());
            assert_eq!(events, expected, "{cut}");
            assert!(!lines.is_truncated());
        }
    }

    #[test]
    fn the_whole_is_bounded_says_so_and_fits_a_log() {
        // The worst byte, which JSON escapes as six, and the worst lines, of a newline alone.
        for (byte, lines_of) in [(b'\x01', 1), (b'\n', KEPT.div_ceil(LINE + 1))] {
            let mut lines = Lines::default();
            let chunk = vec![byte; 1024 * 1024];
            let mut events = Vec::new();
            for _ in 0..9 {
                events.extend(lines.push(&chunk));
            }
            events.extend(lines.finish());
            assert_eq!(events.len(), lines_of);
            assert!(events.iter().all(|event| event.len() <= LIMITS.event_bytes));
            let size: usize = events.iter().map(|event| event.len() + 1).sum();
            assert!(size as u64 <= LIMITS.log_bytes, "{size}");
            assert!(lines.is_truncated());
        }
    }
}
