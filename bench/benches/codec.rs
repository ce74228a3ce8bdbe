//! Columns of 1,024 values into bytes and back: ours, hot and cold, beside tsz-compress (integers), Gorilla (floats, with
//! a timestamp each) and pco; and our hot ones decoded and folded, which is what a scan does. The bytes a value takes are
//! printed first.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidemark_engine::codec::{FloatHint, Temperature, Values, decode_column, encode_column, timestamp};
use tidemark_engine::model::{ColumnData, FieldType, kernel};
use tsz::stream::{BufferedReader, BufferedWriter};
use tsz::{DataPoint, Decode, Encode, StdDecoder, StdEncoder};

extern crate alloc;

/// tsz-compress makes a compressor of each row type.
mod row {
    use tsz_compress::prelude::*;

    #[derive(Copy, Clone, CompressV2, DecompressV2)]
    pub struct Row {
        pub value: i64,
    }
}

use row::Row;
use tsz_compress::prelude::{TszCompressV2, TszDecompressV2};

const COUNT: usize = 1024;
const PCO_LEVEL: usize = 8;

/// A walk that is the same on every run.
struct Walk(u64);

impl Walk {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % bound) as i64
    }
}

fn integers() -> Vec<(&'static str, Vec<i64>)> {
    let mut walk = Walk(7);
    let mut counter = 0;
    let mut level = 50;
    vec![
        (
            "walk",
            (0..COUNT)
                .map(|_| {
                    level = (level + walk.below(7) - 3).clamp(0, 100);
                    level
                })
                .collect(),
        ),
        ("gauge", (0..COUNT).map(|_| walk.below(100)).collect()),
        (
            "counter",
            (0..COUNT)
                .map(|_| {
                    counter += 1000 + walk.below(200);
                    counter
                })
                .collect(),
        ),
        ("noise", (0..COUNT).map(|_| walk.below(1 << 31) << 20).collect()),
    ]
}

fn floats() -> Vec<(&'static str, Vec<f64>)> {
    let mut walk = Walk(11);
    let mut level = 50.0;
    vec![
        ("decimal", (0..COUNT).map(|_| walk.below(10_000) as f64 / 100.0).collect()),
        (
            "walk",
            (0..COUNT)
                .map(|_| {
                    level += walk.below(2_000) as f64 / 1_000.0 - 1.0;
                    level
                })
                .collect(),
        ),
        ("real", (0..COUNT).map(|_| (walk.below(1 << 31) as f64).sqrt()).collect()),
    ]
}

fn times() -> Vec<(&'static str, Vec<i64>)> {
    let mut walk = Walk(13);
    let start = 1_700_000_000_000_000_000;
    vec![
        ("regular", (0..COUNT as i64).map(|row| start + row * 10_000_000_000).collect()),
        (
            "jittered",
            (0..COUNT as i64).map(|row| start + row * 10_000_000_000 + walk.below(1 << 20)).collect(),
        ),
    ]
}

fn ours(values: Values<'_>, temperature: Temperature) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_column(values, temperature, &mut FloatHint::default(), &mut bytes);
    bytes
}

fn tsz_compress(values: &[i64]) -> Vec<u8> {
    let mut compressor = row::compress::RowCompressorImpl::new(COUNT);
    values.iter().for_each(|&value| compressor.compress(Row { value }));
    compressor.finish()
}

fn tsz_decompress(bytes: &[u8]) -> Vec<i64> {
    let mut decompressor = row::decompress::RowDecompressorImpl::new();
    decompressor.decompress(bytes).expect("just made");
    decompressor.col_value().to_vec()
}

fn gorilla(values: &[f64]) -> Vec<u8> {
    let mut encoder = StdEncoder::new(0, BufferedWriter::new());
    for (row, &value) in values.iter().enumerate() {
        encoder.encode(DataPoint::new(row as u64 * 10, value));
    }
    encoder.close().to_vec()
}

fn gorilla_decode(bytes: &[u8]) -> Vec<f64> {
    let mut decoder = StdDecoder::new(BufferedReader::new(bytes.to_vec().into_boxed_slice()));
    let mut values = Vec::with_capacity(COUNT);
    while let Ok(point) = decoder.next() {
        values.push(point.get_value());
    }
    values
}

fn told(case: &str, codec: &str, bytes: &[u8]) {
    println!("{case}: {codec} {:.3} B/value", bytes.len() as f64 / COUNT as f64);
}

/// One encoder and decoder on one column.
fn compare(
    criterion: &mut Criterion,
    case: &str,
    codec: &str,
    encode: impl Fn() -> Vec<u8>,
    decode: impl Fn(&[u8]),
) {
    let bytes = encode();
    told(case, codec, &bytes);
    let mut group = criterion.benchmark_group(format!("codec/{case}"));
    group.throughput(Throughput::Elements(COUNT as u64));
    group.sample_size(20);
    group.warm_up_time(std::time::Duration::from_millis(100));
    group.measurement_time(std::time::Duration::from_millis(400));
    group.bench_function(format!("{codec}/encode"), |bencher| bencher.iter(|| black_box(encode())));
    group.bench_function(format!("{codec}/decode"), |bencher| bencher.iter(|| decode(black_box(&bytes))));
    group.finish();
}

