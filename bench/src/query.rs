//! `query`: each question many times over one connection, with its latency and what it costs the server.

use std::time::Instant;

use clap::Args;
use comfy_table::{Table, presets};
use hdrhistogram::Histogram;
use serde_json::json;

use crate::client::{Client, encode};
use crate::process::Process;
use crate::queries::{self, Question};
use crate::report::round;
use crate::workload::{Random, Shape};
use crate::{Dialect, Target};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// The load that was written: decides hosts and times.
    #[command(flatten)]
    shape: Shape,
    /// Only these, by name.
    #[arg(long, value_delimiter = ',', value_parser = queries::names())]
    only: Vec<String>,
    /// Times each question is asked.
    #[arg(long, default_value_t = 30)]
    repeat: u32,
    /// Saves the answers below this folder, one file a question, for a comparison between servers.
    #[arg(long)]
    save: Option<std::path::PathBuf>,
    /// Also prints one line of JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options) -> Result<(), String> {
    let mut client = Client::new(&options.target.address);
    let server = Process::listening_on(&options.target.address);
    let cpu = || server.as_ref().map_or(0.0, Process::cpu_seconds);
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["query", "p50 ms", "p99 ms", "max ms", "server CPU ms", "answer bytes"]);
    let mut lines = Vec::new();
    for name in queries::NAMES {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        // The same draws for every server, whatever else was asked before.
        let mut random =
            Random(options.shape.seed ^ name.bytes().fold(0, |hash, byte| hash * 31 + u64::from(byte)));
        let mut latency = Histogram::<u64>::new(3).expect("three digits are valid");
        let (mut bytes, cpu_before, mut asked) = (0, cpu(), 0);
        for round in 0..=options.repeat {
            let Some(question) = queries::question(name, &options.shape, &mut random) else { break };
            let Some(path) = path(&options.target, &question) else { break };
            let begun = Instant::now();
            let answer = client.post(&path, "", b"")?;
            // The first one opens files and fills caches.
            if round > 0 {
                let _ = latency.record(begun.elapsed().as_micros() as u64);
                asked += 1;
            }
            bytes = answer.body.len();
            let text = String::from_utf8_lossy(&answer.body);
            if answer.status != 200 || text.contains("\"error\"") {
                return Err(format!("{name}: {}: {}", answer.status, &text[..text.len().min(500)]));
            }
            if let Some(folder) = &options.save {
                let file = folder.join(format!("{name}-{round}.json"));
                std::fs::create_dir_all(folder)
                    .and_then(|()| std::fs::write(file, &answer.body))
                    .map_err(|error| error.to_string())?;
            }
        }
        if asked == 0 {
            continue;
        }
        let ms = |quantile| round(latency.value_at_quantile(quantile) as f64 / 1e3);
        let cpu_ms = round((cpu() - cpu_before) * 1e3 / f64::from(asked + 1));
        let (p50, p99, max) = (ms(0.5), ms(0.99), ms(1.0));
        table.add_row([
            name.to_owned(),
            p50.to_string(),
            p99.to_string(),
            max.to_string(),
            cpu_ms.to_string(),
            bytes.to_string(),
        ]);
        lines.push(json!({
            "server": options.target.name, "query": name, "p50_ms": p50, "p99_ms": p99, "max_ms": max,
            "server_cpu_ms": cpu_ms, "answer_bytes": bytes,
        }));
    }
    println!("{table}");
    if options.json {
        println!("{}", serde_json::Value::from(lines));
    }
    Ok(())
}

/// What to post for a question; `None` when the server's language cannot ask it.
pub fn path(target: &Target, question: &Question) -> Option<String> {
    match target.dialect {
        Dialect::Influx => {
            Some(format!("/query?db={}&epoch=ns&q={}", encode(&target.database), encode(&question.influxql)))
        }
        Dialect::Victoria => {
            let (start, end, step, expression) = question.promql.as_ref()?;
            Some(format!(
                "/api/v1/query_range?nocache=1&start={start}&end={end}&step={step}s&query={}",
                encode(expression)
            ))
        }
    }
}
