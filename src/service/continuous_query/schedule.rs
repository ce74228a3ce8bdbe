//! When a continuous query runs, and over which windows: pure functions of its definition and of time.
//!
//!     last run        next run = last run + EVERY
//!        |               |        now
//!     ---+---+---+---+---+----+---|--->
//!            [ the next run's range )
//!
//! A run that is due computes every window from `FOR` before the next run up to now, so runs that were missed are made up
//! for by the next one. Windows before the next run's range are settled: points that come into them are late.

use std::sync::Arc;

use chrono_tz::Tz;
use tidemark_engine::model::TimeRange;

use crate::influxql::ast::{BinaryOp, Expr, MeasurementName, SelectStatement, Source, Statement};
use crate::influxql::parse_statement;
use crate::meta::ContinuousQueryInfo;
use crate::query::compile::compile;
use crate::query::condition::{self, Clock, MAX_TIME, MIN_TIME};
use crate::query::window::{Interval, Windows};

/// A continuous query, read from its text.
#[derive(Debug, Clone)]
pub struct Definition {
    select: SelectStatement,
    /// GROUP BY time.
    windows: Windows,
    interval: i64,
    /// RESAMPLE EVERY, or the interval.
    runs: Windows,
    every: i64,
    /// RESAMPLE FOR, or what a run has to look back at least.
    look_back: i64,
}

/// What a continuous query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSource {
    pub database: String,
    pub retention_policy: String,
    /// `None`: chosen by a regular expression.
    pub measurement: Option<Vec<u8>>,
}

impl Definition {
    /// Reads a stored query; `now` in ns is what offsets may refer to.
    pub fn read(info: &ContinuousQueryInfo, now: i64) -> Result<Self, String> {
        let statement = parse_statement(&info.query).map_err(|error| error.to_string())?;
        let Statement::CreateContinuousQuery(create) = statement else {
            return Err("query isn't a valid continuous query".to_owned());
        };
        let select = *create.select;
        if select.is_raw() {
            return Err("continuous queries must be aggregate queries".to_owned());
        }
        let compiled = compile(&select, now).map_err(|error| error.to_string())?;
        let Some(Interval { every: interval, offset }) = compiled.interval else {
            return Err("continuous queries need GROUP BY time".to_owned());
        };
        let every = if create.resample_every > 0 { create.resample_every } else { interval };
        let look_back = match create.resample_for {
            0 => interval.max(every),
            given => given,
        };
        let windows = |every| windows_of(every, offset, compiled.zone);
        Ok(Self { windows: windows(interval), runs: windows(every), select, interval, every, look_back })
    }

    /// The time of the run that is due, if one is. Without a last run, or with one that the clock has fallen behind, that
    /// is now.
    pub fn due(&self, last_run: Option<i64>, now: i64) -> Option<i64> {
        match last_run {
            Some(last) if last <= now => Some(self.run_after(last)).filter(|next| *next <= now),
            _ => Some(now),
        }
    }

    /// The time of the first run of a query that came into being between these times. A window that was running then may
    /// have ended by now, and its points were written under this query's eyes: it is computed too.
    pub fn first_run(&self, created_after: i64, now: i64) -> i64 {
        created_after.clamp(now.saturating_sub(self.interval), now)
    }

    /// What a run computes, if anything.
    pub fn range(&self, run: i64, now: i64) -> TimeRange {
        let end = now.saturating_add(self.interval - self.every.min(self.interval));
        TimeRange::new(self.range_start(run), self.windows.start_of(end))
    }

    /// What is the last run from now on.
    pub fn last_run(&self, now: i64) -> i64 {
        self.runs.start_of(now)
    }

    /// Points before this come into windows that no later run will look at by itself.
    pub fn settled_before(&self, last_run: i64) -> i64 {
        self.range_start(self.run_after(last_run))
    }

    fn run_after(&self, last_run: i64) -> i64 {
        self.runs.bounds(last_run).1
    }

    fn range_start(&self, run: i64) -> i64 {
        self.windows.start_of(run.saturating_add(self.interval - self.look_back - 1))
    }

    /// The whole windows around a range.
    pub fn widen(&self, range: TimeRange) -> TimeRange {
        TimeRange::new(self.windows.start_of(range.start), self.windows.bounds(range.end - 1).1)
    }

    /// Length of windows, about.
    pub fn interval(&self) -> i64 {
        self.interval
    }

    /// The last whole windows of a range, `windows_max` at most.
    pub fn newest_part(&self, range: TimeRange, windows_max: i64) -> TimeRange {
        let span = self.interval.saturating_mul(windows_max);
        let start = self.windows.start_of(range.end.saturating_sub(span));
        TimeRange::new(start.max(range.start), range.end)
    }

