//! Made-up loads in line protocol: the shapes of the Time Series Benchmark Suite, from a seed.
//!
//! * `cpu-only`: one measurement, 10 tags, 10 integer fields that walk between 0 and 100.
//! * `devops`: nine measurements a host and step, 10 tags, 6 to 16 fields.
//! * `cardinality`: one float field, every host a series of its own.
//!
//! Points come in time order, all hosts of a step together, as agents would send them.

use std::io::Write;

use clap::{Args, ValueEnum};

#[derive(Args, Clone, Debug)]
pub struct Shape {
    /// Which load.
    #[arg(long, value_enum, default_value_t = Kind::CpuOnly)]
    pub kind: Kind,
    /// Hosts (for `cardinality`: series).
    #[arg(long, default_value_t = 100)]
    pub hosts: u32,
    /// Time steps.
    #[arg(long, default_value_t = 8_640)]
    pub steps: u32,
    /// Seconds between steps.
    #[arg(long, default_value_t = 10)]
    pub interval: u32,
    /// First timestamp, seconds since 1970.
    #[arg(long, default_value_t = 1_451_606_400)]
    pub start: i64,
    #[arg(long, default_value_t = 123)]
    pub seed: u64,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CpuOnly,
    Devops,
    Cardinality,
}

/// One request's body.
pub struct Body {
    pub bytes: Vec<u8>,
    pub lines: u32,
    pub values: u32,
}

const REGIONS: [(&str, u32); 9] = [
    ("us-east-1", 3),
    ("us-west-1", 2),
    ("us-west-2", 3),
    ("eu-west-1", 3),
    ("eu-central-1", 2),
    ("ap-southeast-1", 2),
    ("ap-southeast-2", 2),
    ("ap-northeast-1", 2),
    ("sa-east-1", 3),
];

const CPU_FIELDS: [&str; 10] = [
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

/// Measurements of `devops` beside `cpu`, with the number of their fields; a field is a gauge or, when odd, a counter.
const DEVOPS: [(&str, usize); 8] = [
    ("diskio", 7),
    ("disk", 7),
    ("kernel", 5),
    ("mem", 9),
    ("net", 8),
    ("nginx", 7),
    ("postgresl", 16),
    ("redis", 28),
];

impl Shape {
    pub fn values_per_step(&self) -> u64 {
        match self.kind {
            Kind::CpuOnly => 10,
            Kind::Devops => 10 + DEVOPS.iter().map(|(_, fields)| *fields as u64).sum::<u64>(),
            Kind::Cardinality => 1,
        }
    }

    /// The measurement and field whose count tells how many steps of all hosts arrived.
    pub fn counted(&self) -> (&'static str, &'static str) {
        match self.kind {
            Kind::Cardinality => ("state", "value"),
            _ => ("cpu", "usage_user"),
        }
    }
}

/// A small generator with a long enough period (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Roughly normal with variance one: twelve dice.
    fn normal(&mut self) -> f64 {
        let sum: f64 = (0..12).map(|_| self.next() as f64 / u64::MAX as f64).sum();
        sum - 6.0
    }
}

/// One host: the tags as text and the state of every field.
struct Host {
    tags: String,
    fields: Vec<f64>,
}

/// The load, cut into bodies of `batch` lines.
pub fn generate(shape: &Shape, batch: u32) -> Vec<Body> {
    let mut random = Random(shape.seed);
    let mut hosts: Vec<Host> = (0..shape.hosts).map(|host| new_host(shape, host, &mut random)).collect();
    let mut bodies = Vec::new();
    let mut body = Body { bytes: Vec::new(), lines: 0, values: 0 };
    for step in 0..shape.steps {
        let time = (shape.start + i64::from(step) * i64::from(shape.interval)) * 1_000_000_000;
        for host in &mut hosts {
            for value in &mut host.fields {
                *value = (*value + random.normal()).clamp(0.0, 100.0);
            }
            write_step(shape, host, time, step, &mut body, &mut |body| {
                if body.lines >= batch {
                    let capacity = body.bytes.capacity();
                    let next = Body { bytes: Vec::with_capacity(capacity), lines: 0, values: 0 };
                    bodies.push(std::mem::replace(body, next));
                }
            });
        }
    }
    if body.lines > 0 {
        bodies.push(body);
    }
    bodies
}

