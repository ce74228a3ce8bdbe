//! From the cache to one file: a snapshot of 4,000 series × 100 rows × ten integers, and the full merge of eight of
//! those, on the simulated disk, so that only CPU is measured. Figures are per value.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_lite::future::{block_on, or};
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::batch::put_value;
use tidemark_engine::model::{Batch, BatchBuilder, FieldType, SeriesKey, ShardGroupId, ShardId, Value};
use tidemark_engine::store::{ShardWrite, Step, Store, StoreOptions};

const SERIES: usize = 4000;
const ROWS: usize = 100;
const FIELDS: usize = 10;
const SNAPSHOTS: usize = 8;
const SECOND: u64 = 1_000_000_000;

/// One row of every series at `at` tens of seconds; values walk.
fn batch(at: usize, walk: &mut [i64]) -> Batch {
    let names: Vec<String> = (0..FIELDS).map(|n| format!("usage_{n}")).collect();
    let mut builder = BatchBuilder::new();
    let shape = builder.add_shape(b"cpu", names.iter().map(|name| (FieldType::Integer, name.as_bytes())));
    let mut values = Vec::new();
    let mut seed = at as u64;
    for host in 0..SERIES {
        let key = SeriesKey::build(
            b"cpu",
            &[
                (b"hostname", format!("host_{host}").as_bytes()),
                (b"region", b"eu-central-1"),
                (b"rack", b"12"),
            ],
        );
        let series = builder.add_series(key.hash(), &key.0);
        values.clear();
        for field in 0..FIELDS {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let value = &mut walk[host * FIELDS + field];
            *value = (*value + (seed >> 62) as i64 - 1).clamp(0, 100);
            put_value(&mut values, &Value::Integer(*value));
        }
        builder.add_row(series, shape, 1_700_000_000_000_000_000 + at as i64 * 10 * SECOND as i64, &values);
    }
    builder.finish(at as u64 + 1, 1)
}

async fn settle(store: &Store<SimDisk>, now_ns: u64) -> Duration {
    let start = Instant::now();
    while let Ok(Step::More) = black_box(store.background_step(now_ns, 1 << 20).await) {}
    start.elapsed()
}

/// Time of the snapshots and of the full merge.
async fn measure() -> (Duration, Duration) {
    let options = StoreOptions { cache_snapshot_bytes: 1 << 30, ..StoreOptions::new(0, 1 << 30) };
    let (store, _) = Store::open(SimDisk::new(1), options).await.expect("opens");
    let (shard, group) = (ShardId(1), ShardGroupId(1));
    let mut walk = vec![50; SERIES * FIELDS];
    let work = async {
        let mut now = SECOND;
        let mut snapshots = Duration::ZERO;
        for snapshot in 0..SNAPSHOTS {
            for row in 0..ROWS {
                let batch = batch(snapshot * ROWS + row, &mut walk);
                store.write(vec![ShardWrite { shard, group, batch }], now).await.expect("written");
            }
            now += 6 * SECOND;
            if snapshot + 1 < SNAPSHOTS {
                snapshots += settle(&store, now).await;
            }
        }
        // The last snapshot and the merge it completes are told apart by their counters.
        let start = Instant::now();
        while store.stats().snapshots < SNAPSHOTS as u64 {
            store.background_step(now, 1 << 20).await.expect("snapshots");
        }
        snapshots += start.elapsed();
        (snapshots, settle(&store, now + 20 * SECOND).await)
    };
    let committing = async {
        store.commit_loop().await;
        std::future::pending().await
    };
    or(work, committing).await
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compact");
    group.sample_size(10);
    group.throughput(Throughput::Elements((SERIES * ROWS * FIELDS * SNAPSHOTS) as u64));
    group.bench_function("snapshot", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| block_on(measure()).0).sum());
    });
    group.bench_function("full_merge", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| block_on(measure()).1).sum());
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
