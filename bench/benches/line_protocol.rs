//! ns per line of line protocol: parsing alone, and with routing into batches.
//!
//! `TSBS` is the line of that benchmark's cpu-only shape: 10 tags, 10 integer fields, about 344 bytes. Hosts send in
//! turn, so that a body of 10,000 lines repeats each of 100 series a hundred times, and each of 4,000 two or three
//! times.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemark::line_protocol::{Flow, Options, Parser, Point, Precision, Refusal, Scratch, Sink, Step};
use tidemark::meta::{RetentionPolicyInfo, ShardGroupInfo, ShardInfo};
use tidemark::write::router::Router;
use tidemark_engine::model::{ShardGroupId, ShardId};

const LINES: usize = 10_000;
const START: i64 = 1_451_606_400_000_000_000;

/// A plain generator: the same body every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

fn cpu_only(hosts: usize) -> String {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let tags: Vec<String> = (0..hosts)
        .map(|host| {
            format!(
                "cpu,arch=x86,datacenter=us-west-1{},hostname=host_{host},os=Ubuntu16.10,rack={},region=us-west-1,\
                 service={},service_environment=production,service_version={},team=SF",
                (b'a' + (host % 3) as u8) as char,
                random.next() % 100,
                random.next() % 20,
                random.next() % 2,
            )
        })
        .collect();
    let mut body = String::new();
    for line in 0..LINES {
        body.push_str(&tags[line % hosts]);
        for (at, field) in FIELDS.iter().enumerate() {
            let value = random.next() % 101;
            body.push_str(&format!("{}{field}={value}i", if at == 0 { ' ' } else { ',' }));
        }
        body.push_str(&format!(" {}\n", START + (line / hosts) as i64 * 10_000_000_000));
    }
    body
}

fn one_float_each() -> String {
    let mut random = Random(88_172_645_463_325_252);
    (0..LINES)
        .map(|line| {
            let value = (random.next() % 100_000) as f64 / 1000.0;
            format!("m,host=h{line},sensor=s{} value={value} {START}\n", line % 7)
        })
        .collect()
}

fn with_strings(hosts: usize) -> String {
    (0..LINES)
        .map(|line| {
            format!(
                "syslog,host=h{},severity=info message=\"connection from 10.0.0.{} closed, after {line} ms\",facility=3i,ok=true {START}\n",
                line % hosts,
                line % 250
            )
        })
        .collect()
}

#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn point(&mut self, point: &Point<'_>) -> Flow {
        self.0 += black_box(point.values.len() as u64);
        Flow::Continue
    }

    fn refuse(&mut self, _line: u32, _reason: &Refusal<'_>) {}
}

fn options() -> Options {
    Options { precision: Precision::Nanosecond, now: START, unsigned: false, validate_keys: false }
}

fn parse<S: Sink>(body: &str, scratch: Scratch, sink: &mut S) -> Scratch {
    let mut parser = Parser::new(options(), scratch);
    while parser.step(body.as_bytes(), sink, 64 << 10) != Step::Done {}
    let (errors, scratch) = parser.into_errors();
    assert!(errors.is_none());
    scratch
}

fn policy() -> Arc<RetentionPolicyInfo> {
    let week = 7 * 86_400_000_000_000;
    Arc::new(RetentionPolicyInfo {
        id: Default::default(),
        name: "autogen".to_owned(),
        duration: 0,
        shard_group_duration: week,
        replica_n: 1,
        shard_groups: vec![ShardGroupInfo {
            id: ShardGroupId(1),
            start: START - week,
            end: START + week,
            deleted_at: None,
            shards: (0..2).map(|shard| ShardInfo { id: ShardId(shard), owners: Vec::new() }).collect(),
        }],
        subscriptions: Vec::new(),
    })
}

fn benches(c: &mut Criterion) {
    let bodies = [
        ("TSBS, 100 hosts", cpu_only(100)),
        ("TSBS, 4000 hosts", cpu_only(4_000)),
        ("one float, all series new", one_float_each()),
        ("strings, 100 hosts", with_strings(100)),
    ];
    for (name, body) in &bodies {
        let mut group = c.benchmark_group(*name);
        group.throughput(Throughput::Elements(LINES as u64));
        group.sample_size(30);
        let mut scratch = Some(Scratch::default());
        group.bench_function("parse", |b| {
            b.iter(|| scratch = Some(parse(body, scratch.take().unwrap_or_default(), &mut Count::default())));
        });
        let mut router = Router::default();
        let policy = policy();
        group.bench_function("parse and route", |b| {
            b.iter_batched(
                || (),
                |()| {
                    router.begin(policy.clone(), START);
                    scratch = Some(parse(body, scratch.take().unwrap_or_default(), &mut router));
                    router.take(1, 1)
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(line_protocol, benches);
criterion_main!(line_protocol);
