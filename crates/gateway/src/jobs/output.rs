//! What a job printed, as lines of bounded size together.
//!
//! Pure. Every line keeps its newline, so that callers join them with nothing between. Invalid
//! UTF-8 is replaced, a line at a time, so that a character that is cut by a read is whole.

/// How much of a job's output is kept, in bytes.
pub(crate) const KEPT: usize = 8 * 1024 * 1024;

/// Collects lines.
#[derive(Debug, Default)]
pub(crate) struct Output {
    partial: Vec<u8>,
    size: usize,
    truncated: bool,
}

impl Output {
    /// Takes the next bytes and returns the lines that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let room = KEPT.saturating_sub(self.size);
        let taken = &bytes[..bytes.len().min(room)];
        self.truncated |= taken.len() < bytes.len();
        self.size += taken.len();
        let mut lines = Vec::new();
        for piece in taken.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                lines.push(String::from_utf8_lossy(&self.partial).into_owned());
                self.partial.clear();
            }
        }
        lines
    }

    /// The last line, if it has no newline.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let partial = std::mem::take(&mut self.partial);
        (!partial.is_empty()).then(|| String::from_utf8_lossy(&partial).into_owned())
    }

    /// Whether there was more than is kept.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_newlines_however_they_are_cut() {
        let text = "Здравей\n\nlast".as_bytes();
        for cut in 0..=text.len() {
            let mut output = Output::default();
            let mut lines = output.push(&text[..cut]);
            lines.extend(output.push(&text[cut..]));
            lines.extend(output.finish());
            assert_eq!(lines, ["Здравей\n", "\n", "last"], "{cut}");
            assert!(!output.is_truncated());
        }
    }

    #[test]
    fn the_whole_is_bounded_and_says_so() {
        let mut output = Output::default();
        let chunk = vec![b'x'; 1024 * 1024];
        let mut kept = 0;
        for _ in 0..10 {
            kept += output.push(&chunk).iter().map(String::len).sum::<usize>();
        }
        kept += output.finish().map_or(0, |line| line.len());
        assert_eq!(kept, KEPT);
        assert!(output.is_truncated());
    }
}
