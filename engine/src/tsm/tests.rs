//! Tests of the file as a whole: what is written is read, in all shapes.

#![cfg(feature = "sim")]

use super::*;
use crate::Error;
use crate::codec::Temperature;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::model::{Column, ColumnData, FieldType, TimeRange, Value, series_key};
use futures_lite::future::block_on;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SECOND: i64 = 1_000_000_000;
const PATH: &str = "data/1.tsm";

/// key → field name → time → value.
type Model = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, BTreeMap<i64, Value>>>;

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    block_on(disk.create_dir_all("data")).expect("a folder");
    disk
}

/// The rows of one series of the model.
fn rows_of(fields: &BTreeMap<Vec<u8>, BTreeMap<i64, Value>>) -> (Vec<i64>, Vec<(Vec<u8>, Column)>) {
    let times: BTreeSet<i64> = fields.values().flat_map(|values| values.keys().copied()).collect();
    let columns = fields
        .iter()
        .map(|(name, values)| {
            let field_type = values.values().next().expect("a value").field_type();
            let mut column = Column::empty(field_type);
            times.iter().for_each(|time| column.push(values.get(time)));
            (name.clone(), column)
        })
        .collect();
    (times.into_iter().collect(), columns)
}

async fn write_to(disk: &SimDisk, path: &str, model: &Model, temperature: Temperature) -> FileMeta {
    let writer = TsmWriter::create(disk, path, temperature).await.expect("created");
    write_with(writer, model).await
}

async fn write_with(mut writer: TsmWriter<SimDisk>, model: &Model) -> FileMeta {
    for (key, fields) in model {
        writer.begin_series(key).expect("in order");
        let (times, columns) = rows_of(fields);
        let columns: Vec<_> =
            columns.iter().map(|(name, column)| (writer.field(name, column.field_type()), column)).collect();
        writer.write_rows(&times, &columns).await.expect("written");
    }
    writer.finish((1, 1), (9, 2)).await.expect("finished").expect("not empty")
}

async fn open(disk: &SimDisk, path: &str) -> TsmReader<SimDisk> {
    TsmReader::open(disk, path, BlockCache::new(1 << 20)).await.expect("opens")
}

/// Everything a file says, as a model.
async fn read_all(reader: &TsmReader<SimDisk>) -> crate::Result<Model> {
    let mut model = Model::new();
    let schema = reader.schema().await?;
    let mut cursor = reader.cursor(b"");
    let mut position = 0;
    while let Some(series) = cursor.next().await? {
        assert_eq!(series.position, position);
        position += 1;
        let fields: &mut BTreeMap<_, _> = model.entry(series.key.clone()).or_default();
        let mut rest = series.blocks.as_slice();
        while !rest.is_empty() {
            let run = reader.read_blocks(rest, Wanted::All).await?;
            for (rows, block) in run.iter().zip(rest) {
                assert_eq!(rows.times.len(), block.rows as usize);
                assert_eq!(
                    (rows.times[0], rows.times[rows.times.len() - 1]),
                    (block.min_time, block.max_time)
                );
                for (field, column) in &rows.columns {
                    let field = schema.field(*field).expect("known");
                    assert_eq!(
                        schema.measurements[field.measurement as usize].name,
                        *series_key::measurement(&series.key)
                    );
                    for (row, &time) in rows.times.iter().enumerate() {
                        if let Some(value) = column.get(row) {
                            let before: Option<Value> =
                                fields.entry(field.name.clone()).or_default().insert(time, value);
                            assert_eq!(before, None);
                        }
                    }
                }
            }
            rest = &rest[run.len()..];
        }
    }
    Ok(model)
}

