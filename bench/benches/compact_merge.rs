//! From the cache to one file, on the simulated disk, so that only CPU is measured. Figures are per value.
//!
//! * long series: a snapshot of 4,000 series × 100 rows × ten integers, and the full merge of eight of those.
//! * short series: a snapshot of 200,000 series × 5 rows × one float, and the same again, which is merged with it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_lite::future::{block_on, or};
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::batch::put_value;
use tidemark_engine::model::{Batch, BatchBuilder, FieldType, SeriesKey, ShardGroupId, ShardId, Value};
use tidemark_engine::store::{ShardWrite, Step, Store, StoreOptions};

const SECOND: u64 = 1_000_000_000;

/// What is written: so many snapshots of so many rows of each series.
#[derive(Clone, Copy)]
struct Load {
    series: usize,
    rows: usize,
    fields: usize,
    field_type: FieldType,
    snapshots: usize,
}

const LONG: Load =
    Load { series: 4_000, rows: 100, fields: 10, field_type: FieldType::Integer, snapshots: 8 };
const SHORT: Load = Load { series: 200_000, rows: 5, fields: 1, field_type: FieldType::Float, snapshots: 2 };

impl Load {
    fn values(&self) -> u64 {
        (self.series * self.rows * self.fields * self.snapshots) as u64
    }

    /// One row of every series at `at` tens of seconds; values walk.
    fn batch(&self, at: usize, walk: &mut [i64]) -> Batch {
        let names: Vec<String> = (0..self.fields).map(|n| format!("usage_{n}")).collect();
        let mut builder = BatchBuilder::new();
        let shape = builder.add_shape(b"cpu", names.iter().map(|name| (self.field_type, name.as_bytes())));
        let mut values = Vec::new();
        let mut seed = at as u64;
        for host in 0..self.series {
            // The same tags every time, in no order.
            let tag = (host as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let key = SeriesKey::build(
                b"cpu",
                &[
                    (b"hostname", format!("host_{host}").as_bytes()),
                    (b"region", format!("region-{}", tag % 9).as_bytes()),
                    (b"rack", format!("{}", tag / 9 % 100).as_bytes()),
                    (b"unit", format!("unit_{}", tag / 900 % 1_000).as_bytes()),
                ],
            );
            let series = builder.add_series(key.hash(), &key.0);
            values.clear();
            for field in 0..self.fields {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let value = &mut walk[host * self.fields + field];
                *value = (*value + (seed >> 62) as i64 - 1).clamp(0, 100);
                put_value(
                    &mut values,
                    &match self.field_type {
                        FieldType::Float => Value::Float(*value as f64),
                        _ => Value::Integer(*value),
                    },
                );
            }
            let timestamp = 1_700_000_000_000_000_000 + at as i64 * 10 * SECOND as i64;
            builder.add_row(series, shape, timestamp, &values);
        }
        builder.finish(at as u64 + 1, 1)
    }
}

async fn settle(store: &Store<SimDisk>, now_ns: u64) -> Duration {
    let start = Instant::now();
    while let Ok(Step::More) = black_box(store.background_step(now_ns, 1 << 20).await) {}
    start.elapsed()
}

/// Time of the snapshots before the last one, and of that one with the full merge it completes.
async fn measure(load: Load) -> (Duration, Duration) {
    let options = StoreOptions { cache_snapshot_bytes: 1 << 30, ..StoreOptions::new(0, 2 << 30) };
    let (store, _) = Store::open(SimDisk::new(1), options).await.expect("opens");
    let (shard, group) = (ShardId(1), ShardGroupId(1));
    let mut walk = vec![50; load.series * load.fields];
    let work = async {
        let mut now = SECOND;
        let (mut before, mut last) = (Duration::ZERO, Duration::ZERO);
        for snapshot in 0..load.snapshots {
            for row in 0..load.rows {
                let batch = load.batch(snapshot * load.rows + row, &mut walk);
                store.write(vec![ShardWrite { shard, group, batch }], now).await.expect("written");
            }
            now += 6 * SECOND;
            before += last;
            last = settle(&store, now).await;
        }
        (before, last + settle(&store, now + 20 * SECOND).await)
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
    for (name, load) in [("long_series", LONG), ("short_series", SHORT)] {
        group.throughput(Throughput::Elements(load.values()));
        group.bench_function(format!("{name}/snapshots"), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| block_on(measure(load)).0).sum());
        });
        group.bench_function(format!("{name}/last_and_merge"), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| block_on(measure(load)).1).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
