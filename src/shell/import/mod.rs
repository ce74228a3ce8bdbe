//! `-import`: an export of `influx_inspect`, or any file of line protocol under `influx`'s two headings.
//!
//! 1. [`source`] reads lines, from a plain or gzip file, and knows how far it is;
//! 2. statements up to `# DML` are run, lines behind it are gathered into batches per database and policy;
//! 3. a batch is written, again and again while the server is full or away;
//! 4. what the server refuses is told, or with `-rejects` looked for line by line and kept in [`rejects`];
//! 5. with `-resume`, [`resume`] remembers after every batch how far everything is acknowledged.
//!
//! A line is written at least once: writing a point twice changes nothing.

mod rejects;
mod resume;
mod source;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::connection::{Ask, Connection, Failure, WriteTo};
use super::flags::Flags;
use super::interrupt::Interrupt;
use super::progress;
use super::session::Session;
use rejects::Rejects;
use resume::Position;
use source::Source;

/// Lines of a batch, as in `influx`.
const BATCH_LINES: usize = 5_000;
/// A batch of long lines is sent earlier: servers limit bodies.
const BATCH_BYTES: usize = 8 << 20;
/// A line of status after so many lines, as in `influx`.
const STATUS_LINES: u64 = 100_000;
/// How often a batch is tried while the server is full or away, and the first and longest pauses between.
const TRIES_MAX: u32 = 12;
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

type Result<T = ()> = std::result::Result<T, String>;

/// One per process.
struct Import<'a> {
    connection: &'a Connection,
    interrupt: &'a Interrupt,
    to: WriteTo,
    points_per_second: u64,
    rejects: Option<Rejects>,
    /// How far everything is acknowledged.
    position: Position,
    resume_path: Option<std::path::PathBuf>,
    batch: Vec<u8>,
    batch_lines: u64,
    started: Instant,
    last_write: Instant,
    bar: Option<ProgressBar>,
    /// Points that the saved position counts.
    points_saved: u64,
    /// Points of the import that is resumed.
    inserted_before: u64,
}

/// Imports the file that the flags name.
pub fn run(session: &Session, flags: &Flags) -> Result {
    if flags.path.is_empty() {
        return Err("file argument required".to_owned());
    }
    session.interrupt.listen().map_err(|error| error.to_string())?;
    let path = Path::new(&flags.path);
    let is_stdin = flags.path == "-";
    if flags.resume && is_stdin {
        return Err("standard input cannot be resumed".to_owned());
    }
    let identity =
        if is_stdin { None } else { Some(resume::identity(path).map_err(|error| named(path, &error))?) };
    let resume_path = identity.as_ref().map(|_| resume::path_beside(path));
    let mut position = match (&resume_path, &identity) {
        (Some(resume_path), Some(identity)) if flags.resume => resume::load(resume_path, identity)?,
        _ => Position::default(),
    };
    position.identity = identity.unwrap_or_default();
    let mut source = Source::open(path, flags.compressed).map_err(|error| named(path, &error))?;
    if position.offset > 0 {
        source.skip_to(position.offset).map_err(|error| named(path, &error))?;
        log(&mut io::stdout(), &format!("Resuming after {} lines", position.lines));
    }
    let rejects = match flags.rejects.as_str() {
        "" => None,
        name => Some(
            Rejects::open(Path::new(name), position.offset > 0)
                .map_err(|error| format!("{name}: {error}"))?,
        ),
    };
    let is_shown = io::stderr().is_terminal();
    let mut import = Import {
        connection: &session.connection,
        interrupt: &session.interrupt,
        to: WriteTo {
            database: position.database.clone(),
            retention_policy: position.retention_policy.clone(),
            precision: session.settings.precision.clone(),
            consistency: session.settings.consistency.clone(),
        },
        points_per_second: flags.pps.max(0) as u64,
        rejects,
        inserted_before: position.inserted,
        position,
        resume_path,
        batch: Vec::new(),
        batch_lines: 0,
        started: Instant::now(),
        last_write: Instant::now(),
        bar: is_shown.then(|| progress::import_bar(source.total)),
        points_saved: 0,
    };
    let done = import.all(&mut source, flags.resume);
    import.end(done, flags.resume)
}

fn named(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("open {}: no such file or directory", path.display()),
        _ => format!("{}: {error}", path.display()),
    }
}