fn devops(hosts: usize, rows: usize) -> Model {
    let mut model = Model::new();
    let mut state = 9u64;
    for host in 0..hosts {
        let key = series_key::SeriesKey::build(
            b"cpu",
            &[
                (b"hostname", format!("host_{host}").as_bytes()),
                (b"region", format!("eu-{}", host % 3).as_bytes()),
            ],
        );
        let mut fields = BTreeMap::new();
        for name in ["idle", "user"] {
            let mut level = 50i64;
            let values = (0..rows as i64)
                .map(|row| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    level = (level + (state >> 60).count_ones() as i64 - 2).clamp(0, 100);
                    ((1_700_000_000 + row * 10) * SECOND, Value::Integer(level))
                })
                .collect();
            fields.insert(name.as_bytes().to_vec(), values);
        }
        model.insert(key.0, fields);
    }
    model
}

#[test]
fn a_file_of_many_series_is_read_as_written() {
    block_on(async {
        let disk = disk();
        let model = devops(300, 100);
        let meta = write_to(&disk, PATH, &model, Temperature::Hot).await;
        assert_eq!((meta.series, meta.rows, meta.values), (300, 30_000, 60_000));
        let reader = open(&disk, PATH).await;
        assert_eq!(*reader.meta(), meta);
        assert!(reader.page_count() > 2);
        assert_eq!(read_all(&reader).await.expect("reads"), model);
        reader.verify().await.expect("whole");
        for (position, key) in model.keys().enumerate() {
            let found = reader.find(key, TimeRange::ALL).await.expect("reads").expect("is there");
            assert_eq!((found.position, found.blocks.len()), (position as u32, 1));
            let at =
                reader.series_at(position as u32, TimeRange::ALL).await.expect("reads").expect("is there");
            assert_eq!(at.key, *key);
            let next = reader.cursor(&[key, b"!".as_slice()].concat()).next().await.expect("reads");
            assert_eq!(next.map(|series| series.position), (position < 299).then_some(position as u32 + 1));
        }
        assert!(reader.find(b"cpu,hostname=x", TimeRange::ALL).await.expect("reads").is_none());
        assert!(reader.series_at(300, TimeRange::ALL).await.expect("reads").is_none());
        let positions: Vec<u32> = (0..300).step_by(7).collect();
        let keys: Vec<_> = model.keys().step_by(7).cloned().collect();
        assert_eq!(reader.keys_at(&positions).await.expect("reads"), keys);
    });
}

/// `a` and `c` of 3 blocks each, `b` of 2,000, which fill several index pages.
async fn long_series(disk: &SimDisk) -> (FileMeta, TsmReader<SimDisk>) {
    let mut writer = TsmWriter::create(disk, PATH, Temperature::Hot).await.expect("created");
    for (key, rows) in [(b"a", 3_000), (b"b", 1024 * 2000), (b"c", 3_000)] {
        writer.begin_series(key).expect("in order");
        let field = writer.field(b"v", FieldType::Integer);
        let times: Vec<i64> = (0..rows).map(|row| row * SECOND).collect();
        let values = (0..rows).map(|row| row * 7919 % 1000).collect();
        let column = Column { data: ColumnData::Integer(values), present: None };
        writer.write_rows(&times, &[(field, &column)]).await.expect("written");
    }
    let meta = writer.finish((0, 0), (0, 0)).await.expect("finished").expect("not empty");
    (meta, open(disk, PATH).await)
}

