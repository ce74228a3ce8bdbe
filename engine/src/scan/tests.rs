//! Scans over random data in several shards, files and caches, against a plain map and plain loops.

mod ahead;
mod partials;

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_lite::future::block_on;
use proptest::prelude::*;

use super::request::*;
use super::source::{FileSource, Masks};
use super::*;
use crate::codec::Temperature;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::model::batch::put_value;
use crate::model::{
    BatchBuilder, Column, FieldType, SeriesKey, ShardGroupId, ShardId, TimeRange, Value, Window, series_key,
};
use crate::pace::Pace;
use crate::scan::request::ShardRef;
use crate::shard::Shard;
use crate::tsm::{BlockCache, TsmReader, TsmWriter};

/// One written row: series number, time, and which of the fields with which seed.
#[derive(Debug, Clone)]
struct Write {
    series: usize,
    time: i64,
    float: Option<i8>,
    integer: Option<i8>,
    text: Option<u8>,
}

/// field → value, by (time, series key).
type Model = BTreeMap<Vec<u8>, BTreeMap<i64, BTreeMap<&'static str, Value>>>;

const SERIES: usize = 6;
/// Times below this are in the first shard, the others in the second.
const SHARD_SPLIT: i64 = 60;

fn key(series: usize) -> Vec<u8> {
    let host = format!("h{}", series % 3);
    let rack = format!("r{}", series / 3);
    match series {
        5 => SeriesKey::build(b"m", &[(b"host", host.as_bytes())]).0,
        _ => SeriesKey::build(b"m", &[(b"host", host.as_bytes()), (b"rack", rack.as_bytes())]).0,
    }
}

fn fields_of(write: &Write) -> Vec<(&'static str, Value)> {
    let mut fields = Vec::new();
    if let Some(seed) = write.float {
        fields.push(("f", Value::Float(f64::from(seed) / 4.0)));
    }
    if let Some(seed) = write.integer {
        fields.push(("i", Value::Integer(i64::from(seed))));
    }
    if let Some(seed) = write.text {
        fields.push(("s", Value::String(vec![b'a' + seed % 4])));
    }
    fields
}

fn insert(shard: &Shard<SimDisk>, writes: &[Write]) {
    let mut builder = BatchBuilder::new();
    for write in writes {
        let fields = fields_of(write);
        if fields.is_empty() {
            continue;
        }
        let key = key(write.series);
        let series = builder.add_series(series_key::hash(&key), &key);
        let shape =
            builder.add_shape(b"m", fields.iter().map(|(name, value)| (value.field_type(), name.as_bytes())));
        let mut values = Vec::new();
        fields.iter().for_each(|(_, value)| put_value(&mut values, value));
        builder.add_row(series, shape, write.time, &values);
    }
    shard.insert(&builder.finish(1, 1), &[], 0, 1);
}

fn write_strategy() -> impl Strategy<Value = Write> {
    (0..SERIES, 0i64..120, any::<(Option<i8>, Option<i8>, Option<u8>)>())
        .prop_map(|(series, time, (float, integer, text))| Write { series, time, float, integer, text })
}

/// What happens to the shards, in order.
#[derive(Debug, Clone)]
enum Step {
    Write(Write),
    /// All that is in the cache goes into a file.
    Snapshot,
    /// The same, and then rows of the series with this number modulo 3 are deleted: masked in the files.
    Delete(usize, TimeRange),
}

fn step_strategy() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => write_strategy().prop_map(Step::Write),
        1 => Just(Step::Snapshot),
        1 => (0usize..3, 0i64..120, 0i64..60)
            .prop_map(|(series, start, length)| Step::Delete(series, TimeRange::new(start, start + length))),
    ]
}

fn is_deleted(key: &[u8], series: usize) -> bool {
    series_key::tag_value(key, b"host").as_deref() == Some(format!("h{series}").as_bytes())
}

