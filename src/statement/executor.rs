//! Runs the statements of a query one after another on this core: the one entry for HTTP and for continuous queries.
//!
//! checks and names made whole → tracked, with its bounds → SELECT by the read path (INTO by the write path), all else by
//! [`execute`](super::execute) → pieces into the sink.

use std::fmt::{self, Write as _};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::environment::NodeEnvironment;
use super::{Environment, into, normalise};
use crate::config::Config;
use crate::cores::Cores;
use crate::cores::counters::{self, Active};
use crate::influxql::ast::{SelectStatement, Source, Statement};
use crate::meta::UserInfo;
use crate::query::control::{Control, End};
use crate::query::error::{QueryError, Result};
use crate::query::fan_out::FanOut;
use crate::query::result::ResultSink;
use crate::query::rewrite::{Defaults, Limits};
use crate::query::tracker::{Standing, Tracker};
use crate::query::{self};
use crate::write::{Owners, Writer};

/// Part of a core's query pool that one query may hold.
const QUERY_POOL_SHARE: u64 = 2;

/// Bytes that lists and logs show of a statement.
const SHOWN_BYTES_MAX: usize = 16 << 10;

/// What a request says about all its statements.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub database: String,
    pub retention_policy: String,
    /// Who asks; `None` when nobody has to say.
    pub user: Option<UserInfo>,
    /// Asked by GET: statements that change something get a warning.
    pub read_only: bool,
    /// When the request came (monotonic): its statements share the time of `query-timeout`. `None`: each has it anew.
    pub since_ns: Option<u64>,
}

/// One per core; cheap to clone.
#[derive(Clone)]
pub struct Executor(Rc<Inner>);

struct Inner {
    cores: Cores,
    source: FanOut,
    environment: NodeEnvironment,
    writer: Rc<Writer<Owners>>,
    tracker: Tracker,
    limits: Limits,
    timeout: Option<Duration>,
    log_after: Option<Duration>,
    log_timeouts: bool,
    log_kills: bool,
}

/// The work, or the error of the query's end from outside, whichever is first.
async fn until_ended(control: &Control, run: impl Future<Output = Result<()>>) -> Result<()> {
    futures_lite::future::or(run, async { Err(control.ended().await) }).await
}

/// A future, and what is done when it first waits. Short queries never do.
async fn at_first_wait<T>(run: impl Future<Output = T>, first: impl FnOnce()) -> T {
    let (mut run, mut first) = (pin!(run), Some(first));
    poll_fn(move |cx| {
        let polled = run.as_mut().poll(cx);
        if polled.is_pending()
            && let Some(first) = first.take()
        {
            first();
        }
        polled
    })
    .await
}

/// What a statement that starts now has left of the time for its request.
fn time_left(most: Duration, since_ns: Option<u64>, now_ns: u64) -> Duration {
    let spent_ns = since_ns.map_or(0, |since| now_ns.saturating_sub(since));
    most.saturating_sub(Duration::from_nanos(spent_ns))
}

/// Measurements of the request's database that name no policy get the request's.
fn use_policy(select: &mut SelectStatement, database: &str, policy: &str) {
    for source in &mut select.sources {
        match source {
            Source::Measurement(measurement) => {
                let is_own = measurement.database.as_deref().is_none_or(|name| name == database);
                if is_own && measurement.retention_policy.is_none() {
                    measurement.retention_policy = Some(policy.to_owned());
                }
            }
            // The parser bounds the nesting.
            Source::Subquery(inner) => use_policy(inner, database, policy),
        }
    }
}

/// Whether a statement changes anything; asked by GET, such statements get a warning.
fn is_change(statement: &Statement) -> bool {
    use Statement::*;
    match statement {
        Select(select) => select.target.is_some(),
        CreateDatabase(_)
        | DropDatabase { .. }
        | CreateRetentionPolicy(_)
        | AlterRetentionPolicy(_)
        | DropRetentionPolicy { .. }
        | CreateContinuousQuery(_)
        | DropContinuousQuery { .. }
        | CreateSubscription(_)
        | DropSubscription { .. }
        | CreateUser { .. }
        | DropUser { .. }
        | SetPassword { .. }
        | Grant { .. }
        | Revoke { .. }
        | GrantAdmin { .. }
        | RevokeAdmin { .. }
        | Delete(_)
        | DropSeries(_)
        | DropMeasurement { .. }
        | DropShard { .. }
        | KillQuery { .. } => true,
        _ => false,
    }
}