#[test]
fn blocks_that_go_on_in_other_pages_are_listed_later_all_or_the_newest() {
    block_on(async {
        let (_, reader) = long_series(&disk()).await;
        let spans = |blocks: &[BlockEntry]| -> Vec<_> {
            blocks.iter().map(|block| (block.min_time, block.max_time, block.data_at)).collect()
        };
        let (mut listed, mut walked) = (reader.cursor(b""), reader.cursor(b""));
        let mut found = SeriesEntry::default();
        while let Some(unlisted) = walked.next_unlisted(&mut found).await.expect("reads") {
            let series = listed.next().await.expect("reads").expect("is there");
            assert_eq!((&found.key, found.position), (&series.key, series.position));
            let all = spans(&series.blocks);
            assert_eq!(spans(&reader.list(&unlisted, TimeRange::ALL).await.expect("reads")), all);
            let ends = [3_000, 1_000_000, 2_000_000, i64::MAX / SECOND];
            for (rows, end) in
                [1, 2_000, 400_000, 3_000_000].into_iter().flat_map(|rows| ends.map(|end| (rows, end)))
            {
                let time = TimeRange::new(1_000 * SECOND, end * SECOND);
                let newest = reader.list_newest(&unlisted, time, rows).await.expect("reads");
                let within: Vec<_> =
                    series.blocks.iter().filter(|block| block.overlaps(&time)).cloned().collect();
                let mut chosen = newest.blocks.clone();
                chosen.retain(|block| block.overlaps(&time));
                let (left, last) = within.split_at(within.len() - chosen.len());
                assert_eq!(spans(&chosen), spans(last));
                let has =
                    |blocks: &[BlockEntry]| blocks.iter().map(|block| block.rows as usize).sum::<usize>();
                assert!(left.is_empty() || has(last) >= rows);
                let covers = |block: &BlockEntry| {
                    newest
                        .older
                        .is_some_and(|older| older.start <= block.min_time && block.max_time < older.end)
                };
                assert!(left.iter().all(covers), "what is left out is told of");
            }
            let newest = reader.list_newest(&unlisted, TimeRange::ALL, 1).await.expect("reads");
            assert_eq!((newest.blocks.len(), newest.older.is_some()), (1, true));
        }
        assert!(listed.next().await.expect("reads").is_none());
    });
}

#[test]
fn a_series_longer_than_a_page_goes_on_in_the_next() {
    block_on(async {
        let (meta, reader) = long_series(&disk()).await;
        assert!(meta.index_pages > 2 && meta.series == 3);
        for (position, key, blocks) in [(0, b"a", 3), (1, b"b", 2000), (2, b"c", 3)] {
            let series = reader.find(key, TimeRange::ALL).await.expect("reads").expect("is there");
            assert_eq!((series.position, series.blocks.len()), (position, blocks));
            assert!(series.blocks.is_sorted_by(|a, b| a.max_time < b.min_time));
            let at = reader.series_at(position, TimeRange::ALL).await.expect("reads").expect("is there");
            assert_eq!((at.key, at.blocks.len()), (key.to_vec(), blocks));
        }
        let late = TimeRange::new(2_000_000 * SECOND, TimeRange::ALL.end);
        let series = reader.find(b"b", late).await.expect("reads").expect("is there");
        assert!(
            series.blocks.len() < 1999 && series.blocks.last().is_some_and(|block| block.overlaps(&late))
        );
        let next = reader.cursor(b"b!").next().await.expect("reads").expect("is there");
        assert_eq!((next.position, next.key.as_slice()), (2, b"c".as_slice()));
        assert_eq!(reader.keys_at(&[0, 1, 2]).await.expect("reads"), [b"a", b"b", b"c"]);
        reader.verify().await.expect("whole");
    });
}