fn model_of(steps: &[Step]) -> Model {
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Write(write) => {
                let fields = fields_of(write);
                if !fields.is_empty() {
                    model.entry(key(write.series)).or_default().entry(write.time).or_default().extend(fields);
                }
            }
            Step::Snapshot => {}
            Step::Delete(series, time) => {
                for (_, rows) in model.iter_mut().filter(|(key, _)| is_deleted(key, *series)) {
                    rows.retain(|at, _| !time.contains(*at));
                }
            }
        }
    }
    model
}

/// Rows of a block in the files of most tests: few, so that series have many blocks.
const BLOCK_ROWS: usize = 5;

async fn file_of(
    disk: &SimDisk,
    path: &str,
    writes: &[Write],
    block_rows: usize,
) -> Option<TsmReader<SimDisk>> {
    let steps: Vec<Step> = writes.iter().cloned().map(Step::Write).collect();
    let mut writer = TsmWriter::create(disk, path, Temperature::Hot).await.expect("created");
    for (key, rows) in model_of(&steps) {
        writer.begin_series(&key).expect("in order");
        let rows: Vec<_> = rows.into_iter().collect();
        for part in rows.chunks(block_rows) {
            let times: Vec<i64> = part.iter().map(|row| row.0).collect();
            let types = [("f", FieldType::Float), ("i", FieldType::Integer), ("s", FieldType::String)];
            let mut columns = Vec::new();
            for (name, field_type) in types {
                let mut column = Column::empty(field_type);
                part.iter().for_each(|row| column.push(row.1.get(name)));
                if part.iter().any(|row| row.1.contains_key(name)) {
                    columns.push((writer.field(name.as_bytes(), field_type), column));
                }
            }
            let columns: Vec<_> = columns.iter().map(|(field, column)| (*field, column)).collect();
            writer.write_rows(&times, &columns).await.expect("written");
        }
    }
    writer.finish((1, 1), (1, 1)).await.expect("finished")?;
    Some(TsmReader::open(disk, path, BlockCache::new(1 << 20)).await.expect("opens"))
}

/// The shards after these steps.
async fn shards_of(steps: &[Step]) -> Vec<ShardSources<SimDisk>> {
    shards_of_blocks(steps, BLOCK_ROWS).await
}

/// As [`shards_of`], with blocks of so many rows in the files.
async fn shards_of_blocks(steps: &[Step], block_rows: usize) -> Vec<ShardSources<SimDisk>> {
    let disk = SimDisk::new(1);
    disk.create_dir_all("data").await.expect("a folder");
    let mut shards = Vec::new();
    for (number, part) in [0..SHARD_SPLIT, SHARD_SPLIT..i64::MAX].into_iter().enumerate() {
        let mut cached: Vec<Write> = Vec::new();
        let mut files: Vec<TsmReader<SimDisk>> = Vec::new();
        // Deletes: series, time, and how many files they mask.
        let mut deletes: Vec<(usize, TimeRange, usize)> = Vec::new();
        for step in steps {
            if let Step::Write(write) = step {
                if part.contains(&write.time) {
                    cached.push(write.clone());
                }
                continue;
            }
            let path = format!("data/{number}-{}.tsm", files.len());
            files.extend(file_of(&disk, &path, &std::mem::take(&mut cached), block_rows).await);
            if let Step::Delete(series, time) = step {
                deletes.push((*series, *time, files.len()));
            }
        }
        let deletes = Rc::new(deletes);
        let files = files
            .into_iter()
            .enumerate()
            .map(|(at, reader)| {
                let deletes = deletes.clone();
                let masks: Masks = Rc::new(move |key: &[u8]| {
                    let masking = deletes.iter().filter(|delete| delete.2 > at && is_deleted(key, delete.0));
                    masking.map(|delete| delete.1).collect()
                });
                FileSource { reader, masks: Some(masks), held: None }
            })
            .collect();
        let shard =
            Shard::new(ShardRef { shard: ShardId(number as u64), group: ShardGroupId(number as u64) });
        insert(&shard, &cached);
        shards.push(ShardSources {
            files,
            cache: shard.view(&disk, &BlockCache::new(1 << 20)).await.expect("a view").cache,
        });
    }
    shards
}