/// Decodes a hot column and folds it.
fn fold(criterion: &mut Criterion, case: &str, bytes: &[u8], kind: FieldType) {
    let mut group = criterion.benchmark_group(format!("codec/{case}"));
    group.throughput(Throughput::Elements(COUNT as u64));
    group.sample_size(20);
    group.warm_up_time(std::time::Duration::from_millis(100));
    group.measurement_time(std::time::Duration::from_millis(400));
    let decoded = || decode_column(kind, black_box(bytes), COUNT).expect("just made");
    group.bench_function("hot/decode and sum", |bencher| {
        bencher.iter(|| match decoded() {
            ColumnData::Integer(values) => {
                kernel::sum_integers(&values, None, 0..COUNT).map(|sum| sum as f64)
            }
            ColumnData::Float(values) => kernel::sum_floats(&values, None, 0..COUNT),
            _ => None,
        });
    });
    if kind == FieldType::Float {
        // What windows ask for: of a whole block the statistics have the sum.
        let windows =
            std::array::from_fn(|at| at * COUNT / kernel::TOGETHER..(at + 1) * COUNT / kernel::TOGETHER);
        group.bench_function("hot/decode and sum by four windows", |bencher| {
            bencher.iter(|| match decoded() {
                ColumnData::Float(values) => Some(kernel::sums_of_floats(&values, &windows)),
                _ => None,
            });
        });
    }
    group.bench_function("hot/decode and greatest", |bencher| {
        bencher.iter(|| match decoded() {
            ColumnData::Integer(values) => kernel::greatest(&values, None, 0..COUNT),
            ColumnData::Float(values) => kernel::greatest(&values, None, 0..COUNT),
            _ => None,
        });
    });
    group.finish();
}

fn bench(criterion: &mut Criterion) {
    let config = pco::ChunkConfig::default().with_compression_level(PCO_LEVEL);
    for (case, values) in integers().into_iter().map(|(name, values)| (format!("integer_{name}"), values)) {
        for (codec, temperature) in [("hot", Temperature::Hot), ("cold", Temperature::Cold)] {
            let encode = || ours(Values::Integer(&values), temperature);
            compare(criterion, &case, codec, encode, |bytes| {
                black_box(decode_column(FieldType::Integer, bytes, COUNT).expect("just made"));
            });
        }
        fold(criterion, &case, &ours(Values::Integer(&values), Temperature::Hot), FieldType::Integer);
        compare(
            criterion,
            &case,
            "tsz-compress",
            || tsz_compress(&values),
            |bytes| {
                black_box(tsz_decompress(bytes));
            },
        );
        let encode = || pco::standalone::simple_compress(&values, &config).expect("numbers");
        compare(criterion, &case, "pco", encode, |bytes| {
            black_box(pco::standalone::simple_decompress::<i64>(bytes).expect("just made"));
        });
    }
    for (case, values) in floats().into_iter().map(|(name, values)| (format!("float_{name}"), values)) {
        for (codec, temperature) in [("hot", Temperature::Hot), ("cold", Temperature::Cold)] {
            let encode = || ours(Values::Float(&values), temperature);
            compare(criterion, &case, codec, encode, |bytes| {
                black_box(decode_column(FieldType::Float, bytes, COUNT).expect("just made"));
            });
        }
        fold(criterion, &case, &ours(Values::Float(&values), Temperature::Hot), FieldType::Float);
        compare(
            criterion,
            &case,
            "gorilla",
            || gorilla(&values),
            |bytes| {
                assert_eq!(black_box(gorilla_decode(bytes)).len(), COUNT);
            },
        );
        let encode = || pco::standalone::simple_compress(&values, &config).expect("numbers");
        compare(criterion, &case, "pco", encode, |bytes| {
            black_box(pco::standalone::simple_decompress::<f64>(bytes).expect("just made"));
        });
    }
    for (case, values) in times().into_iter().map(|(name, values)| (format!("time_{name}"), values)) {
        let (first, last) = (values[0], values[COUNT - 1]);
        let encode = || {
            let mut bytes = Vec::new();
            timestamp::encode(&values, &mut bytes);
            bytes
        };
        compare(criterion, &case, "hot", encode, |bytes| {
            let mut times = Vec::with_capacity(COUNT);
            timestamp::decode(bytes, COUNT, first, last, &mut times).expect("just made");
            black_box(times);
        });
        compare(
            criterion,
            &case,
            "tsz-compress",
            || tsz_compress(&values),
            |bytes| {
                black_box(tsz_decompress(bytes));
            },
        );
        let encode = || pco::standalone::simple_compress(&values, &config).expect("numbers");
        compare(criterion, &case, "pco", encode, |bytes| {
            black_box(pco::standalone::simple_decompress::<i64>(bytes).expect("just made"));
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
