//! The WAL against crashes, laggards, full and failing disks.

use std::cell::RefCell;

use futures_lite::future::{block_on, or, zip};

use super::*;
use crate::disk::sim::{SimDisk, SimOptions, Stopped};
use crate::disk::{BLOCK_BYTES, uring};
use crate::error::Error;
use crate::journal::Compression;
use crate::model::ShardGroupId;

const GROUP: ShardGroupId = ShardGroupId(7);

fn options() -> WalOptions {
    let segment_bytes = 8 * BLOCK_BYTES as u64;
    let journal = JournalOptions { segment_bytes, free_bytes_min: 0, ..JournalOptions::preallocated() };
    WalOptions { journal, live_bytes_max: 16 * segment_bytes }
}

async fn open(disk: &SimDisk) -> Result<(Wal<SimDisk>, Vec<(u64, ShardId, Vec<u8>)>)> {
    let mut replay = WalReplay::open(disk.clone(), 1, options()).await?;
    let mut found = Vec::new();
    while let Some(group) = replay.next().await? {
        for entry in &group.entries {
            let body = match entry {
                Entry::Write { batch, .. } => batch.to_vec(),
                Entry::Delete { body, .. } => body.to_vec(),
                Entry::ShardDropped { .. } => Vec::new(),
            };
            found.push((group.sequence, entry.shard(), body));
        }
    }
    assert_eq!(replay.report().damages, []);
    assert_eq!(replay.entries(), found.len() as u64);
    let (wal, _) = replay.finish(0).await?;
    Ok((wal, found))
}

fn write(shard: u64, batch: &[u8]) -> Entry<'_> {
    Entry::Write { shard: ShardId(shard), group: GROUP, batch }
}

#[test]
fn a_group_is_replayed_whole_in_order_and_with_its_sequence() {
    let disk = SimDisk::new(1);
    block_on(async {
        let (wal, found) = open(&disk).await.unwrap();
        assert!(found.is_empty());
        let long = vec![9; 20_000];
        let delete = Entry::Delete { shard: ShardId(3), group: GROUP, body: b"gone" };
        let dropped = Entry::ShardDropped { shard: ShardId(4), group: GROUP };
        assert_eq!(wal.append(&[write(1, b"one"), write(2, &long), delete]).await.unwrap(), 1);
        assert_eq!(wal.append(&[dropped]).await.unwrap(), 2);
        let (wal, found) = open(&disk.crash()).await.unwrap();
        let want = [(1, 1, b"one".to_vec()), (1, 2, long), (1, 3, b"gone".to_vec()), (2, 4, vec![])];
        assert_eq!(found, want.map(|(sequence, shard, body)| (sequence, ShardId(shard), body)));
        assert_eq!(wal.low_water(ShardId(4)), Some(2));
        assert_eq!(wal.last_sequence(), 2);
    });
}

#[test]
fn a_full_wal_names_the_laggard_and_takes_writes_again_once_it_is_snapshotted() {
    let disk = SimDisk::new(2);
    block_on(async {
        let (wal, _) = open(&disk).await.unwrap();
        let work = async {
            wal.append(&[write(1, b"early")]).await.unwrap();
            for round in 0..10 {
                let full = loop {
                    match wal.append(&[write(2, b"busy")]).await {
                        Ok(sequence) => wal.snapshotted(ShardId(2), sequence),
                        Err(error) => break error,
                    }
                };
                assert_eq!(full, Error::Full { what: "the WAL" });
                let (laggard, sequence) = wal.laggard().unwrap();
                assert_eq!(laggard, ShardId(1));
                let delete = Entry::Delete { shard: ShardId(2), group: GROUP, body: b"" };
                let last = wal.append(&[delete]).await.expect("a delete is taken by a full WAL");
                wal.snapshotted(ShardId(2), last);
                wal.append(&[write(1, b"late")]).await.unwrap_err();
                wal.snapshotted(laggard, sequence);
                wal.upkeep().await.unwrap();
                assert!(wal.has_room(4096), "round {round}");
                wal.append(&[write(1, b"next")]).await.unwrap();
            }
            let stats = wal.stats();
            assert!(
                stats.live_bytes_now <= options().live_bytes_max + 4096 && stats.spares_now <= 2,
                "{stats:?}"
            );
            wal.close().await.unwrap();
        };
        zip(work, wal.upkeep_loop(|_| {})).await;
    });
}