impl Import<'_> {
    fn all(&mut self, source: &mut Source, is_resumable: bool) -> Result {
        let mut line = Vec::new();
        while source.next_line(&mut line).map_err(|error| format!("reading standard input: {error}"))? {
            if self.interrupt.is_set() {
                return Err("interrupted".to_owned());
            }
            if !self.position.is_dml {
                self.definition(&line)?;
            } else if let Some(context) = context(&line) {
                // Lines before belong to the context before.
                self.write_batch()?;
                match context {
                    Context::Database(name) => self.to.database = name,
                    Context::Policy(name) => self.to.retention_policy = name,
                }
            } else if !line.starts_with(b"#") && !line.trim_ascii().is_empty() {
                self.batch.extend_from_slice(&line);
                self.batch.push(b'\n');
                self.batch_lines += 1;
            }
            self.position.lines += 1;
            if self.batch_lines as usize >= BATCH_LINES || self.batch.len() >= BATCH_BYTES {
                self.write_batch()?;
                self.status();
            }
            if self.batch.is_empty() {
                self.acknowledged(source, is_resumable)?;
            }
        }
        self.write_batch()
    }

    /// Everything up to here is with the server.
    fn acknowledged(&mut self, source: &Source, is_resumable: bool) -> Result {
        self.position.offset = source.offset;
        self.position.acknowledged_lines = self.position.lines;
        self.position.database.clone_from(&self.to.database);
        self.position.retention_policy.clone_from(&self.to.retention_policy);
        if let Some(bar) = &self.bar {
            bar.set_position(source.read_bytes());
            let here = self.position.inserted - self.inserted_before;
            bar.set_message(progress::import_message(here, self.started.elapsed()));
        }
        // Once a batch, not once a comment.
        let points = self.position.inserted + self.position.failed;
        if is_resumable && points > self.points_saved {
            self.points_saved = points;
            self.save()?;
        }
        Ok(())
    }

    fn save(&self) -> Result {
        match &self.resume_path {
            Some(path) => resume::save(path, &self.position).map_err(|error| named(path, &error)),
            None => Ok(()),
        }
    }

    /// A line before `# DML`.
    fn definition(&mut self, line: &[u8]) -> Result {
        if line.starts_with(b"# DML") {
            self.position.is_dml = true;
            return Ok(());
        }
        if line.starts_with(b"#") || line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.position.commands += 1;
        let ask = Ask { text: String::from_utf8_lossy(line).into_owned(), ..Ask::default() };
        match self.connection.query_whole(&ask) {
            Ok(answer) => {
                if let Some(error) = answer.first_error() {
                    self.warn(&format!("error: {error}"));
                }
                Ok(())
            }
            Err(failure @ (Failure::Interrupted | Failure::Unreachable(_))) => Err(failure.to_string()),
            Err(failure) => {
                self.warn(&format!("error: {failure}"));
                Ok(())
            }
        }
    }

    fn write_batch(&mut self) -> Result {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.throttle()?;
        let batch = std::mem::take(&mut self.batch);
        let lines = std::mem::take(&mut self.batch_lines);
        let written = self.write(&batch);
        self.last_write = Instant::now();
        match written? {
            None => self.position.inserted += lines,
            Some(reason) if self.rejects.is_some() => self.look_for_rejects(&batch, reason)?,
            Some(reason) => {
                self.warn(&format!("error writing batch:  {reason}"));
                self.warn(String::from_utf8_lossy(&batch).trim_end());
                self.position.failed += lines;
            }
        }
        Ok(())
    }

    /// Writes lines; the server's reason if it refuses them. Waits while the server is full or away.
    fn write(&self, lines: &[u8]) -> Result<Option<String>> {
        let mut pause = PAUSE_MIN;
        let mut tries = 0;
        loop {
            let failure = match self.connection.write(&self.to, lines) {
                Ok(()) => return Ok(None),
                Err(failure) => failure,
            };
            tries += 1;
            let wait = match &failure {
                Failure::Interrupted => return Err(failure.to_string()),
                Failure::Unreachable(_) => pause,
                Failure::Refused { status: 429 | 502.., retry_after, .. } => retry_after.unwrap_or(pause),
                Failure::Refused { message, .. } => return Ok(Some(message.clone())),
            };
            if tries >= TRIES_MAX {
                return Err(format!("gave up after {tries} tries: {failure}"));
            }
            self.wait(wait.min(PAUSE_MAX))?;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Halves what was refused until single lines are left. Lines that are good are written on the way.
    fn look_for_rejects(&mut self, batch: &[u8], reason: String) -> Result {
        let lines: Vec<&[u8]> = batch.split_inclusive(|&byte| byte == b'\n').collect();
        let mut open = vec![(lines.as_slice(), reason)];
        while let Some((lines, reason)) = open.pop() {
            if let [line] = lines {
                self.position.failed += 1;
                if let Some(rejects) = &mut self.rejects {
                    rejects.add(&self.to, line, &reason).map_err(|error| format!("rejects: {error}"))?;
                }
                continue;
            }
            let (first, second) = lines.split_at(lines.len() / 2);
            // The first half is written first: points of equal times keep their order.
            let mut refused = Vec::new();
            for half in [first, second] {
                match self.write(&half.concat())? {
                    None => self.position.inserted += half.len() as u64,
                    Some(reason) => refused.push((half, reason)),
                }
            }
            open.extend(refused.into_iter().rev());
        }
        Ok(())
    }

    /// `-pps`.
    fn throttle(&mut self) -> Result {
        if self.points_per_second == 0 {
            return Ok(());
        }
        let share = Duration::from_secs_f64(self.batch_lines as f64 / self.points_per_second as f64);
        self.wait(share.saturating_sub(self.last_write.elapsed()))
    }

    fn wait(&self, pause: Duration) -> Result {
        let started = Instant::now();
        while started.elapsed() < pause {
            if self.interrupt.is_set() {
                return Err("interrupted".to_owned());
            }
            std::thread::sleep((pause - started.elapsed().min(pause)).min(Duration::from_millis(50)));
        }
        Ok(())
    }

    fn status(&self) {
        let processed = self.position.inserted + self.position.failed;
        if processed > 0 && processed.is_multiple_of(STATUS_LINES) && self.bar.is_none() {
            let elapsed = self.started.elapsed();
            let rate = processed as f64 / elapsed.as_secs_f64().max(1e-9);
            let text = format!(
                "Processed {processed} lines.  Time elapsed: {:.3}s.  Points per second (PPS): {}",
                elapsed.as_secs_f64(),
                rate as u64
            );
            log(&mut io::stdout(), &text);
        }
    }

    fn warn(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| log(&mut io::stderr(), text)),
            None => log(&mut io::stderr(), text),
        }
    }

    /// Tells what was done, and how to go on if not everything was.
    fn end(mut self, done: Result, is_resumable: bool) -> Result {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if let Some(rejects) = &mut self.rejects {
            rejects.flush().map_err(|error| format!("rejects: {error}"))?;
        }
        let position = &self.position;
        let mut stdout = io::stdout();
        if position.inserted > 0 || position.failed > 0 || position.commands > 0 {
            log(&mut stdout, &format!("Processed {} commands", position.commands));
            log(&mut stdout, &format!("Processed {} inserts", position.inserted));
            log(&mut stdout, &format!("Failed {} inserts", position.failed));
        }
        match done {
            Ok(()) => {
                if let Some(path) = self.resume_path.as_ref().filter(|_| is_resumable) {
                    let _ = std::fs::remove_file(path);
                }
                match position.failed {
                    0 => Ok(()),
                    1 => Err("1 point was not inserted".to_owned()),
                    failed => Err(format!("{failed} points were not inserted")),
                }
            }
            Err(error) => {
                if self.resume_path.is_none() || position.offset == 0 {
                    return Err(error);
                }
                self.save()?;
                Err(format!(
                    "{error}; the same command with -resume goes on after line {}",
                    position.acknowledged_lines
                ))
            }
        }
    }
}

/// A directive among the lines.
enum Context {
    Database(String),
    Policy(String),
}

fn context(line: &[u8]) -> Option<Context> {
    let value = |rest: &[u8]| String::from_utf8_lossy(rest).trim().to_owned();
    if let Some(rest) = line.strip_prefix(b"# CONTEXT-DATABASE:") {
        return Some(Context::Database(value(rest)));
    }
    line.strip_prefix(b"# CONTEXT-RETENTION-POLICY:").map(|rest| Context::Policy(value(rest)))
}

/// A line as Go's logger writes it.
fn log(out: &mut dyn Write, text: &str) {
    let now = chrono::Local::now().format("%Y/%m/%d %H:%M:%S");
    // Nobody to tell is no reason to stop an import.
    let _ = writeln!(out, "{now} {text}");
}
