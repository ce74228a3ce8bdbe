//! `ingest`: the load over HTTP or line-protocol TCP, with everything it costs the server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::{Client, encode};
use crate::process::{self, Process};
use crate::report::Report;
use crate::workload::{self, Body, Shape};
use crate::{Dialect, Target};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    shape: Shape,
    /// Lines a request.
    #[arg(long, default_value_t = 10_000)]
    batch: u32,
    /// Connections at once.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    #[arg(long, value_enum, default_value_t = Transport::Http)]
    transport: Transport,
    /// Host and port of the line-protocol TCP listener.
    #[arg(long, default_value = "127.0.0.1:8094")]
    tcp_address: String,
    /// Compresses bodies.
    #[arg(long)]
    gzip: bool,
    /// Seconds to wait after the last write before the settled figures are taken.
    #[arg(long, default_value_t = 60)]
    settle: u64,
    /// Points a second to hold to, over all connections; 0 is as fast as possible.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Keeps what is in the database.
    #[arg(long)]
    keep: bool,
    /// Shard duration of the database that is made, such as 1h.
    #[arg(long)]
    shard_duration: Option<String>,
    /// Also tells the latency of requests during which the server (Tidemark) merged files, and of the others.
    #[arg(long)]
    merges: bool,
    /// Also prints one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Http,
    Tcp,
}

/// What one connection saw.
struct Seen {
    latency_us: Histogram<u64>,
    /// The same again, of requests during which files were merged.
    merging_us: Histogram<u64>,
    retries: u64,
    errors: u64,
    first_error: Option<String>,
}

pub fn run(options: &Options) -> Result<(), String> {
    let target = &options.target;
    let mut client = Client::new(&target.address);
    if target.dialect == Dialect::Influx {
        if !options.keep {
            client.query("", &format!("DROP DATABASE \"{}\"", target.database))?;
        }
        let with = options.shard_duration.as_ref().map(|duration| format!(" WITH SHARD DURATION {duration}"));
        let with = with.unwrap_or_default();
        client.query("", &format!("CREATE DATABASE \"{}\"{with}", target.database))?;
    }
    let bodies = workload::generate(&options.shape, options.batch);
    let input_bytes: u64 = bodies.iter().map(|body| body.bytes.len() as u64).sum();
    let bodies = if options.gzip { compress(bodies)? } else { bodies };
    let lines: u64 = bodies.iter().map(|body| u64::from(body.lines)).sum();
    let values: u64 = bodies.iter().map(|body| u64::from(body.values)).sum();

    let server = Process::listening_on(&target.address);
    let cpu = || server.as_ref().map_or(0.0, Process::cpu_seconds);
    let threads_before = server.as_ref().map(Process::cpu_seconds_by_thread).unwrap_or_default();
    let (cpu_before, started) = (cpu(), Instant::now());
    let seen = drive(options, &bodies);
    let (elapsed, cpu_acknowledged) = (started.elapsed().as_secs_f64(), cpu() - cpu_before);
    let threads_after = server.as_ref().map(Process::cpu_seconds_by_thread).unwrap_or_default();
    std::thread::sleep(Duration::from_secs(options.settle));
    let cpu_settled = cpu() - cpu_before;

    let (mut latency, mut merging) = (histogram(), histogram());
    let (mut retries, mut errors, mut first_error) = (0, 0, None);
    for one in seen {
        let _ = latency.add(&one.latency_us);
        let _ = merging.add(&one.merging_us);
        retries += one.retries;
        errors += one.errors;
        first_error = first_error.or(one.first_error);
    }
    let mut report = Report::default();
    report.text("server", &target.name);
    report
        .text("load", format!("{:?} {} x {}", options.shape.kind, options.shape.hosts, options.shape.steps));
    report.count("lines", lines);
    report.count("values", values);
    report.figure("seconds", elapsed);
    report.figure("values_per_second", values as f64 / elapsed);
    report.figure("megabytes_per_second", input_bytes as f64 / elapsed / 1e6);
    for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
        report.figure(&format!("batch_ms_{name}"), latency.value_at_quantile(quantile) as f64 / 1e3);
    }
    if options.merges {
        let mut quiet = latency.clone();
        let _ = quiet.subtract(&merging);
        for (name, part) in [("merging", &merging), ("quiet", &quiet)] {
            report.count(&format!("batches_{name}"), part.len());
            report.figure(&format!("batch_ms_p50_{name}"), part.value_at_quantile(0.5) as f64 / 1e3);
            report.figure(&format!("batch_ms_p99_{name}"), part.value_at_quantile(0.99) as f64 / 1e3);
        }
    }
    let millions = values as f64 / 1e6;
    report.figure("cpu_s_per_million_values", cpu_acknowledged / millions);
    report.figure("cpu_s_per_million_values_settled", cpu_settled / millions);
    let spent = spent_by_thread(&threads_before, &threads_after);
    report.text("busiest_threads", busiest(&spent));
    if let Some(share) = busiest_core_over_mean(&spent) {
        report.figure("busiest_core_over_mean", share);
    }
    if let Some(server) = &server {
        let (now, peak) = server.memory();
        report.figure("rss_mib", now as f64 / 1_048_576.0);
        report.figure("rss_peak_mib", peak as f64 / 1_048_576.0);
    }
    if let Some(folder) = &target.data_dir {
        let bytes = process::disk_bytes(folder);
        report.count("disk_bytes", bytes);
        report.figure("disk_bytes_per_value", bytes as f64 / values as f64);
    }
    report.count("retries", retries);
    report.count("errors", errors);
    let expected = u64::from(options.shape.hosts) * u64::from(options.shape.steps);
    let counted = count_back(&mut client, options)?;
    report.count("points_expected", expected);
    report.count("points_counted", counted);
    report.print(options.json);
    if let Some(error) = first_error {
        return Err(format!("{errors} requests failed, the first with: {error}"));
    }
    if counted != expected && !options.keep {
        return Err(format!("{expected} points were acknowledged, {counted} are there"));
    }
    Ok(())
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are valid")
}