#[test]
fn a_wal_without_needed_entries_is_left_empty_by_a_close_and_keeps_its_sequence() {
    let disk = SimDisk::new(3);
    block_on(async {
        let (wal, _) = open(&disk).await.unwrap();
        for _ in 0..20 {
            let sequence = wal.append(&[write(1, b"x"), write(2, b"y")]).await.unwrap();
            wal.snapshotted(ShardId(1), sequence);
            wal.snapshotted(ShardId(2), sequence);
        }
        wal.close().await.unwrap();
        assert_eq!(wal.append(&[write(1, b"x")]).await, Err(Error::Closed));
        let after = disk.crash();
        let (wal, found) = open(&after).await.unwrap();
        assert!(found.is_empty());
        assert_eq!(wal.append(&[write(1, b"x")]).await.unwrap(), 21);
        wal.close().await.unwrap();
        let (_, found) = open(&after.crash()).await.unwrap();
        assert_eq!(found.len(), 1, "what is needed is not released by a close");
    });
}

#[test]
fn a_retired_wal_is_empty_and_its_sequence_goes_on() {
    let disk = SimDisk::new(4);
    block_on(async {
        let (wal, _) = open(&disk).await.unwrap();
        for _ in 0..30 {
            wal.append(&[write(1, b"x")]).await.unwrap();
        }
        drop(wal);
        for _ in 0..3 {
            WalReplay::open(disk.clone(), 1, options()).await.unwrap().retire(0).await.unwrap();
            assert_eq!(disk.used_bytes(), 0);
            assert_eq!(disk.files().len(), 1);
        }
        let (wal, found) = open(&disk.crash()).await.unwrap();
        assert!(found.is_empty());
        assert_eq!(wal.append(&[write(1, b"x")]).await.unwrap(), 31);
    });
}

#[test]
fn a_sequence_that_a_manifest_knows_is_never_given_again() {
    let disk = SimDisk::new(5);
    block_on(async {
        let (wal, _) = open(&disk).await.unwrap();
        for _ in 0..3 {
            wal.append(&[write(1, b"x")]).await.unwrap();
        }
        let (path, _) = disk.files()[0].clone();
        // The last record rots; without what the manifest knows it would be a torn tail.
        disk.flip(&path, 2 * BLOCK_BYTES + 50, 1);
        let replay = WalReplay::open(disk.clone(), 1, options()).await.unwrap();
        let (wal, report) = replay.finish(3).await.unwrap();
        assert_eq!(report.damages.len(), 1);
        assert_eq!(report.damages[0].sequences, 3..4);
        assert_eq!(wal.append(&[write(1, b"y")]).await.unwrap(), 4);
        // A folder that is gone altogether, the same.
        let empty = WalReplay::open(SimDisk::new(6), 1, options()).await.unwrap();
        let (wal, report) = empty.finish(9).await.unwrap();
        assert_eq!(report.damages, []);
        assert_eq!(wal.append(&[write(1, b"y")]).await.unwrap(), 10);
    });
}

#[test]
fn a_wal_at_rest_takes_no_room_and_the_next_append_makes_a_segment_again() {
    let mut disk = SimDisk::new(11);
    block_on(async {
        let mut last = 0;
        for life in 0..3 {
            let (wal, found) = open(&disk).await.unwrap();
            assert!(found.is_empty() && !wal.can_rest(), "nothing is there to give back");
            for round in 0..2 {
                for _ in 0..30 {
                    last = wal.append(&[write(1, b"x")]).await.unwrap();
                    wal.snapshotted(ShardId(1), last - 1);
                    wal.upkeep().await.unwrap();
                    assert!(!wal.can_rest(), "an entry is needed");
                }
                assert!(wal.stats().spares_now > 0);
                wal.snapshotted(ShardId(1), last);
                assert!(wal.can_rest());
                wal.rest().await.unwrap();
                assert!(!wal.can_rest());
                assert_eq!((disk.used_bytes(), disk.files().len()), (0, 1), "life {life}, round {round}");
                let stats = wal.stats();
                assert_eq!((stats.live_bytes_now, stats.segments_now, stats.spares_now), (0, 1, 0));
                assert_eq!(wal.last_sequence(), last);
            }
            disk = disk.crash();
        }
        let (wal, _) = open(&disk).await.unwrap();
        assert_eq!(wal.append(&[write(1, b"x")]).await.unwrap(), last + 1);
        wal.upkeep().await.unwrap();
        assert_eq!(disk.files().len(), 1, "the empty file went");
        let disk = disk.crash();
        let (wal, found) = open(&disk).await.unwrap();
        assert_eq!(found, [(last + 1, ShardId(1), b"x".to_vec())]);
        // A former life's segments go as well.
        wal.snapshotted(ShardId(1), last + 1);
        assert!(wal.can_rest());
        wal.rest().await.unwrap();
        assert_eq!((disk.used_bytes(), wal.can_rest()), (0, false));
    });
}