impl Executor {
    /// `query_bytes` is the core's memory for queries.
    pub fn new(cores: Cores, config: &Rc<Config>, writer: Rc<Writer<Owners>>, query_bytes: u64) -> Self {
        let coordinator = &config.coordinator;
        let some = |duration: crate::config::Duration| (!duration.is_zero()).then(|| duration.std());
        Self(Rc::new(Inner {
            source: FanOut::new(cores.clone()),
            environment: NodeEnvironment::new(cores.clone(), Rc::clone(config)),
            writer,
            tracker: Tracker::new(
                cores.this(),
                cores.query_counts().clone(),
                coordinator.max_concurrent_queries,
            ),
            limits: Limits {
                buckets_max: coordinator.max_select_buckets,
                series_max: coordinator.max_select_series,
                points_max: coordinator.max_select_point,
                budget_bytes: query_bytes / QUERY_POOL_SHARE,
            },
            timeout: some(coordinator.query_timeout),
            log_after: some(coordinator.log_queries_after),
            log_timeouts: coordinator.log_timedout_queries,
            log_kills: coordinator.termination_query_log,
            cores,
        }))
    }

    /// Memory that one query may hold on a core.
    pub fn query_bytes_max(&self) -> u64 {
        self.0.limits.budget_bytes
    }

    pub fn tracker(&self) -> &Tracker {
        &self.0.tracker
    }

    /// Executes one statement; its answer goes to `sink`. Dropping the future ends the statement on every core.
    pub async fn execute<S: ResultSink>(
        &self,
        statement: &Statement,
        asked: &Asked,
        sink: &mut S,
    ) -> Result<()> {
        let inner = &*self.0;
        let runtime = inner.cores.runtime();
        let control = Control::new(inner.limits);
        let started_ns = runtime.monotonic_ns();
        let standing = match statement {
            Statement::ShowQueries | Statement::KillQuery { .. } => Standing::Free,
            _ if asked.user.as_ref().is_some_and(|user| user.admin) => Standing::Administrator,
            _ => Standing::Usual,
        };
        let tracked = inner.tracker.begin(&asked.database, control.clone(), started_ns, standing)?;
        if standing == Standing::Free {
            // It may list itself.
            tracked.name(shown(statement));
        }
        let counters = inner.cores.counters();
        counters::add(&counters.queries_executed, 1);
        let _active = Active::new(&counters.queries_active_now);

        if asked.read_only && is_change(statement) {
            let warning = format!(
                "deprecated use of '{statement}' in a read only context, please use a POST request instead"
            );
            sink.message("warning", &warning).await?;
        }
        let run = self.run(statement, asked, control.clone(), sink);
        let time = async {
            if let Some(most) = inner.timeout {
                runtime.sleep(time_left(most, asked.since_ns, started_ns)).await;
                control.end(End::Timeout);
            }
            std::future::pending().await
        };
        let run = futures_lite::future::or(until_ended(&control, run), time);
        let result = at_first_wait(run, || tracked.name(shown(statement))).await;
        // What other cores did for it and nobody waits for ends now: whoever asks next finds its memory free.
        inner.cores.given_up_are_over().await;
        let took_ns = runtime.monotonic_ns() - started_ns;
        counters::add(&counters.query_duration_ns, took_ns);
        counters::add(&counters.query_memory_bytes, control.peak_bytes());
        counters::add(&counters.queries_finished, 1);
        if inner.log_after.is_some_and(|after| took_ns > after.as_nanos() as u64) {
            let (took_ms, memory_bytes) = (took_ns / 1_000_000, control.peak_bytes());
            let query = shown(statement);
            tracing::warn!(%query, database = %asked.database, took_ms, memory_bytes, "slow query");
        }
        match &result {
            Err(QueryError::Timeout) if inner.log_timeouts => {
                let query = shown(statement);
                tracing::warn!(%query, database = %asked.database, "query ended: it took too long");
            }
            Err(QueryError::Killed) if inner.log_kills => {
                let query = shown(statement);
                tracing::info!(%query, database = %asked.database, "query ended: it was killed");
            }
            _ => {}
        }
        result
    }

    async fn run<S: ResultSink>(
        &self,
        statement: &Statement,
        asked: &Asked,
        control: Control,
        sink: &mut S,
    ) -> Result<()> {
        let inner = &*self.0;
        match statement {
            Statement::Select(select) => self.select(select, asked, control, sink).await,
            Statement::Explain(explain) => {
                let context = self.context(asked, control);
                let mut explain = explain.clone();
                normalise::select(&mut explain.select, &inner.environment.meta(), &asked.database)?;
                let clock = || inner.cores.runtime().monotonic_ns() as i64;
                query::explain::explain(&inner.source, &explain, &context, &clock, sink).await
            }
            _ => {
                let context = super::Context {
                    database: asked.database.clone(),
                    retention_policy: asked.retention_policy.clone(),
                    user: asked.user.clone(),
                    now: inner.cores.runtime().wall_ns(),
                    budget_bytes: inner.limits.budget_bytes,
                    pace: Default::default(),
                };
                super::execute(statement, &context, &inner.source, &inner.environment, sink).await
            }
        }
    }

