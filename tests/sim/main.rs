//! Whole nodes in one thread, from a seed: random loads, cuts of the power, kills, failing and full disks, other numbers
//! of cores; the oracle judges after each.
//!
//! A failure prints its seed and the command that replays it. `TIDEMARK_SIM_SEEDS` sets how many seeds are tried (60),
//! `TIDEMARK_SIM_SEED` the first of them.

mod life;
mod node;
#[path = "../oracle/mod.rs"]
mod oracle;

use std::panic::{AssertUnwindSafe, catch_unwind};

use oracle::random::number;

#[test]
fn a_node_keeps_its_word_through_any_fault() {
    let first = number("TIDEMARK_SIM_SEED", 1);
    let count =
        number("TIDEMARK_SIM_SEEDS", if std::env::var_os("TIDEMARK_SIM_SEED").is_some() { 1 } else { 60 });
    let mut tally = life::Tally::default();
    for seed in first..first + count {
        let run = catch_unwind(AssertUnwindSafe(|| life::run(seed, &mut tally)));
        let failure = match run {
            Ok(Ok(())) => continue,
            Ok(Err(wrong)) => wrong,
            Err(_) => "a panic, told above".to_owned(),
        };
        panic!(
            "seed {seed}: {failure}\nreplay: TIDEMARK_SIM_SEED={seed} cargo test --features sim --test sim -- --nocapture"
        );
    }
    println!("{count} seeds from {first}: {tally:?}");
    // Otherwise the loads are no loads, and the faults never strike.
    assert!(count < 50 || tally.is_rich(), "{tally:?}");
}
