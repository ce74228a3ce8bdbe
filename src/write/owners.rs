//! The write path's view of this node: its cores and its copy of the catalogue.

use std::sync::Arc;

use tidemark_engine::model::ShardGroupId;
use tidemark_engine::store::{ShardWrite, WriteOutcome};

use super::Backend;
use crate::cores::Cores;
use crate::meta::{Command, Data, MetaError};

/// The cores of this node as owners of shards.
#[derive(Clone)]
pub struct Owners {
    cores: Cores,
    /// Shards per node position of new groups; 0 follows the largest node.
    slices: u32,
}

impl Owners {
    pub fn new(cores: Cores, slices: u32) -> Self {
        Self { cores, slices }
    }
}

impl Backend for Owners {
    fn catalogue(&self) -> Arc<Data> {
        self.cores.view().current()
    }

    async fn create_shard_group(
        &self,
        database: &str,
        policy: &str,
        timestamp: i64,
    ) -> Result<(), MetaError> {
        let command = Command::CreateShardGroup {
            database: database.to_owned(),
            retention_policy: policy.to_owned(),
            timestamp,
            slices: self.slices,
        };
        self.cores.propose(command).await.map(|_| ())
    }

    fn core_of(&self, group: ShardGroupId, position: usize, shards: usize) -> usize {
        self.cores.core_of(group, position, shards)
    }

    fn version(&self) -> (u64, u64) {
        (self.cores.version(), self.cores.node())
    }

    async fn write(
        &self,
        core: usize,
        writes: Vec<ShardWrite>,
    ) -> Result<Vec<WriteOutcome>, tidemark_engine::Error> {
        self.cores.write(core, writes).await
    }

    async fn give_way(&self) {
        futures_lite::future::yield_now().await;
    }
}