#[test]
fn tags_lead_to_their_series() {
    block_on(async {
        let disk = disk();
        let mut model = devops(2000, 1);
        for (key, fields) in devops(3, 2) {
            model.insert([b"mem".as_slice(), &key[3..]].concat(), fields);
        }
        model.insert(b"lonely".to_vec(), model.values().next().expect("some").clone());
        write_to(&disk, PATH, &model, Temperature::Hot).await;
        let reader = open(&disk, PATH).await;
        let schema = reader.schema().await.expect("reads");
        assert_eq!(schema.measurement_names(), [b"cpu".as_slice(), b"lonely", b"mem"]);
        assert_eq!(schema.tag_keys_of(b"cpu"), [b"hostname".as_slice(), b"region"]);
        assert!(schema.tag_keys_of(b"lonely").is_empty());
        let fields: Vec<_> =
            schema.fields_of(b"mem").into_iter().map(|(_, name, kind)| (name, kind)).collect();
        assert_eq!(fields, [(b"idle".as_slice(), FieldType::Integer), (b"user", FieldType::Integer)]);

        let keys: Vec<_> = model.keys().collect();
        let want = |measurement: &[u8], tag: &[u8], value: &[u8]| -> Vec<u32> {
            (0u32..)
                .zip(&keys)
                .filter(|(_, key)| *series_key::measurement(key) == *measurement)
                .filter(|(_, key)| series_key::tag_value(key, tag).as_deref() == Some(value))
                .map(|(at, _)| at)
                .collect()
        };
        for (measurement, tag, value) in [
            (b"cpu".as_slice(), b"region".as_slice(), b"eu-1".as_slice()),
            (b"cpu", b"hostname", b"host_0"),
            (b"cpu", b"hostname", b"host_999"),
            (b"cpu", b"hostname", b"host_x"),
            (b"mem", b"region", b"eu-2"),
            (b"mem", b"nothing", b"eu-2"),
            (b"disk", b"region", b"eu-2"),
        ] {
            let found = reader.tag_positions(measurement, tag, value).await.expect("reads");
            assert_eq!(found, want(measurement, tag, value));
        }
        assert_eq!(reader.measurement_positions(b"cpu").await.expect("reads").len(), 2000);
        assert_eq!(reader.measurement_positions(b"lonely").await.expect("reads"), [2000]);
        for (measurement, tag) in [(b"cpu", &b"region"[..]), (b"cpu", b"hostname"), (b"mem", b"nothing")] {
            let (mut found, mut before) = (Vec::new(), 0);
            let mut values = reader.tag_values(measurement, tag).await.expect("reads");
            while let Some(value) = values.next().await.expect("reads") {
                let value = value.to_vec();
                let mut positions = Vec::new();
                values.positions(&mut positions).expect("reads");
                assert_eq!(positions, want(measurement, tag, &value));
                before += positions.len();
                found.push(value);
            }
            assert!(values.next().await.expect("reads").is_none(), "at the end it stays there");
            assert!(found.is_sorted());
            let (count, with_tag) = match tag {
                b"region" => (3, 2000),
                b"hostname" => (2000, 2000),
                _ => (0, 0),
            };
            assert_eq!((found.len(), before), (count, with_tag));
        }
        reader.verify().await.expect("whole");
    });
}

#[test]
fn statistics_are_those_of_the_values() {
    block_on(async {
        let disk = disk();
        let mut model = devops(1, 5);
        model.extend(devops(2, 900).into_iter().skip(1));
        write_to(&disk, PATH, &model, Temperature::Hot).await;
        let reader = open(&disk, PATH).await;
        let mut cursor = reader.cursor(b"");
        while let Some(series) = cursor.next().await.expect("reads") {
            for summary in reader.summaries(&series.blocks[0]).expect("reads") {
                let schema = reader.schema().await.expect("reads");
                let values = &model[&series.key][&schema.field(summary.field).expect("known").name];
                let values: Vec<i64> = values
                    .values()
                    .map(|value| match value {
                        Value::Integer(value) => *value,
                        _ => unreachable!(),
                    })
                    .collect();
                let want = Extent {
                    min: *values.iter().min().expect("some"),
                    max: *values.iter().max().expect("some"),
                    sum: values.iter().sum(),
                    first: values[0],
                    last: values[values.len() - 1],
                };
                assert_eq!(summary.statistics, Some(Statistics::Integer(want)));
                assert_eq!(summary.count, values.len() as u64);
            }
        }
    });
}

