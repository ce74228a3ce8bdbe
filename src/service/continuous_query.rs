//! Continuous queries: each computes its windows as they end, and again when points came into them late.
//!
//! One per node, on core 0. A round, every `run-interval`:
//!
//! 1. which queries are due, and over which windows ([`schedule`])
//! 2. every core gets the watches that hold from now on, and tells of late points met by the former ones
//! 3. the due queries run, newest windows first, a bounded number at a time; a due query takes the windows of its late
//!    points along, and what failed before
//! 4. how far each has come goes into the catalogue, so that a restart goes on from there
//!
//! What a kill takes along: late points of the round that was not noted yet, and those that come in the moments before
//! the first round after the start. Nothing of regular windows.

pub mod schedule;

use std::collections::BTreeMap;
use std::time::Duration;

use tidemark_engine::model::{DatabaseId, TimeRange};

use crate::cores::{Cores, LateWatch, counters};
use crate::line_protocol::Precision;
use crate::meta::{Command, ContinuousQueryRun, Data};
use crate::query::result::{Cell, Collected};
use crate::runtime::Priority;
use crate::statement::executor::{Asked, Executor};
use crate::write::late::Ranges;
use crate::write::{Consistency, Owners, WriteRequest, Writer};
use schedule::Definition;

/// Windows one statement computes: a long catch-up neither fills the query pool nor keeps others waiting.
const WINDOWS_MAX: i64 = 1_000;

/// Statements of one query in a round; what is left comes with the next one.
const STATEMENTS_MAX: usize = 20;

/// Windows that are made up for after a pause. More are given up: a week of minutes is kept.
const CATCH_UP_WINDOWS_MAX: i64 = 10_080;

/// Bytes of an error that are kept, to be shown.
const ERROR_BYTES_MAX: usize = 512;

/// As the catalogue has it: no last run.
const NEVER: i64 = i64::MIN;

/// A wish from outside to run queries now.
pub struct RunRequest {
    /// Empty: all.
    pub database: String,
    /// Empty: all.
    pub name: String,
    /// What to take for now, ns.
    pub time: i64,
    pub done: flume::Sender<Result<(), String>>,
}

/// `[continuous_queries]`.
#[derive(Debug, Clone)]
pub struct Settings {
    pub run_interval: Duration,
    pub log_enabled: bool,
    /// Where `cq_query` statistics go, if anywhere.
    pub statistics_database: Option<String>,
}

type Key = (DatabaseId, String);

/// What is known of one query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Progress {
    last_run: Option<i64>,
    due_again: Ranges,
    error: String,
    /// There was too much for one round.
    goes_on: bool,
}

/// One query of a round.
struct Job {
    key: Key,
    database: String,
    definition: Definition,
    is_due: bool,
}

pub struct Service {
    pub cores: Cores,
    pub executor: Executor,
    pub writer: std::rc::Rc<Writer<Owners>>,
    pub settings: Settings,
    progress: BTreeMap<Key, Progress>,
    /// By key: the text, and what was read from it.
    definitions: BTreeMap<Key, (String, Definition)>,
    /// Whose watch each number is, as the cores were last told.
    watched: Vec<Key>,
    /// When the last round by itself was, if there was one: what is new now came into being after it.
    rounded_at: Option<i64>,
}

impl Service {
    pub fn new(
        cores: Cores,
        executor: Executor,
        writer: std::rc::Rc<Writer<Owners>>,
        settings: Settings,
    ) -> Self {
        let data = cores.view().current();
        let progress = data.continuous_query_runs.iter().map(|run| {
            let progress = Progress {
                last_run: (run.last_run != NEVER).then_some(run.last_run),
                due_again: Ranges::new(&run.due_again),
                error: run.error.clone(),
                goes_on: false,
            };
            ((run.database, run.name.clone()), progress)
        });
        Self {
            progress: progress.collect(),
            definitions: BTreeMap::new(),
            cores,
            executor,
            writer,
            settings,
            watched: Vec::new(),
            rounded_at: None,
        }
    }

    /// Runs until the core ends. What it computes is a query; that it waits is none.
    pub async fn run(mut self, requests: flume::Receiver<RunRequest>) {
        let runtime = self.cores.runtime().clone();
        // At once, so that the cores know what is late.
        let mut asked = None;
        loop {
            if asked.is_some() || !self.is_unused() {
                let Some(service) = runtime.run(Priority::Query, self.turn(asked)).await else { return };
                self = service;
            } else {
                self.rounded_at = Some(runtime.wall_ns());
            }
            let request = async { requests.recv_async().await.map(Some) };
            let waited = async {
                runtime.sleep(self.settings.run_interval).await;
                Ok(None)
            };
            // Who asks lives as long as the core.
            let Ok(next) = futures_lite::future::or(request, waited).await else { return };
            asked = next;
        }
    }

    /// Without any continuous query, and none left to be forgotten.
    fn is_unused(&self) -> bool {
        let data = self.cores.view().current();
        data.databases.iter().all(|database| database.continuous_queries.is_empty())
            && self.progress.is_empty()
            && self.definitions.is_empty()
            && self.watched.is_empty()
    }

