//! `hostile`: one client writes a batch, waits, and writes the next; another one asks queries that would hurt.
//!
//! 1. The database is made anew, with the data the queries are about.
//! 2. The writer alone, for `--seconds`.
//! 3. The writer while every query is asked `--rounds` times, one after the other.
//!
//! The server must end queries by itself: `[coordinator] query-timeout = "3s"`, and `[engine] memory = "512m"` has it refuse
//! what would take more. Figures are of the writer: one connection that stays open.

mod statements;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;

use crate::client::{Client, encode};
use crate::moving::Moving;
use crate::process::{Process, stolen_ticks};
use crate::report::Report;
use crate::workload::{self, Shape};
use crate::{Dialect, Target};
use statements::Hostile;

/// Bytes of an answer's beginning and end in which its texts are looked for.
const LOOKED_AT: usize = 400;
/// Slowest batches that are shown with the query they were beside, and how much of it.
const SLOWEST: usize = 8;
const SHOWN: usize = 60;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// What is written.
    #[command(flatten)]
    shape: Shape,
    /// Lines a batch.
    #[arg(long, default_value_t = 10_000)]
    batch: u32,
    /// Milliseconds between an acknowledgement and the next batch.
    #[arg(long, default_value_t = 20)]
    pause_ms: u64,
    /// Seconds of writes alone.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Times each query is asked.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Also prints one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Instead of a query's number.
const NO_MORE: usize = usize::MAX;

/// What batches took until they were acknowledged, in microseconds.
struct Written {
    took_us: Histogram<u64>,
    /// Each with the number of the query that was asked last.
    batches: Vec<(u64, usize)>,
}

/// Writes batches over one connection, in one pass after the other over what was made.
struct Writer<'a> {
    options: &'a Options,
    client: Client,
    bodies: Vec<Moving>,
    written: usize,
    pass_ns: i64,
}

impl<'a> Writer<'a> {
    fn new(options: &'a Options) -> Self {
        let shape = &options.shape;
        let bodies = workload::generate(shape, options.batch).into_iter().map(Moving::new).collect();
        let pass_ns = i64::from(shape.steps) * i64::from(shape.interval) * 1_000_000_000;
        Self { options, client: Client::new(&options.target.address), bodies, written: 0, pass_ns }
    }

    /// Until the time is over or there is no query any more: `query` is the number of the one that is asked.
    fn write(&mut self, query: &AtomicUsize, time: Duration) -> Result<Written, String> {
        let path = format!("/write?db={}", encode(&self.options.target.database));
        let took_us = Histogram::new(3).expect("three digits are valid");
        let mut written = Written { took_us, batches: Vec::new() };
        let started = Instant::now();
        while query.load(Ordering::Relaxed) != NO_MORE && started.elapsed() < time {
            let (pass, at) = (self.written / self.bodies.len(), self.written % self.bodies.len());
            self.written += 1;
            let body = &mut self.bodies[at];
            body.move_to(pass as i64 * self.pass_ns);
            let begun = Instant::now();
            let answer = self.client.post(&path, "", &body.bytes)?;
            let took_us = begun.elapsed().as_micros() as u64;
            let _ = written.took_us.record(took_us);
            written.batches.push((took_us, query.load(Ordering::Relaxed)));
            if answer.status != 204 {
                return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
            }
            std::thread::sleep(Duration::from_millis(self.options.pause_ms));
        }
        Ok(written)
    }
}

/// The beginning and the end of an answer.
#[derive(Default)]
struct Ends {
    begin: Vec<u8>,
    end: Vec<u8>,
}

impl Ends {
    fn take(&mut self, piece: &[u8]) {
        let room = LOOKED_AT.saturating_sub(self.begin.len());
        self.begin.extend_from_slice(&piece[..piece.len().min(room)]);
        self.end.extend_from_slice(&piece[piece.len().saturating_sub(LOOKED_AT)..]);
        self.end.drain(..self.end.len().saturating_sub(LOOKED_AT));
    }

    fn text(&self) -> String {
        format!("{} … {}", String::from_utf8_lossy(&self.begin), String::from_utf8_lossy(&self.end))
    }
}

