//! Golden files: bytes written by an earlier build still open, and what is written now has the same bytes.
//!
//! After a deliberate change of a format, which has a new number, run with `TIDEMARK_GOLDEN=write`, and keep the old file
//! under its old name.

#![cfg(feature = "sim")]

mod tsm_sample;

use futures_lite::future::block_on;
use std::path::PathBuf;
use tidemark_engine::codec::Temperature;
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::tsm::{BlockCache, TsmReader};
use tsm_sample::{Contents, PATH, contents, disk, file_bytes, write};

fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("TIDEMARK_GOLDEN").is_some() {
        std::fs::write(&path, bytes).expect("the golden file is written");
    }
    std::fs::read(&path).expect("the golden file is there")
}

/// What a file of an earlier build answers.
fn contents_of(disk: &SimDisk, old: Vec<u8>) -> Contents {
    disk.put_file(PATH, old);
    block_on(async {
        let reader = TsmReader::open(disk, PATH, BlockCache::new(0)).await.expect("the old file opens");
        reader.verify().await.expect("the old file is whole");
        contents(&reader).await.expect("the old file reads")
    })
}

#[test]
fn tsm_files_keep_their_bytes() {
    let disk = disk();
    write(&disk, Temperature::Hot);
    let written = file_bytes(&disk);
    let want = contents_of(&disk, written.clone());
    let old = golden("format1.tsm", &written);
    assert!(contents_of(&disk, old.clone()) == want, "the old file reads otherwise");
    let first = written.iter().zip(&old).position(|(a, b)| a != b);
    assert!(written == old, "the bytes written have changed, first at {first:?}");
}

#[test]
fn of_files_whose_float_sums_go_from_the_first_value_to_the_last_only_statistics_differ() {
    let disk = disk();
    write(&disk, Temperature::Hot);
    let mut want = contents_of(&disk, file_bytes(&disk));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format1_sums_in_order.tsm");
    let mut old = contents_of(&disk, std::fs::read(path).expect("the golden file is there"));
    let summaries = [&mut want, &mut old].map(|contents| std::mem::take(&mut contents.summaries));
    let differ = summaries[0].iter().zip(&summaries[1]).filter(|(now, then)| now != then).count();
    assert_eq!((summaries[0].len(), differ), (summaries[1].len(), 1), "the block of more than 512 rows");
    assert!(old == want, "the old file reads otherwise");
}