#[test]
fn only_the_wanted_columns_are_read() {
    block_on(async {
        let disk = disk();
        let model = devops(1, 1000);
        write_to(&disk, PATH, &model, Temperature::Hot).await;
        let reader = open(&disk, PATH).await;
        let schema = reader.schema().await.expect("reads");
        let user = schema.fields_of(b"cpu")[1].0;
        let series = reader.cursor(b"").next().await.expect("reads").expect("one");
        let rows = reader.read_block(&series.blocks[0], Wanted::Fields(&[user])).await.expect("reads");
        assert_eq!((rows.times.len(), rows.columns.len(), rows.columns[0].0), (1000, 1, user));
        let reads = disk.reads();
        assert_eq!(reader.read_block(&series.blocks[0], Wanted::Fields(&[user])).await.expect("reads"), rows);
        assert_eq!(disk.reads(), reads, "the second time it comes from the cache");
        let nothing =
            reader.read_block(&series.blocks[0], Wanted::Fields(&[FieldId(99)])).await.expect("reads");
        assert_eq!(nothing, BlockRows::default());
    });
}

#[test]
fn blocks_that_will_be_wanted_too_come_along() {
    block_on(async {
        let disk = disk();
        write_to(&disk, PATH, &devops(1, 4000), Temperature::Hot).await;
        let reader = open(&disk, PATH).await;
        let user = reader.schema().await.expect("reads").fields_of(b"cpu")[1].0;
        let series = reader.cursor(b"").next().await.expect("reads").expect("one");
        assert_eq!(series.blocks.len(), 4);
        for at in 0..series.blocks.len() {
            let reads = disk.reads();
            let along =
                reader.read_first(&series.blocks[at..], Wanted::Fields(&[user])).await.expect("reads");
            assert_eq!(disk.reads() - reads, u64::from(at == 0), "block {at}");
            let alone = open(&disk, PATH).await.read_block(&series.blocks[at], Wanted::Fields(&[user])).await;
            assert_eq!(along, alone.expect("reads"));
        }
    });
}

#[test]
fn what_was_written_through_the_cache_is_read_without_the_disk() {
    block_on(async {
        let disk = disk();
        let cache = BlockCache::new(64 << 20);
        let model = devops(3, 2000);
        let writer = TsmWriter::create(&disk, PATH, Temperature::Hot).await.expect("created").keep_in(&cache);
        write_with(writer, &model).await;
        let reader = TsmReader::open(&disk, PATH, cache.clone()).await.expect("opens");
        reader.schema().await.expect("reads");
        let mut cursor = reader.cursor(b"");
        let mut rows = 0;
        let reads = disk.reads();
        let mut others = 0;
        while let Some(series) = cursor.next().await.expect("reads") {
            for block in &series.blocks {
                let mut wanted: Vec<FieldId> = block.shape().columns().map(|column| column.field).collect();
                wanted.sort_unstable();
                let read = reader.read_block(block, Wanted::Fields(&wanted)).await.expect("reads");
                let before = disk.reads();
                let other = open(&disk, PATH).await.read_block(block, Wanted::Fields(&wanted)).await;
                assert_eq!(read, other.expect("reads"));
                others += disk.reads() - before;
                rows += read.times.len();
            }
        }
        assert_eq!((rows, disk.reads() - reads), (6000, others));
        drop(cursor);
        drop(reader);
        assert_eq!(cache.bytes(), 0, "closed, it is forgotten");

        let writer = TsmWriter::create(&disk, PATH, Temperature::Hot).await.expect("created").keep_in(&cache);
        drop(writer);
        let mut writer =
            TsmWriter::create(&disk, PATH, Temperature::Hot).await.expect("created").keep_in(&cache);
        writer.begin_series(b"cpu").expect("in order");
        let field = writer.field(b"v", FieldType::Integer);
        let column =
            Column { data: ColumnData::Integer((0..1000).map(|row| row * row).collect()), present: None };
        let times: Vec<i64> = (0..1000).collect();
        writer.write_rows(&times, &[(field, &column)]).await.expect("written");
        assert!(cache.bytes() > 0);
        writer.abandon().await.expect("removed");
        assert_eq!(cache.bytes(), 0, "given up, it is forgotten");
    });
}

