//! Splits chunks of bytes into complete lines of limited length.
//!
//! Every reader of an agent's stream uses it. A line over [`MAX_LINE`] is skipped and counted,
//! never fatal: an agent that read a huge file prints it back, and the turn goes on. Invalid UTF-8
//! is replaced, blank lines are dropped. At most one line is in memory; once it is complete, its
//! buffer shrinks again.

use serde::{Deserialize, Serialize};

/// Maximum length of a line, in bytes: 8 MiB. The longest lines seen are tool results with an image
/// or a whole file, somewhat over 5 MB.
pub const MAX_LINE: usize = 8 * 1024 * 1024;

/// Capacity of the line buffer that is kept from one line to the next, in bytes. A reader lives as
/// long as its run, and most lines are short.
const KEPT: usize = 64 * 1024;

/// Splits a byte stream into lines.
#[derive(Debug, Clone)]
pub struct LineReader {
    buffer: Vec<u8>,
    /// Bytes of the current line, kept or skipped.
    pending: u64,
    skipping: bool,
    max_line: usize,
    position: LinePosition,
}

/// How far a stream was read: enough to continue after a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinePosition {
    /// Bytes up to and including the last consumed newline. Continuing from here repeats no line
    /// and loses none.
    pub offset: u64,
    /// Lines over the limit that were skipped.
    pub skipped: u64,
}

impl LineReader {
    /// A reader at a position; `LinePosition::default()` is the start.
    pub fn new(position: LinePosition) -> Self {
        Self::with_limit(position, MAX_LINE)
    }

    /// [`LineReader::new`] with another limit.
    pub fn with_limit(position: LinePosition, max_line: usize) -> Self {
        Self { buffer: Vec::new(), pending: 0, skipping: false, max_line, position }
    }

    /// Reads the next bytes and passes every line that they complete to `each`.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&str)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let line = &bytes[..end];
            if self.pending == 0 && line.len() <= self.max_line {
                // Most lines arrive whole in one chunk and need no copy in the buffer.
                self.position.offset += line.len() as u64 + 1;
                pass(line, &mut each);
            } else {
                self.extend(line);
                self.pending += 1;
                self.end_line(&mut each);
            }
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    /// Passes a last line without a newline to `each`. Call it once, when no more bytes can come.
    pub fn finish(&mut self, mut each: impl FnMut(&str)) {
        self.end_line(&mut each);
    }

    /// The current position.
    pub fn position(&self) -> LinePosition {
        self.position
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.pending += bytes.len() as u64;
        if self.skipping || self.buffer.len() + bytes.len() > self.max_line {
            self.skipping = true;
            self.buffer = Vec::new();
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(&str)) {
        // The position moves only over whole lines, even skipped ones, so that no reader starts
        // inside a line.
        self.position.offset += std::mem::take(&mut self.pending);
        if std::mem::take(&mut self.skipping) {
            self.position.skipped += 1;
            return;
        }
        pass(&self.buffer, each);
        self.buffer.clear();
        self.buffer.shrink_to(KEPT);
    }
}

fn pass(line: &[u8], each: &mut impl FnMut(&str)) {
    // Most lines are valid UTF-8, and validating is much faster than a lossy conversion.
    let repaired;
    let line = if let Ok(line) = std::str::from_utf8(line) {
        line
    } else {
        repaired = String::from_utf8_lossy(line);
        &repaired
    };
    let line = line.trim();
    if !line.is_empty() {
        each(line);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: &[&[u8]], max: usize) -> (Vec<String>, LinePosition) {
        let mut reader = LineReader::with_limit(LinePosition::default(), max);
        let mut lines = Vec::new();
        for chunk in chunks {
            reader.feed(chunk, |line| lines.push(line.to_owned()));
        }
        reader.finish(|line| lines.push(line.to_owned()));
        (lines, reader.position())
    }

    #[test]
    fn lines_come_out_whole_bounded_and_clean() {
        fn check(input: &[u8], lines: &[&str], skipped: u64) {
            let (got, position) = read(&[input], 8);
            assert_eq!(got, lines, "{input:?}");
            assert_eq!(position.skipped, skipped, "{input:?}");
            assert_eq!(position.offset, input.len() as u64, "{input:?}");
        }
        check(b"", &[], 0);
        check(b"a\nb\n", &["a", "b"], 0);
        check(b"a\r\n\n  \nb", &["a", "b"], 0);
        check(b"123456789\nok\n", &["ok"], 1);
        check(b"12345678\n123456789", &["12345678"], 1);
        check(b"a\xff\n", &["a\u{fffd}"], 0);
    }

    #[test]
    fn a_long_line_costs_no_memory_once_it_is_skipped() {
        let mut reader = LineReader::with_limit(LinePosition::default(), 1024);
        for _ in 0..1000 {
            reader.feed(&[b'x'; 1000], |_| panic!("no line ended"));
            assert!(reader.buffer.capacity() <= 2048);
        }
        let mut lines = Vec::new();
        reader.feed(b"\nnext\n", |line| lines.push(line.to_owned()));
        assert_eq!(lines, ["next"]);
        assert_eq!(reader.position().skipped, 1);
        assert_eq!(reader.position().offset, 1_000_006);
    }

    #[test]
    fn a_long_line_costs_no_memory_once_it_has_ended() {
        let mut reader = LineReader::new(LinePosition::default());
        let mut lines = 0;
        reader.feed(&vec![b'x'; 1 << 20], |_| panic!("no line ended"));
        reader.feed(b"\nnext\n", |_| lines += 1);
        assert_eq!(lines, 2);
        assert!(reader.buffer.capacity() <= 2 * KEPT, "{}", reader.buffer.capacity());
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'x'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..6),
        ) {
            let whole = read(&[&input], 16);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut start = 0;
            for cut in cuts {
                chunks.push(&input[start..cut]);
                start = cut;
            }
            chunks.push(&input[start..]);
            prop_assert_eq!(read(&chunks, 16), whole);
        }

        #[test]
        fn going_on_from_an_offset_loses_and_repeats_nothing(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'x')], 0..100),
            cut in 0usize..100,
        ) {
            let cut = cut.min(input.len());
            let mut first = LineReader::with_limit(LinePosition::default(), 1000);
            let mut lines = Vec::new();
            first.feed(&input[..cut], |line| lines.push(line.to_owned()));
            let position = first.position();
            let mut second = LineReader::with_limit(position, 1000);
            let from = usize::try_from(position.offset).unwrap();
            second.feed(&input[from..], |line| lines.push(line.to_owned()));
            second.finish(|line| lines.push(line.to_owned()));
            prop_assert_eq!(lines, read(&[&input], 1000).0);
        }
    }
}
