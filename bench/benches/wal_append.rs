//! CPU of one group commit: entries into a record, lz4 or not, checksum, hand-over to the disk. The disk takes the
//! bytes and forgets them, so that no copy of its own is measured.
//!
//! A point is TSBS's: ten tags, ten small integers, one series per host. Batches of 100 to 5,000 points, a group of one
//! batch. Budget: 0.15 us a point.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_lite::future::block_on;
use tidemark_engine::disk::{AlignedBuffer, DirEntry, Disk, DiskFile, OpenMode};
use tidemark_engine::error::Result;
use tidemark_engine::journal::{Compression, JournalOptions};
use tidemark_engine::model::BatchBuilder;
use tidemark_engine::model::varint::{put_varint, zigzag};
use tidemark_engine::model::{Batch, FieldType, ShardGroupId, ShardId, series_key};
use tidemark_engine::wal::{Entry, Wal, WalOptions, WalReplay};

/// Takes everything, keeps nothing; counts the bytes.
#[derive(Clone, Default)]
struct Void {
    written: Rc<Cell<u64>>,
}

struct VoidFile(Void);

impl Disk for Void {
    type File = VoidFile;

    async fn open(&self, _: &str, _: OpenMode) -> Result<VoidFile> {
        Ok(VoidFile(self.clone()))
    }

    async fn rename(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    async fn remove_file(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn remove_dir_all(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn create_dir_all(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn sync_dir(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn sync_all(&self) -> Result<()> {
        Ok(())
    }

    async fn list(&self, _: &str) -> Result<Vec<DirEntry>> {
        Ok(Vec::new())
    }

    async fn free_bytes(&self) -> Result<u64> {
        Ok(u64::MAX)
    }
}

impl DiskFile for VoidFile {
    async fn read_at(&self, _: u64, _: usize) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    async fn write_at(&self, _: u64, buffer: AlignedBuffer) -> Result<AlignedBuffer> {
        black_box(buffer.as_slice());
        self.0.written.set(self.0.written.get() + buffer.len() as u64);
        Ok(buffer)
    }

    async fn sync(&self) -> Result<()> {
        Ok(())
    }

    async fn length(&self) -> Result<u64> {
        Ok(0)
    }

    async fn truncate(&self, _: u64) -> Result<()> {
        Ok(())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

/// A scrape of `points` hosts.
fn batch(points: u64) -> Batch {
    let mut builder = BatchBuilder::new();
    let mut values = Vec::new();
    let mut state = 1u64;
    let names: Vec<String> = (0..10).map(|field| format!("usage_{field}")).collect();
    let shape = builder.add_shape(b"cpu", names.iter().map(|name| (FieldType::Integer, name.as_bytes())));
    for host in 0..points {
        let key = format!(
            "cpu,arch=x64,datacenter=eu-west-1{},hostname=host_{host},os=Ubuntu16.04LTS,rack={},region=eu-west-1,\
             service={},service_environment=production,service_version=1,team=SF",
            host % 3,
            host % 97,
            host % 19
        );
        let series = builder.add_series(series_key::hash(key.as_bytes()), key.as_bytes());
        values.clear();
        for _ in 0..10 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            put_varint(&mut values, zigzag((state >> 57) as i64));
        }
        builder.add_row(series, shape, 1_451_606_400_000_000_000, &values);
    }
    builder.finish(1, 1)
}

fn wal(disk: &Void, compression: Compression) -> Wal<Void> {
    let journal = JournalOptions { compression, ..JournalOptions::preallocated() };
    let options = WalOptions { journal, live_bytes_max: u64::MAX };
    let (wal, _) = block_on(async { WalReplay::open(disk.clone(), 1, options).await?.finish(0).await })
        .expect("the void takes everything");
    wal
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal_append");
    for points in [100, 1000, 5000] {
        let batch = batch(points);
        group.throughput(Throughput::Elements(points));
        for (name, compression) in [("plain", Compression::Never), ("lz4", Compression::WhenItPays)] {
            let disk = Void::default();
            let wal = wal(&disk, compression);
            let (shard, group_id) = (ShardId(1), ShardGroupId(1));
            let id = BenchmarkId::new(name, points);
            group.bench_with_input(id, &batch, |bencher, batch| {
                bencher.iter(|| {
                    let entry = Entry::Write { shard, group: group_id, batch: batch.as_bytes() };
                    let sequence = block_on(wal.append(&[entry])).expect("the void takes everything");
                    wal.snapshotted(shard, sequence);
                    if wal.stats().segments_now > 4 {
                        block_on(wal.upkeep()).expect("the void takes everything");
                    }
                });
            });
            let bytes = disk.written.get() / wal.stats().records.max(1);
            println!("{name} {points}: batch {} B, written {bytes} B a group", batch.as_bytes().len());
        }
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
