//! Every write and every sync of a load fails once: the store says why it takes no more writes, acknowledges nothing
//! after, goes on reading, and a restart has all that was acknowledged. Every read fails once: nothing wrong is read.

#![cfg(feature = "sim")]

mod support;

use std::cell::RefCell;

use futures_lite::future::block_on;
use support::workload::{Known, possible, workload};
use support::{
    Model, Point, SECOND, beside, open, options, read_all, run, settle, shards, tidy, write, write_to,
};
use tidemark_engine::Error;
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::TimeRange;
use tidemark_engine::store::DeleteRequest;

/// The load on a disk made to fail; what may be stored after it.
fn life(disk: &SimDisk) -> RefCell<Known> {
    let known = RefCell::default();
    block_on(async {
        let Ok(store) = open(disk, options(0, &[0])).await else {
            assert!(disk.has_failed(), "a start fails only for a reason");
            return;
        };
        beside(&store, async {
            let done = workload(&store, &known).await;
            // What the upkeep of the WAL met is told a turn later.
            futures_lite::future::yield_now().await;
            if !disk.has_failed() {
                return done.expect("nothing was wrong with the disk");
            }
            let refusal = store.refusal().expect("a failed write or sync makes the store read-only");
            assert!(matches!(&refusal, Error::ReadOnly { reason } if reason.contains("Input/output error")));
            let late = Point { measurement: 3, tag: 0, time: 999, fields: vec![(0, 1)] };
            let refused = write(&store, &[late], u64::MAX / 2, 90 * SECOND).await;
            assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?} after {refusal}");
            assert_eq!(store.check_writable().await, Err(refusal));
            read_all(&store).await.expect("reads go on");
        })
        .await;
    });
    known
}

fn check_all_acknowledged(disk: &SimDisk, known: &Known, when: &str) {
    let store = block_on(open(disk, options(0, &[0]))).unwrap_or_else(|error| panic!("{when}: {error}"));
    let held = run(&store, async { tidy(read_all(&store).await.expect("reads")) });
    let possible = possible(known);
    assert!(possible.contains(&held), "{when}: {held:?} is none of {possible:?}");
}

#[test]
fn after_a_failed_write_or_sync_anywhere_nothing_is_acknowledged_and_a_restart_has_all() {
    let whole = SimDisk::new(1);
    life(&whole);
    let (writes, syncs) = (whole.writes(), whole.syncs());
    assert!(writes > 30 && syncs > 20, "{writes} writes and {syncs} syncs are too few to mean anything");
    let mut struck = 0;
    for at in 0..writes + syncs {
        let disk = SimDisk::new(at + 3);
        match at < writes {
            true => disk.fail_write(at),
            false => disk.fail_sync(at - writes),
        }
        let known = life(&disk);
        struck += u64::from(disk.has_failed());
        let kind = if at < writes { format!("write {at}") } else { format!("sync {}", at - writes) };
        // The kernel's view first: a restart of the process alone. Then the power goes.
        check_all_acknowledged(&disk.kill(), &known.borrow(), &format!("{kind} failed, then a kill"));
        let disk = SimDisk::new(at + 3);
        match at < writes {
            true => disk.fail_write(at),
            false => disk.fail_sync(at - writes),
        }
        let known = life(&disk);
        check_all_acknowledged(&disk.crash(), &known.borrow(), &format!("{kind} failed, then a power cut"));
    }
    assert!(struck > (writes + syncs) * 9 / 10, "{struck} faults of {} struck", writes + syncs);
}

#[test]
fn a_failed_read_anywhere_is_an_error_or_harmless_and_never_makes_the_store_read_only() {
    let disk = SimDisk::new(1);
    let known = life(&disk);
    let possible = possible(&known.borrow());
    let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
    let mut errors = 0;
    for at in 0..60 {
        disk.fail_read(at);
        match run(&store, read_all(&store)) {
            Ok(held) => assert!(possible.contains(&tidy(held)), "read {at} failed"),
            Err(Error::Io { operation: "read", .. }) => errors += 1,
            Err(error) => panic!("read {at} failed: {error}"),
        }
        assert_eq!(store.refusal(), None);
    }
    assert!(errors > 0, "no read failed");
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Full,
    Write(u64),
    Sync(u64),
}

fn everything() -> DeleteRequest {
    DeleteRequest { shards: shards(), measurement: None, series: None, time: TimeRange::ALL }
}

fn point(value: u8) -> Point {
    Point { measurement: 0, tag: 0, time: 1, fields: vec![(1, value)] }
}

#[test]
fn a_delete_that_the_disk_cuts_short_never_shows_an_older_value() {
    let faults = (0..12).flat_map(|at| [Fault::Write(at), Fault::Sync(at)]).chain([Fault::Full]);
    let (mut newest, mut failures) = (Model::new(), 0);
    write_to(&mut newest, &[point(2)]);
    for (seed, fault) in faults.enumerate() {
        let disk = SimDisk::new(seed as u64);
        let is_done = block_on(async {
            let store = open(&disk, options(0, &[0])).await.expect("opens");
            beside(&store, async {
                // One value in a file, a newer one in the cache.
                write(&store, &[point(1)], 1, SECOND).await.expect("written");
                settle(&store, 60 * SECOND).await.expect("settles");
                write(&store, &[point(2)], 2, 61 * SECOND).await.expect("written");
                match fault {
                    Fault::Full => disk.set_capacity(Some(disk.used_bytes())),
                    Fault::Write(at) => disk.fail_write(at),
                    Fault::Sync(at) => disk.fail_sync(at),
                }
                let deleted = store.delete(everything(), 62 * SECOND).await;
                let held = tidy(read_all(&store).await.expect("reads"));
                assert!(held.is_empty() || held == newest && deleted.is_err(), "{fault:?}: {held:?}");
                failures += u64::from(deleted.is_err());
                deleted.is_ok()
            })
            .await
        });
        let (killed, crashed) = (disk.kill(), disk.crash());
        for (disk, how) in [(killed, "killed"), (crashed, "power cut")] {
            disk.set_capacity(None);
            let store = block_on(open(&disk, options(0, &[0]))).expect("opens");
            let held = run(&store, async { tidy(read_all(&store).await.expect("reads")) });
            assert!(held.is_empty() || held == newest && !is_done, "{fault:?}, {how}: {held:?}");
        }
    }
    assert!(failures > 4, "{failures} deletes failed");
}

#[test]
fn a_delete_repeated_after_a_full_disk_is_durable() {
    let disk = SimDisk::new(1);
    block_on(async {
        let store = open(&disk, options(0, &[0])).await.expect("opens");
        beside(&store, async {
            // In a file alone: the WAL knows nothing of it.
            write(&store, &[point(1)], 1, SECOND).await.expect("written");
            settle(&store, 60 * SECOND).await.expect("settles");
            disk.set_capacity(Some(disk.used_bytes()));
            let full = store.delete(everything(), 62 * SECOND).await;
            assert!(matches!(full, Err(Error::DiskFull { .. })), "{full:?}");
            disk.set_capacity(None);
            store.delete(everything(), 63 * SECOND).await.expect("there is room again");
        })
        .await;
    });
    let store = block_on(open(&disk.crash(), options(0, &[0]))).expect("opens");
    let held = run(&store, async { tidy(read_all(&store).await.expect("reads")) });
    assert!(held.is_empty(), "{held:?}");
}
