//! `tidemark-bench`: measures ingest and queries against any server with InfluxDB's API, and samples this machine.
//!
//! All input is made in memory before the clock starts. A run prints a table for people and, with `--json`, one line
//! for machines.

mod client;
mod compare;
mod host;
mod hostile;
mod ingest;
mod mixed;
mod moving;
mod process;
mod queries;
mod query;
mod report;
mod workload;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "tidemark-bench", version, about = "Measures a server with InfluxDB's API")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a made-up load and reports rate, latency, CPU, memory and disk.
    Ingest(ingest::Options),
    /// Asks the TSBS questions of data written by `ingest` and reports latency.
    Query(query::Options),
    /// Asks and writes at once, and reports what each does to the other.
    Mixed(mixed::Options),
    /// Writes beside queries that would hurt, and reports what they do to it.
    Hostile(hostile::Options),
    /// Compares answers saved by `query --save` from two servers.
    Compare(compare::Options),
    /// Writes samples of this machine's own load.
    Host(host::Options),
    /// Prints the made-up load as line protocol.
    Print(workload::Shape),
}

/// Which server is measured.
#[derive(Args, Clone)]
pub struct Target {
    /// Host and port of the HTTP API.
    #[arg(long, default_value = "127.0.0.1:8086")]
    pub address: String,
    /// Database written to and asked.
    #[arg(long, default_value = "benchmark")]
    pub database: String,
    /// What kind of server it is: decides how points are counted back and which language queries are in.
    #[arg(long, value_enum, default_value_t = Dialect::Influx)]
    pub dialect: Dialect,
    /// The server's folder, to measure bytes on disk.
    #[arg(long)]
    pub data_dir: Option<std::path::PathBuf>,
    /// Name of the server in the report.
    #[arg(long, default_value = "tidemark")]
    pub name: String,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    Influx,
    Victoria,
}

fn main() {
    let result = match Cli::parse().command {
        Command::Ingest(options) => ingest::run(&options),
        Command::Query(options) => query::run(&options),
        Command::Mixed(options) => mixed::run(&options),
        Command::Hostile(options) => hostile::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Host(options) => host::run(&options),
        Command::Print(shape) => workload::print(&shape),
    };
    if let Err(error) = result {
        eprintln!("tidemark-bench: {error}");
        std::process::exit(1);
    }
}