/// CPU seconds between two looks by name of the threads, largest first.
fn spent_by_thread(before: &[(String, f64)], after: &[(String, f64)]) -> Vec<(String, f64)> {
    let mut spent: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, seconds) in after {
        *spent.entry(name).or_default() += seconds;
    }
    for (name, seconds) in before {
        spent.entry(name).and_modify(|sum| *sum -= seconds);
    }
    let mut spent: Vec<(String, f64)> = spent.into_iter().map(|(name, sum)| (name.to_owned(), sum)).collect();
    spent.sort_by(|a, b| b.1.total_cmp(&a.1));
    spent
}

fn busiest(spent: &[(String, f64)]) -> String {
    spent
        .iter()
        .take(4)
        .map(|(name, seconds)| format!("{name} {seconds:.2} s"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// How evenly Tidemark's cores share the work; of other servers nothing.
fn busiest_core_over_mean(spent: &[(String, f64)]) -> Option<f64> {
    let cores: Vec<f64> =
        spent.iter().filter(|(name, _)| name.starts_with("core-")).map(|(_, seconds)| *seconds).collect();
    let sum: f64 = cores.iter().sum();
    (sum > 0.0).then(|| cores.iter().copied().fold(0.0, f64::max) * cores.len() as f64 / sum)
}

fn compress(bodies: Vec<Body>) -> Result<Vec<Body>, String> {
    bodies
        .into_iter()
        .map(|body| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&body.bytes).map_err(|error| error.to_string())?;
            Ok(Body { bytes: encoder.finish().map_err(|error| error.to_string())?, ..body })
        })
        .collect()
}

/// Sends all bodies over the connections, each taking the next one that is left.
fn drive(options: &Options, bodies: &[Body]) -> Vec<Seen> {
    let next = AtomicUsize::new(0);
    let sent_lines = AtomicU64::new(0);
    let bar = ProgressBar::new(bodies.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} requests, {eta} left") {
        bar.set_style(style);
    }
    let started = Instant::now();
    let watch = MergeWatch::default();
    let seen = std::thread::scope(|scope| {
        if options.merges {
            scope.spawn(|| watch.follow(&options.target.address));
        }
        let workers: Vec<_> = (0..options.connections)
            .map(|_| scope.spawn(|| work(options, bodies, &next, &sent_lines, started, &bar, &watch)))
            .collect();
        let seen = workers.into_iter().map(|worker| worker.join().expect("a worker panicked")).collect();
        watch.is_over.store(true, Ordering::Relaxed);
        seen
    });
    bar.finish_and_clear();
    seen
}

/// Whether the server merges files, asked again and again.
#[derive(Default)]
struct MergeWatch {
    is_merging: AtomicBool,
    is_over: AtomicBool,
}

