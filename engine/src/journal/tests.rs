//! The journal against crashes at every change, flipped bits, cut files, failing and full disks.

use std::pin::pin;

use futures_lite::future::{block_on, poll_once};
use proptest::prelude::*;

use super::record::RECORD_HEADER_BYTES;
use super::*;
use crate::disk::sim::{SimDisk, SimOptions, Stopped};
use crate::disk::{BLOCK_BYTES, Disk};
use crate::error::{Error, Result};

const FOLDER: &str = "wal/1";
const SEGMENT_BYTES: u64 = 8 * BLOCK_BYTES as u64;

fn preallocated() -> JournalOptions {
    JournalOptions {
        segment_bytes: SEGMENT_BYTES,
        free_bytes_min: 0,
        compression: Compression::WhenItPays,
        ..JournalOptions::preallocated()
    }
}

fn growing() -> JournalOptions {
    JournalOptions { segment_bytes: SEGMENT_BYTES, ..JournalOptions::growing() }
}

/// A body that tells its number: some longer than a block, some than a segment, some that compress.
fn body(number: u64) -> Vec<u8> {
    let length = match number % 7 {
        3 => 3 * BLOCK_BYTES,
        5 => 6000,
        6 if number % 14 == 6 => SEGMENT_BYTES as usize + 100,
        _ => 40 + (number % 50) as usize,
    };
    let mut bytes = number.to_le_bytes().to_vec();
    let mut state = number;
    while bytes.len() < length {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let byte = if number.is_multiple_of(2) { (state >> 60) as u8 } else { (state >> 56) as u8 };
        bytes.push(byte);
    }
    bytes
}

type Records = Vec<(u64, Vec<u8>)>;

async fn open(disk: &SimDisk, options: JournalOptions) -> Result<(Journal<SimDisk>, Records, ReplayReport)> {
    let mut records = Records::new();
    let keep = |sequence: u64, body: &[u8]| {
        records.push((sequence, body.to_vec()));
        Ok(())
    };
    let (journal, report) = Journal::open(disk.clone(), FOLDER, options, keep).await?;
    Ok((journal, records, report))
}

/// Opens, and asserts that nothing is damaged.
fn replay(disk: &SimDisk, options: JournalOptions) -> Records {
    let (_, records, report) = block_on(open(disk, options)).unwrap();
    assert_eq!(report.damages, []);
    records
}

async fn append(journal: &Journal<SimDisk>, numbers: std::ops::Range<u64>) -> Result<()> {
    for number in numbers {
        journal.append(&body(number)).await?;
    }
    Ok(())
}

fn numbers(records: &Records) -> Vec<u64> {
    for (sequence, bytes) in records {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[..8]);
        assert_eq!(bytes, &body(u64::from_le_bytes(number)), "body of record {sequence}");
    }
    records.iter().map(|(sequence, _)| *sequence).collect()
}

#[test]
fn what_is_appended_is_replayed_across_segments_and_restarts() {
    for options in [preallocated(), growing()] {
        let disk = SimDisk::new(1);
        for start in 0..4 {
            let (journal, records, _) = block_on(open(&disk, options)).unwrap();
            assert_eq!(numbers(&records), (1..=start * 30).collect::<Vec<_>>());
            block_on(append(&journal, start * 30 + 1..start * 30 + 31)).unwrap();
        }
        assert_eq!(replay(&disk, options).len(), 120);
    }
}

#[test]
fn released_segments_are_recycled_and_their_records_never_return() {
    let disk = SimDisk::new(2);
    let mut next = 1;
    for _ in 0..5 {
        let (journal, _, _) = block_on(open(&disk, preallocated())).unwrap();
        block_on(async {
            for _ in 0..40 {
                let appended = journal.append(&body(next * 2)).await.unwrap();
                assert_eq!(appended.sequence, next);
                next += 1;
                journal.make_spare().await.unwrap();
                journal.release(next.saturating_sub(3)).await.unwrap();
                assert!(journal.spares() <= 2 && journal.segments() <= 6);
            }
        });
        let left = replay(&disk, preallocated());
        assert!(left.len() < 12, "{} records are left", left.len());
        let sequences: Vec<u64> = left.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(sequences, (next - left.len() as u64..next).collect::<Vec<_>>());
        assert!(left.iter().all(|(sequence, bytes)| bytes == &body(sequence * 2)));
    }
}