fn field(name: &str, as_type: FieldType) -> ScanColumn {
    ScanColumn::Field { name: name.into(), as_type, cast: false }
}

fn request(output: ScanOutput) -> ScanRequest {
    ScanRequest {
        shards: Vec::new(),
        measurement: b"m".to_vec(),
        time: TimeRange::ALL,
        series: None,
        rows: None,
        columns: vec![
            field("f", FieldType::Float),
            field("i", FieldType::Integer),
            ScanColumn::Tag { name: b"rack".to_vec() },
            field("i", FieldType::Float),
            field("s", FieldType::String),
        ],
        dimensions: Vec::new(),
        descending: false,
        output,
        budget_bytes: 1 << 20,
        series_max: 0,
    }
}

async fn run(views: Vec<ShardSources<SimDisk>>, request: ScanRequest) -> Result<Vec<ScanChunk>> {
    let mut scan: Scan<SimDisk> = Scan::over(views, request, None).await?;
    let mut chunks = Vec::new();
    while let Some(chunk) = scan.next().await? {
        chunks.push(chunk);
    }
    assert_eq!(scan.next().await?, None);
    Ok(chunks)
}

/// A row of an answer: (time, series key, values).
type Row = (i64, Vec<u8>, Vec<Option<Value>>);

/// Rows per tag set, in the order they came.
fn rows_of(chunks: &[ScanChunk], columns: usize) -> Vec<(Vec<Vec<u8>>, Vec<Row>)> {
    let mut all: Vec<(Vec<Vec<u8>>, Vec<Row>)> = Vec::new();
    for chunk in chunks {
        let ScanChunk::Rows { group, times, columns: got, series, series_keys } = chunk else {
            panic!("rows were asked for");
        };
        assert!(!times.is_empty() && got.len() == columns && series.len() == times.len());
        assert!(got.iter().all(|column| column.len() == times.len()));
        if all.last().is_none_or(|(values, _)| *values != group.values) {
            all.push((group.values.clone(), Vec::new()));
        }
        let rows = &mut all.last_mut().expect("pushed above").1;
        for (at, time) in times.iter().enumerate() {
            let values = got.iter().map(|column| column.get(at)).collect();
            rows.push((*time, series_keys[series[at] as usize].clone(), values));
        }
    }
    all
}

/// Which random condition a case has; evaluated by hand in [`passes`].
fn condition(number: u8) -> Option<Expr> {
    let compare = |left: Expr, op, right: Value| Expr::Binary {
        op,
        left: Box::new(left),
        right: Box::new(Expr::Literal(right)),
    };
    let float = compare(Expr::Field(b"f".to_vec()), BinaryOp::Greater, Value::Integer(3));
    let host = compare(Expr::Tag(b"host".to_vec()), BinaryOp::Equal, Value::String(b"h1".to_vec()));
    match number {
        0 => None,
        1 => Some(float),
        2 => Some(Expr::Binary { op: BinaryOp::Or, left: Box::new(host), right: Box::new(float) }),
        _ => Some(compare(Expr::Field(b"s".to_vec()), BinaryOp::Equal, Value::String(b"b".to_vec()))),
    }
}

fn passes(number: u8, key: &[u8], row: &BTreeMap<&'static str, Value>) -> bool {
    let float = matches!(row.get("f"), Some(Value::Float(value)) if *value > 3.0);
    match number {
        0 => true,
        1 => float,
        2 => float || series_key::tag_value(key, b"host").as_deref() == Some(b"h1"),
        _ => row.get("s") == Some(&Value::String(b"b".to_vec())),
    }
}

#[derive(Debug, Clone)]
struct Case {
    steps: Vec<Step>,
    time: (i64, i64),
    condition: u8,
    tag_filter: bool,
    dimensions: u8,
    descending: bool,
    limit: u64,
    budget: u64,
}

impl Case {
    fn fill(&self, request: &mut ScanRequest) {
        request.time = TimeRange::new(self.time.0, self.time.1);
        request.rows = condition(self.condition);
        request.series =
            self.tag_filter.then(|| TagFilter::NotEqual { name: b"rack".to_vec(), value: b"r1".to_vec() });
        request.dimensions = self.dimensions();
        request.descending = self.descending;
    }