    /// The SELECT over these times alone.
    pub fn select_over(&self, range: TimeRange, now: i64) -> Result<Statement, String> {
        let mut select = self.select.clone();
        let clock = Clock { now, zone: self.windows.zone };
        let (condition, _) =
            condition::split(select.condition.as_deref(), clock).map_err(|error| error.to_string())?;
        let bound = |op, time| Expr::binary(op, Expr::var("time"), Expr::Time(time));
        let time = Expr::binary(
            BinaryOp::And,
            bound(BinaryOp::GreaterEqual, range.start),
            bound(BinaryOp::Less, range.end),
        );
        let condition = match condition {
            Some(other) => Expr::binary(BinaryOp::And, Expr::Paren(Box::new(other)), time),
            None => time,
        };
        select.condition = Some(Arc::new(condition));
        Ok(Statement::Select(Box::new(select)))
    }

    /// What it reads, in whole names. Empty when it reads what it writes: its own points would be late for ever.
    pub fn sources(&self) -> Vec<ReadSource> {
        let mut sources = Vec::new();
        collect(&self.select, &mut sources);
        let Some(target) = self.select.target.as_ref().map(|target| &target.measurement) else {
            return sources;
        };
        let reads_itself = sources.iter().any(|source| {
            target.database.as_deref().unwrap_or_default() == source.database
                && target.retention_policy.as_deref().unwrap_or_default() == source.retention_policy
                && match (&target.name, &source.measurement) {
                    (MeasurementName::Name(target), Some(source)) => target.as_bytes() == source,
                    _ => true,
                }
        });
        if reads_itself { Vec::new() } else { sources }
    }
}

fn windows_of(every: i64, offset: i64, zone: Option<Tz>) -> Windows {
    Windows { interval: Some(Interval { every, offset }), zone, start: MIN_TIME, end: MAX_TIME }
}

