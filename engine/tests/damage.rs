//! Any file of a store is damaged at rest: the damage is named, or harmless; what is read is never wrong.
//!
//! The files alone have their own tests (journal, corruption.rs, manifest.rs): here it is what the store makes of them.

#![cfg(feature = "sim")]

mod support;

use std::cell::RefCell;

use futures_lite::future::block_on;
use support::workload::{Known, possible, workload};
use support::{Model, beside, open, options, read_all, run, tidy};
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::{Error, Result};

/// What a store finds on a disk.
#[derive(Debug)]
enum Found {
    /// Everything, and not a word.
    All,
    /// Less or all, with the damages named.
    Named,
    /// No start, or no answer, naming the file.
    Refused,
}

/// A disk as a killed store leaves it: rows in the WAL, in files, tombstones, field types.
fn left_behind() -> (SimDisk, Model) {
    let disk = SimDisk::new(3);
    let known = RefCell::new(Known::default());
    block_on(async {
        let store = open(&disk, options(0, &[0])).await.expect("opens");
        beside(&store, workload(&store, &known)).await.expect("the whole load");
    });
    let mut contents = possible(&known.borrow());
    assert_eq!(contents.len(), 2, "with and without what was not sent");
    (disk.kill(), contents.remove(0))
}

fn read(disk: &SimDisk) -> Result<(Model, Vec<String>)> {
    let store = block_on(open(disk, options(0, &[0])))?;
    let model = run(&store, read_all(&store))?;
    let (replays, types) = (store.replays(), store.take_damages());
    let damages = replays.iter().flat_map(|wal| &wal.report.damages).chain(&types);
    let mut named: Vec<String> = damages.map(|damage| damage.file.clone()).collect();
    // The very last record is taken for one that was never whole, and named as that.
    named.extend(replays.iter().filter_map(|wal| Some(wal.report.torn.as_ref()?.0.clone())));
    Ok((tidy(model), named))
}

/// A copy of a disk with one file replaced.
fn with_file(files: &[(String, Vec<u8>)], path: &str, bytes: Vec<u8>) -> SimDisk {
    let disk = SimDisk::new(1);
    for (known, bytes) in files {
        disk.put_file(known, bytes.clone());
    }
    disk.put_file(path, bytes);
    disk
}

fn check(files: &[(String, Vec<u8>)], path: &str, bytes: Vec<u8>, whole: &Model, what: &str) -> Found {
    let disk = with_file(files, path, bytes);
    match read(&disk) {
        Err(Error::Corrupted { file, .. }) => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            assert!(file.starts_with(folder), "{what}: {file} is blamed");
            Found::Refused
        }
        Err(error) => panic!("{what}: {error}"),
        Ok((held, named)) => {
            for (key, series) in &held {
                for (time, row) in series {
                    for (field, value) in row {
                        let right = whole.get(key).and_then(|series| series.get(time)?.get(field));
                        // Rows whose delete was lost with the damaged bytes may be back, with their right values.
                        let is_right = right == Some(value) || (right.is_none() && !named.is_empty());
                        assert!(is_right, "{what}: {key:?} {time} {field:?} reads {value:?}, not {right:?}");
                    }
                }
            }
            assert!(held == *whole || !named.is_empty(), "{what}: rows are missing, and nobody says so");
            if named.is_empty() { Found::All } else { Found::Named }
        }
    }
}

/// The part of a file that is more than zeros at its end.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn a_flipped_bit_in_any_file_is_named_or_harmless() {
    let (disk, whole) = left_behind();
    let files = disk.files();
    let (mut named, mut refused, mut all) = (0, 0, 0);
    for (path, bytes) in &files {
        // Every bit class of every byte would be minutes; each file has its own test for that.
        let step = (used(bytes) / 40).max(1) | 1;
        for at in (0..used(bytes)).step_by(step) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            match check(&files, path, changed, &whole, &format!("{path}, byte {at}")) {
                Found::All => all += 1,
                Found::Named => named += 1,
                Found::Refused => refused += 1,
            }
        }
    }
    assert!(named > 4 && refused > 20, "{named} named, {refused} refused, {all} harmless");
}

#[test]
fn a_file_cut_anywhere_is_named_or_harmless() {
    let (disk, whole) = left_behind();
    let files = disk.files();
    for (path, bytes) in &files {
        // Nothing follows the last record of a WAL or of field types: cut there, it was never acknowledged as far as
        // anyone can tell.
        let is_newest = files
            .iter()
            .filter(|(other, _)| {
                other.rsplit_once('/').map(|pair| pair.0) == path.rsplit_once('/').map(|pair| pair.0)
            })
            .all(|(other, _)| other <= path);
        if path.ends_with(".seg") && is_newest {
            continue;
        }
        let step = (used(bytes) / 25).max(1) | 1;
        for length in (0..used(bytes)).step_by(step) {
            check(&files, path, bytes[..length].to_vec(), &whole, &format!("{path}, cut to {length}"));
        }
    }
}