#[test]
fn an_idle_journal_gives_its_spares_back_and_keeps_its_sequence() {
    let disk = SimDisk::new(3);
    block_on(async {
        let (journal, _, _) = open(&disk, preallocated()).await.unwrap();
        append(&journal, 1..29).await.unwrap();
        journal.roll().await.unwrap();
        journal.release(u64::MAX).await.unwrap();
        assert!(journal.spares() > 0);
        journal.drop_spares().await.unwrap();
        assert_eq!((journal.spares(), journal.segments(), journal.live_bytes()), (0, 1, 0));
        append(&journal, 29..30).await.unwrap();
        journal.close().await.unwrap();
        assert_eq!(journal.append(b"x").await, Err(Error::Closed));
        let (journal, records, _) = open(&disk, preallocated()).await.unwrap();
        assert_eq!(numbers(&records), [29]);
        assert_eq!(journal.append(b"x").await.unwrap().sequence, 31, "29 records and the mark of the close");
    });
}

/// One life of a journal: appends, rolls, releases, spares, a snapshot. Tells what was acknowledged.
async fn life(
    disk: &SimDisk,
    options: JournalOptions,
    acknowledged: &std::cell::RefCell<Acknowledged>,
) -> Result<()> {
    let (journal, _, report) = open(disk, options).await?;
    assert_eq!(report.damages, []);
    let start = journal.next_sequence();
    acknowledged.borrow_mut().records.retain(|sequence| *sequence < start);
    for step in 0..14 {
        let sequence = journal.append(&body(journal.next_sequence())).await?.sequence;
        acknowledged.borrow_mut().records.push(sequence);
        if step % 3 == 0 {
            journal.make_spare().await?;
        }
        if step == 9 {
            acknowledged.borrow_mut().released_below = sequence - 3;
            journal.release(sequence - 3).await?;
        }
    }
    journal.close().await
}

#[derive(Default)]
struct Acknowledged {
    records: Vec<u64>,
    released_below: u64,
}

/// Cuts the power at every change of two lives, several images each.
fn crash_at_every_change(options: JournalOptions, stopped: Stopped) {
    let changes = {
        let disk = SimDisk::new(4);
        let acknowledged = Default::default();
        block_on(async {
            life(&disk, options, &acknowledged).await.unwrap();
            life(&disk, options, &acknowledged).await.unwrap();
        });
        disk.changes()
    };
    assert!(changes > 40, "{changes} changes");
    for change in 0..changes {
        let sim = SimOptions { seed: change, polls_max: 2, capacity_bytes: None };
        let disk = SimDisk::with_options(sim);
        disk.stop_at_change(change, stopped);
        let acknowledged = std::cell::RefCell::new(Acknowledged::default());
        let lives = async {
            if life(&disk, options, &acknowledged).await.is_ok() {
                let _ = life(&disk, options, &acknowledged).await;
            }
        };
        block_on(futures_lite::future::or(lives, disk.stopped()));
        let Acknowledged { records: acknowledged, released_below } = acknowledged.into_inner();
        let last = acknowledged.last().copied().unwrap_or(0);
        for seed in 0..4 {
            let after = disk.crash_with_seed(seed);
            let context = format!("stopped at change {change}, image {seed}");
            let found = numbers(&replay(&after, options));
            for sequence in acknowledged.iter().filter(|sequence| **sequence >= released_below) {
                assert!(
                    found.contains(sequence),
                    "{context}: {sequence} is lost of {acknowledged:?}: {found:?}"
                );
            }
            // The mark of a close has a sequence too.
            assert!(
                found.windows(2).all(|pair| (1..3).contains(&(pair[1] - pair[0]))),
                "{context}: {found:?}"
            );
            assert!(found.last().is_none_or(|found| *found <= last + 2), "{context}: {found:?} is invented");
            // And life goes on, with a second power cut at once.
            block_on(async {
                let (journal, _, _) = open(&after, options).await.unwrap();
                let next = journal.next_sequence();
                append(&journal, next..next + 3).await.unwrap();
                let found = numbers(&replay(&after.crash(), options));
                assert!(found.ends_with(&[next, next + 1, next + 2]), "{context}: {found:?}");
            });
        }
    }
}