    fn dimensions(&self) -> Vec<Vec<u8>> {
        match self.dimensions {
            0 => vec![],
            1 => vec![b"rack".to_vec()],
            _ => vec![b"host".to_vec(), b"rack".to_vec()],
        }
    }

    /// The rows that pass, with all their fields, per tag set, in order.
    fn expected(&self) -> Expected {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, rows) in model_of(&self.steps) {
            let tag = |name: &Vec<u8>| series_key::tag_value(&key, name).unwrap_or_default().into_owned();
            if self.tag_filter && tag(&b"rack".to_vec()) == b"r1" {
                continue;
            }
            let values: Vec<Vec<u8>> = self.dimensions().iter().map(tag).collect();
            for (time, row) in rows {
                if TimeRange::new(self.time.0, self.time.1).contains(time)
                    && passes(self.condition, &key, &row)
                {
                    groups.entry(values.clone()).or_default().push((time, key.clone(), row));
                }
            }
        }
        for rows in groups.values_mut() {
            rows.sort_by_key(|(time, key, _)| (if self.descending { -*time } else { *time }, key.clone()));
        }
        let mut groups: Expected = groups.into_iter().collect();
        if self.descending {
            groups.reverse();
        }
        groups
    }
}

/// Tag sets in order, each with its rows: time, series key, fields.
type Expected = Vec<(Vec<Vec<u8>>, Vec<(i64, Vec<u8>, BTreeMap<&'static str, Value>)>)>;

fn case_strategy() -> impl Strategy<Value = Case> {
    (
        prop::collection::vec(step_strategy(), 0..200),
        (0i64..120, 0i64..130),
        0u8..4,
        any::<bool>(),
        0u8..3,
        any::<bool>(),
        prop::sample::select(vec![0u64, 1, 3, 50, TOP_ROWS_MAX + 1]),
        prop::sample::select(vec![1_000u64, 10_000, 40_000, 1 << 20]),
    )
        .prop_map(|(steps, (a, b), condition, tag_filter, dimensions, descending, limit, budget)| {
            let time = if a % 3 == 0 { (i64::MIN + 2, i64::MAX) } else { (a.min(b), a.max(b)) };
            Case { steps, time, condition, tag_filter, dimensions, descending, limit, budget }
        })
}

fn check_rows(case: &Case, views: Vec<ShardSources<SimDisk>>) {
    let mut request = request(ScanOutput::Rows { limit: case.limit, ahead: false });
    case.fill(&mut request);
    request.budget_bytes = case.budget;
    let chunks = block_on(run(views, request)).expect("within the budget");
    let mut want = all_rows(case);
    if case.limit > 0 {
        want.iter_mut().for_each(|(_, rows)| rows.truncate(case.limit as usize));
    }
    assert_eq!(rows_of(&chunks, 5), want);
}

/// What a scan of rows has to answer without a limit.
fn all_rows(case: &Case) -> Vec<(Vec<Vec<u8>>, Vec<Row>)> {
    let mut want = Vec::new();
    for (values, rows) in case.expected() {
        let rows: Vec<Row> = rows
            .into_iter()
            .map(|(time, key, row)| {
                let integer = row.get("i").cloned();
                let promoted = match integer {
                    Some(Value::Integer(value)) => Some(Value::Float(value as f64)),
                    _ => None,
                };
                let rack = series_key::tag_value(&key, b"rack").map(|rack| Value::String(rack.into_owned()));
                let values = vec![row.get("f").cloned(), integer, rack, promoted, row.get("s").cloned()];
                (time, key, values)
            })
            .collect();
        want.push((values, rows));
    }
    want
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn rows_equal_a_plain_map(case in case_strategy()) {
        check_rows(&case, block_on(shards_of(&case.steps)));
    }

}

/// Nearly every time of two series, in files.
fn dense_strategy() -> impl Strategy<Value = Vec<Step>> {
    let row = prop::option::weighted(0.95, any::<(Option<i8>, Option<i8>, Option<u8>)>());
    (prop::collection::vec(row, 240), any::<bool>()).prop_map(|(rows, is_full)| {
        let writes = rows.into_iter().enumerate().filter_map(|(at, row)| {
            let (mut float, mut integer, text) = row?;
            if is_full {
                (float, integer) = (float.or(Some(at as i8)), integer.or(Some(7)));
            }
            Some(Step::Write(Write { series: at % 2 * 3, time: at as i64 / 2, float, integer, text }))
        });
        writes.chain([Step::Snapshot]).collect()
    })
}

fn plain_writes(count: i64) -> Vec<Step> {
    (0..count)
        .map(|time| Write {
            series: (time % SERIES as i64) as usize,
            time,
            float: Some(1),
            integer: Some(time as i8),
            text: None,
        })
        .map(Step::Write)
        .collect()
}

#[test]
fn more_series_than_allowed_are_refused_by_name() {
    let mut request = request(ScanOutput::Rows { limit: 0, ahead: false });
    request.series_max = 5;
    let error = block_on(async { run(shards_of(&plain_writes(100)).await, request).await });
    assert_eq!(error, Err(Error::Limit { name: "max-select-series", wanted: 6, max: 5 }));
}

#[test]
fn a_scan_beyond_its_budget_is_refused_and_gives_everything_back() {
    let mut small = request(ScanOutput::Rows { limit: 0, ahead: true });
    small.budget_bytes = 1000;
    let error = block_on(async { run(shards_of(&plain_writes(100)).await, small).await });
    assert!(matches!(error, Err(Error::Budget { max: 1000, .. })), "{error:?}");

    let views = block_on(shards_of(&plain_writes(100)));
    let scan = block_on(Scan::over(views, request(ScanOutput::Rows { limit: 0, ahead: false }), None));
    let mut scan = scan.expect("a good request");
    while block_on(scan.next()).expect("within the budget").is_some() {}
    assert_eq!(scan.held_bytes(), 0);
}

#[test]
fn a_merge_counts_the_rows_it_holds() {
    let peak = |rows: i64, ahead: bool| {
        let request = request(ScanOutput::Rows { limit: 0, ahead });
        rows_and_peak(&request, &block_on(shards_of(&plain_writes(rows)))).1
    };
    for ahead in [false, true] {
        // Six series of a row each, and with many more: a time of eight bytes and a float at least.
        assert!(peak(200, ahead) >= peak(6, ahead) + 16 * 190, "{} {}", peak(200, ahead), peak(6, ahead));
    }
}

/// A shard of so many series of a tag `host`, with rows at times 0, 1, 2…, in its cache.
async fn shard_of_many(series: u32, rows: i64) -> Vec<ShardSources<SimDisk>> {
    let disk = SimDisk::new(1);
    let shard = Shard::new(ShardRef { shard: ShardId(1), group: ShardGroupId(1) });
    for time in 0..rows {
        let mut builder = BatchBuilder::new();
        let shape = builder.add_shape(b"m", [(FieldType::Integer, &b"i"[..])].into_iter());
        for host in 0..series {
            let key = SeriesKey::build(b"m", &[(b"host", format!("h{host:05}").as_bytes())]).0;
            let at = builder.add_series(series_key::hash(&key), &key);
            let mut value = Vec::new();
            put_value(&mut value, &Value::Integer(i64::from(host)));
            builder.add_row(at, shape, time, &value);
        }
        shard.insert(&builder.finish(1, 1), &[], 0, 1);
    }
    let cache = shard.view(&disk, &BlockCache::new(1 << 20)).await.expect("a view").cache;
    vec![ShardSources { files: Vec::new(), cache }]
}

/// The rows of a scan, and the most bytes it held.
fn rows_and_peak(
    request: &ScanRequest,
    views: &[ShardSources<SimDisk>],
) -> (Vec<(Vec<Vec<u8>>, Vec<Row>)>, u64) {
    let mut scan = block_on(Scan::over(views.to_vec(), request.clone(), None)).expect("a good request");
    let mut chunks = Vec::new();
    while let Some(chunk) = block_on(scan.next()).expect("within the budget") {
        chunks.push(chunk);
    }
    assert_eq!(scan.held_bytes(), 0);
    (rows_of(&chunks, request.columns.len()), scan.peak_bytes())
}

#[test]
fn all_rows_of_more_series_than_memory_holds_come_in_order_within_the_budget() {
    let views = block_on(shard_of_many(3_000, 4));
    for (dimensions, descending) in [(vec![], false), (vec![], true), (vec![b"host".to_vec()], false)] {
        let mut roomy = request(ScanOutput::Rows { limit: 0, ahead: false });
        roomy.columns = vec![field("i", FieldType::Integer)];
        (roomy.dimensions, roomy.descending, roomy.budget_bytes) = (dimensions, descending, 64 << 20);
        let (all, unbounded) = rows_and_peak(&roomy, &views);
        assert_eq!(all.iter().map(|(_, rows)| rows.len()).sum::<usize>(), 12_000);
        let small = ScanRequest { budget_bytes: 100_000, ..roomy };
        assert!(unbounded > 3 * small.budget_bytes, "{unbounded} bytes are no strain");
        let (bounded, peak) = rows_and_peak(&small, &views);
        assert!(bounded == all, "the same rows in the same order");
        assert!(peak <= small.budget_bytes);
    }
}

#[test]
fn the_first_row_of_many_series_takes_no_memory_for_the_others() {
    let mut first = request(ScanOutput::Rows { limit: 1, ahead: false });
    first.columns = vec![field("i", FieldType::Integer)];
    let (rows, peak) = rows_and_peak(&first, &block_on(shard_of_many(20_000, 2)));
    assert_eq!(rows[0].1.len(), 1);
    assert!(peak < 1_000, "{peak} bytes");
}

#[test]
fn a_column_of_another_type_is_absent_and_no_row_is_made_of_tags_alone() {
    let mut request = request(ScanOutput::Rows { limit: 0, ahead: false });
    request.columns = vec![field("f", FieldType::String), ScanColumn::Tag { name: b"host".to_vec() }];
    let chunks = block_on(async { run(shards_of(&plain_writes(20)).await, request).await });
    assert_eq!(chunks, Ok(Vec::new()));
}

#[test]
fn the_newest_rows_of_a_cached_series_are_told_apart_when_there_are_many() {
    block_on(async {
        let mut told = 0;
        for cache in shards_of(&plain_writes(300)).await.into_iter().map(|shard| shard.cache) {
            for &position in cache.sorted(&Pace::new()).await.iter() {
                let rows = cache.read(position, TimeRange::ALL, None, &Pace::new()).await;
                let rows = rows.expect("a series of the cache");
                let fields: Vec<Vec<u8>> = rows.fields.iter().map(|field| field.name.clone()).collect();
                let Some(newest) = cache.newest(position, TimeRange::ALL, &fields, usize::MAX) else {
                    assert!(rows.len() <= 16);
                    continue;
                };
                let split = rows.len() - newest.rows.len();
                assert_eq!(newest.rows, rows.part(split, rows.len()));
                assert!(newest.rows.len() <= 4, "a few of them");
                let older = newest.older;
                assert!(older.time_min <= rows.times[0] && rows.times[split - 1] <= older.time_max);
                assert!(older.time_max < rows.times[split]);
                told += 1;
            }
        }
        assert!(told > 0);
    });
}

#[test]
fn the_catalogue_lists_what_is_not_deleted() {
    let ask = |steps: &[Step], what: CatalogKind, series: Option<TagFilter>| {
        let request = CatalogRequest {
            shards: Vec::new(),
            measurements: None,
            time: TimeRange::ALL,
            series,
            what,
            limit: 0,
            budget_bytes: 1 << 20,
        };
        block_on(async { catalog::catalog_over(shards_of(steps).await, &request, None).await })
            .expect("in memory")
    };
    let names =
        |names: &[&str]| -> Vec<Vec<u8>> { names.iter().map(|name| name.as_bytes().to_vec()).collect() };
    let hosts = CatalogKind::TagValues { keys: vec![b"host".to_vec()] };
    let values = |hosts: &[&str]| {
        let value = |host: &&str| (b"m".to_vec(), b"host".to_vec(), host.as_bytes().to_vec());
        CatalogReply::TagValues(hosts.iter().map(value).collect())
    };
    // The same rows in caches, in files, and in files of which one host is deleted.
    let cached = plain_writes(100);
    let filed = [cached.clone(), vec![Step::Snapshot]].concat();
    let deleted = [cached.clone(), vec![Step::Delete(1, TimeRange::ALL)]].concat();
    for steps in [&cached, &filed] {
        let keys: Vec<Vec<u8>> = model_of(steps).into_keys().collect();
        assert_eq!(ask(steps, CatalogKind::Series, None), CatalogReply::Series(keys));
        assert_eq!(ask(steps, CatalogKind::Measurements, None), CatalogReply::Measurements(names(&["m"])));
        assert_eq!(ask(steps, hosts.clone(), None), values(&["h0", "h1", "h2"]));
        let rack = TagFilter::Equal { name: b"rack".to_vec(), value: Vec::new() };
        assert_eq!(ask(steps, hosts.clone(), Some(rack)), values(&["h2"]));
        // The measurement stands as a tag.
        let equal = |value: &str| TagFilter::Equal { name: b"_name".to_vec(), value: value.into() };
        let unequal = |value: &str| TagFilter::NotEqual { name: b"_name".to_vec(), value: value.into() };
        let like = |pattern: &str| TagFilter::Matches { name: b"_name".to_vec(), pattern: pattern.into() };
        let unlike =
            |pattern: &str| TagFilter::NotMatches { name: b"_name".to_vec(), pattern: pattern.into() };
        let rack = || TagFilter::Equal { name: b"rack".to_vec(), value: Vec::new() };
        let series = model_of(steps).len();
        for (filter, wanted) in [
            (equal("m"), series),
            (equal("n"), 0),
            (equal(""), 0),
            (unequal("m"), 0),
            (unequal("n"), series),
            (like("^m$"), series),
            (like("^$"), 0),
            (unlike("m"), 0),
            (TagFilter::And(vec![equal("m"), rack()]), 1),
            (TagFilter::And(vec![unequal("m"), rack()]), 0),
            (TagFilter::Or(vec![equal("n"), rack()]), 1),
            (TagFilter::Or(vec![equal("n"), equal("m")]), series),
        ] {
            let CatalogReply::Series(keys) = ask(steps, CatalogKind::Series, Some(filter.clone())) else {
                panic!("series were asked for")
            };
            assert_eq!(keys.len(), wanted, "{filter:?}");
        }
        let schema = MeasurementSchema {
            measurement: b"m".to_vec(),
            fields: vec![(b"f".to_vec(), FieldType::Float), (b"i".to_vec(), FieldType::Integer)],
            tag_keys: names(&["host", "rack"]),
        };
        assert_eq!(ask(steps, CatalogKind::Schema, None), CatalogReply::Schema(vec![schema]));
    }
    assert_eq!(ask(&deleted, hosts.clone(), None), values(&["h0", "h2"]));
    let keys: Vec<Vec<u8>> =
        model_of(&deleted).into_iter().filter(|(_, rows)| !rows.is_empty()).map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 4);
    assert_eq!(ask(&deleted, CatalogKind::Series, None), CatalogReply::Series(keys));
    let all: Vec<Step> = (0..3).map(|host| Step::Delete(host, TimeRange::ALL)).collect();
    let nothing = [cached, all].concat();
    assert_eq!(ask(&nothing, CatalogKind::Measurements, None), CatalogReply::Measurements(Vec::new()));
    let CatalogReply::Cost(cost) = ask(&filed, CatalogKind::Cost, None) else {
        panic!("a cost was asked for")
    };
    assert_eq!((cost.shards, cost.series, cost.files), (2, 6, 2));
    assert!(cost.blocks >= 20 && cost.cached_values == 0);
}
