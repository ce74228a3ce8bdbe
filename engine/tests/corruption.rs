//! Flips bytes of TSM files and cuts them: damage is reported with file and offset, or harmless; never served.

#![cfg(feature = "sim")]

mod tsm_sample;

use futures_lite::future::block_on;
use tidemark_engine::Error;
use tidemark_engine::codec::Temperature;
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::pace::Pace;
use tidemark_engine::tsm::{BlockCache, Scrub, TsmReader};
use tsm_sample::{Contents, PATH, contents, disk, file_bytes, write};

/// Everything the file says, or the damage.
fn read(disk: &SimDisk) -> Result<Contents, Error> {
    block_on(async {
        let reader = TsmReader::open(disk, PATH, BlockCache::new(1 << 20)).await?;
        contents(&reader).await
    })
}

/// `what` has been done to the file: it reads as before, or the damage is named.
fn check(disk: &SimDisk, want: &Contents, what: &str) -> bool {
    match read(disk) {
        Ok(found) => {
            assert!(found == *want, "{what}: other contents are served");
            false
        }
        Err(Error::Corrupted { file, .. }) => {
            assert_eq!(file, PATH, "{what}");
            true
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn every_flipped_byte_is_named_or_harmless() {
    // Cold files differ in their columns only: a part of their bytes is enough.
    for (temperature, step) in [(Temperature::Hot, 1), (Temperature::Cold, 7)] {
        let disk = disk();
        write(&disk, temperature);
        let (want, length) = (read(&disk).expect("whole"), file_bytes(&disk).len());
        let mut harmless = 0;
        for at in (0..length).step_by(step) {
            let mask = 1 << (at % 8);
            disk.flip(PATH, at, mask);
            harmless += usize::from(!check(&disk, &want, &format!("byte {at} ^ {mask:#x}")));
            disk.flip(PATH, at, mask);
        }
        // Only the zeros before the footer and the head's magic are read by nobody.
        assert!(harmless < 4096, "{harmless} of {length} bytes are not covered");
    }
}

#[test]
fn every_cut_is_named() {
    let disk = disk();
    write(&disk, Temperature::Hot);
    let (want, bytes) = (read(&disk).expect("whole"), file_bytes(&disk));
    for length in (0..bytes.len()).step_by(3) {
        disk.put_file(PATH, bytes[..length].to_vec());
        assert!(check(&disk, &want, &format!("cut to {length}")), "cut to {length} is not noticed");
    }
}

/// Pieces of a file, and how many are damaged.
async fn scrubbed(reader: TsmReader<SimDisk>) -> (usize, usize) {
    let (mut scrub, pace) = (Scrub::new(reader), Pace::new());
    let (mut pieces, mut damaged) = (0, 0);
    while let Some(checked) = scrub.step(&pace).await {
        pieces += 1;
        damaged += usize::from(checked.is_err());
    }
    (pieces, damaged)
}

#[test]
fn a_scrub_finds_each_damage_and_goes_on_behind_it() {
    let disk = disk();
    write(&disk, Temperature::Hot);
    let length = file_bytes(&disk).len();
    let mut found = 0;
    for at in (0..length - 4096).step_by(97) {
        block_on(async {
            // Opened before the damage: what a scrub is for.
            let reader = TsmReader::open(&disk, PATH, BlockCache::new(1 << 20)).await.expect("whole");
            disk.flip(PATH, at, 0x10);
            let (pieces, damaged) = scrubbed(reader.clone()).await;
            disk.flip(PATH, at, 0x10);
            assert!(damaged <= 1, "byte {at}");
            assert_eq!(pieces, reader.page_count() + 1, "byte {at}");
            found += damaged;
        });
    }
    assert!(found > 20, "{found} found");
    block_on(async {
        let reader = TsmReader::open(&disk, PATH, BlockCache::new(0)).await.expect("whole");
        assert_eq!(scrubbed(reader).await.1, 0);
    });
}
