//! kill -9 at random moments under load: every acknowledged write and delete is there, nothing is invented.
//!
//! `TIDEMARK_KILL_CYCLES` sets how often (20 by default; the long tests ask for more), `TIDEMARK_KILL_SEED` repeats the
//! load and the moments of a run, as far as the machine does.

use std::time::Duration;

use crate::oracle::Random;
use crate::oracle::random::number;
use crate::support::{Load, Node};

/// Small caches and short pauses, so that kills meet snapshots and compactions; both counts of cores in turn, so that
/// they meet WALs of cores that are no more.
pub fn configuration(cores: u64) -> String {
    format!(
        "[engine]\ncores = {cores}\n[data]\ncache-snapshot-memory-size = \"256k\"\n\
         cache-snapshot-write-cold-duration = \"100ms\"\ncompact-full-write-cold-duration = \"200ms\"\n"
    )
}

/// A seed no run had before; `name` is a variable of the environment that gives one instead.
pub fn seed(name: &str) -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    number(name, since.map_or(1, |since| since.as_nanos() as u64 % 1_000_000_007))
}

/// Kills between two databases: one that lives for ever takes ever longer to compare.
const CYCLES_OF_A_DATABASE: u64 = 10;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_invented_by_kill_9() {
    let cycles = number("TIDEMARK_KILL_CYCLES", 20);
    let seed = seed("TIDEMARK_KILL_SEED");
    let mut random = Random::new(seed);
    let mut node = Node::start(&configuration(2));
    let mut load = Load::new(seed);
    let mut acknowledged = 0;
    for cycle in 0..cycles {
        if cycle % CYCLES_OF_A_DATABASE == 0 {
            acknowledged += load.acknowledged();
            assert!(!node.client().query("", "DROP DATABASE db").contains("error"));
            assert!(!node.client().query("", "CREATE DATABASE db").contains("error"));
            load = Load::new(random.next());
        }
        let client = node.client();
        let moment = Duration::from_millis(random.below(500));
        load.run(&client, || {
            std::thread::sleep(moment);
            node.kill();
        });
        node.configuration = configuration(1 + random.below(2));
        node.start_again();
        load.check(&node.client(), &format!("kill {cycle} of the run with seed {seed}"));
    }
    acknowledged += load.acknowledged();
    assert!(acknowledged as u64 > cycles, "{acknowledged} batches in {cycles} cycles are no load");
}
