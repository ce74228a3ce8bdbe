//! Bytes of files. The engine is built without checksums here: what it reads is damaged for sure.

use futures_lite::future::block_on;
use tidemark_engine::codec::{self, FloatHint, Temperature, Values, timestamp};
use tidemark_engine::compact::manifest::{FileEntry, Manifest};
use tidemark_engine::compact::tombstone::Predicate;
use tidemark_engine::disk::Disk;
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::{
    Batch, Column, FieldType, ShardGroupId, ShardId, StringColumn, TimeRange, Value,
};
use tidemark_engine::tsm::{BlockCache, TsmReader, TsmWriter, Wanted};
use tidemark_engine::wal::{Entry, Wal, WalOptions, WalReplay, folder};

use super::wire::small_batch;

/// Values a block has at most, as its entry in the index says.
const VALUES_MAX: usize = 1024;

pub fn meta(bytes: &[u8]) {
    let _ = tidemark::meta::codec::decode_command(bytes);
    let _ = tidemark::meta::codec::decode_data(bytes);
}

pub fn meta_seeds() -> Vec<Vec<u8>> {
    use tidemark::meta::{Command, Data, apply::apply, codec};
    let command = Command::CreateDatabase { name: "db".to_owned(), spec: None, autocreate: true };
    let mut data = Data::default();
    let _ = apply(&mut data, &command);
    vec![codec::encode_command(&command), codec::encode_data(&data)]
}

const SEGMENT: &str = "0000000000000001-0000000000000001.seg";

/// A segment of a WAL: read to its end, and gone on with.
pub fn wal(bytes: &[u8]) {
    let disk = SimDisk::new(1);
    disk.put_file(&format!("{}/{SEGMENT}", folder(0)), bytes.to_vec());
    block_on(async {
        let Ok(mut replay) = WalReplay::open(disk.clone(), 0, WalOptions::default()).await else { return };
        while let Ok(Some(group)) = replay.next().await {
            for entry in group.entries {
                if let Entry::Write { batch, .. } = entry {
                    let _ = Batch::from_bytes(batch.to_vec());
                }
            }
        }
    });
}

pub fn wal_seeds() -> Vec<Vec<u8>> {
    block_on(async {
        let disk = SimDisk::new(1);
        let replay = WalReplay::open(disk.clone(), 0, WalOptions::default()).await.expect("an empty WAL");
        let (wal, _): (Wal<SimDisk>, _) = replay.finish(0).await.expect("a new WAL");
        let batch = small_batch();
        for shard in 1..4 {
            let (shard, group) = (ShardId(shard), ShardGroupId(1));
            let write = Entry::Write { shard, group, batch: batch.as_bytes() };
            let delete = Entry::Delete { shard, group, body: &predicate() };
            wal.append(&[write, delete]).await.expect("appended");
        }
        let files = disk.files();
        let segment = files.into_iter().find(|(path, _)| path.ends_with(".seg")).expect("a segment").1;
        // The zeros behind are all alike.
        vec![segment[..16 << 10].to_vec()]
    })
}

fn predicate() -> Vec<u8> {
    let mut body = Vec::new();
    Predicate { measurement: Some(b"cpu".to_vec()), series: None, time: TimeRange::ALL }.put(&mut body);
    body
}

const FILE: &str = "data/1/1/000000001.tsm";

/// A TSM file: everything in it is read, series by series.
pub fn tsm(bytes: &[u8]) {
    let disk = SimDisk::new(1);
    disk.put_file(FILE, bytes.to_vec());
    block_on(async {
        let Ok(reader) = TsmReader::open(&disk, FILE, BlockCache::new(1 << 20)).await else { return };
        let Ok(_) = reader.schema().await else { return };
        let mut cursor = reader.cursor(b"");
        while let Ok(Some(series)) = cursor.next().await {
            for block in &series.blocks {
                let _ = reader.read_block(block, Wanted::All).await;
            }
        }
    });
}

pub fn tsm_seeds() -> Vec<Vec<u8>> {
    [Temperature::Hot, Temperature::Cold]
        .into_iter()
        .map(|temperature| block_on(tsm_file(temperature)))
        .collect()
}