#[test]
fn damage_of_one_column_leaves_the_others_readable() {
    block_on(async {
        let disk = disk();
        write_to(&disk, PATH, &devops(1, 1000), Temperature::Hot).await;
        let reader = open(&disk, PATH).await;
        let schema = reader.schema().await.expect("reads");
        let fields: Vec<FieldId> = schema.fields_of(b"cpu").into_iter().map(|(field, ..)| field).collect();
        let series = reader.cursor(b"").next().await.expect("reads").expect("one");
        let block = &series.blocks[0];
        let (groups, _) = reader.chunks(block).expect("reads");
        let damaged = &groups[0].columns[1];
        disk.flip(PATH, block.data_at as usize + damaged.chunk.at, 4);
        for field in fields {
            for _ in 0..2 {
                let read = reader.read_block(block, Wanted::Fields(&[field])).await;
                assert_eq!(read.is_err(), field == damaged.shape.field, "{field:?}");
            }
        }
    });
}

#[test]
fn blocks_are_copied_between_files_with_other_fields() {
    block_on(async {
        let disk = disk();
        let model = devops(40, 1500);
        write_to(&disk, PATH, &model, Temperature::Hot).await;
        let reader = open(&disk, PATH).await;
        let mut writer = TsmWriter::create(&disk, "data/2.tsm", Temperature::Hot).await.expect("created");
        writer.begin_series(b"aaa").expect("in order");
        let field = writer.field(b"user", FieldType::Float);
        let column = Column { data: ColumnData::Float(vec![1.5]), present: None };
        writer.write_rows(&[5], &[(field, &column)]).await.expect("written");
        let mut cursor = reader.cursor(b"");
        while let Some(series) = cursor.next().await.expect("reads") {
            writer.begin_series(&series.key).expect("in order");
            for block in &series.blocks {
                writer.copy_block(&reader, block).await.expect("copied");
            }
        }
        writer.finish((0, 0), (0, 0)).await.expect("finished");
        let copy = open(&disk, "data/2.tsm").await;
        copy.verify().await.expect("whole");
        let mut read = read_all(&copy).await.expect("reads");
        assert!(read.remove(b"aaa".as_slice()).is_some());
        assert_eq!(read, model);
    });
}

#[test]
fn order_is_checked_before_anything_is_written() {
    block_on(async {
        let disk = disk();
        let mut writer = TsmWriter::create(&disk, PATH, Temperature::Hot).await.expect("created");
        let column = Column { data: ColumnData::Integer(vec![1, 2]), present: None };
        assert!(writer.write_rows(&[1, 2], &[]).await.is_err(), "no series");
        writer.begin_series(b"b").expect("in order");
        let field = writer.field(b"v", FieldType::Integer);
        writer.write_rows(&[1, 2], &[(field, &column)]).await.expect("written");
        assert!(writer.write_rows(&[2, 3], &[(field, &column)]).await.is_err());
        assert!(writer.begin_series(b"b").is_err());
        assert!(writer.begin_series(b"a").is_err());
        writer.abandon().await.expect("removed");
        assert!(disk.list("data").await.expect("lists").is_empty());
        let writer = TsmWriter::create(&disk, PATH, Temperature::Hot).await.expect("created");
        assert_eq!(writer.finish((0, 0), (0, 0)).await, Ok(None));
        assert!(disk.list("data").await.expect("lists").is_empty());
    });
}

