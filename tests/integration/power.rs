//! The power is cut under load, and within the first second of a new database: nothing acknowledged is lost, and the
//! server comes up. Needs root: `scripts/test-long power` runs it.
//!
//! `TIDEMARK_POWER_CYCLES` sets how often each kind (10 by default), `TIDEMARK_POWER_SEED` repeats the moments of a run.

use std::time::Duration;

use crate::kill::{configuration, seed};
use crate::oracle::Random;
use crate::oracle::random::number;
use crate::support::volume::Loss;
use crate::support::{Load, Node, Volume};

/// Between the cut and the end of the process: it must not acknowledge anything in the dark.
const DARK: Duration = Duration::from_millis(100);

/// Cuts, restores and compares.
fn cut(node: &mut Node, volume: &mut Volume, load: &mut Load, moment: Duration, when: &str) {
    let client = node.client();
    load.run(&client, || {
        std::thread::sleep(moment);
        volume.cut();
        std::thread::sleep(DARK);
        node.kill();
    });
    volume.restore();
    node.start_again();
    load.check(&node.client(), when);
}

fn cut_in_the_first_second(loss: Loss) {
    let (cycles, seed) = (number("TIDEMARK_POWER_CYCLES", 10), seed("TIDEMARK_POWER_SEED"));
    let mut random = Random::new(seed);
    for cycle in 0..cycles {
        let mut volume = Volume::new(loss);
        let mut node = Node::start_in(&volume.path(), &configuration(1 + cycle % 2));
        let mut load = Load::new(random.next());
        let answer = node.client().query("", "CREATE DATABASE db");
        assert!(!answer.contains("error"), "{answer}");
        let moment = Duration::from_millis(random.below(1000));
        cut(&mut node, &mut volume, &mut load, moment, &format!("cut {cycle} of the run with seed {seed}"));
        // The database is known whether or not a point was written.
        assert!(node.client().query("", "SHOW DATABASES").contains("\"db\""));
        node.kill();
    }
}

fn cut_again_and_again(loss: Loss) {
    let (cycles, seed) = (number("TIDEMARK_POWER_CYCLES", 10), seed("TIDEMARK_POWER_SEED"));
    let mut random = Random::new(seed);
    let mut volume = Volume::new(loss);
    let mut node = Node::start_in(&volume.path(), &configuration(2));
    node.client().query("", "CREATE DATABASE db");
    let mut load = Load::new(random.next());
    for cycle in 0..cycles {
        node.configuration = configuration(1 + random.below(2));
        let moment = Duration::from_millis(random.below(3000));
        cut(&mut node, &mut volume, &mut load, moment, &format!("cut {cycle} of the run with seed {seed}"));
    }
    node.kill();
    assert!(load.acknowledged() as u64 > cycles, "the load was no load");
}

#[test]
#[ignore = "needs root: scripts/test-long power"]
fn a_file_system_shut_down_in_the_first_second_loses_nothing_acknowledged() {
    cut_in_the_first_second(Loss::Shutdown);
}

#[test]
#[ignore = "needs root: scripts/test-long power"]
fn a_file_system_shut_down_again_and_again_loses_nothing_acknowledged() {
    cut_again_and_again(Loss::Shutdown);
}

#[test]
#[ignore = "needs root: scripts/test-long power"]
fn a_disk_cache_lost_in_the_first_second_loses_nothing_acknowledged() {
    cut_in_the_first_second(Loss::Cache);
}

#[test]
#[ignore = "needs root: scripts/test-long power"]
fn a_disk_cache_lost_again_and_again_loses_nothing_acknowledged() {
    cut_again_and_again(Loss::Cache);
}
