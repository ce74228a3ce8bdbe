//! A merge holds no more than its pool allows: what does not fit is done with fewer files.

#![cfg(feature = "sim")]

mod support;

use futures_lite::future::block_on;
use support::{Model, Point, SECOND, open, options, read_all, run, settle, tidy, write, write_to};
use tidemark_engine::disk::sim::SimDisk;

/// About what three of the files below take at once, and the writer's buffer.
const POOL_BYTES: u64 = 1_700_000;
const ROUNDS: u8 = 10;

/// The same times again and again, so that all blocks of all files overlap.
fn points(round: u8) -> Vec<Point> {
    let fields =
        |row: i64| (0..10).map(|kind| (kind, round.wrapping_mul(31).wrapping_add(row as u8))).collect();
    (0..900).map(|row| Point { measurement: 0, tag: 0, time: row, fields: fields(row) }).collect()
}

#[test]
fn a_merge_that_does_not_fit_into_its_memory_is_done_with_fewer_files() {
    let disk = SimDisk::new(9);
    let mut small = options(0, &[0]);
    small.pools.compaction_bytes = POOL_BYTES;
    let store = block_on(open(&disk, small)).expect("opens");
    let mut model = Model::new();
    run(&store, async {
        let mut now = SECOND;
        for round in 0..ROUNDS {
            write(&store, &points(round), now, now).await.expect("written");
            write_to(&mut model, &points(round));
            now += 6 * SECOND;
            settle(&store, now).await.expect("settles");
        }
        settle(&store, now + 60 * SECOND).await.expect("settles");
        assert_eq!(tidy(read_all(&store).await.expect("reads")), tidy(model));
    });
    let stats = store.stats();
    assert_eq!(stats.tsm_files_now, 1, "{stats:?}");
    assert!(stats.compactions_narrowed > 0, "everything fitted: {stats:?}");
    assert_eq!(stats.compaction_pool_used_now, 0, "what a merge held is given back");
}
