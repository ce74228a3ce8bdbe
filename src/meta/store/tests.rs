#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::meta::codec::tests::commands;
use futures_lite::future::block_on;
use tidemark_engine::disk::BLOCK_BYTES;
use tidemark_engine::disk::sim::SimDisk;

fn create(name: &str) -> Command {
    Command::CreateDatabase { name: name.to_owned(), spec: None, autocreate: true }
}

#[test]
fn what_was_answered_is_there_after_a_power_cut() {
    let disk = SimDisk::new(1);
    block_on(async {
        let (store, _) = MetaStore::open(disk.clone(), "meta").await.expect("opens");
        for at in 0..40 {
            store.propose(&create(&format!("db{at}"))).await.expect("proposed");
        }
    });
    let after = disk.crash();
    let data = block_on(async { MetaStore::open(after, "meta").await.expect("opens").0.current() });
    assert_eq!(data.databases.len(), 40);
    assert_eq!(data.index, 40);
}

#[test]
fn a_snapshot_replaces_the_commands_before_it() {
    let disk = SimDisk::new(2);
    block_on(async {
        let (store, _) = MetaStore::open(disk.clone(), "meta").await.expect("opens");
        for at in 0..COMMANDS_MAX + 10 {
            let command =
                if at % 2 == 0 { create("db") } else { Command::DropDatabase { name: "db".into() } };
            store.propose(&command).await.expect("proposed");
        }
        store.propose(&create("last")).await.expect("proposed");
    });
    let (store, report) = block_on(MetaStore::open(disk.crash(), "meta")).expect("opens");
    assert_eq!(store.current().databases.len(), 1);
    assert!(report.records < 20, "{report:?}");
}

#[test]
fn a_refused_command_is_not_written() {
    let disk = SimDisk::new(3);
    block_on(async {
        let (store, _) = MetaStore::open(disk.clone(), "meta").await.expect("opens");
        assert_eq!(store.propose(&create("..")).await.expect_err("refused"), MetaError::InvalidName);
        assert_eq!(store.current().index, 0);
    });
}

/// A disk with a snapshot and commands behind it, and the states the catalogue had from the snapshot on.
fn left_behind(is_closed: bool) -> (SimDisk, Vec<Data>) {
    let disk = SimDisk::new(4);
    let mut states = Vec::new();
    block_on(async {
        let (store, _) = MetaStore::open(disk.clone(), "meta").await.unwrap();
        let all = commands();
        let (before, behind) = all.split_at(all.len() / 2);
        for command in before {
            store.propose(command).await.unwrap();
        }
        store.write_snapshot(&store.current()).await.unwrap();
        states.push(Data::clone(&store.current()));
        for command in behind {
            let (_, state) = store.propose(command).await.unwrap();
            states.push(Data::clone(&state));
        }
        if is_closed {
            store.close().await.unwrap();
        }
    });
    (disk.kill(), states)
}

#[derive(Debug, PartialEq)]
enum Found {
    /// The last state, and not a word.
    All,
    /// An earlier state, and not a word.
    Silent,
    /// An earlier state, without a last record that is named.
    Torn,
    /// No start, with the damage named.
    Refused,
}

/// What is made of a disk with one file replaced; never a state that the catalogue never had.
fn found(files: &[(String, Vec<u8>)], path: &str, bytes: Vec<u8>, states: &[Data], what: &str) -> Found {
    let disk = SimDisk::new(1);
    for (known, bytes) in files {
        disk.put_file(known, bytes.clone());
    }
    disk.put_file(path, bytes);
    match block_on(MetaStore::open(disk, "meta")) {
        Err(Error::Corrupted { file, .. }) => {
            assert!(file.starts_with("meta"), "{what}: {file} is blamed");
            Found::Refused
        }
        Err(error) => panic!("{what}: {error}"),
        Ok((store, report)) => {
            let state = store.current();
            assert!(states.contains(&state), "{what}: a state that never was");
            match (state.as_ref() == states.last().unwrap(), report.torn) {
                (true, _) => Found::All,
                (false, Some((file, _))) => {
                    assert_eq!(file, path, "{what}");
                    Found::Torn
                }
                (false, None) => Found::Silent,
            }
        }
    }
}

/// How much of a block is more than zeros at its end.
fn used(block: &[u8]) -> usize {
    block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn every_flipped_bit_of_the_journal_is_named_and_only_the_last_record_of_a_killed_node_is_left_out() {
    for is_closed in [false, true] {
        let (disk, states) = left_behind(is_closed);
        let files = disk.files();
        let (mut refused, mut torn) = (0, 0);
        for (path, bytes) in &files {
            for (number, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
                // One of the zeros behind, too.
                for at in 0..(used(block) + 1).min(block.len()) {
                    // Headers in full; what a checksum covers as a whole, a bit of every byte.
                    for bit in if at < 48 { 0..8 } else { at % 8..at % 8 + 1 } {
                        let mut changed = bytes.clone();
                        changed[number * BLOCK_BYTES + at] ^= 1 << bit;
                        let what =
                            format!("closed {is_closed}, {path}, block {number}, byte {at}, bit {bit}");
                        match found(&files, path, changed, &states, &what) {
                            Found::All => assert!(
                                at == used(block) || number + 1 == bytes.len() / BLOCK_BYTES,
                                "{what}: nobody noticed"
                            ),
                            Found::Torn => torn += 1,
                            Found::Refused => refused += 1,
                            Found::Silent => panic!("{what}: commands are gone without a word"),
                        }
                    }
                }
            }
        }
        assert!(refused > 2000, "{refused} refused");
        assert_eq!(torn > 0, !is_closed, "closed {is_closed}: {torn} taken for torn");
    }
}

#[test]
fn a_cut_journal_is_named_unless_whole_records_at_its_end_are_gone() {
    let (disk, states) = left_behind(false);
    let files = disk.files();
    let newest = files.last().unwrap().0.clone();
    for (path, bytes) in &files {
        for length in 0..bytes.len() {
            // The zeros that fill a block are no news but at their edges.
            let in_block = length % BLOCK_BYTES;
            let start = length - in_block;
            let block = &bytes[start..bytes.len().min(start + BLOCK_BYTES)];
            if in_block > used(block) + 1 && in_block + 1 < BLOCK_BYTES {
                continue;
            }
            let what = format!("{path}, cut to {length}");
            match found(&files, path, bytes[..length].to_vec(), &states, &what) {
                Found::Silent => assert!(*path == newest && in_block == 0, "{what}: not a word"),
                Found::All => assert!(length + BLOCK_BYTES > bytes.len(), "{what}: nobody noticed"),
                Found::Torn | Found::Refused => {}
            }
        }
    }
}
