//! What a store does when nobody writes, and what it never does behind a writer's back.

mod support;

use std::task::Poll;

use futures_lite::future::{block_on, zip};
use support::{Model, Point, SECOND, open, options, read_all, run, settle, shards, tidy, write, write_to};
use tidemark_engine::Error;
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::BatchBuilder;
use tidemark_engine::model::batch::put_value;
use tidemark_engine::model::{FieldType, SeriesKey, Value};
use tidemark_engine::store::{ShardWrite, Step, Store, StoreOptions};

fn points(seed: u8) -> Vec<Point> {
    (0..8)
        .map(|n| Point { measurement: 0, tag: n % 2, time: i64::from(n), fields: vec![(n % 4, seed)] })
        .collect()
}

/// Bytes of all files of the WAL.
fn wal_bytes(disk: &SimDisk) -> usize {
    disk.files().iter().filter(|(path, _)| path.starts_with("wal/")).map(|(_, bytes)| bytes.len()).sum()
}

#[test]
fn an_idle_store_gives_the_room_of_its_wal_back_and_then_sleeps() {
    let mut disk = SimDisk::new(1);
    let mut model = Model::new();
    for life in 0..3u8 {
        let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
        run(&store, async {
            assert_eq!(tidy(read_all(&store).await.expect("reads")), tidy(model.clone()), "life {life}");
            // What the former life left is given back as well, ten seconds after the first look.
            let mut now = 30 * SECOND;
            settle(&store, now).await.expect("settles");
            now += 20 * SECOND;
            settle(&store, now).await.expect("settles");
            assert_eq!(wal_bytes(&disk), 0, "life {life}");
            for round in 0..3 {
                write(&store, &points(10 * life + round), now, now).await.expect("written");
                write_to(&mut model, &points(10 * life + round));
                let written_at = now;
                now += 6 * SECOND;
                settle(&store, now).await.expect("settles");
                assert!(wal_bytes(&disk) > 0, "round {round}: too early");
                // Sleeping as long as it says, it wakes when the WAL is due, or before.
                while wal_bytes(&disk) > 0 {
                    assert!(now <= written_at + 10 * SECOND, "round {round}: at {now}");
                    match store.background_step(now, 64 << 10).await.expect("a step") {
                        Step::More => {}
                        Step::IdleUntil(until) => now = until,
                    }
                }
                assert_eq!(now, written_at + 10 * SECOND);
                now += 15 * SECOND;
                settle(&store, now).await.expect("settles");
                now += 5 * 3600 * SECOND;
                settle(&store, now).await.expect("settles");
                let idle = store.background_step(now, 64 << 10).await.expect("a step");
                assert_eq!(idle, Step::IdleUntil(now + 60 * SECOND), "round {round}");
            }
            // What comes after a rest survives a power cut.
            write(&store, &points(99), now, now).await.expect("written");
            write_to(&mut model, &points(99));
        });
        disk = disk.crash();
    }
}

#[test]
fn the_cache_of_a_cold_shard_of_small_series_goes_straight_into_its_one_file() {
    let disk = SimDisk::new(1);
    let mut model = Model::new();
    let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
    run(&store, async {
        let mut now = 30 * SECOND;
        let mut done = store.stats();
        for round in 0..4u8 {
            let mut points = points(round);
            points.iter_mut().for_each(|point| point.time += 8 * i64::from(round % 3));
            write(&store, &points, now, now).await.expect("written");
            write_to(&mut model, &points);
            settle(&store, now + 6 * SECOND).await.expect("settles");
            // Without files there is nothing to combine with.
            let early = store.stats();
            assert_eq!(early.snapshots - done.snapshots, if round == 0 { 2 } else { 0 }, "round {round}");
            settle(&store, now + 10 * SECOND).await.expect("settles");
            done = store.stats();
            assert_eq!(done.snapshots - early.snapshots, if round == 0 { 0 } else { 2 }, "round {round}");
            let files = disk.files().iter().filter(|(path, _)| path.ends_with(".tsm")).count();
            assert_eq!(files, 2, "round {round}: a file per shard");
            assert_eq!(tidy(read_all(&store).await.expect("reads")), tidy(model.clone()), "round {round}");
            now += 60 * SECOND;
        }
    });
    drop(store);
    let store = block_on(open(&disk.crash(), options(0, &[0]))).expect("opens");
    run(&store, async {
        assert_eq!(tidy(read_all(&store).await.expect("reads")), tidy(model.clone()), "after a power cut");
    });
}

#[test]
fn a_snapshot_between_two_writes_of_one_record_loses_neither() {
    for steps in 0..8 {
        let disk = SimDisk::new(steps);
        let small = StoreOptions { cache_snapshot_bytes: 1, ..options(0, &[0]) };
        let store = block_on(open(&disk, small)).expect("opens");
        let mut model = Model::new();
        run(&store, async {
            // The types are known, so that the writes below enter the queue together.
            write(&store, &points(0), 1, SECOND).await.expect("written");
            write_to(&mut model, &points(0));
            let writes = (1..5).map(|writer| {
                write_to(&mut model, &shifted(writer));
                let store = &store;
                Box::pin(async move { write(store, &shifted(writer), 2, SECOND).await.map(|_| ()) })
            });
            let snapshots = async {
                for _ in 0..steps {
                    store.background_step(SECOND, 64 << 10).await.expect("a step");
                    futures_lite::future::yield_now().await;
                }
            };
            zip(all(writes.collect()), snapshots).await;
        });
        // With the caches as they are: what is in no file must be in the WAL.
        let disk = disk.crash();
        let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
        run(&store, async {
            assert_eq!(tidy(read_all(&store).await.expect("reads")), tidy(model), "{steps} steps");
            // And nothing holds the WAL back for ever.
            for now in [10, 30, 60] {
                settle(&store, now * SECOND).await.expect("settles");
            }
            assert_eq!(wal_bytes(&disk), 0);
        });
    }
}

