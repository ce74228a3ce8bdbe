//! Statistics of databases and shards, under the names and tags that InfluxDB gives them.

use std::collections::BTreeMap;

use tidemark_engine::scan::request::ShardRef;
use tidemark_engine::stats::{ShardStats, ShardsStats};

use super::Statistic;
use crate::config::Config;
use crate::cores::Cores;
use crate::cores::main_loop::together;
use crate::meta::DatabaseInfo;

/// Names of the statistics made here.
pub const NAMES: [&str; 4] = ["database", "shard", "tsm1_cache", "tsm1_filestore"];

/// Of all databases and shards, one database after the other; what a core cannot tell is left out.
pub async fn statistics(cores: &Cores, config: &Config) -> Vec<Statistic> {
    let data = cores.view().current();
    let mut all = Vec::new();
    for database in &data.databases {
        let mut by_core: BTreeMap<usize, Vec<ShardRef>> = BTreeMap::new();
        for group in database.retention_policies.iter().flat_map(|policy| policy.live_groups()) {
            for shard in &group.shards {
                if let Some(core) = cores.core_of_shard(group, shard.id) {
                    by_core.entry(core).or_default().push(ShardRef { shard: shard.id, group: group.id });
                }
            }
        }
        let asked = by_core.into_iter().map(|(core, shards)| cores.shard_stats(core, shards));
        let mut found = ShardsStats::default();
        for of_core in together(asked.collect()).await {
            match of_core {
                Ok(of_core) => {
                    found.shards.extend(of_core.shards);
                    found.measurements.extend(of_core.measurements);
                }
                Err(error) => tracing::warn!(%error, "shards without statistics"),
            }
        }
        of_database(database, &found, config, &mut all);
    }
    all
}

fn of_database(database: &DatabaseInfo, found: &ShardsStats, config: &Config, all: &mut Vec<Statistic>) {
    let by_shard: BTreeMap<_, &ShardStats> = found.shards.iter().map(|stats| (stats.shard, stats)).collect();
    let mut series = 0;
    let mut shards = Vec::new();
    for policy in &database.retention_policies {
        let mut most = 0;
        for group in policy.live_groups() {
            let known = || group.shards.iter().filter_map(|shard| by_shard.get(&shard.id).copied());
            // Shards of a group have different series; groups mostly have the same ones.
            most = most.max(known().map(|stats| stats.series_now).sum::<u64>());
            for stats in known() {
                shards.extend(of_shard(&database.name, &policy.name, stats, config));
            }
        }
        series += most;
    }
    all.push(Statistic {
        key: format!("database:{}", database.name),
        name: "database",
        tags: vec![("database", database.name.clone())],
        values: vec![("numMeasurements", found.measurements.len() as i64), ("numSeries", series as i64)],
    });
    all.append(&mut shards);
}

fn of_shard(database: &str, policy: &str, stats: &ShardStats, config: &Config) -> [Statistic; 3] {
    let folder = stats.folder.strip_prefix("data/").unwrap_or(&stats.folder);
    let path = config.data.dir.join(folder).display().to_string();
    let statistic = |name: &'static str, values: &[(&'static str, u64)]| Statistic {
        key: format!("{name}:{path}:{}", stats.shard),
        name,
        tags: vec![
            ("database", database.to_owned()),
            ("engine", "tsm1".to_owned()),
            ("id", stats.shard.to_string()),
            ("path", path.clone()),
            ("retentionPolicy", policy.to_owned()),
            ("walPath", config.data.wal_dir.display().to_string()),
        ],
        values: values.iter().map(|(name, value)| (*name, *value as i64)).collect(),
    };
    let writes = stats.writes;
    [
        statistic(
            "shard",
            &[
                ("diskBytes", stats.tsm_bytes_now),
                ("writePointsDropped", writes.points_dropped),
                ("writePointsErr", writes.points_full),
                ("writePointsOk", writes.points),
                ("writeReq", writes.batches),
                ("writeReqOk", writes.batches),
                ("writeValuesOk", writes.values),
            ],
        ),
        statistic("tsm1_cache", &[("memBytes", stats.cache_bytes_now), ("writeOk", writes.batches)]),
        statistic("tsm1_filestore", &[("diskBytes", stats.tsm_bytes_now), ("numFiles", stats.tsm_files_now)]),
    ]
}
