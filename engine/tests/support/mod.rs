//! A store on the simulated disk with its tasks run beside the caller, and a way to read everything it has.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod workload;

use std::collections::BTreeMap;

use futures_lite::future::{block_on, or};
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::batch::put_value;
use tidemark_engine::model::{
    Batch, BatchBuilder, Field, Rows, SeriesKey, ShardGroupId, ShardId, TimeRange, Value,
};
use tidemark_engine::pace::Pace;
use tidemark_engine::scan::request::ShardRef;
use tidemark_engine::shard::ShardView;
use tidemark_engine::store::{ShardWrite, Step, Store, StoreOptions, WriteOutcome};
use tidemark_engine::tsm::Wanted;
use tidemark_engine::{Error, Result};

pub const SECOND: u64 = 1_000_000_000;

/// Series key → time → field → value.
pub type Model = BTreeMap<Vec<u8>, BTreeMap<i64, BTreeMap<Vec<u8>, Value>>>;

/// A point of the tests' world: measurement `m<n>`, tag `t`.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub measurement: u8,
    pub tag: u8,
    pub time: i64,
    pub fields: Vec<(u8, u8)>,
}

/// Two groups, two shards each: the group by time, the shard by tag.
pub fn shard_of(point: &Point) -> ShardRef {
    let group = if point.time < 1000 { 1 } else { 2 };
    ShardRef { group: ShardGroupId(group), shard: ShardId(group * 10 + u64::from(point.tag) % 2) }
}

pub fn shards() -> Vec<ShardRef> {
    [(1, 10), (1, 11), (2, 20), (2, 21)]
        .map(|(group, shard)| ShardRef { group: ShardGroupId(group), shard: ShardId(shard) })
        .to_vec()
}

pub fn key(measurement: u8, tag: u8) -> Vec<u8> {
    SeriesKey::build(format!("m{measurement}").as_bytes(), &[(b"t", format!("v{tag}").as_bytes())]).0
}

/// A field's type follows its number.
pub fn value(kind: u8, seed: u8) -> Value {
    match kind % 5 {
        0 => Value::Float(f64::from(seed) / 4.0),
        1 => Value::Integer(i64::from(seed) - 100),
        2 => Value::String(vec![b'a' + seed % 26; seed as usize % 40]),
        3 => Value::Boolean(seed.is_multiple_of(2)),
        _ => Value::Unsigned(u64::from(seed) << 50),
    }
}

pub fn batch(points: &[&Point], version: u64) -> Batch {
    let mut builder = BatchBuilder::new();
    for point in points {
        let key = SeriesKey(key(point.measurement, point.tag));
        let series = builder.add_series(key.hash(), &key.0);
        let names: Vec<[u8; 2]> = point.fields.iter().map(|(kind, _)| [b'f', b'0' + kind]).collect();
        let shape = builder.add_shape(
            format!("m{}", point.measurement).as_bytes(),
            point
                .fields
                .iter()
                .zip(&names)
                .map(|((kind, seed), name)| (value(*kind, *seed).field_type(), name.as_slice())),
        );
        let mut values = Vec::new();
        for (kind, seed) in &point.fields {
            put_value(&mut values, &value(*kind, *seed));
        }
        builder.add_row(series, shape, point.time, &values);
    }
    builder.finish(version, 1)
}

pub fn writes_of(points: &[Point], version: u64) -> Vec<ShardWrite> {
    let mut by_shard: BTreeMap<ShardId, (ShardRef, Vec<&Point>)> = BTreeMap::new();
    for point in points {
        let shard = shard_of(point);
        by_shard.entry(shard.shard).or_insert_with(|| (shard, Vec::new())).1.push(point);
    }
    by_shard
        .into_values()
        .map(|(shard, points)| ShardWrite {
            shard: shard.shard,
            group: shard.group,
            batch: batch(&points, version),
        })
        .collect()
}

pub fn write_to(model: &mut Model, points: &[Point]) {
    for point in points {
        let row = model.entry(key(point.measurement, point.tag)).or_default().entry(point.time).or_default();
        row.extend(point.fields.iter().map(|(kind, seed)| (vec![b'f', b'0' + kind], value(*kind, *seed))));
    }
}