/// What two lives of a store over the WAL know.
#[derive(Default)]
struct Known {
    /// (sequence, shard) of acknowledged entries, a group in a row.
    acknowledged: Vec<(u64, u64)>,
    /// Per shard, as a manifest on disk would have it.
    snapshotted: [u64; 3],
}

/// A store's life: groups for three shards, snapshots of one or another, upkeep beside it.
async fn life(disk: &SimDisk, known: &RefCell<Known>) -> Result<()> {
    let (wal, _) = open(disk).await?;
    let work = async {
        for step in 0..18u64 {
            let batch = vec![step as u8; 1 + (step as usize * 937) % 9000];
            let entries: Vec<Entry> =
                (0..3).filter(|shard| (step + shard) % 3 != 0).map(|shard| write(shard, &batch)).collect();
            let sequence = wal.append(&entries).await?;
            for entry in &entries {
                known.borrow_mut().acknowledged.push((sequence, entry.shard().0));
            }
            if step % 4 == 3 {
                let shard = step % 3;
                known.borrow_mut().snapshotted[shard as usize] = sequence;
                wal.snapshotted(ShardId(shard), sequence);
            }
            if step == 8 {
                // Quiet: everything is in files, and the WAL gives its room back.
                known.borrow_mut().snapshotted = [sequence; 3];
                (0..3).for_each(|shard| wal.snapshotted(ShardId(shard), sequence));
                wal.rest().await?;
            }
            if step == 13 {
                // Something is needed still: it is kept.
                wal.rest().await?;
            }
        }
        wal.close().await
    };
    let ended = or(async { Some(work.await) }, async {
        wal.upkeep_loop(|_| {}).await;
        std::future::pending().await
    });
    ended.await.unwrap_or(Ok(()))
}

#[test]
fn a_power_cut_at_any_change_loses_no_needed_entry_and_tears_no_group() {
    let changes = {
        let disk = SimDisk::new(7);
        let known = RefCell::default();
        block_on(async {
            life(&disk, &known).await.unwrap();
            life(&disk, &known).await.unwrap();
        });
        disk.changes()
    };
    for change in 0..changes {
        let stopped = if change % 2 == 0 { Stopped::Fails } else { Stopped::Hangs };
        let disk = SimDisk::with_options(SimOptions { seed: change, polls_max: 3, capacity_bytes: None });
        disk.stop_at_change(change, stopped);
        let known = RefCell::new(Known::default());
        let lives = async {
            if life(&disk, &known).await.is_ok() {
                let _ = life(&disk, &known).await;
            }
        };
        block_on(or(lives, disk.stopped()));
        let Known { acknowledged, snapshotted } = known.into_inner();
        for seed in 0..3 {
            let (wal, found) = block_on(open(&disk.crash_with_seed(seed))).unwrap();
            let found: Vec<(u64, u64)> =
                found.iter().map(|(sequence, shard, _)| (*sequence, shard.0)).collect();
            let needed =
                acknowledged.iter().filter(|(sequence, shard)| *sequence > snapshotted[*shard as usize]);
            for entry in needed {
                assert!(found.contains(entry), "stopped at change {change}, image {seed}: {entry:?} is lost");
            }
            assert!(found.is_sorted(), "stopped at change {change}, image {seed}: {found:?}");
            let last = acknowledged.last().map_or(0, |(sequence, _)| *sequence);
            let invented =
                found.iter().filter(|entry| entry.0 <= last && !acknowledged.contains(entry)).count();
            assert_eq!(invented, 0, "stopped at change {change}, image {seed}: {found:?}");
            // Two shards of three are in each group.
            assert!(found.chunk_by(|a, b| a.0 == b.0).all(|group| group.len() == 2));
            assert!(wal.last_sequence() >= last);
        }
    }
}