/// Between two looks; a merge that slows anybody down takes longer.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl MergeWatch {
    fn follow(&self, address: &str) {
        let mut client = Client::new(address);
        while !self.is_over.load(Ordering::Relaxed) {
            let metrics = client.get("/metrics").map(|answer| answer.body).unwrap_or_default();
            let is_merging = String::from_utf8_lossy(&metrics)
                .lines()
                .any(|line| line.starts_with("tidemark_compactions{") && !line.ends_with(" 0"));
            self.is_merging.store(is_merging, Ordering::Relaxed);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn is_merging(&self) -> bool {
        self.is_merging.load(Ordering::Relaxed)
    }
}

fn work(
    options: &Options,
    bodies: &[Body],
    next: &AtomicUsize,
    sent_lines: &AtomicU64,
    started: Instant,
    bar: &ProgressBar,
    watch: &MergeWatch,
) -> Seen {
    let mut seen =
        Seen { latency_us: histogram(), merging_us: histogram(), retries: 0, errors: 0, first_error: None };
    let mut sender = Sender::new(options);
    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
        if options.rate > 0 {
            let before = sent_lines.fetch_add(u64::from(body.lines), Ordering::Relaxed);
            let due = Duration::from_secs_f64(before as f64 / options.rate as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
        let (begun, was_merging) = (Instant::now(), watch.is_merging());
        let result = sender.send(body, &mut seen.retries);
        let elapsed_us = begun.elapsed().as_micros() as u64;
        let _ = seen.latency_us.record(elapsed_us);
        if was_merging || watch.is_merging() {
            let _ = seen.merging_us.record(elapsed_us);
        }
        if let Err(error) = result {
            seen.errors += 1;
            seen.first_error.get_or_insert(error);
        }
        bar.inc(1);
    }
    seen
}

/// One connection.
enum Sender {
    Http { client: Client, path: String, headers: &'static str },
    Tcp { address: String, stream: Option<BufReader<TcpStream>> },
}

impl Sender {
    fn new(options: &Options) -> Self {
        match options.transport {
            Transport::Http => Self::Http {
                client: Client::new(&options.target.address),
                path: format!("/write?db={}", encode(&options.target.database)),
                headers: if options.gzip { "Content-Encoding: gzip\r\n" } else { "" },
            },
            Transport::Tcp => Self::Tcp { address: options.tcp_address.clone(), stream: None },
        }
    }

    /// Sends one body and waits until it is acknowledged; a full server is asked again.
    fn send(&mut self, body: &Body, retries: &mut u64) -> Result<(), String> {
        match self {
            Self::Http { client, path, headers } => loop {
                let answer = client.post(path, headers, &body.bytes)?;
                match answer.status {
                    200 | 204 => return Ok(()),
                    503 => {
                        *retries += 1;
                        let wait = answer.retry_after.map_or(100, |seconds| (seconds * 1_000).min(1_000));
                        std::thread::sleep(Duration::from_millis(wait));
                    }
                    status => return Err(format!("{status}: {}", String::from_utf8_lossy(&answer.body))),
                }
            },
            Self::Tcp { address, stream } => {
                if stream.is_none() {
                    let connected = TcpStream::connect(&*address).map_err(|error| error.to_string())?;
                    *stream = Some(BufReader::new(connected));
                }
                let stream = stream.as_mut().expect("connected above");
                let mut answer = String::new();
                stream
                    .get_mut()
                    .write_all(&body.bytes)
                    .and_then(|()| stream.get_mut().write_all(b"\n"))
                    .and_then(|()| stream.read_line(&mut answer))
                    .map_err(|error| error.to_string())?;
                if answer.starts_with("ok ") { Ok(()) } else { Err(answer) }
            }
        }
    }
}

/// Steps of all hosts that can be read back.
fn count_back(client: &mut Client, options: &Options) -> Result<u64, String> {
    let (measurement, field) = options.shape.counted();
    match options.target.dialect {
        Dialect::Influx => {
            let statement = format!("SELECT count({field}) FROM {measurement}");
            let text = client.query(&options.target.database, &statement)?;
            let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let count = &json["results"][0]["series"][0]["values"][0][1];
            Ok(count.as_u64().unwrap_or(0))
        }
        Dialect::Victoria => {
            let shape = &options.shape;
            let span = i64::from(shape.steps) * i64::from(shape.interval) + 3_600;
            let question = format!("sum(count_over_time({measurement}_{field}[{span}s]))");
            let path = format!(
                "/api/v1/query?nocache=1&query={}&time={}",
                encode(&question),
                shape.start + i64::from(shape.steps) * i64::from(shape.interval)
            );
            let answer = client.get(&path)?;
            let json: serde_json::Value =
                serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
            let count =
                json["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
            Ok(count.unwrap_or(0.0) as u64)
        }
    }
}
