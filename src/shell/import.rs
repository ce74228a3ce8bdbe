//! `-import`: a file of statements and lines, as an export writes it.
//!
//! `# DDL` begins statements, `# DML` lines; `# CONTEXT-DATABASE:` and `# CONTEXT-RETENTION-POLICY:` say where lines
//! go. Lines are sent five thousand at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use super::http::Connection;
use super::options::Options;
use super::output;

/// Lines of one write.
const BATCH_LINES: usize = 5_000;

struct Import<'a> {
    connection: &'a mut Connection,
    options: &'a Options,
    database: String,
    retention_policy: String,
    batch: Vec<String>,
    commands: u64,
    inserted: u64,
    failed: u64,
    started: Instant,
}

/// Imports the file the options name; the exit status.
pub fn run(connection: &mut Connection, options: &Options) -> i32 {
    if options.path.is_empty() {
        eprintln!("ERROR: file argument required");
        return 1;
    }
    let file = match File::open(&options.path) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("ERROR: open {}: {error}", options.path);
            return 1;
        }
    };
    let reader: Box<dyn Read> = match options.compressed {
        true => Box::new(flate2::read::MultiGzDecoder::new(file)),
        false => Box::new(file),
    };
    let mut import = Import {
        connection,
        options,
        database: options.database.clone(),
        retention_policy: String::new(),
        batch: Vec::new(),
        commands: 0,
        inserted: 0,
        failed: 0,
        started: Instant::now(),
    };
    let result = import.read(BufReader::with_capacity(1 << 20, reader));
    println!("Processed {} commands", import.commands);
    println!("Processed {} inserts", import.inserted + import.failed);
    println!("Failed {} inserts", import.failed);
    match result {
        Err(error) => {
            eprintln!("ERROR: {error}");
            1
        }
        Ok(()) if import.failed > 0 => {
            eprintln!("ERROR: {} points were not inserted", import.failed);
            1
        }
        Ok(()) => 0,
    }
}

impl Import<'_> {
    fn read(&mut self, mut reader: impl BufRead) -> Result<(), String> {
        let mut is_data = false;
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if reader.read_until(b'\n', &mut bytes).map_err(|error| error.to_string())? == 0 {
                break;
            }
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(comment) = line.strip_prefix('#') {
                let comment = comment.trim();
                match comment {
                    "DDL" => is_data = false,
                    "DML" => is_data = true,
                    _ => self.set_context(comment),
                }
            } else if line.trim().is_empty() {
            } else if is_data {
                self.batch.push(line.to_owned());
                if self.batch.len() >= BATCH_LINES {
                    self.send();
                }
            } else {
                self.execute(line)?;
            }
        }
        self.send();
        Ok(())
    }

    fn set_context(&mut self, comment: &str) {
        let (target, value) = match comment.split_once(':') {
            Some(("CONTEXT-DATABASE", value)) => (0, value.trim()),
            Some(("CONTEXT-RETENTION-POLICY", value)) => (1, value.trim()),
            _ => return,
        };
        // What was read so far belongs to the context before.
        self.send();
        match target {
            0 => self.database = value.to_owned(),
            _ => self.retention_policy = value.to_owned(),
        }
    }

    fn execute(&mut self, statement: &str) -> Result<(), String> {
        let answer = self.connection.query(statement, &[])?;
        let json: serde_json::Value =
            serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        if let Some(error) = output::errors(&json).first() {
            eprintln!("error: {error}");
        }
        self.commands += 1;
        Ok(())
    }

    fn send(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let lines = self.batch.len() as u64;
        let parameters = [
            ("db", self.database.as_str()),
            ("rp", self.retention_policy.as_str()),
            (
                "precision",
                if self.options.precision == "rfc3339" { "ns" } else { self.options.precision.as_str() },
            ),
            ("consistency", self.options.consistency.as_str()),
        ];
        match self.connection.write(&parameters, self.batch.join("\n").as_bytes()) {
            Ok(()) => self.inserted += lines,
            Err(error) => {
                eprintln!("error writing batch: {}", error.trim_end());
                for line in &self.batch {
                    eprintln!("{line}");
                }
                self.failed += lines;
            }
        }
        self.batch.clear();
        self.hold_back();
    }

    /// Waits when more was sent than `-pps` allows.
    fn hold_back(&self) {
        if self.options.points_per_second > 0 {
            let due = (self.inserted + self.failed) as f64 / self.options.points_per_second as f64;
            std::thread::sleep(Duration::from_secs_f64(due).saturating_sub(self.started.elapsed()));
        }
    }
}
