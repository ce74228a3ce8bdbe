//! Random writes, deletes, snapshots, merges and restarts on the simulated disk, against a plain map.
//!
//! After every step the store must hold exactly what the map does, whatever moved from the WAL to caches and files in
//! the meantime.

mod support;

use futures_lite::future::block_on;
use proptest::prelude::*;
use support::{
    Model, Point, SECOND, key, open, options, read_all, run, settle, shards, tidy, write, write_to,
};
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::TimeRange;
use tidemark_engine::scan::request::TagFilter;
use tidemark_engine::store::{DeleteRequest, Store};

#[derive(Debug, Clone)]
enum Operation {
    Write(Vec<Point>),
    Delete {
        measurement: Option<u8>,
        tag: Option<u8>,
        start: i64,
        end: i64,
    },
    /// Seconds pass and the background does what is due.
    Wait(u64),
    /// A power cut, or an orderly end with or without snapshots.
    Crash,
    Restart(bool),
}

fn point() -> impl Strategy<Value = Point> {
    let fields = prop::collection::btree_map(0u8..5, any::<u8>(), 1..4);
    let time = prop_oneof![4 => 0i64..60, 2 => 1000i64..1060, 1 => -5i64..2000];
    (0u8..2, 0u8..4, time, fields).prop_map(|(measurement, tag, time, fields)| Point {
        measurement,
        tag,
        time,
        fields: fields.into_iter().collect(),
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => prop::collection::vec(point(), 1..30).prop_map(Operation::Write),
        2 => (prop::option::of(0u8..2), prop::option::of(0u8..4), -5i64..1100, 1i64..500).prop_map(
            |(measurement, tag, start, length)| Operation::Delete { measurement, tag, start, end: start + length }
        ),
        4 => prop_oneof![Just(1u64), Just(6), Just(20), Just(20_000)].prop_map(Operation::Wait),
        1 => Just(Operation::Crash),
        1 => any::<bool>().prop_map(Operation::Restart),
    ]
}

fn delete_from(model: &mut Model, measurement: Option<u8>, tag: Option<u8>, range: TimeRange) {
    for m in 0..2 {
        for t in 0..4 {
            if measurement.is_none_or(|wanted| wanted == m)
                && tag.is_none_or(|wanted| wanted == t)
                && let Some(series) = model.get_mut(&key(m, t))
            {
                series.retain(|time, _| !range.contains(*time));
            }
        }
    }
}

/// How a session of the store ends.
enum End {
    Done,
    Crash,
    Restart,
}

fn check(operations: &[Operation], seed: u64) {
    let mut disk = SimDisk::new(seed);
    let mut model = Model::new();
    let mut now = SECOND;
    let mut rest = operations;
    loop {
        let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
        let end = run(&store, session(&store, &mut rest, &mut model, &mut now));
        drop(store);
        match end {
            End::Done => return,
            End::Crash => disk = disk.crash(),
            End::Restart => {}
        }
    }
}

/// Does what is asked until the store ends.
async fn session(store: &Store<SimDisk>, rest: &mut &[Operation], model: &mut Model, now: &mut u64) -> End {
    let held = read_all(store).await.expect("reads");
    assert_eq!(tidy(held), tidy(model.clone()), "at start");
    while let Some((operation, later)) = rest.split_first() {
        *rest = later;
        *now += 1;
        match operation {
            Operation::Write(points) => {
                write(store, points, *now, *now).await.expect("written");
                write_to(model, points);
            }
            Operation::Delete { measurement, tag, start, end } => {
                let time = TimeRange::new(*start, *end);
                let request = DeleteRequest {
                    shards: shards(),
                    measurement: measurement.map(|m| format!("m{m}").into_bytes()),
                    series: tag.map(|tag| TagFilter::Equal {
                        name: b"t".to_vec(),
                        value: format!("v{tag}").into_bytes(),
                    }),
                    time,
                };
                store.delete(request, *now).await.expect("deleted");
                delete_from(model, *measurement, *tag, time);
            }
            Operation::Wait(seconds) => {
                *now += seconds * SECOND;
                settle(store, *now).await.expect("settles");
            }
            Operation::Crash => return End::Crash,
            Operation::Restart(snapshot) => {
                store.close(*snapshot).await.expect("closes");
                return End::Restart;
            }
        }
        let held = read_all(store).await.expect("reads");
        assert_eq!(tidy(held), tidy(model.clone()), "after {operation:?}, {} left", rest.len());
    }
    End::Done
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn the_store_holds_what_a_map_does(operations in prop::collection::vec(operation(), 1..40), seed: u64) {
        check(&operations, seed);
    }
}

/// Files of every level, full compactions with tombstones, and blocks copied whole.
#[test]
fn long_series_survive_levels_of_merges() {
    let disk = SimDisk::new(3);
    let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
    run(&store, write_and_merge(&store));
}

async fn write_and_merge(store: &Store<SimDisk>) {
    let mut model = Model::new();
    let mut now = SECOND;
    for round in 0..70i64 {
        let points: Vec<Point> = (0..60)
            .map(|n| Point {
                measurement: 0,
                tag: (n % 3) as u8,
                // Every tenth round writes into the past.
                time: if round % 10 == 9 { (round - 5) * 10 } else { round * 10 } + n / 6,
                fields: vec![(0, (n + round) as u8), (1, round as u8)],
            })
            .collect();
        write(store, &points, now, now).await.expect("written");
        write_to(&mut model, &points);
        // Long enough to be snapshotted, too short to be made full.
        now += 6 * SECOND;
        settle(store, now).await.expect("settles");
    }
    let levelled = store.stats();
    assert!(
        levelled.snapshots >= 70 && levelled.compactions >= 8 && levelled.compactions_full == 0,
        "{levelled:?}"
    );
    assert_eq!(tidy(read_all(store).await.expect("reads")), tidy(model.clone()));
    let time = TimeRange::new(100, 140);
    let request = DeleteRequest { shards: shards(), measurement: None, series: None, time };
    store.delete(request, now).await.expect("deleted");
    delete_from(&mut model, None, None, time);
    now += 20 * SECOND;
    settle(store, now).await.expect("settles");
    let full = store.stats();
    assert!(full.compactions_full >= 2 && full.tombstones_now == 0 && full.tsm_files_now <= 4, "{full:?}");
    assert_eq!(tidy(read_all(store).await.expect("reads")), tidy(model));
}
