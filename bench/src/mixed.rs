//! `mixed`: queries while points come in, and what each side does to the other.
//!
//! Over data written by `ingest` before, first writes as fast as they are taken, for long enough that snapshots and merges
//! keep up: the machine's rate. Then rounds, as the speed of a machine that is shared changes within minutes:
//! 1. after a pause writes alone at a part of that rate;
//! 2. after a pause the questions alone, one client, in turn;
//! 3. both at once.
//!
//! What one side does to the other is told by the medians of all rounds. The questions of 2 and 3 are about nearly the same
//! data: what the writes as fast as they are taken brought, months, comes before them.
//!
//! The written points follow the loaded ones in time. Their bodies are made once; for every further pass the timestamps
//! in them are moved on, so that no point comes twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;

use crate::client::{Client, encode};
use crate::moving::Moving;
use crate::process::{Process, set_thread_nice, stolen_ticks};
use crate::queries;
use crate::query::path;
use crate::report::Report;
use crate::workload::{self, Random, Shape};
use crate::{Dialect, Target};

/// Steps of all hosts made in memory.
const STEPS_MADE: u32 = 400;

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// The load that was written: decides hosts, the times asked about, and where written points begin.
    #[command(flatten)]
    shape: Shape,
    /// Questions asked in turn.
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = queries::names(),
        default_value = "single-groupby-1-1-1,single-groupby-5-1-12,cpu-max-all-8,double-groupby-1,high-cpu-1,lastpoint"
    )]
    only: Vec<String>,
    /// Seconds of the writes as fast as they are taken. For a short while a server takes more than it can go on with: what
    /// it leaves for later is not part of the machine's rate.
    #[arg(long, default_value_t = 60)]
    full_seconds: u64,
    /// Rounds of writes, of questions, and of both.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each of their parts.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Lines a write.
    #[arg(long, default_value_t = 10_000)]
    batch: u32,
    /// Connections that write.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Part of the machine's rate that is written beside the queries.
    #[arg(long, default_value_t = 0.5)]
    part: f64,
    /// Questions a second, timed from when each was due; 0 asks the next one once the last is answered, which takes
    /// what CPU the writes leave.
    #[arg(long, default_value_t = 0.0)]
    questions_per_second: f64,
    /// Niceness of the thread that asks. On the machine of the server it waits for a CPU beside it and the writers, which a
    /// client on another machine does not: below 0 that wait is left out of what is measured. Takes root.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    asker_nice: i32,
    /// Seconds after writes, for files to be written and merged.
    #[arg(long, default_value_t = 15)]
    settle: u64,
    /// Also prints one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What the writers saw in one part.
struct Written {
    latency_us: Histogram<u64>,
    lines: u64,
    seconds: f64,
    /// The server was full.
    retries: u64,
}

/// What the asking client saw.
struct Asked {
    all: Histogram<u64>,
    by_question: Vec<Histogram<u64>>,
}

/// What one round showed.
struct Round {
    alone: Written,
    idle: Asked,
    beside: Written,
    loaded: Asked,
    /// Of all processors, while both worked.
    stolen_ticks: u64,
}

impl Round {
    fn batch_p99_times(&self) -> f64 {
        ms(&self.beside.latency_us, 0.99) / ms(&self.alone.latency_us, 0.99)
    }

    fn query_p99_times(&self) -> f64 {
        ms(&self.loaded.all, 0.99) / ms(&self.idle.all, 0.99)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are valid")
}

fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// All of what the rounds saw of one kind.
fn together<'a>(histograms: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    let mut all = histogram();
    for histogram in histograms {
        let _ = all.add(histogram);
    }
    all
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 }
}

