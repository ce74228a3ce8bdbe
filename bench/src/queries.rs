//! The questions of the Time Series Benchmark Suite's cpu-only and devops sets, and a few of our own, in InfluxQL
//! and, where the language has the same question, in PromQL.

use clap::builder::PossibleValuesParser;

use crate::workload::{Random, Shape};

/// All names, in the order they are run.
pub const NAMES: [&str; 15] = [
    "single-groupby-1-1-1",
    "single-groupby-1-8-1",
    "single-groupby-5-1-12",
    "cpu-max-all-1",
    "cpu-max-all-8",
    "double-groupby-1",
    "double-groupby-5",
    "double-groupby-all",
    "high-cpu-1",
    "high-cpu-all",
    "groupby-orderby-limit",
    "lastpoint",
    "scan-max",
    "mean-1-1-12",
    "max-all-hosts",
];

/// Reads one of the names; of another one the error tells the nearest.
pub fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(NAMES)
}

const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;

/// One question with its times and hosts drawn.
pub struct Question {
    pub influxql: String,
    /// Start, end and step in seconds with the expression; `None` where PromQL has no equal.
    pub promql: Option<(i64, i64, i64, String)>,
}

/// Draws times and hosts for the query named.
pub fn question(name: &str, shape: &Shape, random: &mut Random) -> Option<Question> {
    let draw = Draw { shape, random };
    Some(match name {
        "single-groupby-1-1-1" => draw.group_by_minute("max", 1, 1, HOUR),
        "single-groupby-1-8-1" => draw.group_by_minute("max", 1, 8, HOUR),
        "single-groupby-5-1-12" => draw.group_by_minute("max", 5, 1, 12 * HOUR),
        "mean-1-1-12" => draw.group_by_minute("mean", 1, 1, 12 * HOUR),
        "cpu-max-all-1" => draw.max_all(Some(1), 8 * HOUR),
        "cpu-max-all-8" => draw.max_all(Some(8), 8 * HOUR),
        "max-all-hosts" => draw.max_all(None, 12 * HOUR),
        "double-groupby-1" => draw.double_group_by(1),
        "double-groupby-5" => draw.double_group_by(5),
        "double-groupby-all" => draw.double_group_by(10),
        "high-cpu-1" => draw.high_cpu(true),
        "high-cpu-all" => draw.high_cpu(false),
        "groupby-orderby-limit" => draw.group_by_order_by_limit(),
        "lastpoint" => Question {
            influxql: "SELECT * FROM cpu GROUP BY \"hostname\" ORDER BY time DESC LIMIT 1".to_owned(),
            promql: None,
        },
        "scan-max" => {
            let (start, end) = (shape.start, shape.start + draw.span());
            Question {
                influxql: "SELECT max(usage_user), mean(usage_user), count(usage_user) FROM cpu".to_owned(),
                promql: Some((end, end, 1, format!("max(max_over_time(cpu_usage_user[{}s]))", end - start))),
            }
        }
        _ => return None,
    })
}

struct Draw<'a> {
    shape: &'a Shape,
    random: &'a mut Random,
}

impl Draw<'_> {
    /// Seconds the data covers.
    fn span(&self) -> i64 {
        i64::from(self.shape.steps) * i64::from(self.shape.interval)
    }

    /// A time range of `length` seconds, or all there is.
    fn range(&mut self, length: i64) -> (i64, i64) {
        let length = length.min(self.span());
        let room = (self.span() - length).max(1) as u64;
        let start = self.shape.start + self.random.below(room) as i64;
        (start, start + length)
    }

    fn hosts(&mut self, count: u32) -> Vec<String> {
        let mut hosts = Vec::new();
        while hosts.len() < count.min(self.shape.hosts) as usize {
            let host = format!("host_{}", self.random.below(u64::from(self.shape.hosts)));
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    fn group_by_minute(mut self, function: &str, fields: usize, hosts: u32, length: i64) -> Question {
        let (start, end) = self.range(length);
        let hosts = self.hosts(hosts);
        Question {
            influxql: format!(
                "SELECT {} FROM cpu WHERE {} AND {} GROUP BY time(1m)",
                calls(function, fields),
                where_hosts(&hosts),
                where_time(start, end)
            ),
            promql: Some((
                start,
                end,
                MINUTE,
                format!(
                    "{function}({function}_over_time({}[1m])) by (__name__)",
                    prom_series(fields, Some(&hosts))
                )
                .replace("mean", "avg"),
            )),
        }
    }

    fn max_all(mut self, hosts: Option<u32>, length: i64) -> Question {
        let (start, end) = self.range(length);
        let hosts = hosts.map(|count| self.hosts(count));
        let condition = hosts.as_ref().map_or(String::new(), |hosts| format!("{} AND ", where_hosts(hosts)));
        Question {
            influxql: format!(
                "SELECT {} FROM cpu WHERE {condition}{} GROUP BY time(1h)",
                calls("max", 10),
                where_time(start, end)
            ),
            promql: Some((
                start,
                end,
                HOUR,
                format!("max(max_over_time({}[1h])) by (__name__)", prom_series(10, hosts.as_deref())),
            )),
        }
    }

    fn double_group_by(mut self, fields: usize) -> Question {
        let (start, end) = self.range(12 * HOUR);
        Question {
            influxql: format!(
                "SELECT {} FROM cpu WHERE {} GROUP BY time(1h), hostname",
                calls("mean", fields),
                where_time(start, end)
            ),
            promql: Some((
                start,
                end,
                HOUR,
                format!("avg(avg_over_time({}[1h])) by (__name__, hostname)", prom_series(fields, None)),
            )),
        }
    }

    fn high_cpu(mut self, one_host: bool) -> Question {
        let (start, end) = self.range(12 * HOUR);
        let condition =
            if one_host { format!(" AND {}", where_hosts(&self.hosts(1))) } else { String::new() };
        Question {
            influxql: format!(
                "SELECT * FROM cpu WHERE usage_user > 90.0 AND {}{condition}",
                where_time(start, end)
            ),
            promql: None,
        }
    }

    fn group_by_order_by_limit(mut self) -> Question {
        let (_, end) = self.range(12 * HOUR);
        Question {
            influxql: format!(
                "SELECT max(usage_user) FROM cpu WHERE time >= {}s AND time < {end}s GROUP BY time(1m) LIMIT 5",
                self.shape.start
            ),
            promql: None,
        }
    }
}

fn calls(function: &str, fields: usize) -> String {
    FIELDS[..fields].iter().map(|field| format!("{function}({field})")).collect::<Vec<_>>().join(", ")
}

fn where_hosts(hosts: &[String]) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("hostname = '{host}'")).collect();
    format!("({})", hosts.join(" OR "))
}

fn where_time(start: i64, end: i64) -> String {
    format!("time >= {start}s AND time < {end}s")
}

fn prom_series(fields: usize, hosts: Option<&[String]>) -> String {
    let names = FIELDS[..fields].iter().map(|field| format!("cpu_{field}")).collect::<Vec<_>>().join("|");
    let hosts = hosts.map_or(String::new(), |hosts| format!(",hostname=~\"{}\"", hosts.join("|")));
    format!("{{__name__=~\"{names}\"{hosts}}}")
}
