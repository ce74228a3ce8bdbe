//! What statements need from the server around them, answered by this node's cores.

use std::rc::Rc;
use std::sync::Arc;

use tidemark_engine::model::{ShardGroupId, ShardId};
use tidemark_engine::scan::request::ShardRef;
use tidemark_engine::store::DeleteRequest;

use super::{Environment, password};
use crate::config::Config;
use crate::cores::together;
use crate::cores::{CoreRequest, Cores, KillOutcome};
use crate::meta::{Command, Data, MetaError, Outcome, PendingDelete};
use crate::query::error::{QueryError, Result};
use crate::query::result::{Cell, Series};
use crate::query::show::meta::RunningQuery;
use crate::stats;

/// The node as statements see it; one per core.
pub struct NodeEnvironment {
    cores: Cores,
    config: Rc<Config>,
    started_ns: i64,
}

impl NodeEnvironment {
    pub fn new(cores: Cores, config: Rc<Config>) -> Self {
        let started_ns = cores.runtime().wall_ns();
        Self { cores, config, started_ns }
    }
}

fn busy() -> QueryError {
    QueryError::statement("too many passwords are being hashed, try again")
}

impl Environment for NodeEnvironment {
    fn meta(&self) -> Arc<Data> {
        self.cores.view().current()
    }

    fn retention_autocreate(&self) -> bool {
        self.config.meta.retention_autocreate
    }

    async fn propose(&self, command: Command) -> Result<Outcome, MetaError> {
        self.cores.propose(command).await
    }

    async fn hash_password(&self, text: String) -> Result<String> {
        let runtime = self.cores.runtime();
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&runtime.random().to_le_bytes());
        salt[8..].copy_from_slice(&runtime.random().to_le_bytes());
        let hashed = runtime.offload(move || password::hash(&text, salt)).await;
        hashed.ok_or_else(busy)?.map_err(QueryError::statement)
    }

    async fn verify_password(&self, text: String, hash: String) -> Result<bool> {
        self.cores.runtime().offload(move || password::verify(&text, &hash)).await.ok_or_else(busy)
    }

    async fn carry_out(&self, delete: PendingDelete) -> Result<()> {
        carry_out(&self.cores, &delete).await
    }

    /// The core that decided it has told the owners already.
    async fn remove_shards(&self, _: Vec<(ShardGroupId, ShardId)>) -> Result<()> {
        Ok(())
    }

    async fn running_queries(&self) -> Result<Vec<RunningQuery>> {
        let asked = (0..self.cores.count()).map(|core| self.cores.queries(core));
        let mut all = Vec::new();
        for queries in together(asked.collect()).await {
            all.extend(queries.map_err(QueryError::Engine)?.into_iter().map(|query| RunningQuery {
                id: query.id,
                text: query.text,
                database: query.database,
                duration_ns: query.duration_ns as i64,
                status: if query.is_killed { "killed" } else { "running" },
            }));
        }
        all.sort_by_key(|query| query.id);
        Ok(all)
    }

    async fn kill_query(&self, id: u64, host: Option<&str>) -> Result<()> {
        let unknown = || QueryError::statement(format!("no such query id: {id}"));
        let own = [self.config.http.bind_address.as_str(), self.config.hostname.as_str(), "localhost"];
        if host.is_some_and(|host| !host.is_empty() && !own.contains(&host)) {
            return Err(unknown());
        }
        // The core that gave the id out.
        let core = (id.wrapping_sub(1) % self.cores.count() as u64) as usize;
        match self.cores.kill_query(core, id).await.map_err(QueryError::Engine)? {
            KillOutcome::Killed => Ok(()),
            KillOutcome::AlreadyKilled => Err(QueryError::statement("already killed")),
            KillOutcome::Unknown => Err(unknown()),
        }
    }

    async fn statistics(&self, module: Option<&str>) -> Result<Vec<Series>> {
        let cores = stats::of_all_cores(&self.cores).await;
        let mut all = stats::statistics(&cores, &self.config);
        all.extend(stats::tagged(&self.cores).await);
        if module.is_none_or(|module| stats::shards::NAMES.contains(&module)) {
            all.extend(stats::shards::statistics(&self.cores, &self.config).await);
        }
        all.retain(|statistic| module.is_none_or(|module| statistic.name == module));
        all.sort_by(|a, b| a.name.cmp(b.name));
        let series = all.into_iter().map(|statistic| {
            let mut values = statistic.values;
            values.sort_unstable();
            let columns: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
            let row = values.iter().map(|(_, value)| Cell::Integer(*value)).collect();
            let mut series = Series::from_rows(statistic.name.as_bytes(), &columns, vec![row]);
            series.tags = statistic
                .tags
                .into_iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.into_bytes()))
                .collect();
            series
        });
        Ok(series.collect())
    }

    async fn diagnostics(&self, module: Option<&str>) -> Result<Vec<Series>> {
        let now_ns = self.cores.runtime().wall_ns();
        let text = |text: &str| Cell::text(text);
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let all = [
            (
                "build",
                vec![
                    ("Branch", text("unknown")),
                    ("Commit", text("unknown")),
                    ("Version", text(env!("CARGO_PKG_VERSION"))),
                ],
            ),
            ("engine", vec![("cores", Cell::Integer(self.cores.count() as i64))]),
            ("network", vec![("hostname", text(hostname.trim()))]),
            (
                "system",
                vec![
                    ("PID", Cell::Integer(i64::from(std::process::id()))),
                    ("currentTime", Cell::Time(now_ns)),
                    ("started", Cell::Time(self.started_ns)),
                    (
                        "uptime",
                        text(&crate::influxql::duration::format_duration_go(now_ns - self.started_ns)),
                    ),
                ],
            ),
        ];
        let meta = self.meta();
        let chosen = all.into_iter().filter(|(name, _)| module.is_none_or(|module| module == *name));
        let series = chosen.map(|(name, values)| {
            let columns: Vec<&str> = values.iter().map(|(column, _)| *column).collect();
            let row = values.iter().map(|(_, cell)| cell.clone()).collect();
            Series::from_rows(name.as_bytes(), &columns, vec![row])
        });
        let mut series: Vec<Series> = series.collect();
        if module.is_none_or(|module| module == CONTINUOUS_QUERIES) && !meta.continuous_query_runs.is_empty()
        {
            series.insert(series.len().min(1), continuous_queries(&meta));
        }
        Ok(series)
    }
}