#[test]
fn a_power_cut_at_any_change_loses_nothing_acknowledged_and_invents_nothing() {
    crash_at_every_change(preallocated(), Stopped::Fails);
    crash_at_every_change(growing(), Stopped::Fails);
}

#[test]
fn a_disk_that_hangs_at_any_change_loses_nothing_acknowledged() {
    crash_at_every_change(preallocated(), Stopped::Hangs);
}

#[test]
fn a_snapshot_replaces_all_before_it_whenever_the_power_goes() {
    let run = async |disk: &SimDisk| -> Result<()> {
        let (journal, _, _) = open(disk, growing()).await?;
        append(&journal, 1..13).await?;
        journal.rewrite(&[b"one", b"two"]).await?;
        journal.append(b"three").await?;
        assert_eq!(journal.segments(), 1);
        Ok(())
    };
    let disk = SimDisk::new(5);
    block_on(run(&disk)).unwrap();
    assert_eq!(disk.files().len(), 1);
    for change in 0..disk.changes() {
        let disk = SimDisk::new(change);
        disk.stop_at_change(change, Stopped::Fails);
        let _ = block_on(run(&disk));
        for seed in 0..6 {
            let records = replay(&disk.crash_with_seed(seed), growing());
            let bodies: Vec<&[u8]> = records.iter().map(|(_, body)| body.as_slice()).collect();
            let is_new = [&b"one"[..], b"two", b"three"].starts_with(&bodies) && bodies.len() >= 2;
            let is_old = bodies.iter().enumerate().all(|(at, bytes)| *bytes == body(at as u64 + 1));
            assert!(is_new || is_old, "stopped at change {change}: {bodies:?}");
        }
    }
    let after = disk.crash();
    let records = replay(&after, growing());
    assert_eq!(records.last(), Some(&(15, b"three".to_vec())));
}

/// A closed journal of `count` records, one file of which gets damaged.
fn closed_journal(options: JournalOptions, count: u64) -> SimDisk {
    let disk = SimDisk::new(6);
    block_on(async {
        let (journal, _, _) = open(&disk, options).await.unwrap();
        append(&journal, 1..count + 1).await.unwrap();
        journal.close().await.unwrap();
    });
    disk
}

/// Whatever is read back is what was written, and what is not is reported.
fn check_damaged(
    disk: &SimDisk,
    options: JournalOptions,
    count: u64,
    context: &str,
) -> (Records, ReplayReport) {
    let (journal, records, report) = block_on(open(disk, options)).unwrap();
    numbers(&records);
    let missing = (1..=count).filter(|number| !records.iter().any(|(sequence, _)| sequence == number));
    for number in missing {
        let is_listed = report.damages.iter().any(|damage| damage.sequences.contains(&number));
        assert!(is_listed, "{context}: {number} is missing, reported are {:?}", report.damages);
    }
    // The journal still takes records, and they come back.
    block_on(async {
        let sequence = journal.append(b"more").await.unwrap().sequence;
        let (_, records, _) = open(disk, options).await.unwrap();
        assert_eq!(records.last(), Some(&(sequence, b"more".to_vec())), "{context}");
    });
    (records, report)
}

#[test]
fn any_flipped_byte_is_harmless_or_reported_and_costs_one_record_at_most() {
    const COUNT: u64 = 16;
    let disk = closed_journal(preallocated(), COUNT);
    let files = disk.files();
    for (path, bytes) in &files {
        for offset in 0..bytes.len() {
            // Every byte of every header, and enough of the bodies.
            if offset % BLOCK_BYTES >= RECORD_HEADER_BYTES + 70 && offset % 61 != 0 {
                continue;
            }
            let disk = SimDisk::new(7);
            for (path, bytes) in &files {
                disk.put_file(path, bytes.clone());
            }
            disk.flip(path, offset, 1 << (offset % 8));
            let (records, _) = check_damaged(&disk, preallocated(), COUNT, &format!("{path} byte {offset}"));
            assert!(
                records.len() as u64 >= COUNT - 1,
                "{path} byte {offset}: {} records left",
                records.len()
            );
        }
    }
}

