//! Statistics of databases and shards, under the names and tags that InfluxDB gives them.

use std::collections::BTreeMap;

use tidemark_engine::scan::request::ShardRef;
use tidemark_engine::stats::{ShardStats, ShardsStats};

use super::Statistic;
use crate::config::Config;
use crate::cores::Cores;
use crate::cores::together;
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
    let path = config.data.dir.join(&stats.folder).display().to_string();
    let wal_path = match config.data.wal_dir.as_os_str().is_empty() {
        true => config.data.dir.join("wal"),
        false => config.data.wal_dir.clone(),
    };
    let statistic = |name: &'static str, values: &[(&'static str, u64)]| Statistic {
        key: format!("{name}:{path}:{}", stats.shard),
        name,
        tags: vec![
            ("database", database.to_owned()),
            ("engine", "tsm1".to_owned()),
            ("id", stats.shard.to_string()),
            ("path", path.clone()),
            ("retentionPolicy", policy.to_owned()),
            ("walPath", wal_path.display().to_string()),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidemark_engine::model::{DatabaseId, NodeId, RetentionPolicyId, ShardGroupId, ShardId};
    use tidemark_engine::stats::ShardWrites;

    use super::*;
    use crate::config::Effective;
    use crate::meta::{RetentionPolicyInfo, ShardGroupInfo, ShardInfo};

    /// Shards of groups that are live (or deleted).
    fn policy(name: &str, groups: &[(u64, bool, &[u64])]) -> Arc<RetentionPolicyInfo> {
        let group = |(id, is_live, shards): &(u64, bool, &[u64])| ShardGroupInfo {
            id: ShardGroupId(*id),
            start: 0,
            end: 1,
            deleted_at: (!is_live).then_some(1),
            shards: shards.iter().map(|id| ShardInfo { id: ShardId(*id), owners: vec![NodeId(1)] }).collect(),
        };
        Arc::new(RetentionPolicyInfo {
            id: RetentionPolicyId(1),
            name: name.to_owned(),
            duration: 0,
            shard_group_duration: 1,
            replica_n: 1,
            shard_groups: groups.iter().map(group).collect(),
            subscriptions: Vec::new(),
        })
    }

    fn stats(shard: u64, series_now: u64) -> ShardStats {
        ShardStats {
            shard: ShardId(shard),
            folder: format!("data/7/{shard}"),
            writes: ShardWrites { batches: 1, points: 2, values: 3, points_dropped: 4, points_full: 5 },
            cache_bytes_now: 6,
            tsm_files_now: 7,
            tsm_bytes_now: 8,
            series_now,
        }
    }

    fn told(configuration: &str, found: ShardsStats) -> Vec<Statistic> {
        let config = Effective::from_text(configuration, |_| None).unwrap().config().unwrap();
        let week = policy("week", &[(1, true, &[1, 2]), (2, true, &[3, 4]), (3, false, &[5])]);
        let database = DatabaseInfo {
            id: DatabaseId(1),
            name: "db".to_owned(),
            default_retention_policy: "week".to_owned(),
            retention_policies: vec![week, policy("year", &[(4, true, &[6])])],
            continuous_queries: Vec::new(),
        };
        let mut all = Vec::new();
        of_database(&database, &found, &config, &mut all);
        all
    }

    const PLAIN: &str = "[meta]\ndir = \"/m\"\n[data]\ndir = \"/d\"\n";

    #[test]
    fn a_database_has_the_series_of_the_fullest_group_of_each_policy() {
        let found = ShardsStats {
            shards: vec![
                stats(1, 10),
                stats(2, 20),
                stats(3, 25),
                stats(4, 1),
                stats(5, 1_000),
                stats(6, 300),
            ],
            measurements: [1, 2, 3].into(),
        };
        let all = told(PLAIN, found);
        assert_eq!((all[0].key.as_str(), all[0].name), ("database:db", "database"));
        assert_eq!(all[0].tags, [("database", "db".to_owned())]);
        assert_eq!(all[0].values, [("numMeasurements", 3), ("numSeries", 30 + 300)]);
        let ids = all.iter().filter(|one| one.name == "shard").map(|one| one.tags[2].1.as_str());
        assert_eq!(ids.collect::<Vec<_>>(), ["1", "2", "3", "4", "6"], "none of a deleted group");
    }

    #[test]
    fn a_shard_is_told_with_its_place_and_what_it_holds() {
        let all = told(PLAIN, ShardsStats { shards: vec![stats(6, 1)], ..ShardsStats::default() });
        let names: Vec<_> = all.iter().map(|one| one.name).collect();
        assert_eq!(names, NAMES, "each with a name that can be asked for");
        for one in &all[1..] {
            assert_eq!(one.key, format!("{}:/d/data/7/6:6", one.name));
            let tags = one.tags.iter().map(|(name, value)| format!("{name}={value}"));
            assert_eq!(
                tags.collect::<Vec<_>>().join(" "),
                "database=db engine=tsm1 id=6 path=/d/data/7/6 retentionPolicy=year walPath=/d/wal"
            );
        }
        let [_, shard, cache, files] = all.as_slice() else { panic!("three of a shard") };
        assert_eq!(
            shard.values,
            [
                ("diskBytes", 8),
                ("writePointsDropped", 4),
                ("writePointsErr", 5),
                ("writePointsOk", 2),
                ("writeReq", 1),
                ("writeReqOk", 1),
                ("writeValuesOk", 3),
            ]
        );
        assert_eq!(cache.values, [("memBytes", 6), ("writeOk", 1)]);
        assert_eq!(files.values, [("diskBytes", 8), ("numFiles", 7)]);
        let elsewhere = format!("{PLAIN}wal-dir = \"/w\"\n");
        let all = told(&elsewhere, ShardsStats { shards: vec![stats(6, 1)], ..ShardsStats::default() });
        assert_eq!(all[1].tags[5], ("walPath", "/w".to_owned()));
    }
}