fn prepare(options: &Options) -> Result<(), String> {
    let (mut client, database) = (Client::new(&options.target.address), &options.target.database);
    client.query("", &format!("DROP DATABASE \"{database}\""))?;
    client.query("", &format!("CREATE DATABASE \"{database}\""))?;
    for body in statements::data() {
        let answer = client.post(&format!("/write?db={}", encode(database)), "", body.as_bytes())?;
        if answer.status != 204 {
            return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
        }
    }
    Ok(())
}

fn shown(statement: &str) -> String {
    statement.chars().take(SHOWN).collect()
}

/// Asks every query once, `forms` are their encoded texts, and tells which in `query`.
fn ask_all(
    options: &Options,
    queries: &[Hostile],
    forms: &[String],
    query: &AtomicUsize,
) -> Result<(), String> {
    let mut client = Client::new(&options.target.address);
    let path = format!("/query?db={}", encode(&options.target.database));
    for (at, ((statement, texts), form)) in queries.iter().zip(forms).enumerate() {
        query.store(at, Ordering::Relaxed);
        let (header, mut ends) = ("Content-Type: application/x-www-form-urlencoded\r\n", Ends::default());
        let status = client.post_streaming(&path, header, form.as_bytes(), &mut |piece| ends.take(piece))?;
        let text = ends.text();
        if !texts.iter().any(|wanted| text.contains(wanted)) {
            return Err(format!("{}: {status}: {text}", shown(statement)));
        }
    }
    Ok(())
}

pub fn run(options: &Options) -> Result<(), String> {
    if options.target.dialect != Dialect::Influx {
        return Err("hostile speaks InfluxQL only".to_owned());
    }
    prepare(options)?;
    let server = Process::listening_on(&options.target.address);
    let mut writer = Writer::new(options);
    let (query, queries) = (AtomicUsize::new(0), statements::hostile());
    let forms: Vec<String> =
        queries.iter().map(|(statement, _)| format!("q={}", encode(statement))).collect();
    // What is met for the first time takes longer: files, the pool, the catalogue.
    writer.write(&query, Duration::from_secs(2))?;
    let alone = writer.write(&query, Duration::from_secs(options.seconds))?;
    let (begun, stolen_before) = (Instant::now(), stolen_ticks());
    let (beside, asked) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| writer.write(&query, Duration::MAX));
        let asked: Result<(), String> =
            (0..options.rounds).try_for_each(|_| ask_all(options, &queries, &forms, &query));
        query.store(NO_MORE, Ordering::Relaxed);
        (writing.join().expect("the writing thread panicked"), asked)
    });
    asked?;
    let (mut beside, seconds) = (beside?, begun.elapsed().as_secs_f64());

    let mut report = Report::default();
    report.text("server", &options.target.name);
    report.text("load", format!("{:?} {}, {} lines", options.shape.kind, options.shape.hosts, options.batch));
    report.count("queries", queries.len() as u64 * u64::from(options.rounds));
    report.figure("seconds_of_queries", seconds);
    let ms = |took: &Histogram<u64>, quantile| took.value_at_quantile(quantile) as f64 / 1e3;
    for (name, took) in [("alone", &alone.took_us), ("beside", &beside.took_us)] {
        report.count(&format!("batches_{name}"), took.len());
        for (part, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            report.figure(&format!("batch_ms_{part}_{name}"), ms(took, quantile));
        }
    }
    report.figure("batch_p99_times", ms(&beside.took_us, 0.99) / ms(&alone.took_us, 0.99));
    report.figure("stolen_percent_of_a_cpu", (stolen_ticks() - stolen_before) as f64 / seconds);
    if let Some(server) = &server {
        report.figure("rss_peak_mib", server.memory().1 as f64 / 1_048_576.0);
    }
    beside.batches.sort_unstable_by_key(|(took_us, _)| std::cmp::Reverse(*took_us));
    for (took_us, at) in beside.batches.iter().take(SLOWEST) {
        let statement = queries.get(*at).map_or_else(String::new, |(statement, _)| shown(statement));
        report.text(&format!("{:.1} ms beside", *took_us as f64 / 1e3), statement);
    }
    report.print(options.json);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_answer_the_two_ends_are_kept() {
        let mut ends = Ends::default();
        for at in 0..1_000 {
            ends.take(format!("<{at}>").as_bytes());
        }
        assert!(ends.text().starts_with("<0><1>") && ends.text().ends_with("<999>"));
        assert_eq!((ends.begin.len(), ends.end.len()), (LOOKED_AT, LOOKED_AT));
    }
}
