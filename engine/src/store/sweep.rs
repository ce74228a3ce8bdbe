//! Start: folders that no shard has any more are removed.
//!
//! They stay when the power goes between the decision to drop a shard and its removal; a group's field types stay until
//! the next start after its last shard is gone. A folder is removed only when the catalogue says so in two ways: it does
//! not list it as live, and it has once given its number out. A catalogue that is lost, or older than the data, takes
//! nothing with it.

use hashbrown::HashMap;

use super::Store;
use crate::disk::Disk;
use crate::error::Result;
use crate::model::{ShardGroupId, ShardId};

/// What the catalogue knows about folders.
#[derive(Debug, Clone, Default)]
pub struct LiveShards {
    /// Every live group of the node with its shards, whichever core they are on.
    pub groups: HashMap<ShardGroupId, Vec<ShardId>>,
    /// The highest numbers ever given out.
    pub last_group: ShardGroupId,
    pub last_shard: ShardId,
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Folders removed, each a shard or a whole group.
    pub removed: Vec<String>,
    /// Folders with numbers the catalogue never gave out; they are left alone.
    pub unknown: Vec<String>,
}

impl<D: Disk> Store<D> {
    /// Removes what is left of dropped shards, in the groups whose registrar this core is. Only before anybody writes.
    pub async fn sweep(&self, live: &LiveShards) -> Result<Swept> {
        let inner = &*self.0;
        let mut swept = Swept::default();
        for entry in inner.disk.list("data").await? {
            // Folders are named by plain numbers; all else is not ours.
            let Some(group) = number_of(&entry.name).filter(|_| entry.is_dir).map(ShardGroupId) else {
                continue;
            };
            if !(inner.options.is_registrar)(group) {
                continue;
            }
            let folder = format!("data/{}", entry.name);
            if group > live.last_group {
                swept.unknown.push(folder);
                continue;
            }
            let Some(shards) = live.groups.get(&group).filter(|shards| !shards.is_empty()) else {
                inner.disk.remove_dir_all(&folder).await?;
                swept.removed.push(folder);
                continue;
            };
            for entry in inner.disk.list(&folder).await? {
                let Some(shard) = number_of(&entry.name).filter(|_| entry.is_dir).map(ShardId) else {
                    continue;
                };
                let folder = format!("{folder}/{}", entry.name);
                if shard > live.last_shard {
                    swept.unknown.push(folder);
                } else if !shards.contains(&shard) {
                    inner.disk.remove_dir_all(&folder).await?;
                    swept.removed.push(folder);
                }
            }
        }
        Ok(swept)
    }

    /// Whether there is any group's folder at all.
    pub async fn has_data(&self) -> Result<bool> {
        let entries = self.0.disk.list("data").await?;
        Ok(entries.iter().any(|entry| entry.is_dir && number_of(&entry.name).is_some()))
    }
}

/// The number a folder is named by, if it is written as this crate writes it.
fn number_of(name: &str) -> Option<u64> {
    name.parse().ok().filter(|number: &u64| number.to_string() == name)
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use futures_lite::future::block_on;

    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::store::StoreOptions;

    #[test]
    fn only_what_the_catalogue_gave_out_and_lists_no_more_is_removed() {
        block_on(async {
            let disk = SimDisk::new(1);
            for folder in
                ["1/fields", "1/10", "1/11", "2/fields", "2/20", "9/fields", "9/90", "1/99", "note", "007"]
            {
                disk.create_dir_all(&format!("data/{folder}")).await.unwrap();
            }
            let (store, _) = Store::open(disk.clone(), StoreOptions::new(0, 64 << 20)).await.unwrap();
            let mut live =
                LiveShards { last_group: ShardGroupId(5), last_shard: ShardId(30), ..LiveShards::default() };
            live.groups.insert(ShardGroupId(1), vec![ShardId(10)]);
            let swept = store.sweep(&live).await.unwrap();
            assert_eq!(swept.removed, ["data/1/11", "data/2"]);
            assert_eq!(swept.unknown, ["data/1/99", "data/9"]);
            let names = |folder| {
                let disk = disk.clone();
                async move {
                    let entries = disk.list(folder).await.unwrap();
                    entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
                }
            };
            assert_eq!(names("data").await, ["007", "1", "9", "note"]);
            assert_eq!(names("data/1").await, ["10", "99", "fields"]);
            assert_eq!(store.sweep(&live).await.unwrap().removed, [""; 0], "a second sweep finds nothing");
        });
    }
}
