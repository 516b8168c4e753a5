//! How urgent an issue is, read from its labels. Called for every candidate of every tick, so it
//! allocates nothing and reads few bytes.

/// The lowest number among labels `priority:<n>` and `P<n>`, in any case.
///
/// Anything that is not a number (`priority:high`, `P1-later`) is ignored.
pub fn priority<S: AsRef<str>>(labels: &[S]) -> Option<i64> {
    labels.iter().filter_map(|label| of_label(label.as_ref())).min()
}

fn of_label(label: &str) -> Option<i64> {
    const WORD: &[u8] = b"priority:";
    let (b'p' | b'P', rest) = label.as_bytes().split_first()? else { return None };
    let number = match label.as_bytes().get(..WORD.len()) {
        Some(head) if head.eq_ignore_ascii_case(WORD) => label.get(WORD.len()..)?.trim(),
        Some(_) | None => label.get(label.len() - rest.len()..)?,
    };
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(labels: &[&str], expected: Option<i64>) {
        assert_eq!(priority(labels), expected, "{labels:?}");
    }

    #[test]
    fn the_lowest_number_wins_and_words_are_passed_over() {
        check(&[], None);
        check(&["bug", "ready-for-agent", ""], None);
        check(&["priority:2"], Some(2));
        check(&["P1"], Some(1));
        check(&["P000000012"], Some(12));
        check(&["p0", "priority:3"], Some(0));
        check(&["Priority: 4"], Some(4));
        check(&["priority:-5", "P0"], Some(-5));
        check(&["P-1"], Some(-1));
        check(&["priority:high"], None);
        check(&["priority:high", "priority:7"], Some(7));
        check(&["P", "P1x", "priority:", "pr1", "é"], None);
        check(&["priority:99999999999999999999"], None);
    }
}
