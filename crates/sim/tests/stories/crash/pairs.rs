//! Two deaths in one story: the process dies at one site, and the next process at another. Every
//! pair of sites of the shortest story is told, in several tests that run side by side. The first
//! of them always runs; `cargo xtask sim --pairs` runs all.

use afk_sim::world::Fault;

use super::plots::{GIVES_UP, Plot};
use super::sweep::{assert_same, sites, through, undisturbed};

/// Number of tests that share the pairs. It is odd, because after every other death a lease is
/// waited out, which takes longest, and no test is to get all of those.
const PARTS: usize = 7;

/// Tells every pair whose first site is in this part.
async fn pairs(plot: &Plot, part: usize) {
    let told = undisturbed(plot).await;
    let firsts = sites(&told.calls, 0..told.calls.len());
    let mut pairs = 0_u32;
    for (call, when) in firsts.iter().skip(part).step_by(PARTS) {
        let first = Fault { call: *call, when: *when, kills: true };
        let once = through(plot, &[first]).await;
        assert_same(plot, &told, &once, &[first]);
        let calls = once.sim.with(|world| world.calls.clone());
        for (call, when) in sites(&calls, call + 1..calls.len()) {
            let faults = [first, Fault { call, when, kills: true }];
            let twice = through(plot, &faults).await;
            assert_same(plot, &told, &twice, &faults);
            pairs += 1;
        }
    }
    println!("{}: {pairs} pairs of deaths, part {part}", plot.name);
}

#[tokio::test]
async fn two_processes_may_die_one() {
    pairs(&GIVES_UP, 0).await;
}

#[tokio::test]
#[ignore = "minutes: cargo xtask sim --pairs"]
async fn two_processes_may_die_two() {
    pairs(&GIVES_UP, 1).await;
}

#[tokio::test]
#[ignore = "minutes: cargo xtask sim --pairs"]
async fn two_processes_may_die_three() {
    pairs(&GIVES_UP, 2).await;
}

#[tokio::test]
#[ignore = "minutes: cargo xtask sim --pairs"]
async fn two_processes_may_die_four() {
    pairs(&GIVES_UP, 3).await;
}

#[tokio::test]
#[ignore = "minutes: cargo xtask sim --pairs"]
async fn two_processes_may_die_five() {
    pairs(&GIVES_UP, 4).await;
}

#[tokio::test]
#[ignore = "minutes: cargo xtask sim --pairs"]
async fn two_processes_may_die_six() {
    pairs(&GIVES_UP, 5).await;
}

#[tokio::test]
#[ignore = "minutes: cargo xtask sim --pairs"]
async fn two_processes_may_die_seven() {
    pairs(&GIVES_UP, 6).await;
}
