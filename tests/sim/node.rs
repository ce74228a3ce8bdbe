//! A whole node on simulated doors: catalogue, cores, write path, queries. Only sockets are left out.

use std::rc::Rc;
use std::time::Duration;

use tidemark::config::{Config, Effective};
use tidemark::cores::main_loop::{
    CatalogueExchange, Core, CoreSetup, ReplayGauges, StoreSetup, Upstairs, checkpoints,
};
use tidemark::cores::{
    CoreRequest, CoreStats, KillOutcome, LateMark, LateWatch, Mesh, QueryInfo, SenderCount, TaggedStats,
};
use tidemark::influxql::{Parameters, parse_query};
use tidemark::line_protocol::Precision;
use tidemark::query::result::{Cell, Collected};
use tidemark::runtime::sim::Simulation;
use tidemark::runtime::{LocalFuture, Priority};
use tidemark::server::start::{Disks, GATES, Started, start};
use tidemark::server::wals_replayed;
use tidemark::statement::executor::{Asked, Executor};
use tidemark::write::{Consistency, Owners, WriteError, WriteRequest, Writer};
use tidemark_engine::disk::Disk;
use tidemark_engine::disk::sim::SimDisk;

use crate::oracle::Stored;

/// Memory of a core.
const CORE_BYTES: u64 = 64 << 20;
/// Small, so that little data makes snapshots and merges.
const SNAPSHOT_BYTES: u64 = 48 << 10;
/// Small too, so that segments are rolled, recycled and given back.
const SEGMENT_BYTES: u64 = 64 << 10;
const COLD: Duration = Duration::from_millis(300);
const FULL_COLD: Duration = Duration::from_millis(900);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_MAX: Duration = Duration::from_secs(600);

/// A node whose every core may serve.
pub struct Node {
    cores: Vec<NodeCore>,
}

struct NodeCore {
    core: Core<SimDisk>,
    writer: Rc<Writer<Owners>>,
    executor: Executor,
    meta: Option<tidemark::meta::store::MetaStore<SimDisk>>,
}

/// Nobody is above the cores.
struct Nobody;

impl Upstairs for Nobody {
    fn count(&self, _: &mut CoreStats) {}

    fn queries(&self) -> Vec<QueryInfo> {
        Vec::new()
    }

    fn kill_query(&self, _: u64) -> KillOutcome {
        KillOutcome::Unknown
    }

    fn catalogue_changed(&self) {}

    fn exchange_late(&self, _: Vec<LateWatch>) -> Vec<LateMark> {
        Vec::new()
    }

    fn run_continuous_queries(&self, _: String, _: String, _: i64) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Err("there are no services here".to_owned()) })
    }

    fn count_senders(&self, _: bool) -> Vec<SenderCount> {
        Vec::new()
    }

    fn tagged_stats(&self) -> Vec<TaggedStats> {
        Vec::new()
    }
}

fn config() -> Rc<Config> {
    let text = "[meta]\ndir = \"meta\"\n[data]\ndir = \"data\"\n";
    Rc::new(Effective::from_text(text, |_| None).expect("good text").config().expect("a good configuration"))
}

