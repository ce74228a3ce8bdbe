//! Folding windows and finding last points over TSM files: host CPU metrics of ten integer gauges, one row every ten
//! seconds. Throughput is in values; `influxd` 1.x needs about 200 ns of CPU per value for the same question.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_lite::future::block_on;
use tidemark_engine::codec::Temperature;
use tidemark_engine::disk::Disk;
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::{Column, ColumnData, FieldType, SeriesKey, TimeRange, Window, kernel};
use tidemark_engine::scan::Scan;
use tidemark_engine::scan::request::{PartialCall, PartialKind, ScanColumn, ScanOutput, ScanRequest};
use tidemark_engine::scan::source::{FileSource, ShardSources};
use tidemark_engine::tsm::{BlockCache, TsmReader, TsmWriter};

const HOSTS: usize = 100;
const FIELDS: usize = 10;
/// Twelve hours.
const ROWS: usize = 4320;
const SECOND: i64 = 1_000_000_000;
const PATH: &str = "data/1.tsm";

fn field_name(at: usize) -> Vec<u8> {
    format!("usage_{at}").into_bytes()
}

async fn file(disk: &SimDisk) -> TsmReader<SimDisk> {
    disk.create_dir_all("data").await.expect("a folder");
    let mut writer = TsmWriter::create(disk, PATH, Temperature::Hot).await.expect("created");
    let mut keys: Vec<Vec<u8>> = (0..HOSTS)
        .map(|host| SeriesKey::build(b"cpu", &[(b"host", format!("host_{host}").as_bytes())]).0)
        .collect();
    keys.sort();
    let mut state = 1u64;
    for key in keys {
        writer.begin_series(&key).expect("in order");
        let times: Vec<i64> = (0..ROWS as i64).map(|row| row * 10 * SECOND).collect();
        let mut columns = Vec::new();
        for at in 0..FIELDS {
            let mut value = 50i64;
            let values = (0..ROWS)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    value = (value + (state >> 33) as i64 % 3 - 1).clamp(0, 100);
                    value
                })
                .collect();
            let column = Column { data: ColumnData::Integer(values), present: None };
            columns.push((writer.field(&field_name(at), FieldType::Integer), column));
        }
        let columns: Vec<_> = columns.iter().map(|(field, column)| (*field, column)).collect();
        writer.write_rows(&times, &columns).await.expect("written");
    }
    writer.finish((1, 1), (1, 1)).await.expect("finished");
    TsmReader::open(disk, PATH, BlockCache::new(64 << 20)).await.expect("opens")
}

fn request(kind: PartialKind, window: Option<Window>, dimensions: &[&str]) -> ScanRequest {
    ScanRequest {
        shards: Vec::new(),
        measurement: b"cpu".to_vec(),
        time: TimeRange::ALL,
        series: None,
        rows: None,
        columns: (0..FIELDS)
            .map(|at| ScanColumn::Field { name: field_name(at), as_type: FieldType::Integer, cast: false })
            .collect(),
        dimensions: dimensions.iter().map(|name| name.as_bytes().to_vec()).collect(),
        descending: false,
        output: ScanOutput::Partials {
            window,
            calls: (0..FIELDS).map(|column| PartialCall { column, kind }).collect(),
        },
        budget_bytes: 256 << 20,
        series_max: 0,
    }
}

async fn run(reader: &TsmReader<SimDisk>, request: ScanRequest) -> usize {
    let files = vec![FileSource { reader: reader.clone(), masks: None, held: None }];
    let mut scan =
        Scan::over(vec![ShardSources::of_files(files)], request, None).await.expect("a good request");
    let mut chunks = 0;
    while scan.next().await.expect("readable").is_some() {
        chunks += 1;
    }
    chunks
}

fn scans(c: &mut Criterion) {
    let disk = SimDisk::new(1);
    let reader = block_on(file(&disk));
    let mut group = c.benchmark_group("scan_partial");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements((HOSTS * ROWS * FIELDS) as u64));
    let hour = Some(Window { every: 3600 * SECOND, offset: 0 });
    let cases = [
        ("sum by time(1h), host", request(PartialKind::Sum, hour, &["host"])),
        ("max by time(1h)", request(PartialKind::Max, hour, &[])),
        ("sum of everything, from statistics", request(PartialKind::Sum, None, &[])),
        ("last by host", request(PartialKind::Last, None, &["host"])),
    ];
    for (name, request) in cases {
        group.bench_function(name, |b| b.iter(|| black_box(block_on(run(&reader, request.clone())))));
    }
    group.bench_function("rows, limit 1, descending", |b| {
        let mut request = request(PartialKind::Last, None, &[]);
        request.output = ScanOutput::Rows { limit: 1, ahead: false };
        request.descending = true;
        b.iter(|| black_box(block_on(run(&reader, request.clone()))))
    });
    group.finish();
}

fn kernels(c: &mut Criterion) {
    let integers: Vec<i64> = (0..1024).map(|at| at * 7919 % 100).collect();
    let floats: Vec<f64> = integers.iter().map(|value| *value as f64 / 3.0).collect();
    let mut group = c.benchmark_group("kernel");
    group.throughput(Throughput::Elements(1024));
    group.bench_function("sum of integers", |b| {
        b.iter(|| kernel::sum_integers(black_box(&integers), None, 0..1024))
    });
    group.bench_function("sum of floats", |b| {
        b.iter(|| kernel::sum_floats(black_box(&floats), None, 0..1024))
    });
    group.bench_function("least integer", |b| b.iter(|| kernel::least(black_box(&integers), None, 0..1024)));
    group
        .bench_function("greatest float", |b| b.iter(|| kernel::greatest(black_box(&floats), None, 0..1024)));
    group.finish();
}

criterion_group!(benches, scans, kernels);
criterion_main!(benches);