    /// What was asked for, or a round.
    async fn turn(mut self, asked: Option<RunRequest>) -> Self {
        match asked {
            Some(request) => {
                let ran = self.run_now(&request).await;
                let _ = request.done.send(ran);
            }
            None => self.round(self.cores.runtime().wall_ns()).await,
        }
        self
    }

    /// Has the queries of a request run, whether they are due or not.
    async fn run_now(&mut self, request: &RunRequest) -> Result<(), String> {
        let data = self.cores.view().current();
        if !request.database.is_empty() && data.database(&request.database).is_none() {
            return Err(format!("database not found: {}", request.database));
        }
        for database in &data.databases {
            for query in &database.continuous_queries {
                let is_meant = (request.database.is_empty() || request.database == database.name)
                    && (request.name.is_empty() || request.name == query.name);
                if is_meant && let Some(progress) = self.progress.get_mut(&(database.id, query.name.clone()))
                {
                    progress.last_run = None;
                }
            }
        }
        self.compute(request.time).await;
        Ok(())
    }

    /// One round at this time.
    async fn round(&mut self, now: i64) {
        self.compute(now).await;
        self.rounded_at = Some(now);
    }

    /// Steps 1 to 4.
    async fn compute(&mut self, now: i64) {
        let data = self.cores.view().current();
        let before = self.progress.clone();
        let jobs = self.jobs(&data, now);
        if jobs.is_empty() && self.watched.is_empty() {
            return;
        }
        self.exchange_late(&jobs).await;
        for job in &jobs {
            if job.is_due || self.progress[&job.key].goes_on {
                self.work(job, now).await;
            }
        }
        self.note(&before).await;
    }

    /// Steps 1: what there is, and what is due. A query that cannot be read has failed.
    fn jobs(&mut self, data: &Data, now: i64) -> Vec<Job> {
        let mut jobs = Vec::new();
        for database in &data.databases {
            for info in &database.continuous_queries {
                let key = (database.id, info.name.clone());
                let is_new = !self.progress.contains_key(&key);
                let progress = self.progress.entry(key.clone()).or_default();
                let known =
                    self.definitions.get(&key).filter(|(text, _)| *text == info.query && !is_fleeting(text));
                let read = match known {
                    Some((_, definition)) => Ok(definition.clone()),
                    None => Definition::read(info, now),
                };
                let definition = match read {
                    Ok(definition) => definition,
                    Err(error) => {
                        // Told once, not in every round.
                        if progress.error != error {
                            self.failed(&key, &database.name, error);
                        }
                        continue;
                    }
                };
                if known.is_none() {
                    self.definitions.insert(key.clone(), (info.query.clone(), definition.clone()));
                }
                let run = match self.rounded_at {
                    Some(rounded_at) if is_new => Some(definition.first_run(rounded_at, now)),
                    _ => definition.due(progress.last_run, now),
                };
                if let Some(run) = run {
                    let range = catch_up(&definition, definition.range(run, now), &info.name);
                    progress.due_again.add(range);
                    progress.last_run = Some(definition.last_run(now));
                }
                jobs.push(Job { key, database: database.name.clone(), definition, is_due: run.is_some() });
            }
        }
        let exists = |key: &Key| {
            data.database_by_id(key.0)
                .is_some_and(|database| database.continuous_queries.iter().any(|query| query.name == key.1))
        };
        self.progress.retain(|key, _| exists(key));
        self.definitions.retain(|key, _| exists(key));
        jobs
    }

    /// Step 2.
    async fn exchange_late(&mut self, jobs: &[Job]) {
        let mut watches = Vec::new();
        let mut watched = Vec::new();
        for job in jobs {
            let Some(last_run) = self.progress[&job.key].last_run else { continue };
            for source in job.definition.sources() {
                watches.push(LateWatch {
                    number: watched.len() as u32,
                    database: source.database,
                    retention_policy: source.retention_policy,
                    measurement: source.measurement,
                    before: job.definition.settled_before(last_run),
                    grain: job.definition.interval(),
                });
                watched.push(job.key.clone());
            }
        }
        let former = std::mem::replace(&mut self.watched, watched);
        for core in 0..self.cores.count() {
            let marks = match self.cores.exchange_late(core, watches.clone()).await {
                Ok(marks) => marks,
                Err(error) => {
                    tracing::warn!(core, %error, "late points of a core are not known");
                    continue;
                }
            };
            for mark in marks {
                let Some(key) = former.get(mark.number as usize) else { continue };
                let Some(progress) = self.progress.get_mut(key) else { continue };
                mark.ranges.iter().for_each(|range| progress.due_again.add(*range));
            }
        }
    }