    async fn select<S: ResultSink>(
        &self,
        select: &SelectStatement,
        asked: &Asked,
        control: Control,
        sink: &mut S,
    ) -> Result<()> {
        let inner = &*self.0;
        let context = self.context(asked, control);
        let mut select = select.clone();
        let data = inner.environment.meta();
        if !asked.retention_policy.is_empty() {
            use_policy(&mut select, &asked.database, &asked.retention_policy);
        }
        normalise::select(&mut select, &data, &asked.database)?;
        if select.target.is_none() {
            return query::select(&inner.source, &select, &context, sink).await;
        }
        let mut writer = into::IntoWriter::new(&inner.writer, &inner.cores);
        query::into::select_into(&inner.source, &select, &context, &mut writer, sink).await
    }

    fn context(&self, asked: &Asked, control: Control) -> query::Context {
        query::Context {
            defaults: Defaults {
                database: asked.database.clone(),
                retention_policy: asked.retention_policy.clone(),
            },
            now: self.0.cores.runtime().wall_ns(),
            control,
        }
    }
}

/// A statement as lists and logs show it: without passwords, and of a long one its beginning.
fn shown(statement: &Statement) -> String {
    let mut text = Beginning(String::new());
    // It fails where the text is long enough.
    let _ = write!(text, "{statement}");
    text.0
}

struct Beginning(String);

impl fmt::Write for Beginning {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = SHOWN_BYTES_MAX - self.0.len();
        if more.len() <= room {
            self.0.push_str(more);
            return Ok(());
        }
        self.0.push_str(&more[..more.floor_char_boundary(room)]);
        self.0.push('…');
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn of_a_long_statement_its_beginning_is_shown() {
        let shown_of = |text: &str| shown(&crate::influxql::parse_statement(text).unwrap());
        assert_eq!(shown_of("select  v from m"), "SELECT v FROM m");
        for name in ["x", "é"] {
            let long = shown_of(&format!("SELECT \"{}\" FROM m", name.repeat(SHOWN_BYTES_MAX)));
            assert!(long.starts_with("SELECT ") && long.ends_with(&format!("{name}…")), "{name}");
            assert!((SHOWN_BYTES_MAX - 1..=SHOWN_BYTES_MAX + 3).contains(&long.len()), "{}", long.len());
        }
    }

    #[test]
    fn statements_of_a_request_share_its_time() {
        let most = Duration::from_nanos(100);
        let left = |since, now| time_left(most, since, now).as_nanos();
        assert_eq!(left(Some(1_000), 1_000), 100);
        assert_eq!(left(Some(1_000), 1_030), 70);
        assert_eq!(left(Some(1_000), 1_100), 0);
        assert_eq!(left(Some(1_000), 5_000), 0, "the time is over before the statement begins");
        assert_eq!(left(Some(1_000), 900), 100);
        assert_eq!(left(None, 5_000), 100, "each has it anew");
    }

    #[test]
    fn an_end_from_outside_is_the_answer_of_what_still_runs() {
        let ended = |is_done: bool, end: Option<End>| {
            let control = Control::new(Limits::default());
            end.into_iter().for_each(|end| control.end(end));
            let run = async move { if is_done { Ok(()) } else { std::future::pending().await } };
            block_on(until_ended(&control, run))
        };
        assert_eq!(ended(true, None), Ok(()));
        assert_eq!(ended(true, Some(End::Killed)), Ok(()), "it was done before");
        assert_eq!(ended(false, Some(End::Killed)), Err(QueryError::Killed));
        assert_eq!(ended(false, Some(End::Timeout)), Err(QueryError::Timeout));
    }

    #[test]
    fn a_measurement_of_the_requests_database_is_read_in_the_requests_policy() {
        let text = |query: &str| {
            let Ok(Statement::Select(mut select)) = crate::influxql::parse_statement(query) else {
                panic!("{query}")
            };
            use_policy(&mut select, "db", "week");
            select.to_string()
        };
        assert_eq!(text("SELECT v FROM m"), "SELECT v FROM week.m");
        assert_eq!(text("SELECT v FROM day.m"), "SELECT v FROM day.m");
        assert_eq!(text("SELECT v FROM other..m"), "SELECT v FROM other..m");
        assert_eq!(text("SELECT v FROM (SELECT v FROM m)"), "SELECT v FROM (SELECT v FROM week.m)");
    }
}
