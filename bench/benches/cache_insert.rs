//! Rows into the cache and out again as columns: ten integer fields, 4,000 or 100 series, batches of 10,000 rows.

use std::cell::RefCell;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemark_engine::cache::{Cache, Part, ReusedRows};
use tidemark_engine::index::active::{ActiveIndex, sorted_positions};
use tidemark_engine::model::batch::put_value;
use tidemark_engine::model::{Batch, BatchBuilder, FieldType, TimeRange, Value, series_key};
use tidemark_engine::pace::Pace;

const ROWS: usize = 10_000;

fn key(host: usize) -> Vec<u8> {
    format!(
        "cpu,arch=x86,datacenter=eu-central-1a,hostname=host_{host},os=Ubuntu16.10,rack={},region=eu-central-1,\
         service=6,service_environment=staging,service_version=0,team=SF",
        host % 100
    )
    .into_bytes()
}

/// `count` batches, one row per series and ten seconds, series after series.
fn batches(series: usize, count: usize) -> Vec<Batch> {
    let names: Vec<String> = (0..10).map(|n| format!("usage_{n}")).collect();
    let mut row = 0usize;
    let mut walk = 12345u64;
    (0..count)
        .map(|_| {
            let mut builder = BatchBuilder::new();
            let mut positions = vec![u32::MAX; series];
            let shape =
                builder.add_shape(b"cpu", names.iter().map(|name| (FieldType::Integer, name.as_bytes())));
            let mut values = Vec::new();
            for _ in 0..ROWS {
                let host = row % series;
                if positions[host] == u32::MAX {
                    let key = key(host);
                    positions[host] = builder.add_series(series_key::hash(&key), &key);
                }
                values.clear();
                for _ in 0..10 {
                    walk = walk.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    put_value(&mut values, &Value::Integer((walk >> 57) as i64 % 100));
                }
                let time = 1_700_000_000_000_000_000 + (row / series) as i64 * 10_000_000_000;
                builder.add_row(positions[host], shape, time, &values);
                row += 1;
            }
            builder.finish(1, 1)
        })
        .collect()
}

/// Reads all series as a snapshot does.
fn read_all(index: &ActiveIndex, cache: &Cache) {
    let mut rows = ReusedRows::default();
    for position in 0..index.len() as u32 {
        let Some(mut walk) = cache.begin_reading(index, position, Part::ALL, &mut rows) else { continue };
        while !walk.is_at_end() {
            cache.read_on(index, &mut walk, Part::ALL, &mut rows);
        }
        black_box(rows.len());
    }
}

fn bench(criterion: &mut Criterion) {
    for series in [100, 4000] {
        let batches = batches(series, 100);
        let mut group = criterion.benchmark_group(format!("cache/{series}_series"));
        group.throughput(Throughput::Elements((ROWS * batches.len()) as u64));
        group.sample_size(10);
        group.bench_function("insert", |bencher| {
            bencher.iter_batched(
                || (ActiveIndex::new(), Cache::new()),
                |(mut index, mut cache)| {
                    for batch in &batches {
                        black_box(cache.insert(&mut index, batch, &[]));
                    }
                    (index, cache)
                },
                BatchSize::PerIteration,
            );
        });
        let mut index = ActiveIndex::new();
        let mut cache = Cache::new();
        for batch in &batches {
            cache.insert(&mut index, batch, &[]);
        }
        eprintln!("{series} series: {:.1} B a row", cache.bytes() as f64 / cache.rows() as f64);
        group.bench_function("transpose", |bencher| {
            bencher.iter(|| {
                for position in 0..index.len() as u32 {
                    black_box(cache.read(&index, position, TimeRange::ALL, None));
                }
            });
        });
        group.bench_function("read", |bencher| bencher.iter(|| read_all(&index, &cache)));
        // Every second batch passes the one before, as those of two connections do.
        let (mut index, mut cache) = (ActiveIndex::new(), Cache::new());
        for pair in batches.chunks(2) {
            for batch in pair.iter().rev() {
                cache.insert(&mut index, batch, &[]);
            }
        }
        group.bench_function("read_passed", |bencher| bencher.iter(|| read_all(&index, &cache)));
        group.finish();
    }

    let mut group = criterion.benchmark_group("active_index");
    group.throughput(Throughput::Elements(200_000));
    group.sample_size(10);
    let keys: Vec<Vec<u8>> = (0..200_000).map(|n| key(n * 7919 % 200_000)).collect();
    let hashes: Vec<u64> = keys.iter().map(|key| series_key::hash(key)).collect();
    group.bench_function("new_series", |bencher| {
        bencher.iter_batched(
            ActiveIndex::new,
            |mut index| {
                for (hash, key) in hashes.iter().zip(&keys) {
                    black_box(index.position(*hash, key));
                }
                index
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("sort", |bencher| {
        bencher.iter_batched(
            || {
                let mut index = ActiveIndex::new();
                for (hash, key) in hashes.iter().zip(&keys) {
                    index.position(*hash, key);
                }
                RefCell::new(index)
            },
            |index| {
                black_box(futures_lite::future::block_on(sorted_positions(&index, &Pace::new())));
                index
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