/// Until `finish` has answered, a power cut leaves no file of that name, or a whole one.
#[test]
fn a_power_cut_while_writing_leaves_nothing_half() {
    let model = devops(50, 200);
    let changes = {
        let disk = disk();
        let before = disk.changes();
        block_on(write_to(&disk, PATH, &model, Temperature::Hot));
        disk.changes() - before
    };
    for change in 0..changes {
        let disk = disk();
        disk.stop_at_change(change, crate::disk::sim::Stopped::Fails);
        block_on(async {
            let Ok(mut writer) = TsmWriter::create(&disk, PATH, Temperature::Hot).await else { return };
            for (key, fields) in &model {
                writer.begin_series(key).expect("in order");
                let (times, columns) = rows_of(fields);
                let columns: Vec<_> = columns
                    .iter()
                    .map(|(name, column)| (writer.field(name, column.field_type()), column))
                    .collect();
                if writer.write_rows(&times, &columns).await.is_err() {
                    return;
                }
            }
            let _ = writer.finish((1, 1), (2, 2)).await;
        });
        let disk = disk.crash();
        block_on(async {
            if let Ok(reader) = TsmReader::open(&disk, PATH, BlockCache::new(0)).await {
                assert_eq!(read_all(&reader).await.expect("whole"), model);
            } else {
                let names = disk.list("data").await.expect("lists");
                assert!(names.iter().all(|entry| entry.name.ends_with(TEMPORARY_SUFFIX)), "{names:?}");
            }
        });
    }
}

fn value_of(kind: u8) -> BoxedStrategy<Value> {
    match kind {
        0 => any::<f64>()
            .prop_filter("equal to itself", |value| !value.is_nan())
            .prop_map(Value::Float)
            .boxed(),
        1 => (-500i64..500).prop_map(Value::Integer).boxed(),
        2 => any::<u64>().prop_map(Value::Unsigned).boxed(),
        3 => any::<bool>().prop_map(Value::Boolean).boxed(),
        _ => proptest::collection::vec(any::<u8>(), 0..12).prop_map(Value::String).boxed(),
    }
}

fn fields() -> impl Strategy<Value = BTreeMap<Vec<u8>, BTreeMap<i64, Value>>> {
    let values = |kind: u8| {
        prop_oneof![
            proptest::collection::btree_map(0i64..40, value_of(kind), 1..40),
            proptest::collection::btree_map(0i64..3000, value_of(kind), 1..400),
            proptest::collection::btree_map(any::<i64>(), value_of(kind), 1..10),
        ]
    };
    proptest::collection::btree_map(0u8..12, Just(()), 1..6).prop_flat_map(move |names| {
        names
            .into_keys()
            .map(|name| values(name % 5).prop_map(move |values| (vec![b'f', b'a' + name], values)))
            .collect::<Vec<_>>()
            .prop_map(|fields| fields.into_iter().collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_rows_come_back(series in proptest::collection::vec(fields(), 1..8), is_cold: bool) {
        let model: Model = (0u32..)
            .zip(series)
            .map(|(at, fields)| (format!("m{},t={at}", at % 2).into_bytes(), fields))
            .collect();
        let temperature = if is_cold { Temperature::Cold } else { Temperature::Hot };
        block_on(async {
            let disk = disk();
            let meta = write_to(&disk, PATH, &model, temperature).await;
            let reader = open(&disk, PATH).await;
            prop_assert_eq!(&read_all(&reader).await.expect("reads"), &model);
            reader.verify().await.expect("whole");
            let times = model.values().flat_map(|fields| fields.values().flat_map(|values| values.keys()));
            prop_assert_eq!(Some(&meta.min_time), times.clone().min());
            prop_assert_eq!(Some(&meta.max_time), times.max());
            Ok(())
        })?;
    }
}

#[test]
fn what_is_no_file_of_ours_is_named() {
    block_on(async {
        let disk = disk();
        for bytes in [vec![], vec![0; 10], vec![7; 5000]] {
            disk.put_file("data/x.tsm", bytes);
            let Err(error) = TsmReader::open(&disk, "data/x.tsm", BlockCache::new(0)).await else {
                panic!("opened")
            };
            assert!(matches!(&error, Error::Corrupted { file, .. } if file == "data/x.tsm"), "{error}");
        }
    });
}
