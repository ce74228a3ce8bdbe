//! Prints bytes per value of TSM files and the cost of encoding and decoding, on walks like those of TSBS.
//!
//! `cargo run --release -p tidemark-engine --features sim --example tsm_figures`

use futures_lite::future::block_on;
use std::hint::black_box;

use tidemark_engine::codec::{FloatHint, Temperature, Values, boolean, float, integer, timestamp};
use tidemark_engine::disk::Disk;
use tidemark_engine::disk::sim::SimDisk;
use tidemark_engine::model::{Column, ColumnData, FieldType};
use tidemark_engine::tsm::{BlockCache, TsmReader, TsmWriter, Wanted};

/// CPU time of this process: other programs on the machine do not count.
#[derive(Clone, Copy)]
struct Instant(f64);

impl Instant {
    fn now() -> Self {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the clock is a constant and the pointer is to a value of ours.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
        Self(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
    }

    fn elapsed(self) -> std::time::Duration {
        std::time::Duration::from_secs_f64(Self::now().0 - self.0)
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().max(1e-300).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn walk(&mut self, rows: usize) -> Vec<f64> {
        let mut level = self.uniform() * 100.0;
        (0..rows)
            .map(|_| {
                level = (level + self.normal()).clamp(0.0, 100.0);
                level
            })
            .collect()
    }
}

fn main() {
    codecs();
    for (hosts, rows, fields) in [(100, 8640, 10), (4000, 300, 10), (200_000, 5, 1), (1000, 60, 10)] {
        for temperature in [Temperature::Hot, Temperature::Cold] {
            file(hosts, rows, fields, temperature);
        }
    }
}

fn measure(name: &str, count: usize, mut work: impl FnMut()) {
    let rounds = 20_000_000 / count.max(1) + 1;
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..rounds / 5 + 1 {
            work();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / ((rounds / 5 + 1) * count) as f64);
    }
    println!("  {name:28} {best:6.2} ns/value");
}

fn codecs() {
    let mut random = Random(88172645463325252);
    const N: usize = 1024;
    let walk = random.walk(N);
    let shapes: Vec<(&str, Vec<i64>)> = vec![
        ("gauge walk", walk.iter().map(|value| *value as i64).collect()),
        ("uniform 0..100", (0..N).map(|_| (random.next() % 100) as i64).collect()),
        (
            "counter",
            (0..N as i64)
                .map(|at| at * 1000)
                .scan(0, |sum, at| {
                    *sum += (random.next() % 50) as i64;
                    Some(at + *sum)
                })
                .collect(),
        ),
        (
            "spikes",
            (0..N)
                .map(|_| if random.next().is_multiple_of(97) { 1 << 30 } else { (random.next() % 10) as i64 })
                .collect(),
        ),
    ];
    for (name, values) in &shapes {
        let mut out = Vec::new();
        integer::encode(values, &mut out);
        println!("integer {name}: encoding {} {:.3} B/value", out[0], out.len() as f64 / N as f64);
        let mut buffer = Vec::new();
        measure("encode", N, || {
            buffer.clear();
            integer::encode(black_box(values), &mut buffer);
        });
        let mut read = Vec::new();
        measure("decode", N, || {
            read.clear();
            integer::decode(black_box(&out), N, &mut read).expect("decodes");
        });
    }
    let floats: Vec<(&str, Vec<f64>)> = vec![
        ("walk, 2 decimals", walk.iter().map(|value| (value * 100.0).round() / 100.0).collect()),
        ("walk, full", walk.clone()),
        ("uniform", (0..N).map(|_| random.uniform()).collect()),
    ];
    for (name, values) in &floats {
        let mut hint = FloatHint::default();
        let mut out = Vec::new();
        float::encode(values, &mut hint, &mut out);
        println!("float {name}: encoding {} {:.3} B/value", out[0], out.len() as f64 / N as f64);
        let mut buffer = Vec::new();
        measure("encode", N, || {
            buffer.clear();
            float::encode(black_box(values), &mut hint, &mut buffer);
        });
        let mut read = Vec::new();
        measure("decode", N, || {
            read.clear();
            float::decode(black_box(&out), N, &mut read).expect("decodes");
        });
    }
    let second = 1_000_000_000i64;
    let times: Vec<(&str, Vec<i64>)> = vec![
        ("grid", (0..N as i64).map(|row| row * 10 * second).collect()),
        (
            "ms jitter",
            (0..N as i64).map(|row| row * 10 * second + (random.next() % 100) as i64 * 1_000_000).collect(),
        ),
        (
            "ns jitter",
            (0..N as i64).map(|row| row * 10 * second + (random.next() % 1_000_000) as i64).collect(),
        ),
    ];
    for (name, values) in &times {
        let mut out = Vec::new();
        timestamp::encode(values, &mut out);
        println!("timestamp {name}: {:.3} B/value", out.len() as f64 / N as f64);
        let mut buffer = Vec::new();
        measure("encode", N, || {
            buffer.clear();
            timestamp::encode(black_box(values), &mut buffer);
        });
        let mut read = Vec::new();
        measure("decode", N, || {
            read.clear();
            timestamp::decode(black_box(&out), N, values[0], values[N - 1], &mut read).expect("decodes");
        });
    }
    let flags: Vec<bool> = (0..N).map(|_| random.next().is_multiple_of(50)).collect();
    let mut out = Vec::new();
    boolean::encode(&flags, &mut out);
    println!("boolean: {:.3} B/value", out.len() as f64 / N as f64);
    let mut read = Vec::new();
    measure("decode", N, || {
        read.clear();
        boolean::decode(black_box(&out), N, &mut read).expect("decodes");
    });
    black_box(Values::Boolean(&flags));
}

fn file(hosts: usize, rows: usize, fields: usize, temperature: Temperature) {
    let mut random = Random(362436069);
    let disk = SimDisk::new(1);
    let mut keys: Vec<(Vec<u8>, usize)> = (0..hosts)
        .map(|host| {
            let key = format!(
                "cpu,arch=x{},datacenter=eu-west-1{},hostname=host_{host},os=Ubuntu16.04LTS,rack={},region=eu-west-1,service={},service_environment=test,service_version=1,team=SF",
                host % 2 * 32 + 32, ['a', 'b', 'c'][host % 3], random.next() % 100, random.next() % 20
            );
            (key.into_bytes(), host)
        })
        .collect();
    keys.sort();
    let columns: Vec<Vec<Column>> = (0..hosts.min(500))
        .map(|_| {
            (0..fields)
                .map(|_| {
                    let values = random.walk(rows).into_iter().map(|value| value as i64).collect();
                    Column { data: ColumnData::Integer(values), present: None }
                })
                .collect()
        })
        .collect();
    let times: Vec<i64> = (0..rows as i64).map(|row| (1_451_606_400 + row * 10) * 1_000_000_000).collect();
    block_on(async {
        disk.create_dir_all("d").await.expect("folder");
        let start = Instant::now();
        let mut writer = TsmWriter::create(&disk, "d/1.tsm", temperature).await.expect("created");
        for (key, host) in &keys {
            writer.begin_series(key).expect("in order");
            let batch: Vec<_> = columns[host % columns.len()]
                .iter()
                .enumerate()
                .map(|(at, column)| {
                    (writer.field(format!("usage_{at}").as_bytes(), FieldType::Integer), column)
                })
                .collect();
            writer.write_rows(&times, &batch).await.expect("written");
        }
        let memory = writer.memory_bytes();
        let meta = writer.finish((0, 0), (0, 0)).await.expect("finished").expect("not empty");
        let written = start.elapsed();
        let start = Instant::now();
        let reader = TsmReader::open(&disk, "d/1.tsm", BlockCache::new(1 << 20)).await.expect("opens");
        let opened = start.elapsed();
        let start = Instant::now();
        let mut cursor = reader.cursor(b"");
        let mut values = 0;
        while let Some(series) = cursor.next().await.expect("reads") {
            let mut rest = series.blocks.as_slice();
            while !rest.is_empty() {
                let run = reader.read_blocks(rest, Wanted::All).await.expect("reads");
                values += run.iter().map(|rows| rows.times.len() * rows.columns.len()).sum::<usize>();
                rest = &rest[run.len()..];
            }
        }
        let read = start.elapsed();
        assert_eq!(values as u64, meta.values);
        println!(
            "{hosts} series x {rows} rows x {fields} ints, {temperature:?}: {} B = {:.3} B/value, {:.1} B/series; \
             write {:.1} ns/value, read {:.1} ns/value; open {opened:?}; {} pages, resident {} B, writer {} B",
            meta.bytes,
            meta.bytes as f64 / meta.values as f64,
            meta.bytes as f64 / hosts as f64,
            written.as_secs_f64() * 1e9 / meta.values as f64,
            read.as_secs_f64() * 1e9 / meta.values as f64,
            meta.index_pages,
            reader.memory_bytes(),
            memory,
        );
    });
}