/// Polls all until all are done; each must succeed.
async fn all<F: Future<Output = tidemark_engine::Result<()>> + Unpin>(mut futures: Vec<F>) {
    std::future::poll_fn(|cx| {
        futures.retain_mut(|future| match std::pin::Pin::new(future).poll(cx) {
            Poll::Ready(outcome) => {
                outcome.expect("written");
                false
            }
            Poll::Pending => true,
        });
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn shifted(writer: u8) -> Vec<Point> {
    let mut points = points(writer);
    points.iter_mut().for_each(|point| point.time += i64::from(writer) * 10);
    points
}

#[test]
fn rows_that_no_cache_takes_are_not_acknowledged() {
    let disk = SimDisk::new(3);
    let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
    run(&store, async {
        let mut builder = BatchBuilder::new();
        let key = SeriesKey::build(b"m0", &[(b"t", &vec![b'x'; 140_000])]);
        let series = builder.add_series(key.hash(), &key.0);
        let shape = builder.add_shape(b"m0", [(FieldType::Float, b"f0".as_slice())].into_iter());
        let mut values = Vec::new();
        put_value(&mut values, &Value::Float(1.0));
        builder.add_row(series, shape, 5, &values);
        let batch = builder.finish(1, 1);
        let shard = shards()[0];
        let write = ShardWrite { shard: shard.shard, group: shard.group, batch };
        let refused = store.write(vec![write], SECOND).await;
        assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
        assert_eq!((store.stats().points_full, store.stats().points_written), (1, 0));
        assert!(support::write(&store, &points(1), 2, SECOND).await.is_ok(), "others go on");
    });
}

#[test]
fn damage_of_the_wal_is_kept_for_the_log() {
    let disk = SimDisk::new(4);
    let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
    assert!(store.replays().iter().all(|replay| replay.report.damages.is_empty()));
    run(&store, async {
        for seed in 0..3 {
            write(&store, &points(seed), 1, SECOND).await.expect("written");
        }
    });
    let disk = disk.crash();
    let (path, _) = disk
        .files()
        .into_iter()
        .find(|(path, _)| path.ends_with(".seg") && path.starts_with("wal/"))
        .expect("a segment");
    disk.flip(&path, 4096 + 60, 1);
    let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
    let replays = store.replays();
    let [replay] = replays.as_slice() else { panic!("{replays:?}") };
    let [damage] = replay.report.damages.as_slice() else { panic!("{replay:?}") };
    assert_eq!((replay.wal_id, damage.file.as_str(), damage.offset), (0, path.as_str(), 4096));
    assert_eq!((store.stats().wal_damages, store.stats().wal_records_replayed), (1, 2));
}

const WEEK: u64 = 7 * 24 * 3600 * SECOND;

/// Background work until `end`, sleeping as long as it says.
async fn live_until(store: &Store<SimDisk>, mut now: u64, end: u64) {
    while now < end {
        match store.background_step(now, 64 << 10).await.expect("a step") {
            Step::More => {}
            Step::IdleUntil(until) => now = until,
        }
    }
}

#[test]
fn files_are_read_again_once_a_week_and_damage_is_told_with_its_file() {
    let disk = SimDisk::new(1);
    let options = StoreOptions { scrub_interval_ns: WEEK, ..options(0, &[0]) };
    let store = block_on(open(&disk, options)).expect("opens");
    run(&store, async {
        write(&store, &points(1), SECOND, SECOND).await.expect("written");
        live_until(&store, SECOND, 600 * SECOND).await;
        let files: Vec<String> =
            disk.files().into_iter().map(|file| file.0).filter(|path| path.ends_with(".tsm")).collect();
        assert!(!files.is_empty());
        live_until(&store, 600 * SECOND, 2 * 3600 * SECOND).await;
        let stats = store.stats();
        assert_eq!((stats.scrubs, stats.scrub_files, stats.scrub_damaged), (1, files.len() as u64, 0));
        assert!(stats.scrub_bytes > 100);
        assert_eq!(store.take_scrub_damage(), None);

        // Somewhere behind the head, where an open reader looks only when it is asked for rows.
        disk.flip(&files[0], 20, 1);
        live_until(&store, 2 * 3600 * SECOND, WEEK).await;
        assert_eq!(store.stats().scrubs, 1, "too early");
        live_until(&store, WEEK, WEEK + 3 * 3600 * SECOND).await;
        let stats = store.stats();
        assert_eq!((stats.scrubs, stats.scrub_damaged), (2, 1));
        let told = store.take_scrub_damage().expect("a damage").to_string();
        assert!(told.contains(&files[0]), "{told}");
        assert_eq!(store.take_scrub_damage(), None, "told once");
        write(&store, &points(2), SECOND, SECOND).await.expect("writes go on");
    });
}

#[test]
fn without_an_interval_files_are_never_read_again() {
    let disk = SimDisk::new(1);
    let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
    run(&store, async {
        write(&store, &points(1), SECOND, SECOND).await.expect("written");
        live_until(&store, SECOND, 2 * WEEK).await;
        assert_eq!(store.stats().scrub_bytes, 0);
    });
}