    /// Step 3 for one query.
    async fn work(&mut self, job: &Job, now: i64) {
        let Some(progress) = self.progress.get_mut(&job.key) else { return };
        // A mark is of equal pieces of time, windows may not be.
        let widened: Vec<_> =
            progress.due_again.as_slice().iter().map(|range| job.definition.widen(*range)).collect();
        progress.due_again = Ranges::new(&widened);
        progress.goes_on = false;
        for _ in 0..STATEMENTS_MAX {
            let Some(range) = self.progress[&job.key].due_again.as_slice().last().copied() else { break };
            let part = job.definition.newest_part(range, WINDOWS_MAX);
            match self.execute(job, part, now).await {
                Ok(()) => {}
                Err(error) => return self.failed(&job.key, &job.database, error),
            }
            if let Some(progress) = self.progress.get_mut(&job.key) {
                progress.due_again.remove(part);
                progress.error.clear();
            }
        }
        if let Some(progress) = self.progress.get_mut(&job.key) {
            progress.goes_on = !progress.due_again.is_empty();
        }
    }

    async fn execute(&self, job: &Job, range: TimeRange, now: i64) -> Result<(), String> {
        let statement = job.definition.select_over(range, now)?;
        let asked = Asked { database: job.database.clone(), ..Asked::default() };
        let started_ns = self.cores.runtime().monotonic_ns();
        let mut answer = Collected::default();
        self.executor.execute(&statement, &asked, &mut answer).await.map_err(|error| error.to_string())?;
        let took_ns = self.cores.runtime().monotonic_ns() - started_ns;
        let written = points_written(&answer);
        let counters = self.cores.counters();
        counters::add(&counters.continuous_queries_ok, 1);
        counters::add(&counters.continuous_query_points, written);
        if self.settings.log_enabled {
            tracing::info!(
                name = %job.key.1,
                database = %job.database,
                start = range.start,
                end = range.end,
                written,
                took_ms = took_ns / 1_000_000,
                "continuous query done"
            );
        }
        self.keep_statistics(job, range, written, took_ns).await;
        Ok(())
    }

    /// `query-stats-enabled`.
    async fn keep_statistics(&self, job: &Job, range: TimeRange, written: u64, took_ns: u64) {
        let Some(database) = &self.settings.statistics_database else { return };
        let now = self.cores.runtime().wall_ns();
        let mut line = b"cq_query".to_vec();
        crate::line_protocol::format::put_tag(&mut line, b"cq", job.key.1.as_bytes());
        crate::line_protocol::format::put_tag(&mut line, b"db", job.database.as_bytes());
        line.extend_from_slice(
            format!(
                " durationNs={took_ns}i,pointsWrittenOK={written}i,startTime={}i,endTime={}i {now}\n",
                range.start, range.end
            )
            .as_bytes(),
        );
        let request = WriteRequest {
            database,
            retention_policy: "",
            precision: Precision::Nanosecond,
            consistency: Consistency::Any,
            now,
            unsigned: false,
            validate_keys: false,
        };
        if let Err(error) = self.writer.write_lines(&request, &line).await {
            tracing::warn!(%error, database, "statistics of a continuous query are lost");
        }
    }

    fn failed(&mut self, key: &Key, database: &str, error: String) {
        tracing::warn!(name = %key.1, database, %error, "a continuous query failed");
        counters::add(&self.cores.counters().continuous_queries_failed, 1);
        if let Some(progress) = self.progress.get_mut(key) {
            progress.error = error;
            let mut end = progress.error.len().min(ERROR_BYTES_MAX);
            while !progress.error.is_char_boundary(end) {
                end -= 1;
            }
            progress.error.truncate(end);
        }
    }

    /// Step 4: what has changed since `before`.
    async fn note(&self, before: &BTreeMap<Key, Progress>) {
        let changed = self.progress.iter().filter(|(key, progress)| before.get(*key) != Some(progress));
        let runs: Vec<_> = changed
            .map(|(key, progress)| ContinuousQueryRun {
                database: key.0,
                name: key.1.clone(),
                last_run: progress.last_run.unwrap_or(NEVER),
                due_again: progress.due_again.as_slice().to_vec(),
                error: progress.error.clone(),
            })
            .collect();
        if runs.is_empty() {
            return;
        }
        if let Err(error) = self.cores.propose(Command::NoteContinuousQueryRuns { runs }).await {
            tracing::warn!(%error, "how far continuous queries have come is not noted");
        }
    }
}

/// Whether a query means something else every time it is read.
fn is_fleeting(text: &str) -> bool {
    text.contains("now()")
}

/// What is made up for of a range.
fn catch_up(definition: &Definition, range: TimeRange, name: &str) -> TimeRange {
    let kept = definition.newest_part(range, CATCH_UP_WINDOWS_MAX);
    if kept != range {
        tracing::warn!(
            name,
            from = range.start,
            to = kept.start,
            "windows of a continuous query are given up: too many were missed"
        );
    }
    kept
}

/// The number in the answer to a SELECT INTO.
fn points_written(answer: &Collected) -> u64 {
    let written =
        answer.series.first().and_then(|series| series.values.get(1)).filter(|cells| !cells.is_empty());
    match written.map(|cells| cells.get(0)) {
        Some(Cell::Integer(points)) => points as u64,
        _ => 0,
    }
}