fn collect(select: &SelectStatement, sources: &mut Vec<ReadSource>) {
    for source in &select.sources {
        match source {
            Source::Measurement(measurement) => sources.push(ReadSource {
                database: measurement.database.clone().unwrap_or_default(),
                retention_policy: measurement.retention_policy.clone().unwrap_or_default(),
                measurement: match &measurement.name {
                    MeasurementName::Name(name) => Some(name.clone().into_bytes()),
                    _ => None,
                },
            }),
            // The parser bounds the nesting.
            Source::Subquery(inner) => collect(inner, sources),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const MINUTE: i64 = 60 * SECOND;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;

    fn query(resample: &str, dimensions: &str) -> Definition {
        let query = format!(
            "CREATE CONTINUOUS QUERY cq ON db {resample} BEGIN SELECT mean(v) INTO db.rp.n FROM db.rp.m \
             GROUP BY {dimensions} END"
        );
        Definition::read(&ContinuousQueryInfo { name: "cq".into(), query }, 0).expect("a query")
    }

    /// In minutes: the due run's range and the last run after it.
    fn check(query: &Definition, last_run: Option<i64>, now: i64, want: Option<(i64, i64, i64)>) {
        let now = now * SECOND;
        let run = query.due(last_run.map(|minutes| minutes * MINUTE), now);
        let got = run.map(|run| {
            let range = query.range(run, now);
            (range.start / MINUTE, range.end / MINUTE, query.last_run(now) / MINUTE)
        });
        assert_eq!(got, want, "last run {last_run:?}, now {now}");
    }

    #[test]
    fn each_run_computes_the_windows_that_ended_since_the_last() {
        let query = query("", "time(10m)");
        check(&query, None, 65 * 60, Some((60, 60, 60)));
        check(&query, None, 70 * 60, Some((60, 70, 70)));
        check(&query, Some(60), 70 * 60 - 1, None);
        check(&query, Some(60), 70 * 60, Some((60, 70, 70)));
        check(&query, Some(60), 70 * 60 + 1, Some((60, 70, 70)));
        // Runs that were missed are made up for.
        check(&query, Some(60), 145 * 60, Some((60, 140, 140)));
        // A clock that was set back does not stop it.
        check(&query, Some(600), 70 * 60, Some((60, 70, 70)));
        assert_eq!(query.settled_before(70 * MINUTE), 70 * MINUTE);
    }

    #[test]
    fn the_first_run_computes_the_window_that_ended_since_the_query_came() {
        let query = query("", "time(10m)");
        let computed = |created_after: i64, now: i64| {
            let range = query.range(query.first_run(created_after * MINUTE, now * MINUTE), now * MINUTE);
            (range.start / MINUTE, range.end / MINUTE)
        };
        assert_eq!(computed(69, 71), (60, 70));
        // None ended, or nobody knows: the round before is long ago, or the clock was set back.
        assert_eq!(computed(71, 72), (70, 70));
        assert_eq!(computed(0, 71), (60, 70));
        assert_eq!(computed(90, 71), (70, 70));
    }

    #[test]
    fn for_looks_back_and_every_decides_when() {
        let for_an_hour = query("RESAMPLE FOR 60m", "time(10m)");
        check(&for_an_hour, Some(60), 70 * 60, Some((10, 70, 70)));
        assert_eq!(for_an_hour.settled_before(70 * MINUTE), 20 * MINUTE);
        // Oftener than windows end: the running window too.
        let often = query("RESAMPLE EVERY 5m", "time(10m)");
        check(&often, Some(60), 65 * 60, Some((60, 70, 65)));
        check(&often, Some(65), 70 * 60, Some((60, 70, 70)));
        // Less often: all windows since.
        let seldom = query("RESAMPLE EVERY 30m", "time(10m)");
        check(&seldom, Some(60), 89 * 60, None);
        check(&seldom, Some(60), 90 * 60, Some((60, 90, 90)));
        let both = query("RESAMPLE EVERY 30m FOR 90m", "time(10m)");
        check(&both, Some(60), 90 * 60, Some((0, 90, 90)));
    }

    #[test]
    fn offsets_and_zones_move_windows_and_runs() {
        let offset = query("", "time(10m, 3m)");
        check(&offset, Some(63), 72 * 60, None);
        check(&offset, Some(63), 73 * 60, Some((63, 73, 73)));
        let zoned = query("", "time(1d) TZ('America/Los_Angeles')");
        // The day of 23 hours that begins 2000-04-02T08:00Z.
        let day = 954_662_400 * SECOND;
        assert_eq!(zoned.due(Some(day), day + 23 * HOUR - 1), None);
        let run = zoned.due(Some(day), day + 23 * HOUR).expect("due");
        assert_eq!(zoned.range(run, run), TimeRange::new(day, day + 23 * HOUR));
        assert_eq!(zoned.settled_before(day), day);
    }

    #[test]
    fn what_is_late_is_widened_to_whole_windows_and_worked_on_in_parts() {
        let query = query("", "time(1h)");
        let range = query.widen(TimeRange::new(HOUR + MINUTE, DAY + 1));
        assert_eq!(range, TimeRange::new(HOUR, DAY + HOUR));
        assert_eq!(query.newest_part(range, 10), TimeRange::new(DAY - 9 * HOUR, DAY + HOUR));
        assert_eq!(query.newest_part(range, 100), range);
    }

    #[test]
    fn the_times_of_the_statement_are_replaced() {
        let text = "CREATE CONTINUOUS QUERY cq ON db BEGIN SELECT mean(v) INTO db.rp.n FROM db.rp.m WHERE \
                    time > now() - 1h AND host = 'a' GROUP BY time(1m) END";
        let info = ContinuousQueryInfo { name: "cq".into(), query: text.into() };
        let select =
            Definition::read(&info, 0).expect("a query").select_over(TimeRange::new(0, 60 * SECOND), 0);
        assert_eq!(
            select.expect("a statement").to_string(),
            "SELECT mean(v) INTO db.rp.n FROM db.rp.m WHERE (host = 'a') AND time >= '1970-01-01T00:00:00Z' AND \
             time < '1970-01-01T00:01:00Z' GROUP BY time(1m)"
        );
    }

    #[test]
    fn a_query_that_reads_what_it_writes_has_no_late_points() {
        let sources = |select: &str| {
            let query = format!("CREATE CONTINUOUS QUERY cq ON db BEGIN {select} GROUP BY time(1m) END");
            Definition::read(&ContinuousQueryInfo { name: "cq".into(), query }, 0)
                .expect("a query")
                .sources()
                .len()
        };
        assert_eq!(sources("SELECT mean(v) INTO db.rp.n FROM db.rp.m, db.rp.k"), 2);
        assert_eq!(sources("SELECT mean(v) INTO db.rp.m FROM db.rp.m"), 0);
        assert_eq!(sources("SELECT mean(v) INTO db.rp.:MEASUREMENT FROM db.rp./.*/"), 0);
        assert_eq!(sources("SELECT mean(v) INTO db.long.:MEASUREMENT FROM db.rp./.*/"), 1);
    }

    #[test]
    fn a_query_without_aggregates_is_refused() {
        let query = "CREATE CONTINUOUS QUERY cq ON db BEGIN SELECT v INTO n FROM m END";
        let info = ContinuousQueryInfo { name: "cq".into(), query: query.into() };
        assert!(Definition::read(&info, 0).is_err());
    }
}