pub fn run(options: &Options) -> Result<(), String> {
    if options.target.dialect != Dialect::Influx {
        return Err("mixed speaks InfluxQL only".to_owned());
    }
    let shape = &options.shape;
    let after = Shape {
        start: shape.start + i64::from(shape.steps) * i64::from(shape.interval),
        steps: STEPS_MADE,
        ..shape.clone()
    };
    // Each connection has its own bodies, and moves on by all that are made.
    let mut bodies: Vec<Vec<Moving>> = (0..options.connections).map(|_| Vec::new()).collect();
    for (at, body) in workload::generate(&after, options.batch).into_iter().enumerate() {
        bodies[at % options.connections].push(Moving::new(body));
    }
    let pass_ns = i64::from(STEPS_MADE) * i64::from(shape.interval) * 1_000_000_000;
    let mut passes: Vec<i64> = vec![0; options.connections];
    let time = Duration::from_secs(options.seconds);
    let server = Process::listening_on(&options.target.address);

    let full_time = Duration::from_secs(options.full_seconds);
    let full = write(options, &mut bodies, &mut passes, pass_ns, 0.0, full_time)?;
    let rate = full.lines as f64 / full.seconds * options.part;
    let settle = || std::thread::sleep(Duration::from_secs(options.settle));
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        settle();
        let alone = write(options, &mut bodies, &mut passes, pass_ns, rate, time)?;
        settle();
        let idle = ask(options, &AtomicBool::new(false), time)?;
        let ended = AtomicBool::new(false);
        let stolen_before = stolen_ticks();
        let (beside, loaded) = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(options, &ended, time * 4));
            let beside = write(options, &mut bodies, &mut passes, pass_ns, rate, time);
            ended.store(true, Ordering::Relaxed);
            (beside, asking.join().expect("the asking thread panicked"))
        });
        let stolen_ticks = stolen_ticks() - stolen_before;
        rounds.push(Round { alone, idle, beside: beside?, loaded: loaded?, stolen_ticks });
    }
    let mut report = report_of(options, &full, rate, &rounds);
    if let Some(server) = &server {
        report.figure("rss_peak_mib", server.memory().1 as f64 / 1_048_576.0);
    }
    report.print(options.json);
    Ok(())
}

fn report_of(options: &Options, full: &Written, rate: f64, rounds: &[Round]) -> Report {
    let shape = &options.shape;
    let mut report = Report::default();
    let seconds = f64::from(options.rounds) * options.seconds as f64;
    report.text("server", &options.target.name);
    report.text("load", format!("{:?} {} x {}", shape.kind, shape.hosts, shape.steps));
    report.figure("points_per_second_full", full.lines as f64 / full.seconds);
    report.figure("points_per_second_wanted", rate);
    let retries = rounds.iter().map(|round| round.alone.retries + round.beside.retries);
    report.count("retries", full.retries + retries.sum::<u64>());
    for (name, part) in
        [("alone", (|round| &round.alone) as fn(&Round) -> &Written), ("beside", |round| &round.beside)]
    {
        let lines: u64 = rounds.iter().map(|round| part(round).lines).sum();
        let latency_us = together(rounds.iter().map(|round| &part(round).latency_us));
        report.figure(&format!("points_per_second_{name}"), lines as f64 / seconds);
        report.figure(&format!("batch_ms_p50_{name}"), ms(&latency_us, 0.5));
        report.figure(&format!("batch_ms_p99_{name}"), ms(&latency_us, 0.99));
    }
    for (name, part) in
        [("idle", (|round| &round.idle) as fn(&Round) -> &Asked), ("loaded", |round| &round.loaded)]
    {
        let asked = together(rounds.iter().map(|round| &part(round).all));
        report.count(&format!("queries_{name}"), asked.len());
        report.figure(&format!("query_ms_p50_{name}"), ms(&asked, 0.5));
        report.figure(&format!("query_ms_p99_{name}"), ms(&asked, 0.99));
        report.figure(&format!("query_ms_max_{name}"), ms(&asked, 1.0));
    }
    for (at, name) in options.only.iter().enumerate() {
        let of =
            |part: fn(&Round) -> &Asked| together(rounds.iter().map(|round| &part(round).by_question[at]));
        let (idle, loaded) = (of(|round| &round.idle), of(|round| &round.loaded));
        let [idle, loaded] =
            [idle, loaded].map(|asked| format!("{:.2} / {:.2}", ms(&asked, 0.5), ms(&asked, 0.99)));
        report.text(name, format!("idle {idle}, loaded {loaded} ms"));
    }
    let each = |times: fn(&Round) -> f64| rounds.iter().map(times).collect::<Vec<_>>();
    // In hundredths of a second of one CPU.
    let stolen = each(|round| round.stolen_ticks as f64).iter().sum::<f64>() / seconds;
    report.figure("stolen_percent_of_a_cpu", stolen);
    for (name, times) in [("query", each(Round::query_p99_times)), ("batch", each(Round::batch_p99_times))] {
        let texts: Vec<String> = times.iter().map(|times| format!("{times:.2}")).collect();
        report.text(&format!("{name}_p99_times_of_rounds"), texts.join(" "));
        report.figure(&format!("{name}_p99_times"), median(times));
    }
    report
}

