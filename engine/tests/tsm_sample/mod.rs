//! One TSM file with every kind of thing in it, the same on every run.

#![allow(dead_code, reason = "each test binary uses its part")]

use futures_lite::future::block_on;
use tidemark_engine::Result;
use tidemark_engine::codec::Temperature;
use tidemark_engine::disk::Disk;
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::{Column, FieldType, TimeRange, Value, series_key};
use tidemark_engine::tsm::{FileMeta, TsmReader, TsmWriter, Wanted};

pub const PATH: &str = "data/7/12/1.tsm";

pub fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    block_on(disk.create_dir_all("data/7/12")).expect("a folder");
    disk
}

pub fn file_bytes(disk: &SimDisk) -> Vec<u8> {
    let files = disk.files();
    files.into_iter().find(|(path, _)| path.ends_with("1.tsm")).expect("the file").1
}

/// A row's fields.
fn value(series: i64, row: i64, field: &str) -> Option<Value> {
    let noise = (series * 31 + row) * 7919 % 1009;
    Some(match field {
        "counter" => Value::Unsigned((row * 1000 + noise) as u64),
        "decimal" => Value::Float(noise as f64 / 10.0),
        "gauge" => Value::Integer(noise % 100 - 20),
        "rare" if row % 10 == 0 => Value::Integer(row),
        "real" => Value::Float(1.0 / (noise + 3) as f64),
        "sparse" if row % 4 != 0 => Value::Float(f64::from(noise as i32)),
        "state" => Value::String([b"ok".as_slice(), b"warning", b"critical"][noise as usize % 3].to_vec()),
        "text" if row % 3 == 0 => Value::String(format!("line {noise} of series {series}").into_bytes()),
        "up" => Value::Boolean(row / 17 % 2 == 0),
        _ => return None,
    })
}

const FIELDS: [(&str, FieldType); 9] = [
    ("counter", FieldType::Unsigned),
    ("decimal", FieldType::Float),
    ("gauge", FieldType::Integer),
    ("rare", FieldType::Integer),
    ("real", FieldType::Float),
    ("sparse", FieldType::Float),
    ("state", FieldType::String),
    ("text", FieldType::String),
    ("up", FieldType::Boolean),
];

pub fn write(disk: &SimDisk, temperature: Temperature) -> FileMeta {
    block_on(async {
        let mut writer = TsmWriter::create(disk, PATH, temperature).await.expect("created");
        for (series, (measurement, rows)) in
            [("cpu", 1), ("cpu", 5), ("cpu", 70), ("disk io", 1100), ("mem", 3)].into_iter().enumerate()
        {
            let host = format!("host {series}");
            let key = series_key::SeriesKey::build(
                measurement.as_bytes(),
                &[(b"host", host.as_bytes()), (b"region", [b"eu".as_slice(), b"us"][series % 2])],
            );
            writer.begin_series(&key.0).expect("in order");
            let series = series as i64;
            let times: Vec<i64> = (0..rows)
                .map(|row| {
                    (1_700_000_000 + row * 10) * 1_000_000_000 + series % 2 * (row * row % 7) * 1_000_000
                })
                .collect();
            let columns: Vec<Column> = FIELDS
                .iter()
                .map(|(name, field_type)| {
                    let mut column = Column::empty(*field_type);
                    (0..rows).for_each(|row| column.push(value(series, row, name).as_ref()));
                    column
                })
                .collect();
            let columns: Vec<_> = FIELDS
                .iter()
                .zip(&columns)
                .filter(|((name, _), _)| series == 3 || *name < "rare")
                .map(|((name, field_type), column)| (writer.field(name.as_bytes(), *field_type), column))
                .collect();
            writer.write_rows(&times, &columns).await.expect("written");
        }
        writer.finish((7, 1), (9, 2)).await.expect("finished").expect("not empty")
    })
}

/// All a file answers, so that two readings can be compared.
#[derive(Debug, PartialEq, Default)]
pub struct Contents {
    pub meta: FileMeta,
    /// Key, field, times and values, block after block.
    pub columns: Vec<(Vec<u8>, Vec<u8>, Vec<i64>, Column)>,
    pub summaries: Vec<String>,
    pub schema: Vec<String>,
    pub postings: Vec<(Vec<u8>, Vec<u8>, Vec<u8>, Vec<u32>)>,
}

pub async fn contents<D: Disk>(reader: &TsmReader<D>) -> Result<Contents> {
    let mut all = Contents { meta: *reader.meta(), ..Contents::default() };
    let schema = reader.schema().await?;
    let mut cursor = reader.cursor(b"");
    while let Some(series) = cursor.next().await? {
        for block in &series.blocks {
            all.summaries.push(format!("{:?}", reader.summaries(block)?));
            let rows = reader.read_block(block, Wanted::All).await?;
            for (field, column) in &rows.columns {
                let Some(field) = schema.field(*field) else {
                    return Err(reader.corrupted(block.page_offset(), "unknown field"));
                };
                all.columns.push((
                    series.key.clone(),
                    field.name.clone(),
                    rows.times.clone(),
                    column.clone(),
                ));
            }
        }
        let found = reader.find(&series.key, TimeRange::ALL).await?;
        assert_eq!(found.map(|found| found.position), Some(series.position));
    }
    for measurement in schema.measurement_names() {
        all.schema.push(format!("{measurement:?} {:?}", schema.fields_of(measurement)));
        let positions = reader.measurement_positions(measurement).await?;
        all.postings.push((measurement.to_vec(), Vec::new(), Vec::new(), positions));
        for key in schema.tag_keys_of(measurement) {
            let mut values = reader.tag_values(measurement, key).await?;
            while let Some(value) = values.next().await? {
                let positions = reader.tag_positions(measurement, key, value).await?;
                all.postings.push((measurement.to_vec(), key.to_vec(), value.to_vec(), positions));
            }
        }
    }
    Ok(all)
}
