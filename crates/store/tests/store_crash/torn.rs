//! The process, or the machine, dies while a write goes to the disk, and the log keeps a part of
//! it. SQLite comes back with the last whole commit, and the story goes on from there.

use std::time::Instant;

use crate::files::{Files, commits, cuts};
use crate::plots::Plot;
use crate::sweep::undisturbed;
use crate::witness::When;

/// Tells the story once for each write, cut off at one place; files cut off at every place are
/// opened.
pub(crate) async fn sweep(plot: &Plot) {
    let since = Instant::now();
    let told = undisturbed(plot).await;
    let fresh = Files::fresh().await;
    let (mut writes, mut opened) = (0, 0);
    for (moment, done) in &told.moments {
        let When::During(to) = moment.when else { continue };
        let what = format!("{}, {:?}", plot.name, moment.call);
        let (from, log) = (moment.log, &told.log);
        assert_eq!(commits(&log[..to], from), 1, "{what}: one call, one transaction");
        let before = fresh.with(&log[..from]).folded().await;
        let after = fresh.with(&log[..to]).folded().await;
        assert!(before != after, "{what}: all of a write is there");
        let cuts = cuts(to - from);
        for cut in &cuts {
            let torn = fresh.with(&log[..from + cut]).folded().await;
            assert!(torn == before, "{what}: nothing of a write is there, cut off after {cut}");
        }
        let cut = from + cuts[writes % cuts.len()];
        told.ends_the_same(plot, moment, *done, &fresh.with(&log[..cut])).await;
        writes += 1;
        opened += cuts.len();
    }
    let seconds = since.elapsed().as_secs_f64();
    println!(
        "{}: {writes} writes cut off, each survived; {opened} cut logs opened, {seconds:.1} s",
        plot.name
    );
}