fn new_host(shape: &Shape, host: u32, random: &mut Random) -> Host {
    let (region, zones) = REGIONS[random.below(REGIONS.len() as u64) as usize];
    let zone = (b'a' + random.below(u64::from(zones)) as u8) as char;
    let pick = |random: &mut Random, names: &[&'static str]| names[random.below(names.len() as u64) as usize];
    let tags = match shape.kind {
        Kind::Cardinality => format!(
            "host=host_{host},region={region},unit=unit_{},rack={}",
            random.below(1_000),
            random.below(100)
        ),
        _ => format!(
            "hostname=host_{host},region={region},datacenter={region}{zone},rack={},os={},arch={},team={},service={},\
             service_version={},service_environment={}",
            random.below(100),
            pick(random, &["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"]),
            pick(random, &["x64", "x86"]),
            pick(random, &["SF", "NYC", "LON", "CHI"]),
            random.below(20),
            random.below(2),
            pick(random, &["production", "staging", "test"]),
        ),
    };
    let fields = (0..shape.values_per_step()).map(|_| random.below(101) as f64).collect();
    Host { tags, fields }
}

fn write_step(
    shape: &Shape,
    host: &Host,
    time: i64,
    step: u32,
    body: &mut Body,
    line_done: &mut dyn FnMut(&mut Body),
) {
    if shape.kind == Kind::Cardinality {
        let _ = writeln!(body.bytes, "state,{} value={:.2} {time}", host.tags, host.fields[0]);
        body.lines += 1;
        body.values += 1;
        line_done(body);
        return;
    }
    let _ = write!(body.bytes, "cpu,{} ", host.tags);
    for (at, (name, value)) in CPU_FIELDS.iter().zip(&host.fields).enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(body.bytes, "{comma}{name}={}i", *value as i64);
    }
    let _ = writeln!(body.bytes, " {time}");
    body.lines += 1;
    body.values += 10;
    line_done(body);
    if shape.kind == Kind::CpuOnly {
        return;
    }
    let mut rest = &host.fields[10..];
    for (measurement, fields) in DEVOPS {
        let (values, after) = rest.split_at(fields);
        rest = after;
        let _ = write!(body.bytes, "{measurement},{} ", host.tags);
        for (at, value) in values.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let value =
                if at % 2 == 1 { i64::from(step) * 1_000 + *value as i64 } else { *value as i64 * 10 };
            let _ = write!(body.bytes, "{comma}field_{at}={value}i");
        }
        let _ = writeln!(body.bytes, " {time}");
        body.lines += 1;
        body.values += fields as u32;
        line_done(body);
    }
}

pub fn print(shape: &Shape) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    for body in generate(shape, 10_000) {
        out.write_all(&body.bytes).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: Kind) -> Shape {
        Shape { kind, hosts: 3, steps: 4, interval: 10, start: 0, seed: 1 }
    }

    #[test]
    fn the_same_seed_makes_the_same_load_and_all_values_are_counted() {
        for kind in [Kind::CpuOnly, Kind::Devops, Kind::Cardinality] {
            let shape = shape(kind);
            let bodies = generate(&shape, 5);
            let values = u64::from(shape.hosts) * u64::from(shape.steps) * shape.values_per_step();
            assert_eq!(bodies.iter().map(|body| u64::from(body.values)).sum::<u64>(), values);
            for body in &bodies {
                assert_eq!(body.bytes.iter().filter(|byte| **byte == b'\n').count() as u32, body.lines);
            }
            let again = generate(&shape, 5);
            assert!(bodies.iter().zip(&again).all(|(a, b)| a.bytes == b.bytes));
        }
    }
}