async fn tsm_file(temperature: Temperature) -> Vec<u8> {
    let disk = SimDisk::new(1);
    disk.create_dir_all("data/1/1").await.expect("a folder");
    let mut writer = TsmWriter::create(&disk, FILE, temperature).await.expect("a file");
    for host in ["a", "b"] {
        writer.begin_series(format!("cpu,host={host}").as_bytes()).expect("in order");
        let times: Vec<i64> = (0..300).map(|row| row * 10 + row % 3).collect();
        let value = |field_type, row: i64| match field_type {
            FieldType::Float => Value::Float(row as f64 / 8.0),
            FieldType::Integer => Value::Integer(row * row % 97),
            FieldType::Unsigned => Value::Unsigned(row as u64),
            FieldType::Boolean => Value::Boolean(row % 7 == 0),
            FieldType::String => Value::String(format!("text {}", row % 5).into_bytes()),
        };
        let mut columns = Vec::new();
        for (at, field_type) in TYPES.into_iter().enumerate() {
            let mut column = Column::empty(field_type);
            for row in 0..300 {
                column.push((row % 5 != at as i64).then(|| value(field_type, row)).as_ref());
            }
            columns.push((writer.field(format!("f{at}").as_bytes(), field_type), column));
        }
        let columns: Vec<_> = columns.iter().map(|(field, column)| (*field, column)).collect();
        writer.write_rows(&times, &columns).await.expect("written");
    }
    writer.finish((1, 1), (1, 1)).await.expect("finished").expect("a file with rows");
    disk.files().into_iter().find(|(path, _)| path.ends_with(".tsm")).expect("the file").1
}

pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::from_bytes(bytes) {
        let _ = manifest.compile_tombstones();
        let _ = manifest.to_bytes();
    }
}

pub fn manifest_seeds() -> Vec<Vec<u8>> {
    let file = |id| FileEntry { id, level: 1, bytes: 4096, rows: 10, time_min: -1, time_max: 1 << 60 };
    let predicate = Predicate { measurement: Some(b"cpu".to_vec()), series: None, time: TimeRange::ALL };
    let manifest = Manifest {
        next_file: 9,
        files: vec![file(3), file(8)],
        tombstones: vec![(predicate, vec![3, 8])],
        replayed: vec![(0, 17), (4, 1)],
    };
    vec![manifest.to_bytes()]
}

const TYPES: [FieldType; 5] =
    [FieldType::Float, FieldType::Integer, FieldType::Unsigned, FieldType::Boolean, FieldType::String];

/// The first byte says how many values are wanted, the rest is a column of any type, or timestamps.
pub fn codec(bytes: &[u8]) {
    let Some((&count, bytes)) = bytes.split_first() else { return };
    let count = usize::from(count) * 5 % (VALUES_MAX + 1);
    for field_type in TYPES {
        if let Ok(data) = codec::decode_column(field_type, bytes, count) {
            assert_eq!(Column { data, present: None }.len(), count, "BUG: another number of values");
        }
    }
    let mut times = Vec::new();
    if timestamp::decode(bytes, count, 0, 199_003, &mut times).is_ok() {
        assert_eq!(times.len(), count, "BUG: another number of timestamps");
    }
}

pub fn codec_seeds() -> Vec<Vec<u8>> {
    // 200 values each: 40 times 5.
    let mut seeds = Vec::new();
    let mut strings = StringColumn::default();
    (0..200).for_each(|row| strings.push(format!("value {}", row % 9).as_bytes()));
    let floats: Vec<f64> = (0..200).map(|row| f64::from(row) / 10.0).collect();
    let odd: Vec<f64> = (1..201).map(|row| 1.0 / f64::from(row)).collect();
    let integers: Vec<i64> = (0..200).map(|row| row * row % 101 - 50).collect();
    let rising: Vec<i64> = (0..200).map(|row| row * 1000 + row % 7).collect();
    let bits: Vec<bool> = (0..200).map(|row| row % 3 == 0).collect();
    for values in [
        Values::Float(&floats),
        Values::Float(&odd),
        Values::Integer(&integers),
        Values::Integer(&rising),
        Values::Boolean(&bits),
        Values::String(&strings),
    ] {
        for temperature in [Temperature::Hot, Temperature::Cold] {
            let mut bytes = vec![40];
            codec::encode_column(values, temperature, &mut FloatHint::default(), &mut bytes);
            seeds.push(bytes);
        }
    }
    let mut bytes = vec![40];
    timestamp::encode(&rising, &mut bytes);
    seeds.push(bytes);
    seeds
}
