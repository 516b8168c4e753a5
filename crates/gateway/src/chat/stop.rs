//! Cutting an answer at the caller's stop sequences, which the CLI does not know.
//!
//! Pure. Text comes in pieces, and a sequence may begin in one and end in another: the end of a
//! piece that could begin a sequence is held back until the next piece decides.

/// Cuts a text that comes in pieces before the first stop sequence.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    stops: Vec<String>,
    held: String,
    done: bool,
}

impl Cutter {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), done: false }
    }

    /// Whether there are no stop sequences to look for.
    pub(crate) fn is_idle(&self) -> bool {
        self.stops.is_empty()
    }

    /// Whether a stop sequence came, so that the rest of the answer is of no use.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the next piece and returns what may be shown.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        if self.done {
            return String::new();
        }
        self.held.push_str(piece);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first {
            self.done = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// Returns what was held back, once no more text can come.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Returns the length in bytes of the longest end of `text` that is a proper beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().saturating_sub(1).min(text.len());
    (1..=longest)
        .rev()
        .find(|&n| {
            text.is_char_boundary(text.len() - n)
                && stop.as_bytes().starts_with(&text.as_bytes()[text.len() - n..])
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(stops: &[&str], pieces: &[&str], shown: &[&str], done: bool) {
        let mut cutter = Cutter::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut got: Vec<String> = pieces.iter().map(|piece| cutter.push(piece)).collect();
        got.push(cutter.finish());
        assert_eq!((got.as_slice(), cutter.is_done()), (shown.map_to_strings().as_slice(), done));
    }

    trait Strings {
        fn map_to_strings(&self) -> Vec<String>;
    }

    impl Strings for &[&str] {
        fn map_to_strings(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn an_answer_ends_before_its_stop_sequence() {
        check(&[], &["a", "b"], &["a", "b", ""], false);
        check(&["END"], &["a END b", "c"], &["a ", "", ""], true);
        check(&["END"], &["aE", "ND", "x"], &["a", "", "", ""], true);
        check(&["END"], &["aE", "x"], &["a", "Ex", ""], false);
        check(&["END"], &["aEN"], &["a", "EN"], false);
        check(&["b", "a"], &["xab"], &["x", ""], true);
        check(&["лък"], &["а л", "ъ", "к"], &["а ", "", "", ""], true);
    }

    proptest! {
        #[test]
        fn however_it_is_cut_into_pieces_the_answer_is_the_same(
            pieces in proptest::collection::vec("[abл]{0,4}", 0..8),
            stop in "[abл]{1,3}",
        ) {
            let whole = pieces.concat();
            let mut cutter = Cutter::new(vec![stop.clone()]);
            let mut shown: String = pieces.iter().map(|piece| cutter.push(piece)).collect();
            shown += &cutter.finish();
            let expected = whole.split(&stop).next().unwrap_or_default();
            prop_assert_eq!(shown, expected);
            prop_assert_eq!(cutter.is_done(), whole.contains(&stop));
        }
    }
}
