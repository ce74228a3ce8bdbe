use futures_lite::future::{block_on, or};

use super::*;

fn block(byte: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::new();
    buffer.extend_from_slice(&[byte; BLOCK_BYTES]);
    buffer
}

#[test]
fn a_durable_write_in_a_synced_folder_survives_every_power_cut() {
    let disk = SimDisk::new(1);
    block_on(async {
        disk.create_dir_all("a/b").await.unwrap();
        let file = disk.open("a/b/f", OpenMode::WriteDurable).await.unwrap();
        file.write_at(0, block(7)).await.unwrap();
        disk.sync_dir("a/b").await.unwrap();
    });
    for seed in 0..50 {
        assert_eq!(disk.crash_with_seed(seed).files(), [("a/b/f".to_owned(), vec![7; BLOCK_BYTES])]);
    }
}

#[test]
fn unsynced_bytes_and_names_are_sometimes_lost_sometimes_kept_and_sometimes_torn() {
    let disk = SimDisk::new(2);
    block_on(async {
        let file = disk.open("old", OpenMode::Write).await.unwrap();
        file.write_at(0, block(1)).await.unwrap();
        file.sync().await.unwrap();
        disk.sync_dir("").await.unwrap();
        file.write_at(0, block(2)).await.unwrap();
        disk.open("new", OpenMode::Write).await.unwrap();
    });
    let (mut lost, mut kept, mut torn, mut named, mut unnamed) = (0, 0, 0, 0, 0);
    for seed in 0..200 {
        let files = disk.crash_with_seed(seed).files();
        match files.iter().any(|(path, _)| path == "new") {
            true => named += 1,
            false => unnamed += 1,
        }
        let bytes = &files.iter().find(|(path, _)| path == "old").unwrap().1;
        match (bytes.contains(&1), bytes.contains(&2)) {
            (true, true) => torn += 1,
            (true, false) => lost += 1,
            _ => kept += 1,
        }
    }
    assert!(lost > 10 && kept > 10 && torn > 10 && named > 10 && unnamed > 10);
}

#[test]
fn bytes_behind_a_failed_sync_are_read_back_but_never_become_durable() {
    let disk = SimDisk::new(3);
    let lost = block_on(async {
        let file = disk.open("f", OpenMode::Write).await.unwrap();
        disk.sync_dir("").await.unwrap();
        let mut buffer = AlignedBuffer::new();
        buffer.extend_from_slice(&[9; 64 * BLOCK_BYTES]);
        file.write_at(0, buffer).await.unwrap();
        disk.fail_sync(0);
        assert!(matches!(file.sync().await, Err(Error::Io { errno: libc::EIO, .. })));
        assert_eq!(file.read_at(0, 10).await.unwrap(), [9; 10]);
        file.sync().await.unwrap();
        let bytes = &disk.crash().files()[0].1;
        bytes.len() < 64 * BLOCK_BYTES || bytes.contains(&0)
    });
    assert!(lost);
}

#[test]
fn a_stopped_disk_answers_nothing_and_the_same_seed_gives_the_same_image() {
    let run = |stopped| {
        let disk = SimDisk::with_options(SimOptions { seed: 4, polls_max: 5, capacity_bytes: None });
        disk.stop_at_change(3, stopped);
        let work = async {
            disk.create_dir_all("d").await.unwrap();
            let file = disk.open("d/f", OpenMode::WriteDurable).await.unwrap();
            assert!(file.write_at(0, block(1)).await.is_err(), "change 3 is not answered");
            assert!(disk.list("d").await.is_err());
        };
        block_on(or(work, disk.stopped()));
        disk.crash().files()
    };
    assert_eq!(run(Stopped::Fails), run(Stopped::Fails));
    run(Stopped::Hangs);
}

#[test]
fn a_full_disk_says_so_and_takes_writes_again_when_there_is_room() {
    let disk = SimDisk::with_options(SimOptions { seed: 5, polls_max: 0, capacity_bytes: Some(8192) });
    block_on(async {
        let file = disk.open("f", OpenMode::WriteDurable).await.unwrap();
        file.write_at(0, block(1)).await.unwrap();
        file.write_at(4096, block(1)).await.unwrap();
        assert_eq!(disk.free_bytes().await.unwrap(), 0);
        let full = file.write_at(8192, block(1)).await;
        assert!(matches!(full, Err(Error::DiskFull { free_bytes: 0 })));
        file.write_at(0, block(2)).await.unwrap();
        disk.set_capacity(None);
        file.write_at(8192, block(1)).await.unwrap();
    });
}

#[test]
fn a_rename_is_atomic_and_removed_folders_take_their_files_along() {
    let disk = SimDisk::new(6);
    block_on(async {
        disk.create_dir_all("d/e").await.unwrap();
        let file = disk.open("d/a", OpenMode::WriteDurable).await.unwrap();
        file.write_at(0, block(1)).await.unwrap();
        disk.sync_dir("d").await.unwrap();
        disk.rename("d/a", "d/b").await.unwrap();
        for seed in 0..30 {
            let after = disk.crash_with_seed(seed).files();
            assert_eq!(after.len(), 1);
        }
    });
    let disk = disk.crash();
    block_on(async {
        disk.remove_dir_all("d").await.unwrap();
        disk.sync_dir("").await.unwrap();
        assert!(disk.list("d").await.unwrap().is_empty());
        assert!(disk.crash().files().is_empty());
    });
}