/// Asks the questions in turn until `ended` or the time is over, in a thread of its own.
fn ask(options: &Options, ended: &AtomicBool, time: Duration) -> Result<Asked, String> {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_here(options, ended, time));
        asking.join().expect("the asking thread panicked")
    })
}

fn ask_here(options: &Options, ended: &AtomicBool, time: Duration) -> Result<Asked, String> {
    if options.asker_nice != 0 {
        set_thread_nice(options.asker_nice)
            .map_err(|error| format!("niceness {}: {error}", options.asker_nice))?;
    }
    let mut client = Client::new(&options.target.address);
    let mut random = Random(options.shape.seed);
    let mut asked =
        Asked { all: histogram(), by_question: options.only.iter().map(|_| histogram()).collect() };
    let started = Instant::now();
    let (mut round, mut asked_before) = (0, 0_u32);
    while started.elapsed() < time && !ended.load(Ordering::Relaxed) {
        for (at, name) in options.only.iter().enumerate() {
            let question = queries::question(name, &options.shape, &mut random)
                .ok_or_else(|| format!("no question is called {name}"))?;
            let Some(path) = path(&options.target, &question) else { continue };
            let mut begun = Instant::now();
            if options.questions_per_second > 0.0 {
                begun =
                    started + Duration::from_secs_f64(f64::from(asked_before) / options.questions_per_second);
                std::thread::sleep(begun.saturating_duration_since(Instant::now()));
                asked_before += 1;
            }
            let answer = client.post(&path, "", b"")?;
            let took_us = begun.elapsed().as_micros() as u64;
            if answer.status != 200 {
                return Err(format!("{name}: {}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
            }
            // The first round opens files and fills caches.
            if round > 0 {
                let _ = asked.all.record(took_us);
                let _ = asked.by_question[at].record(took_us);
            }
        }
        round += 1;
    }
    Ok(asked)
}

/// Writes over all connections; `rate` in points a second, 0 is as fast as possible.
fn write(
    options: &Options,
    bodies: &mut [Vec<Moving>],
    passes: &mut [i64],
    pass_ns: i64,
    rate: f64,
    time: Duration,
) -> Result<Written, String> {
    let (sent, started) = (AtomicU64::new(0), Instant::now());
    let results: Vec<Result<Written, String>> = std::thread::scope(|scope| {
        let writers: Vec<_> = bodies
            .iter_mut()
            .zip(passes.iter_mut())
            .map(|(bodies, pass)| {
                let sent = &sent;
                scope.spawn(move || write_some(options, bodies, pass, pass_ns, rate, time, sent, started))
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer panicked")).collect()
    });
    let mut all = Written { latency_us: histogram(), lines: 0, seconds: 0.0, retries: 0 };
    for written in results {
        let written = written?;
        let _ = all.latency_us.add(&written.latency_us);
        all.lines += written.lines;
        all.retries += written.retries;
        all.seconds = all.seconds.max(written.seconds);
    }
    Ok(all)
}

fn write_some(
    options: &Options,
    bodies: &mut [Moving],
    pass: &mut i64,
    pass_ns: i64,
    rate: f64,
    time: Duration,
    sent: &AtomicU64,
    started: Instant,
) -> Result<Written, String> {
    let mut client = Client::new(&options.target.address);
    let path = format!("/write?db={}", encode(&options.target.database));
    let mut written = Written { latency_us: histogram(), lines: 0, seconds: 0.0, retries: 0 };
    loop {
        for body in &mut *bodies {
            body.move_to(*pass * pass_ns);
            if rate > 0.0 {
                let before = sent.fetch_add(body.lines, Ordering::Relaxed);
                let due = Duration::from_secs_f64(before as f64 / rate);
                std::thread::sleep(due.saturating_sub(started.elapsed()));
            }
            if started.elapsed() >= time {
                *pass += 1;
                written.seconds = started.elapsed().as_secs_f64();
                return Ok(written);
            }
            let begun = Instant::now();
            loop {
                let answer = client.post(&path, "", &body.bytes)?;
                match answer.status {
                    200 | 204 => break,
                    503 => {
                        written.retries += 1;
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    status => return Err(format!("{status}: {}", String::from_utf8_lossy(&answer.body))),
                }
            }
            let _ = written.latency_us.record(begun.elapsed().as_micros() as u64);
            written.lines += body.lines;
        }
        *pass += 1;
    }
}
