//! One core from its disks to a store that may be written: catalogue, store and its replay.
//!
//! The same for the real doors and for the simulated ones.

use std::rc::Rc;
use std::sync::Arc;

use tidemark_engine::disk::Disk;
use tidemark_engine::model::NodeId;

use super::life::NODE;
use crate::cores::main_loop::{self, Core, CoreSetup, Decider, Upstairs};
use crate::meta::store::MetaStore;
use crate::meta::{Command, Data, MetaError, Outcome};
use crate::runtime::{LocalFuture, Runtime};
use crate::statement::environment::forget_deletes;

/// How often the gate is opened during a start: when all stores are open, when all foreign entries are with their
/// owners, when begun deletes are forgotten.
pub const GATES: usize = 3;

/// Where a core keeps what.
pub struct Disks<D> {
    pub data: D,
    pub meta: D,
}

/// A core that may serve.
pub struct Started<D: Disk> {
    pub core: Core<D>,
    /// On core 0.
    pub meta: Option<MetaStore<D>>,
}

/// Answers when every core of the node has come as far.
pub async fn start<D: Disk>(
    runtime: &Runtime,
    disks: Disks<D>,
    setup: CoreSetup,
    http_address: &str,
    upstairs: Rc<dyn Upstairs>,
) -> Result<Started<D>, String> {
    let told = |error: tidemark_engine::Error| error.to_string();
    disks.data.sync_all().await.map_err(told)?;
    let meta = if setup.end.core() == 0 {
        disks.meta.sync_all().await.map_err(told)?;
        let (meta, report) = MetaStore::open(disks.meta, "journal").await.map_err(told)?;
        if let Some((file, offset)) = report.torn {
            tracing::warn!(
                file,
                offset,
                "the catalogue's last record is cut: a command under way when the server stopped, not answered"
            );
        }
        found(&meta, http_address, setup.end.cores() as u32, runtime)
            .await
            .map_err(|error| error.to_string())?;
        Some(meta)
    } else {
        None
    };
    let decider = meta.clone().map(|meta| {
        let data = meta.current();
        (Rc::new(Catalogue(meta)) as Rc<dyn Decider>, data)
    });
    let core = main_loop::open(runtime.clone(), disks.data, setup, decider, upstairs).await.map_err(told)?;
    if core.cores.this() == 0
        && let Err(error) = forget_deletes(&core.cores).await
    {
        tracing::warn!(%error, "begun deletes are not forgotten yet; the next start tries again");
    }
    core.checkpoint.pass(core.cores.this()).await.map_err(told)?;
    Ok(Started { core, meta })
}

/// The catalogue of core 0 as the cores see it.
struct Catalogue<D: Disk>(MetaStore<D>);

impl<D: Disk> Decider for Catalogue<D> {
    fn decide(&self, command: Command) -> LocalFuture<Result<(Outcome, Arc<Data>), MetaError>> {
        let store = self.0.clone();
        Box::pin(async move { store.propose(&command).await })
    }

    fn refusal(&self) -> Option<tidemark_engine::Error> {
        self.0.refusal()
    }
}

/// Founds the cluster on the first start, and tells it what this node is now.
async fn found<D: Disk>(
    meta: &MetaStore<D>,
    http_address: &str,
    cores: u32,
    runtime: &Runtime,
) -> Result<(), MetaError> {
    if meta.current().cluster_id == 0 {
        meta.propose(&Command::Found { cluster_id: runtime.random() | 1 }).await?;
    }
    let is_known = meta
        .current()
        .nodes
        .iter()
        .any(|node| node.id == NodeId(NODE) && node.http_address == http_address && node.cores == cores);
    if !is_known {
        let node = Command::SetNode {
            id: NodeId(NODE),
            http_address: http_address.to_owned(),
            tcp_address: String::new(),
            is_meta: true,
            is_data: true,
            cores,
        };
        meta.propose(&node).await?;
    }
    Ok(())
}