impl Node {
    /// Starts a node with so many cores on what the disk holds.
    pub async fn start(simulation: &Simulation, disk: &SimDisk, count: usize) -> Result<Self, String> {
        let runtime = simulation.runtime();
        let entries = disk.list("wal").await.map_err(|error| error.to_string())?;
        let wals: Vec<u64> = entries.iter().filter_map(|entry| entry.name.parse().ok()).collect();
        let (gate, checkpoints) = checkpoints(count);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| flume::unbounded()).unzip();
        let (started, ends) = flume::unbounded();
        let parts = Mesh::new(count).into_ends().into_iter().zip(checkpoints).zip(receivers).enumerate();
        for (core, ((end, checkpoint), receiver)) in parts {
            let setup = CoreSetup {
                end,
                node: 1,
                write_timeout: WRITE_TIMEOUT,
                store: StoreSetup {
                    wal_id: core as u64,
                    wal_ids_replayed: wals_replayed(core, count, &wals),
                    bytes: CORE_BYTES,
                    cache_bytes_max: CORE_BYTES,
                    cache_snapshot_bytes: SNAPSHOT_BYTES,
                    cache_cold_ns: COLD.as_nanos() as u64,
                    full_cold_ns: FULL_COLD.as_nanos() as u64,
                    wal_segment_bytes: SEGMENT_BYTES,
                    wal_bytes_max: 16 * SEGMENT_BYTES,
                    cold_codec: false,
                    scrub_interval_ns: 0,
                },
                catalogue: CatalogueExchange { senders: senders.clone(), receiver },
                checkpoint,
                replayed: ReplayGauges::new(count),
            };
            let disks = Disks { data: disk.clone(), meta: disk.clone() };
            let (runtime, started) = (simulation.runtime(), started.clone());
            let failed = setup.checkpoint.failed();
            simulation.runtime().spawn(Priority::Control, async move {
                let result = start(&runtime, disks, setup, "sim", Rc::new(Nobody)).await;
                if let Err(error) = &result {
                    failed(error);
                }
                let _ = started.send((core, result));
            });
        }
        for _ in 0..GATES {
            gate.open_once().await?;
        }
        let config = config();
        let mut cores: Vec<Option<NodeCore>> = (0..count).map(|_| None).collect();
        for _ in 0..count {
            let (at, result) = ends.recv_async().await.map_err(|error| error.to_string())?;
            let Started { core, meta } = result?;
            let writer = Rc::new(Writer::new(Owners::new(core.cores.clone(), 0)));
            let executor = Executor::new(core.cores.clone(), &config, Rc::clone(&writer), core.query_bytes());
            cores[at] = Some(NodeCore { core, writer, executor, meta });
        }
        drop(runtime);
        Ok(Self { cores: cores.into_iter().flatten().collect() })
    }

    pub fn count(&self) -> usize {
        self.cores.len()
    }

    /// Writes a body as if a client had sent it to this core.
    pub async fn write(&self, core: usize, body: &str) -> Result<(), WriteError> {
        let core = &self.cores[core];
        let request = WriteRequest {
            database: "db",
            retention_policy: "",
            precision: Precision::Nanosecond,
            consistency: Consistency::One,
            now: core.core.cores.runtime().wall_ns(),
            unsigned: true,
            validate_keys: false,
        };
        core.writer.write_lines(&request, body.as_bytes()).await.map(|_| ())
    }

    /// Runs a statement as if a client had sent it to this core.
    pub async fn query(&self, core: usize, text: &str) -> Result<Collected, String> {
        let query = parse_query(text, &Parameters::new()).map_err(|error| error.to_string())?;
        let asked = Asked { database: "db".to_owned(), ..Asked::default() };
        let mut collected = Collected::default();
        for statement in &query.statements {
            let run = self.cores[core].executor.execute(statement, &asked, &mut collected);
            run.await.map_err(|error| error.to_string())?;
        }
        Ok(collected)
    }

    /// Everything a client can read.
    pub async fn read_all(&self, core: usize) -> Result<Stored, String> {
        let answer = self.query(core, "SELECT v, f, s FROM m GROUP BY sid").await?;
        let mut stored = Stored::new();
        for series in answer.series {
            let tag = String::from_utf8_lossy(&series.tags[0].1).into_owned();
            let sid: u64 = tag.parse().map_err(|_| format!("an odd series {tag:?}"))?;
            for at in 0..series.rows() {
                let cells: Vec<Cell> = series.values.iter().map(|column| column.get(at)).collect();
                let [Cell::Time(time), Cell::Integer(v), Cell::Float(f), Cell::String(s)] = &cells[..] else {
                    return Err(format!("an odd row {cells:?}"));
                };
                stored.insert((sid, *time as u64), (*v, *f, String::from_utf8_lossy(s).into_owned()));
            }
        }
        Ok(stored)
    }

    /// Why the cores would not write now, core by core.
    pub async fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        let cores = &self.cores[0].core.cores;
        for core in 0..self.count() {
            if let Err(error) = cores.ask(core, CoreRequest::CheckWritable).await {
                troubles.push(error.to_string());
            }
        }
        troubles
    }

    /// A clean end.
    pub async fn close(self) -> Result<(), String> {
        let told = |error: tidemark_engine::Error| error.to_string();
        for NodeCore { core, meta, .. } in self.cores {
            core.close(CLOSE_MAX).await.map_err(told)?;
            if let Some(meta) = meta {
                meta.close().await.map_err(told)?;
            }
        }
        Ok(())
    }
}
