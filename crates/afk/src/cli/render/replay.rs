//! The result of replaying a run.

use afk_app::views::{Chain, KeptRows, ReplayPage};

use crate::cli::style::{Mark, Paint};
use crate::cli::words::{line, many};

/// Whether chain, kept rows and decisions are as stored, and every difference.
pub(crate) fn replayed(page: &ReplayPage, paint: Paint) -> String {
    let mut out = vec![format!("{}  run {}", paint.strong(&page.issue), page.run)];
    out.push(match page.chain {
        Chain::Whole => format!("{} the journal is intact", paint.mark(Mark::Yes)),
        Chain::Broken { row, why } => {
            format!("{} the journal's row {row}: {why}", paint.mark(Mark::No))
        }
    });
    out.extend(page.kept.as_ref().map(|kept| match kept {
        KeptRows::Same => {
            format!("{} its rows are those of the kept bundle", paint.mark(Mark::Yes))
        }
        KeptRows::Differs { why } => {
            format!("{} the kept bundle differs: {}", paint.mark(Mark::No), line(why, 600))
        }
        KeptRows::Unreadable { why } => {
            format!("{} the kept bundle: {}", paint.mark(Mark::No), line(why, 600))
        }
    }));
    match &page.replayed {
        None => {
            let mark = paint.mark(Mark::No);
            out.push(format!("{mark} its rows cannot be read, so nothing was replayed"));
        }
        Some(replayed) => {
            let (rows, again) = (many(replayed.rows, "row"), many(replayed.decisions, "decision"));
            let (mark, word) = match replayed.differences.len() {
                0 => (paint.mark(Mark::Yes), paint.good("none differs")),
                1 => (paint.mark(Mark::No), paint.bad("1 differs")),
                n => (paint.mark(Mark::No), paint.bad(format!("{n} differ"))),
            };
            out.push(format!("{mark} {rows}, {again} replayed: {word}"));
            let told = replayed.differences.iter();
            out.extend(told.map(|one| format!("  {}", line(&one.to_string(), 600))));
        }
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use afk_core::plan::Plan;
    use afk_core::replay::{Difference, Differs, Replayed};

    use super::super::samples;
    use super::*;

    #[test]
    fn a_run_that_replays_and_one_that_does_not() {
        let run = samples::admitted();
        let page = |chain, kept, replayed| ReplayPage {
            run: run.id,
            issue: run.issue.clone(),
            chain,
            kept,
            replayed,
        };
        let differs = [
            Difference { seq: 3, what: Differs::Plan { stored: Plan::Land, now: Plan::Judge } },
            Difference { seq: 9, what: Differs::Record },
        ];
        let of = |differences: &[Difference]| {
            Some(Replayed { rows: 9, decisions: 7, differences: differences.to_vec() })
        };
        let why = "it was edited: its content does not match its hash";
        let pages = [
            page(Chain::Whole, None, of(&[])),
            page(Chain::Whole, None, of(&differs)),
            page(Chain::Broken { row: 4, why }, None, None),
            page(Chain::Whole, Some(KeptRows::Same), of(&[])),
            page(Chain::Whole, Some(KeptRows::Differs { why: "row 4".to_owned() }), of(&[])),
            page(
                Chain::Whole,
                Some(KeptRows::Unreadable { why: "is \u{7}torn".to_owned() }),
                of(&[]),
            ),
        ];
        let same = pages.each_ref().map(ReplayPage::same);
        assert_eq!(same, [true, false, false, true, false, false]);
        let shown = pages.map(|page| replayed(&page, Paint::PLAIN));
        insta::assert_snapshot!(shown.join("\n----\n"));
    }
}