/// Small limits, so that little data makes everything happen.
pub fn options(wal_id: u64, wal_ids: &[u64]) -> StoreOptions {
    StoreOptions {
        wal_ids_replayed: wal_ids.to_vec(),
        shards: shards(),
        cache_snapshot_bytes: 64 << 10,
        ..StoreOptions::new(wal_id, 64 << 20)
    }
}

pub async fn open(disk: &SimDisk, options: StoreOptions) -> Result<Store<SimDisk>> {
    let (store, foreign) = Store::open(disk.clone(), options).await?;
    assert!(foreign.is_empty());
    Ok(store)
}

/// Runs `work` with the store's commit loop beside it.
pub fn run<T>(store: &Store<SimDisk>, work: impl Future<Output = T>) -> T {
    block_on(beside(store, work))
}

pub async fn beside<T>(store: &Store<SimDisk>, work: impl Future<Output = T>) -> T {
    let committing = async {
        store.commit_loop().await;
        std::future::pending().await
    };
    or(work, committing).await
}

/// The whole write: fields learned, then written.
pub async fn write(
    store: &Store<SimDisk>,
    points: &[Point],
    version: u64,
    now_ns: u64,
) -> Result<Vec<WriteOutcome>> {
    let writes = writes_of(points, version);
    for write in &writes {
        let unknown = store.unknown_fields(write.group, &write.batch);
        if !unknown.is_empty() {
            let known = store.register_fields(write.group, unknown).await?;
            store.learn_fields(write.group, &known);
        }
    }
    store.write(writes, now_ns).await
}

/// Background steps until there is nothing to do at `now_ns`.
pub async fn settle(store: &Store<SimDisk>, now_ns: u64) -> Result<()> {
    for _ in 0..10_000 {
        match store.background_step(now_ns, 64 << 10).await {
            Ok(Step::More) => {}
            Ok(Step::IdleUntil(until)) => {
                assert!(until > now_ns);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Invalid("background work does not end".to_owned()))
}

/// Everything the views hold.
pub async fn read_views(views: &[ShardView<SimDisk>]) -> Result<Model> {
    let mut model = Model::new();
    for view in views {
        let mut found: BTreeMap<Vec<u8>, Rows> = BTreeMap::new();
        for file in view.files.iter() {
            let reader = file.reader().await?;
            let schema = reader.schema().await?;
            let mut cursor = reader.cursor(b"");
            while let Some(series) = cursor.next().await? {
                let masks = view.masks(file, &series.key);
                for block in &series.blocks {
                    let read = reader.read_block(block, Wanted::All).await?;
                    let mut rows = Rows { times: read.times, ..Rows::default() };
                    for (field, column) in read.columns {
                        let field = schema.field(field).expect("a field of the schema");
                        rows.fields.push(Field { name: field.name.clone(), field_type: field.field_type });
                        rows.columns.push(column);
                    }
                    masks.iter().for_each(|mask| rows.remove(*mask));
                    found.entry(series.key.clone()).or_default().append(&rows);
                }
            }
        }
        for &position in view.cache.sorted(&Pace::new()).await.iter() {
            let all = TimeRange { start: i64::MIN, end: i64::MAX };
            if let Some(rows) = view.cache.read(position, all, None, &Pace::new()).await {
                let key = view.cache.with_key(position, <[u8]>::to_vec);
                found.entry(key).or_default().append(&rows);
            }
        }
        for (key, mut rows) in found {
            rows.bring_to_order();
            for (at, &time) in rows.times.iter().enumerate() {
                for (field, column) in rows.fields.iter().zip(&rows.columns) {
                    if let Some(value) = column.get(at) {
                        let series = model.entry(key.clone()).or_default();
                        series.entry(time).or_default().insert(field.name.clone(), value);
                    }
                }
            }
        }
    }
    Ok(model)
}

pub async fn read_all(store: &Store<SimDisk>) -> Result<Model> {
    read_views(&store.views(&shards()).await?).await
}

/// Without what is empty.
pub fn tidy(mut model: Model) -> Model {
    for series in model.values_mut() {
        series.retain(|_, row| !row.is_empty());
    }
    model.retain(|_, series| !series.is_empty());
    model
}
