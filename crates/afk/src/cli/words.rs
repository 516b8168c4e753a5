//! How times, amounts and outside text are written for people.

use std::time::Duration;

pub(super) use afk_app::words::{between, line, printable};
use afk_core::ids::At;

/// The width to which a column of texts is cut at least, in characters.
const LEAST_COLUMN: usize = 12;

/// A duration in its two largest units: `42s`, `3m 05s`, `2h 10m`, `3d 4h`.
pub(super) fn duration(length: Duration) -> String {
    let s = length.as_secs();
    let (days, hours, minutes) = (s / 86_400, s / 3600 % 24, s / 60 % 60);
    if days > 0 {
        format!("{days}d {hours}h")
    } else if hours > 0 {
        format!("{hours}h {minutes:02}m")
    } else if minutes > 0 {
        format!("{minutes}m {:02}s", s % 60)
    } else {
        format!("{s}s")
    }
}

/// How long ago `at` was.
pub(super) fn ago(at: At, now: At) -> String {
    format!("{} ago", duration(between(at, now)))
}

/// A moment, to the second, in UTC.
pub(super) fn moment(at: At) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A count in a few characters, rounded down: `950`, `12.3k`, `4.5M`.
pub(super) fn count(n: u64) -> String {
    match n {
        0..1000 => n.to_string(),
        1000..1_000_000 => format!("{}.{}k", n / 1000, n % 1000 / 100),
        _ => format!("{}.{}M", n / 1_000_000, n % 1_000_000 / 100_000),
    }
}

/// A count of things: `1 issue`, `2 issues`.
pub(super) fn many(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A hint in which commands are written as `afk` is called, such as with its configuration file.
pub(super) fn as_typed(hint: &str, afk: &str) -> String {
    hint.replace("`afk ", &format!("`{afk} "))
}

/// Aligns rows in columns, two blanks apart, under an optional heading. Lines do not end in blanks.
pub(super) fn columns<const N: usize>(
    heading: Option<[&str; N]>,
    rows: &[[String; N]],
) -> Vec<String> {
    columns_within(None, &[], heading, rows)
}

/// Does the same for a terminal of that width, if there is one: where the lines are longer, the
/// columns `texts` are cut, which hold no name that a person would copy.
pub(super) fn columns_within<const N: usize>(
    width: Option<usize>,
    texts: &[usize],
    heading: Option<[&str; N]>,
    rows: &[[String; N]],
) -> Vec<String> {
    let heading = heading.map(|names| names.map(str::to_owned));
    let all: Vec<&[String; N]> = heading.iter().chain(rows).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let widths = width.map_or(widths, |width| narrowed(widths, width, texts));
    let whole = |row: &&[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| {
            let cut = (cell.chars().count() > width).then(|| line(cell, width));
            format!("{:<width$}", cut.as_ref().unwrap_or(cell))
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(whole).collect()
}

/// The widths of columns that fit into lines of `limit` characters, as far as `texts` can be cut:
/// the widest of them first.
fn narrowed<const N: usize>(mut widths: [usize; N], limit: usize, texts: &[usize]) -> [usize; N] {
    let gaps = 2 * N.saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > limit {
        let all = widths.iter_mut().enumerate();
        let long = all.filter(|(n, width)| texts.contains(n) && **width > LEAST_COLUMN);
        match long.max_by_key(|(_, width)| **width) {
            Some((_, width)) => *width -= 1,
            None => break,
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        let check = |seconds, expected: &str| {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        };
        check(0, "0s");
        check(59, "59s");
        check(185, "3m 05s");
        check(7800, "2h 10m");
        check(273_600, "3d 4h");
        let counts = [999, 1000, 12_345, 999_999, 4_560_000].map(count);
        assert_eq!(counts, ["999", "1.0k", "12.3k", "999.9k", "4.5M"]);
    }

    #[test]
    fn outside_text_cannot_move_the_cursor_or_hide() {
        let check = |text: &str, expected: &str| assert_eq!(line(text, 20), expected, "{text:?}");
        check("\u{1b}[2J\u{1b}]0;x\u{7}gone", "gone");
        check("a\u{202e}b\u{200b}c", "abc");
        check("mail @ann\n/and run", "mail @ann /and run");
        check("0123456789012345678901234", "0123456789012345678…");
    }

    #[test]
    fn a_hint_names_the_configuration_of_its_runs() {
        let hint = "fix what stopped it, then `afk retry o/r#1`; `afk show o/r#1` has the details";
        assert_eq!(as_typed(hint, "afk"), hint);
        assert_eq!(
            as_typed(hint, "afk --config /d/afk.toml"),
            "fix what stopped it, then `afk --config /d/afk.toml retry o/r#1`; \
             `afk --config /d/afk.toml show o/r#1` has the details"
        );
    }

    #[test]
    fn columns_line_up_and_end_without_blanks() {
        let rows = [["a".to_owned(), "x".to_owned()], ["ccc".to_owned(), String::new()]];
        assert_eq!(columns(Some(["N", "LAST"]), &rows), ["N    LAST", "a    x", "ccc"]);
    }

    #[test]
    fn texts_are_cut_to_the_terminal_and_names_are_not() {
        let row = ["o/a-long-name#7", "three attempts were refused", "Move the door"];
        let rows = [row.map(str::to_owned)];
        let shown = |width| columns_within(width, &[1, 2], None, &rows).concat();
        assert_eq!(shown(None), row.join("  "));
        assert_eq!(shown(Some(200)), row.join("  "));
        assert_eq!(shown(Some(50)), "o/a-long-name#7  three attempts we…  Move the door");
        assert_eq!(shown(Some(10)), "o/a-long-name#7  three attem…  Move the do…");
    }
}