/// How far continuous queries have come, as SHOW DIAGNOSTICS has it.
const CONTINUOUS_QUERIES: &str = "continuous_queries";

fn continuous_queries(meta: &Data) -> Series {
    let rows = meta.continuous_query_runs.iter().map(|run| {
        let database = meta.database_by_id(run.database).map_or("", |database| &database.name);
        vec![
            Cell::text(database),
            Cell::text(run.name.as_str()),
            if run.last_run == i64::MIN { Cell::Null } else { Cell::Time(run.last_run) },
            Cell::Integer(run.due_again.len() as i64),
            Cell::text(run.error.as_str()),
        ]
    });
    let columns = ["database", "name", "lastRun", "rangesDueAgain", "error"];
    Series::from_rows(CONTINUOUS_QUERIES.as_bytes(), &columns, rows.collect())
}

/// The same request to every core, all at once.
async fn ask_all(cores: &Cores, request: impl Fn(usize) -> Option<CoreRequest>) -> Result<()> {
    let asked = (0..cores.count()).filter_map(|core| Some((core, request(core)?)));
    let asked = asked.map(|(core, request)| cores.ask(core, request));
    for done in together(asked.collect()).await {
        done.map_err(QueryError::Engine)?;
    }
    Ok(())
}

/// Has every core delete from its own shards what the delete names.
async fn carry_out(cores: &Cores, delete: &PendingDelete) -> Result<()> {
    let data = cores.view().current();
    // Dropped meanwhile: nothing is left to delete.
    let Some(database) = data.database_by_id(delete.database) else { return Ok(()) };
    let mut shards: Vec<Vec<ShardRef>> = vec![Vec::new(); cores.count()];
    let mut groups = Vec::new();
    for policy in &database.retention_policies {
        if delete.retention_policy.is_some_and(|wanted| wanted != policy.id) {
            continue;
        }
        for group in policy.groups_in(delete.time) {
            groups.push(group.id);
            for (position, shard) in group.shards.iter().enumerate() {
                let core = cores.core_of(group.id, position, group.shards.len());
                shards[core].push(ShardRef { shard: shard.id, group: group.id });
            }
        }
    }
    let measurements: Vec<Option<Vec<u8>>> = match &delete.measurements {
        None => vec![None],
        Some(names) => names.iter().cloned().map(Some).collect(),
    };
    for measurement in &measurements {
        ask_all(cores, |core| {
            let shards = shards[core].clone();
            (!shards.is_empty()).then(|| {
                CoreRequest::Delete(DeleteRequest {
                    shards,
                    measurement: measurement.clone(),
                    series: delete.series.clone(),
                    time: delete.time,
                })
            })
        })
        .await?;
    }
    if delete.whole_measurements {
        for name in measurements.iter().flatten() {
            for &group in &groups {
                ask_all(cores, |_| Some(CoreRequest::ForgetMeasurement { group, measurement: name.clone() }))
                    .await?;
            }
        }
    }
    Ok(())
}

/// At start: forgets the deletes a former run had begun and did not finish.
///
/// They are not carried out now. Their clients never heard of a success, and rows may have been written and acknowledged
/// since: where a full disk did not take the note that a delete had failed, while the WAL still had room.
pub async fn forget_deletes(cores: &Cores) -> Result<(), MetaError> {
    for delete in cores.view().current().pending_deletes.clone() {
        tracing::warn!(
            id = delete.id,
            "a delete was under way when the server stopped: it may be done in part"
        );
        cores.propose(Command::FinishDelete { id: delete.id }).await?;
    }
    Ok(())
}
