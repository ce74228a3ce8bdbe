//! Golden files: bytes written by an earlier build still open, and what is written now has the same bytes.
//!
//! After a deliberate change of a format, which has a new number, run with `TIDEMARK_GOLDEN=write`, and keep the old file
//! under its old name.

#![cfg(feature = "sim")]

mod tsm_sample;

use futures_lite::future::block_on;
use std::path::PathBuf;
use tidemark_engine::codec::Temperature;
use tidemark_engine::tsm::{BlockCache, TsmReader};
use tsm_sample::{PATH, contents, disk, file_bytes, write};

fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("TIDEMARK_GOLDEN").is_some() {
        std::fs::write(&path, bytes).expect("the golden file is written");
    }
    std::fs::read(&path).expect("the golden file is there")
}

#[test]
fn tsm_files_keep_their_bytes() {
    let disk = disk();
    write(&disk, Temperature::Hot);
    let written = file_bytes(&disk);
    let want = block_on(async {
        let reader = TsmReader::open(&disk, PATH, BlockCache::new(0)).await.expect("opens");
        contents(&reader).await.expect("reads")
    });
    let old = golden("format1.tsm", &written);
    disk.put_file(PATH, old.clone());
    block_on(async {
        let reader = TsmReader::open(&disk, PATH, BlockCache::new(0)).await.expect("the old file opens");
        reader.verify().await.expect("the old file is whole");
        assert!(contents(&reader).await.expect("the old file reads") == want, "the old file reads otherwise");
    });
    let first = written.iter().zip(&old).position(|(a, b)| a != b);
    assert!(written == old, "the bytes written have changed, first at {first:?}");
}
