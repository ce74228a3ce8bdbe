//! `[monitor]`: the server's statistics, written into a database of its own every so often, as InfluxDB does.

use std::rc::Rc;
use std::time::Duration;

use tidemark_engine::model::Value;

use crate::config::Config;
use crate::cores::Cores;
use crate::line_protocol::{Precision, format};
use crate::meta::{Command, RetentionPolicySpec};
use crate::stats::{self, Statistic};
use crate::write::{Consistency, Owners, WriteRequest, Writer};

/// The policy the statistics are kept by: a week.
const POLICY: &str = "monitor";
const POLICY_NS: i64 = 168 * 3_600_000_000_000;

/// Runs until the core ends.
pub async fn run(cores: Cores, writer: Rc<Writer<Owners>>, config: Rc<Config>) {
    let interval = config.monitor.store_interval.std().max(Duration::from_secs(1));
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    loop {
        cores.runtime().sleep(interval).await;
        if let Err(error) = store(&cores, &writer, &config, hostname.trim(), interval).await {
            tracing::warn!(error, "statistics were not stored");
        }
    }
}

async fn store(
    cores: &Cores,
    writer: &Writer<Owners>,
    config: &Config,
    hostname: &str,
    interval: Duration,
) -> Result<(), String> {
    let database = &config.monitor.store_database;
    if cores.view().current().database(database).is_none() {
        let spec = RetentionPolicySpec {
            name: POLICY.to_owned(),
            duration: Some(POLICY_NS),
            replica_n: Some(1),
            shard_group_duration: None,
        };
        let create = Command::CreateDatabase { name: database.clone(), spec: Some(spec), autocreate: true };
        cores.propose(create).await.map_err(|error| error.to_string())?;
    }
    let now = cores.runtime().wall_ns();
    let mut all = stats::statistics(&stats::of_all_cores(cores).await, config);
    all.extend(stats::tagged(cores).await);
    all.extend(stats::shards::statistics(cores, config).await);
    let lines = lines(&all, hostname, now - now.rem_euclid(interval.as_nanos() as i64));
    let request = WriteRequest {
        database,
        retention_policy: POLICY,
        precision: Precision::Nanosecond,
        consistency: Consistency::Any,
        now,
        unsigned: false,
        validate_keys: false,
    };
    writer.write_lines(&request, &lines).await.map(|_| ()).map_err(|error| error.to_string())
}

/// A line per statistic that has values.
fn lines(statistics: &[Statistic], hostname: &str, time: i64) -> Vec<u8> {
    let mut lines = Vec::new();
    for statistic in statistics.iter().filter(|statistic| !statistic.values.is_empty()) {
        format::put_measurement(&mut lines, statistic.name.as_bytes());
        let mut tags = statistic.tags.clone();
        tags.push(("hostname", hostname.to_owned()));
        tags.sort_unstable();
        for (name, value) in &tags {
            format::put_tag(&mut lines, name.as_bytes(), value.as_bytes());
        }
        for (at, (name, value)) in statistic.values.iter().enumerate() {
            lines.push(if at == 0 { b' ' } else { b',' });
            format::put_field_key(&mut lines, name.as_bytes());
            lines.push(b'=');
            format::put_value(&mut lines, &Value::Integer(*value));
        }
        lines.extend_from_slice(format!(" {time}\n").as_bytes());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statistic_is_a_line_with_the_hosts_name_among_its_tags() {
        let statistic = |tags, values| Statistic { key: String::new(), name: "shard", tags, values };
        let all = [
            statistic(
                vec![("path", "/a b".to_owned()), ("database", "d".to_owned())],
                vec![("a", 1), ("b", -2)],
            ),
            statistic(Vec::new(), Vec::new()),
        ];
        assert_eq!(
            String::from_utf8(lines(&all, "here", 10)).unwrap(),
            "shard,database=d,hostname=here,path=/a\\ b a=1i,b=-2i 10\n"
        );
    }
}