#[test]
fn a_last_record_is_told_whichever_bit_of_it_is_flipped() {
    for options in [preallocated(), growing()] {
        let disk = SimDisk::new(1);
        block_on(async {
            let (journal, _, _) = open(&disk, options).await.unwrap();
            append(&journal, 1..3).await.unwrap();
        });
        let (path, bytes) = disk.kill().files().into_iter().next().unwrap();
        let end = BLOCK_BYTES + RECORD_HEADER_BYTES + body(2).len();
        for at in BLOCK_BYTES..end {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let disk = SimDisk::new(1);
                disk.put_file(&path, changed);
                let (_, records, report) = block_on(open(&disk, options)).unwrap();
                assert_eq!(numbers(&records), [1], "byte {at}, bit {bit}");
                assert_eq!(report.torn, Some((path.clone(), BLOCK_BYTES as u64)), "byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_file_cut_at_any_length_is_reported_where_records_are_missing() {
    const COUNT: u64 = 16;
    for options in [preallocated(), growing()] {
        let files = closed_journal(options, COUNT).files();
        for (position, (path, bytes)) in files.iter().enumerate() {
            let is_last = position + 1 == files.len();
            for length in (0..bytes.len()).step_by(if is_last { 97 } else { 509 }) {
                let disk = SimDisk::new(8);
                for (path, bytes) in &files {
                    disk.put_file(path, bytes.clone());
                }
                disk.cut(path, length);
                let context = format!("{path} cut at {length}");
                if is_last {
                    // Without a later segment a cut is a tail: what is left is in order, and life goes on.
                    let (_, records, _) = block_on(open(&disk, options)).unwrap();
                    let found = numbers(&records);
                    assert!(found.iter().copied().eq(1..found.len() as u64 + 1), "{context}: {found:?}");
                } else {
                    check_damaged(&disk, options, COUNT, &context);
                }
            }
        }
    }
}

#[test]
fn a_damaged_segment_is_kept_aside_when_it_is_released() {
    let disk = closed_journal(preallocated(), 16);
    let (path, _) = disk.files()[0].clone();
    disk.flip(&path, 60, 1);
    block_on(async {
        let (journal, _, report) = open(&disk, preallocated()).await.unwrap();
        assert_eq!((report.damages[0].file.as_str(), report.damages[0].offset), (path.as_str(), 0));
        assert_eq!(report.damages[0].sequences, 1..2);
        journal.roll().await.unwrap();
        journal.release(u64::MAX).await.unwrap();
        let kept = disk.list(&format!("{FOLDER}/quarantine")).await.unwrap();
        assert_eq!(kept.len(), 1);
        assert!(path.ends_with(&kept[0].name));
    });
    assert!(replay(&disk, preallocated()).is_empty());
}

#[test]
fn what_cannot_be_read_at_once_is_read_in_pieces() {
    let disk = closed_journal(preallocated(), 3);
    disk.fail_reads(0, 1);
    let (_, records, report) = block_on(open(&disk, preallocated())).unwrap();
    assert_eq!((records.len(), report.damages.len()), (3, 0));
}

#[test]
fn unreadable_bytes_are_damage_even_at_the_end_and_count_again_when_readable() {
    let disk = closed_journal(preallocated(), 3);
    block_on(async {
        // A read of much, and then of the piece.
        disk.fail_reads(0, 2);
        let (journal, records, report) = open(&disk, preallocated()).await.unwrap();
        assert!(records.is_empty() && report.damages.len() == 1, "{report:?}");
        journal.append(b"more").await.unwrap();
    });
    let (_, records, _) = block_on(open(&disk, preallocated())).unwrap();
    assert_eq!(records.len(), 4);
}

#[test]
fn after_any_failed_write_or_sync_nothing_more_is_written_and_a_restart_has_all() {
    for options in [preallocated(), growing()] {
        for is_sync in [false, true] {
            for after in 0..60 {
                let disk = SimDisk::new(after);
                let (journal, _, _) = block_on(open(&disk, options)).unwrap();
                match is_sync {
                    true => disk.fail_sync(after),
                    false => disk.fail_write(after),
                }
                let mut acknowledged = 0;
                let failure = loop {
                    match block_on(journal.append(&body(acknowledged + 1))) {
                        Ok(_) => acknowledged += 1,
                        Err(error) => break Some(error),
                    }
                    if acknowledged == 30 {
                        break None;
                    }
                };
                if let Some(failure) = failure {
                    assert!(matches!(failure, Error::ReadOnly { .. }), "{failure}");
                    let writes = disk.writes();
                    assert_eq!(block_on(journal.append(b"x")), Err(failure));
                    assert_eq!(disk.writes(), writes, "nothing is written after a failure");
                }
                let found = replay(&disk.crash(), options).len() as u64;
                assert!(found == acknowledged || found == acknowledged + 1, "{found} of {acknowledged}");
            }
        }
    }
}

#[test]
fn a_full_disk_is_said_and_appends_go_on_without_a_restart_when_there_is_room() {
    for options in [preallocated(), growing()] {
        for room in 0..24 {
            let capacity = Some(room * BLOCK_BYTES as u64);
            let disk =
                SimDisk::with_options(SimOptions { seed: room, polls_max: 0, capacity_bytes: capacity });
            let (journal, _, _) = block_on(open(&disk, options)).unwrap();
            let mut acknowledged = Vec::new();
            let mut is_full = false;
            for number in 1..60 {
                match block_on(journal.append(&body(number))) {
                    Ok(_) => acknowledged.push(body(number)),
                    Err(Error::DiskFull { .. }) => {
                        is_full = true;
                        if number % 5 == 0 {
                            disk.set_capacity(Some((room + number) * BLOCK_BYTES as u64));
                        }
                        if number > 40 {
                            disk.set_capacity(None);
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(is_full && acknowledged.len() > 10);
            let found: Vec<Vec<u8>> =
                replay(&disk.crash(), options).into_iter().map(|(_, bytes)| bytes).collect();
            let lost = acknowledged.iter().filter(|bytes| !found.contains(bytes)).count();
            assert_eq!(lost, 0);
        }
    }
}

#[test]
fn a_dropped_append_is_there_or_not_and_never_disturbs_the_next() {
    for options in [preallocated(), growing()] {
        for polls in 0..12 {
            let disk = SimDisk::with_options(SimOptions { seed: polls, polls_max: 3, capacity_bytes: None });
            let (journal, _, _) = block_on(open(&disk, options)).unwrap();
            let mut kept = Vec::new();
            block_on(async {
                for number in 1..25 {
                    if number % 3 != 0 {
                        journal.append(&body(number)).await.unwrap();
                        kept.push(body(number));
                        continue;
                    }
                    let bytes = body(number);
                    let mut append = pin!(journal.append(&bytes));
                    for _ in 0..polls {
                        if let Some(answer) = poll_once(append.as_mut()).await {
                            answer.unwrap();
                            kept.push(body(number));
                            break;
                        }
                    }
                }
            });
            let found: Vec<Vec<u8>> =
                replay(&disk.crash(), options).into_iter().map(|(_, bytes)| bytes).collect();
            assert!(kept.iter().all(|bytes| found.contains(bytes)), "dropped after {polls} polls");
        }
    }
}

#[test]
fn appends_of_many_tasks_are_all_replayed_in_the_order_of_their_sequences() {
    let disk = SimDisk::with_options(SimOptions { seed: 9, polls_max: 4, capacity_bytes: None });
    let (journal, _, _) = block_on(open(&disk, preallocated())).unwrap();
    let appends = async {
        let (one, two) = (append(&journal, 1..40), append(&journal, 40..80));
        let (one, two) = futures_lite::future::zip(one, two).await;
        one.and(two)
    };
    block_on(appends).unwrap();
    let records = replay(&disk.crash(), preallocated());
    assert_eq!(numbers(&records), (1..80).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bodies_come_back_as_they_were(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..20),
        repeated in any::<u8>(),
        is_preallocated in any::<bool>(),
    ) {
        let options = if is_preallocated { preallocated() } else { growing() };
        let disk = SimDisk::new(10);
        block_on(async {
            let (journal, _, _) = open(&disk, options).await.unwrap();
            for body in &bodies {
                journal.append(body).await.unwrap();
            }
            journal.append(&vec![repeated; 50_000]).await.unwrap();
        });
        let found: Vec<Vec<u8>> = replay(&disk.crash(), options).into_iter().map(|(_, bytes)| bytes).collect();
        let mut want = bodies;
        want.push(vec![repeated; 50_000]);
        prop_assert_eq!(found, want);
    }

    #[test]
    fn any_bytes_as_a_segment_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..10_000)) {
        let disk = SimDisk::new(11);
        disk.put_file(&format!("{FOLDER}/0000000000000001-0000000000000001.seg"), bytes);
        block_on(open(&disk, preallocated())).unwrap();
    }
}
