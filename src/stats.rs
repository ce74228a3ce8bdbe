//! Sums the cores' counters: for `/metrics` per core, for `/debug/vars` and `_internal` as the statistics InfluxDB has.

pub mod shards;

use serde_json::{Value, json};
use tidemark_engine::stats::Stats as StoreStats;

use crate::config::Config;
use crate::cores::together;
use crate::cores::{CoreStats, Cores, TaggedStats};

/// One statistic as InfluxDB lists it.
pub struct Statistic {
    /// The member's name in `/debug/vars`.
    pub key: String,
    /// Measurement of `_internal`.
    pub name: &'static str,
    pub tags: Vec<(&'static str, String)>,
    pub values: Vec<(&'static str, i64)>,
}

/// One metric with a value per core.
pub struct Metric {
    pub name: String,
    pub help: &'static str,
    pub is_gauge: bool,
    pub values: Vec<u64>,
}

/// Copies of all cores' numbers; a core that is gone counts as zero.
pub async fn of_all_cores(cores: &Cores) -> Vec<CoreStats> {
    let asked = (0..cores.count()).map(|core| async move { cores.stats(core).await.unwrap_or_default() });
    together(asked.collect()).await
}

/// Numbers under tags, those of all cores under the same tags summed.
pub async fn tagged(cores: &Cores) -> Vec<Statistic> {
    let asked =
        (0..cores.count()).map(|core| async move { cores.tagged_stats(core).await.unwrap_or_default() });
    summed(together(asked.collect()).await)
}

fn summed(of_cores: Vec<Vec<TaggedStats>>) -> Vec<Statistic> {
    let mut all: Vec<Statistic> = Vec::new();
    for stats in of_cores.into_iter().flatten() {
        let values = stats.values.into_iter().map(|(name, value)| (name, value as i64));
        match all.iter_mut().find(|known| known.name == stats.name && known.tags == stats.tags) {
            Some(known) => known.values.iter_mut().zip(values).for_each(|(sum, (_, value))| sum.1 += value),
            None => {
                let parts = stats.tags.iter().map(|(_, value)| value.as_str());
                let key = std::iter::once(stats.name).chain(parts).collect::<Vec<_>>().join(":");
                all.push(Statistic { key, name: stats.name, tags: stats.tags, values: values.collect() });
            }
        }
    }
    all
}

/// What InfluxDB's monitor has, as far as there is such a thing here.
pub fn statistics(cores: &[CoreStats], config: &Config) -> Vec<Statistic> {
    let sum = |value: fn(&CoreStats) -> u64| cores.iter().map(value).sum::<u64>() as i64;
    let bind = config.http.bind_address.clone();
    vec![
        Statistic {
            key: format!("httpd:{bind}"),
            name: "httpd",
            tags: vec![("bind", bind)],
            values: vec![
                ("req", sum(|core| core.counters.requests)),
                ("reqActive", sum(|core| core.counters.requests_active_now)),
                ("reqDurationNs", sum(|core| core.counters.requests_ns)),
                ("queryReq", sum(|core| core.counters.query_requests)),
                ("queryReqDurationNs", sum(|core| core.counters.query_requests_ns)),
                ("queryRespBytes", sum(|core| core.counters.query_response_bytes)),
                ("writeReq", sum(|core| core.counters.write_requests)),
                ("writeReqActive", sum(|core| core.counters.write_requests_active_now)),
                ("writeReqBytes", sum(|core| core.counters.write_request_bytes)),
                ("writeReqDurationNs", sum(|core| core.counters.write_requests_ns)),
                ("pingReq", sum(|core| core.counters.ping_requests)),
                ("statusReq", sum(|core| core.counters.status_requests)),
                ("clientError", sum(|core| core.counters.client_errors)),
                ("serverError", sum(|core| core.counters.server_errors)),
                ("authFail", sum(|core| core.counters.auth_failures)),
                ("pointsWrittenOK", sum(|core| core.counters.points_written_ok)),
                ("pointsWrittenDropped", sum(|core| core.counters.points_written_dropped)),
                ("pointsWrittenFail", sum(|core| core.counters.points_written_fail)),
                ("promWriteReq", sum(|core| core.counters.prometheus_writes)),
                ("promReadReq", sum(|core| core.counters.prometheus_reads)),
                ("recoveredPanics", 0),
            ],
        },
        Statistic {
            key: "queryExecutor".to_owned(),
            name: "queryExecutor",
            tags: Vec::new(),
            values: vec![
                ("queriesActive", sum(|core| core.counters.queries_active_now)),
                ("queriesExecuted", sum(|core| core.counters.queries_executed)),
                ("queriesFinished", sum(|core| core.counters.queries_finished)),
                ("queryDurationNs", sum(|core| core.counters.query_duration_ns)),
                ("queryMemoryBytes", sum(|core| core.counters.query_memory_bytes)),
                ("recoveredPanics", 0),
            ],
        },
        Statistic {
            key: "write".to_owned(),
            name: "write",
            tags: Vec::new(),
            values: vec![
                (
                    "pointReq",
                    sum(|core| core.counters.points_written_ok + core.counters.points_written_dropped),
                ),
                ("pointReqLocal", sum(|core| core.store.points_written + core.store.points_dropped)),
                ("req", sum(|core| core.counters.write_requests)),
                ("writeOk", sum(|core| core.store.batches_written)),
                ("writeDrop", sum(|core| core.store.points_dropped)),
                ("writeError", sum(|core| core.store.writes_refused)),
                ("writeTimeout", sum(|core| core.counters.write_timeouts)),
            ],
        },
        Statistic {
            key: "cq".to_owned(),
            name: "cq",
            tags: Vec::new(),
            values: vec![
                ("queryOk", sum(|core| core.counters.continuous_queries_ok)),
                ("queryFail", sum(|core| core.counters.continuous_queries_failed)),
                ("pointsWritten", sum(|core| core.counters.continuous_query_points)),
            ],
        },
        Statistic {
            key: "tidemark_engine".to_owned(),
            name: "tidemark_engine",
            tags: Vec::new(),
            values: vec![
                ("pointsWritten", sum(|core| core.store.points_written)),
                ("valuesWritten", sum(|core| core.store.values_written)),
                ("walWrites", sum(|core| core.store.wal_writes)),
                ("walBytes", sum(|core| core.store.wal_bytes)),
                ("cacheBytes", sum(|core| core.store.cache_bytes_now)),
                ("seriesActive", sum(|core| core.store.series_active_now)),
                ("snapshots", sum(|core| core.store.snapshots)),
                ("compactions", sum(|core| core.store.compactions)),
                ("tsmFiles", sum(|core| core.store.tsm_files_now)),
                ("tsmBytes", sum(|core| core.store.tsm_bytes_now)),
                ("shards", sum(|core| core.store.shards_now)),
            ],
        },
    ]
}

/// What a store counts: name, help, value.
const STORE: [(&str, &str, fn(&StoreStats) -> u64); 59] = [
    // writes
    ("store_batches", "batches written", |store| store.batches_written),
    ("store_points", "points written", |store| store.points_written),
    ("store_values", "field values written", |store| store.values_written),
    ("store_points_dropped", "points refused for their fields' types", |store| store.points_dropped),
    ("store_writes_refused", "writes refused because a pool was full", |store| store.writes_refused),
    ("store_points_full", "points that a cache had no room for; their writes failed", |store| {
        store.points_full
    }),
    ("commit_queue_now", "writes and deletes waiting for the WAL", |store| store.commit_queue_now),
    ("commit_queue_bytes_now", "bytes of writes and deletes waiting for the WAL", |store| {
        store.commit_queue_bytes_now
    }),
    // WAL
    ("wal_writes", "group commits", |store| store.wal_writes),
    ("wal_bytes", "bytes written to the WAL", |store| store.wal_bytes),
    ("wal_live_bytes_now", "bytes of live WAL segments", |store| store.wal_bytes_now),
    ("wal_live_limit_bytes_now", "bytes live WAL segments may have", |store| store.wal_bytes_max_now),
    ("wal_segments_now", "live WAL segments", |store| store.wal_segments_now),
    ("wal_spares_now", "WAL segments ready for use", |store| store.wal_spares_now),
    ("wal_records_replayed", "WAL records read at start", |store| store.wal_records_replayed),
    ("wal_entries_replayed", "WAL entries read at start", |store| store.wal_entries_replayed),
    ("wal_damages", "damages found in WALs at start", |store| store.wal_damages),
    // caches and pools
    ("cache_bytes_now", "bytes of caches", |store| store.cache_bytes_now),
    ("cache_rows_now", "rows in caches", |store| store.cache_rows_now),
    ("series_active_now", "series with rows in caches", |store| store.series_active_now),
    ("index_bytes_now", "bytes of active indexes", |store| store.index_bytes_now),
    ("write_pool_bytes_now", "bytes of the write pool in use", |store| store.write_pool_used_now),
    ("write_pool_limit_bytes_now", "bytes the write pool may use", |store| store.write_pool_max_now),
    ("write_pool_refused", "reservations the write pool refused", |store| store.write_pool_refused),
    ("index_pool_bytes_now", "bytes of the index pool in use", |store| store.index_pool_used_now),
    ("index_pool_limit_bytes_now", "bytes the index pool may use", |store| store.index_pool_max_now),
    ("index_pool_refused", "writes the index pool refused", |store| store.index_pool_refused),
    ("query_pool_bytes_now", "bytes of the query pool in use", |store| store.query_pool_used_now),
    ("query_pool_limit_bytes_now", "bytes the query pool may use", |store| store.query_pool_max_now),
    ("query_pool_refused", "reservations the query pool refused", |store| store.query_pool_refused),
    ("block_cache_bytes_now", "bytes of blocks and pages kept", |store| store.block_cache_bytes_now),
    ("block_cache_limit_bytes_now", "bytes of blocks and pages that may be kept", |store| {
        store.block_cache_max_now
    }),
    ("block_cache_hits", "blocks and pages found in memory", |store| store.block_cache_hits),
    ("block_cache_misses", "blocks and pages read from files", |store| store.block_cache_misses),
    // snapshots and compaction
    ("snapshots", "caches written to files", |store| store.snapshots),
    ("snapshot_rows", "rows written from caches", |store| store.snapshot_rows),
    ("snapshot_bytes", "bytes of files written from caches", |store| store.snapshot_bytes),
    ("compactions", "merges of files", |store| store.compactions),
    ("compactions_full", "merges that left a shard one file", |store| store.compactions_full),
    ("compactions_now", "merges under way", |store| store.compactions_now),
    ("compactions_narrowed", "merges begun again with fewer files, for want of memory", |store| {
        store.compactions_narrowed
    }),
    ("compaction_read_bytes", "bytes read by merges", |store| store.compaction_bytes_read),
    ("compaction_written_bytes", "bytes written by merges", |store| store.compaction_bytes_written),
    ("compaction_blocks_copied", "blocks merges took over as they were", |store| {
        store.compaction_blocks_copied
    }),
    ("compaction_blocks_merged", "blocks merges wrote anew", |store| store.compaction_blocks_merged),
    ("compaction_errors", "merges that failed", |store| store.compaction_errors),
    ("compaction_pool_bytes_now", "bytes merges hold", |store| store.compaction_pool_used_now),
    ("compaction_pool_limit_bytes_now", "bytes merges may hold", |store| store.compaction_pool_max_now),
    ("compaction_pool_peak_bytes_now", "most bytes merges ever held", |store| store.compaction_pool_peak_now),
    // scrub
    ("scrubs", "rounds in which all files were read again", |store| store.scrubs),
    ("scrub_files", "files read again", |store| store.scrub_files),
    ("scrub_bytes", "bytes read again", |store| store.scrub_bytes),
    ("scrub_damaged", "damaged pieces found by reading files again", |store| store.scrub_damaged),
    // files
    ("shards_now", "shards owned", |store| store.shards_now),
    ("tsm_files_now", "TSM files", |store| store.tsm_files_now),
    ("tsm_bytes_now", "bytes of TSM files", |store| store.tsm_bytes_now),
    ("tombstones_now", "tombstones", |store| store.tombstones_now),
    ("deletes", "deletes", |store| store.deletes),
    ("shards_dropped", "shards dropped", |store| store.shards_dropped),
];

/// Every counter of every core.
pub fn metrics(cores: &[CoreStats]) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let mut push = |name: &str, help: &'static str, value: &dyn Fn(&CoreStats) -> u64| {
        let is_gauge = name.ends_with("_now");
        let name = name.strip_suffix("_now").unwrap_or(name);
        let total = if is_gauge { "" } else { "_total" };
        metrics.push(Metric {
            name: format!("tidemark_{name}{total}"),
            help,
            is_gauge,
            values: cores.iter().map(value).collect(),
        });
    };
    let listed = cores.first().map(|core| core.counters.list()).unwrap_or_default();
    for (position, (name, help, _)) in listed.into_iter().enumerate() {
        push(name, help, &|core| core.counters.list()[position].2);
    }
    for (name, help, value) in STORE {
        push(name, help, &|core| value(&core.store));
    }
    let net: [(&str, &'static str, fn(&CoreStats) -> u64); 7] = [
        ("connections", "connections accepted", |core| core.net.connections_accepted),
        ("connections_open_now", "connections open", |core| core.net.connections_open),
        ("connections_timed_out", "connections ended for their silence", |core| {
            core.net.connections_timed_out
        }),
        ("read_bytes", "bytes read from connections", |core| core.net.bytes_read),
        ("written_bytes", "bytes written to connections", |core| core.net.bytes_written),
        ("body_pool_bytes_now", "bytes of request bodies", |core| core.body_pool_used),
        ("body_pool_limit_bytes_now", "bytes request bodies may use", |core| core.body_pool_limit),
    ];
    for (name, help, value) in net {
        push(name, help, &value);
    }
    metrics
}

/// Numbers of the process: name, help, value.
pub fn process() -> Vec<(&'static str, &'static str, f64)> {
    vec![
        ("process_resident_memory_bytes", "memory in use", resident_bytes() as f64),
        ("process_cpu_seconds", "CPU time used", cpu_seconds()),
        ("process_open_fds", "files and sockets open", open_files() as f64),
    ]
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    resident.unwrap_or_default() * 4096
}

/// Since Linux 6.2 the folder's size tells; before, thousands of names have to be read.
fn open_files() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    match std::fs::metadata(FOLDER).map_or(0, |folder| folder.len()) {
        0 => std::fs::read_dir(FOLDER).map_or(0, Iterator::count) as u64,
        told => told,
    }
}

fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// The members of Go's memory statistics that agents read.
pub fn memory() -> Value {
    // Agents read them as integers.
    let resident = resident_bytes();
    json!({ "Alloc": resident, "HeapAlloc": resident, "HeapInuse": resident, "Sys": resident, "NumGC": 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        crate::config::Effective::load(None, |_| None).unwrap().config().unwrap()
    }

    /// Numbers of a core, all different; those of the next core are a thousand larger.
    fn cores() -> [CoreStats; 2] {
        let mut cores = [CoreStats::default(); 2];
        for (core, thousands) in cores.iter_mut().zip([1_000, 2_000]) {
            let (counters, store) = (&mut core.counters, &mut core.store);
            (counters.requests, counters.requests_active_now, counters.auth_failures) =
                (thousands + 1, thousands + 2, thousands + 3);
            (counters.points_written_ok, counters.points_written_dropped, counters.points_written_fail) =
                (thousands + 10, thousands + 20, thousands + 30);
            (counters.queries_executed, counters.queries_finished, counters.query_memory_bytes) =
                (thousands + 4, thousands + 5, thousands + 6);
            (counters.continuous_queries_ok, counters.continuous_queries_failed) =
                (thousands + 7, thousands + 8);
            (store.points_written, store.points_dropped, store.batches_written, store.writes_refused) =
                (thousands + 40, thousands + 50, thousands + 60, thousands + 70);
            (core.body_pool_used, core.net.connections_open) = (thousands + 80, thousands + 90);
        }
        cores
    }

    #[test]
    fn open_files_are_counted() {
        let held: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").expect("it opens")).collect();
        // Other tests have some open, too.
        assert!((100..10_000).contains(&open_files()), "{} for {}", open_files(), held.len());
    }

    #[test]
    fn influxdbs_statistics_are_the_sums_of_all_cores() {
        let all = statistics(&cores(), &config());
        let value = |name: &str, value: &str| {
            let statistic = all.iter().find(|one| one.name == name).expect("a statistic");
            statistic.values.iter().find(|(known, _)| *known == value).expect("a value").1
        };
        for (name, wanted, sum) in [
            ("httpd", "req", 3_002),
            ("httpd", "reqActive", 3_004),
            ("httpd", "authFail", 3_006),
            ("httpd", "pointsWrittenOK", 3_020),
            ("httpd", "pointsWrittenDropped", 3_040),
            ("httpd", "pointsWrittenFail", 3_060),
            ("queryExecutor", "queriesExecuted", 3_008),
            ("queryExecutor", "queriesFinished", 3_010),
            ("queryExecutor", "queryMemoryBytes", 3_012),
            ("cq", "queryOk", 3_014),
            ("cq", "queryFail", 3_016),
            ("write", "pointReq", 3_020 + 3_040),
            ("write", "pointReqLocal", 3_080 + 3_100),
            ("write", "writeOk", 3_120),
            ("write", "writeDrop", 3_100),
            ("write", "writeError", 3_140),
            ("tidemark_engine", "pointsWritten", 3_080),
        ] {
            assert_eq!(value(name, wanted), sum, "{name} {wanted}");
        }
        let httpd = all.iter().find(|one| one.name == "httpd").expect("there");
        assert_eq!(
            (httpd.key.as_str(), &httpd.tags[..]),
            ("httpd:127.0.0.1:8086", &[("bind", "127.0.0.1:8086".to_owned())][..])
        );
        for statistic in &all {
            let mut names: Vec<_> = statistic.values.iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{}: a name twice", statistic.name);
        }
    }

    #[test]
    fn metrics_are_told_per_core_and_say_whether_they_only_grow() {
        let metrics = metrics(&cores());
        let metric = |name: &str| metrics.iter().find(|one| one.name == name).expect("a metric");
        let grows = metric("tidemark_store_points_total");
        assert_eq!((&grows.values[..], grows.is_gauge), (&[1_040, 2_040][..], false));
        let now = metric("tidemark_requests_active");
        assert_eq!((&now.values[..], now.is_gauge), (&[1_002, 2_002][..], true));
        assert_eq!(metric("tidemark_body_pool_bytes").values, [1_080, 2_080]);
        assert_eq!(metric("tidemark_connections_open").values, [1_090, 2_090]);
        assert_eq!(metric("tidemark_points_written_ok_total").values, [1_010, 2_010]);
        let mut names: Vec<_> = metrics.iter().map(|one| &one.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a metric twice");
    }

    #[test]
    fn numbers_under_the_same_name_and_tags_are_summed() {
        let stats = |name, tag: &str, points, failures| TaggedStats {
            name,
            tags: vec![("bind", tag.to_owned()), ("database", "db".to_owned())],
            values: vec![("points", points), ("failures", failures)],
        };
        let of_cores = vec![
            vec![stats("udp", ":1", 1, 10), stats("udp", ":2", 2, 20)],
            vec![stats("udp", ":2", 3, 30), stats("graphite", ":2", 4, 40)],
        ];
        let all: Vec<_> = summed(of_cores).into_iter().map(|one| (one.key, one.values)).collect();
        let want =
            |key: &str, points, failures| (key.to_owned(), vec![("points", points), ("failures", failures)]);
        assert_eq!(all, [want("udp::1:db", 1, 10), want("udp::2:db", 5, 50), want("graphite::2:db", 4, 40)]);
    }
}