#[test]
fn a_failed_write_makes_the_wal_read_only_with_the_reason() {
    let disk = SimDisk::new(8);
    block_on(async {
        let (wal, _) = open(&disk).await.unwrap();
        wal.append(&[write(1, b"x")]).await.unwrap();
        disk.fail_write(0);
        let failed = wal.append(&[write(1, b"y")]).await;
        assert!(matches!(&failed, Err(Error::ReadOnly { reason }) if reason.contains("wal/1")), "{failed:?}");
        assert_eq!(wal.append(&[write(1, b"z")]).await, failed);
        assert_eq!(wal.refusal(), failed.err());
        assert_eq!(open(&disk.crash()).await.unwrap().1[0].2, b"x");
    });
}

#[test]
fn a_full_disk_is_said_and_the_wal_goes_on_by_itself_when_there_is_room() {
    let segment_bytes = options().journal.segment_bytes;
    let disk =
        SimDisk::with_options(SimOptions { seed: 9, polls_max: 0, capacity_bytes: Some(3 * segment_bytes) });
    block_on(async {
        let (wal, _) = open(&disk).await.unwrap();
        let mut acknowledged = 0;
        let full = loop {
            match wal.append(&[write(1, b"x")]).await {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((acknowledged, full), (24, Error::DiskFull { free_bytes: 0 }));
        assert_eq!(wal.refusal(), None);
        // Room from outside, or from a snapshot that releases segments.
        wal.snapshotted(ShardId(1), 20);
        wal.upkeep().await.unwrap();
        wal.append(&[write(1, b"x")]).await.unwrap();
        let (_, found) = open(&disk.crash()).await.unwrap();
        assert_eq!(found.last().map(|(sequence, _, _)| *sequence), Some(25));
    });
}

#[test]
fn entries_of_a_later_version_stop_the_start_instead_of_being_skipped() {
    let disk = SimDisk::new(10);
    block_on(async {
        let (journal, _) =
            Journal::open(disk.clone(), &folder(1), options().journal, |_, _| Ok(())).await.unwrap();
        journal.append(&[200; ENTRY_HEADER_BYTES]).await.unwrap();
        let refused = open(&disk).await.err();
        assert!(matches!(refused, Some(Error::Corrupted { .. })), "{refused:?}");
    });
}

#[test]
fn on_a_real_disk_groups_are_durable_replayed_and_released() {
    uring::tests::on_disk(|disk| async move {
        for compression in [Compression::Never, Compression::WhenItPays] {
            let mut options = options();
            options.journal.compression = compression;
            for life in 0..2u64 {
                let mut replay = WalReplay::open(disk.clone(), 5, options).await.unwrap();
                let mut needed = 0;
                while let Some(group) = replay.next().await.unwrap() {
                    needed += group.entries.len();
                }
                // Ten are needed; segments go whole, so some more are there.
                assert!(if life == 0 { needed == 0 } else { (10..80).contains(&needed) }, "{needed} entries");
                let (wal, report) = replay.finish(0).await.unwrap();
                assert_eq!(report.damages, []);
                let batch = vec![life as u8; 7000];
                for _ in 0..40 {
                    let sequence = wal.append(&[write(1, &batch), write(2, &batch)]).await.unwrap();
                    wal.snapshotted(ShardId(1), sequence.saturating_sub(5));
                    wal.snapshotted(ShardId(2), sequence.saturating_sub(5));
                    wal.upkeep().await.unwrap();
                }
                if life == 1 {
                    wal.snapshotted(ShardId(1), u64::MAX);
                    wal.snapshotted(ShardId(2), u64::MAX);
                }
                wal.close().await.unwrap();
            }
        }
    });
}
