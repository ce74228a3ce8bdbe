//! The configuration: InfluxDB's sections, key names and defaults, Tidemark's own under `[engine]`.
//!
//! 1. `config/defaults.toml` names every key with its default: the one table of defaults.
//! 2. A file is laid over it; a key that is not in the table is an error naming the nearest one that is.
//! 3. The environment is laid over that (`TIDEMARK_HTTP_BIND_ADDRESS`, or `INFLUXDB_…`).
//! 4. The result is read into [`Config`] and checked: what is not built may stand there switched off.

mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

pub use value::{Duration, Size};

const DEFAULTS: &str = include_str!("config/defaults.toml");

/// Where things are when there is no configuration file: all under `./data`, for this machine only.
const WITHOUT_FILE: &str = r#"
[meta]
dir = "data/meta"
[data]
dir = "data"
[http]
bind-address = "127.0.0.1:8086"
"#;

/// Tables whose keys are the user's own.
const FREE_TABLES: [&str; 1] = ["http.headers"];

/// Keys of InfluxDB for what this engine does in another way, or has no use for.
const WITHOUT_EFFECT: [(&str, &[&str]); 3] = [
    ("meta", &["logging-enabled"]),
    (
        "data",
        &[
            "strict-error-handling",
            "query-log-enabled",
            "trace-logging-enabled",
            "compact-throughput",
            "compact-throughput-burst",
            "max-concurrent-compactions",
            "max-concurrent-deletes",
            "max-series-per-database",
            "max-values-per-tag",
            "max-index-log-file-size",
            "series-id-set-cache-size",
            "series-file-max-concurrent-snapshot-compactions",
            "tsm-use-madv-willneed",
        ],
    ),
    ("http", &["pprof-enabled", "debug-pprof-enabled", "prom-read-auth-enabled"]),
];

/// Sections that were called otherwise once.
const OLD_SECTIONS: [(&str, &str); 1] = [("cluster", "coordinator")];

/// Prefixes of environment variables; the later wins.
const ENVIRONMENT_PREFIXES: [&str; 2] = ["INFLUXDB", "TIDEMARK"];

/// As HS256 asks for.
const SHARED_SECRET_BYTES_MIN: usize = 32;

/// What is wrong with a configuration, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

type Result<T, E = ConfigError> = std::result::Result<T, E>;

/// The effective configuration, checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    pub reporting_disabled: bool,
    pub bind_address: String,
    pub hostname: String,
    pub join: String,
    pub meta: Meta,
    pub data: Data,
    pub engine: Engine,
    pub coordinator: Coordinator,
    pub retention: Retention,
    pub shard_precreation: ShardPrecreation,
    pub monitor: Monitor,
    pub subscriber: Subscriber,
    #[serde(rename = "continuous_queries")]
    pub continuous_queries: ContinuousQueries,
    pub hinted_handoff: HintedHandoff,
    pub anti_entropy: AntiEntropy,
    pub http: Http,
    pub logging: Logging,
    pub tls: Tls,
    pub tcp: Vec<Tcp>,
    pub udp: Vec<Udp>,
    pub graphite: Vec<Graphite>,
    pub collectd: Vec<Collectd>,
    pub opentsdb: Vec<OpenTsdb>,
}

/// One section: a struct with the keys of the file.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $name { $(pub $field: $type,)* }
    };
}

section! { Meta {
    enabled: bool, dir: PathBuf, retention_autocreate: bool, logging_enabled: bool,
} }

section! { Data {
    enabled: bool, dir: PathBuf, wal_dir: PathBuf, engine: String, index_version: String,
    wal_fsync_delay: Duration, validate_keys: bool, strict_error_handling: bool, query_log_enabled: bool,
    trace_logging_enabled: bool, cache_max_memory_size: Size, cache_snapshot_memory_size: Size,
    cache_snapshot_write_cold_duration: Duration, compact_full_write_cold_duration: Duration,
    compact_throughput: Size, compact_throughput_burst: Size, max_concurrent_compactions: u64,
    max_concurrent_deletes: u64, max_series_per_database: u64, max_values_per_tag: u64,
    max_index_log_file_size: Size, series_id_set_cache_size: u64,
    series_file_max_concurrent_snapshot_compactions: u64, tsm_use_madv_willneed: bool,
} }

section! {
    /// How the machine is used. Zero asks for the default that fits it.
    Engine { cores: usize, memory: Size, slices: u32, cold_codec: String, scrub_interval: Duration, }
}

section! { Coordinator {
    write_timeout: Duration, max_concurrent_queries: u64, query_timeout: Duration, log_queries_after: Duration,
    max_select_point: u64, max_select_series: u64, max_select_buckets: u64, termination_query_log: bool,
    log_timedout_queries: bool,
} }

section! { Retention { enabled: bool, check_interval: Duration, } }

section! { ShardPrecreation { enabled: bool, check_interval: Duration, advance_period: Duration, } }

section! { Monitor { store_enabled: bool, store_database: String, store_interval: Duration, } }

section! { Subscriber {
    enabled: bool, http_timeout: Duration, insecure_skip_verify: bool, ca_certs: String, write_concurrency: u64,
    write_buffer_size: u64,
} }

section! { ContinuousQueries {
    enabled: bool, log_enabled: bool, query_stats_enabled: bool, run_interval: Duration,
} }

section! { HintedHandoff {
    enabled: bool, dir: PathBuf, max_size: Size, max_age: Duration, retry_rate_limit: Size,
    retry_interval: Duration, retry_max_interval: Duration, retry_concurrency: u64, batch_size: Size,
    max_writes_pending: u64, purge_interval: Duration,
} }

section! { AntiEntropy {
    enabled: bool, check_interval: Duration, max_fetch: u64, max_sync: u64, auto_repair_missing: bool,
} }

section! { Http {
    enabled: bool, bind_address: String, auth_enabled: bool, log_enabled: bool, suppress_write_log: bool,
    write_tracing: bool, flux_enabled: bool, flux_log_enabled: bool, pprof_enabled: bool,
    pprof_auth_enabled: bool, debug_pprof_enabled: bool, ping_auth_enabled: bool, prom_read_auth_enabled: bool,
    https_enabled: bool, https_certificate: PathBuf, https_private_key: PathBuf, realm: String,
    shared_secret: String, max_row_limit: u64, max_connection_limit: u64, max_body_size: Size,
    max_concurrent_write_limit: u64, max_enqueued_write_limit: u64, enqueued_write_timeout: Duration,
    access_log_path: String, access_log_status_filters: Vec<String>, unix_socket_enabled: bool,
    bind_socket: PathBuf, unix_socket_permissions: String, unix_socket_group: String,
    headers: BTreeMap<String, String>,
} }

section! { Logging { format: String, level: String, suppress_logo: bool, } }

section! { Tls { ciphers: Vec<String>, min_version: String, max_version: String, } }

section! { Tcp {
    enabled: bool, bind_address: String, database: String, retention_policy: String, precision: String,
    batch_size: u64, batch_timeout: Duration, tls_enabled: bool, certificate: PathBuf, private_key: PathBuf,
} }

section! { Udp {
    enabled: bool, bind_address: String, database: String, retention_policy: String, precision: String,
    read_buffer: Size, batch_size: u64, batch_pending: u64, batch_timeout: Duration,
} }

section! { Graphite {
    enabled: bool, bind_address: String, database: String, retention_policy: String, protocol: String,
    consistency_level: String, separator: String, tags: Vec<String>, templates: Vec<String>, batch_size: u64,
    batch_pending: u64, batch_timeout: Duration, udp_read_buffer: Size,
} }

section! { Collectd {
    enabled: bool, bind_address: String, database: String, retention_policy: String, typesdb: String,
    security_level: String, auth_file: String, parse_multivalue_plugin: String, batch_size: u64,
    batch_pending: u64, batch_timeout: Duration, read_buffer: Size,
} }

section! { OpenTsdb {
    enabled: bool, bind_address: String, database: String, retention_policy: String, consistency_level: String,
    tls_enabled: bool, certificate: PathBuf, log_point_errors: bool, batch_size: u64, batch_pending: u64,
    batch_timeout: Duration,
} }

/// The keys and values before they are read into [`Config`]: what `tidemarkd config` prints.
pub struct Effective(Table);

impl Effective {
    /// Lays file and environment over the defaults. Without a file, everything is kept under `./data`.
    pub fn load(file: Option<&Path>, environment: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let text = match file {
            None => WITHOUT_FILE.to_owned(),
            // The customary way to ask for defaults.
            Some(path) if path == Path::new("/dev/null") => WITHOUT_FILE.to_owned(),
            Some(path) => {
                let bytes = std::fs::read(path)
                    .map_err(|error| ConfigError(format!("{}: {error}", path.display())))?;
                value::text_of(&bytes).map_err(|what| ConfigError(format!("{}: {what}", path.display())))?
            }
        };
        Self::from_text(&text, environment)
    }

    /// As [`load`](Self::load), from a text.
    pub fn from_text(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let known = defaults();
        let mut given: Table =
            text.parse().map_err(|error: toml::de::Error| ConfigError(error.to_string()))?;
        for (old, new) in OLD_SECTIONS {
            if let Some(section) = given.remove(old) {
                given.entry(new).or_insert(section);
            }
        }
        let mut effective = known.clone();
        // The listeners of the table are templates: only those a file names exist.
        for (_, value) in effective.iter_mut() {
            if let Value::Array(elements) = value
                && elements.first().is_some_and(Value::is_table)
            {
                elements.clear();
            }
        }
        lay_over(&mut effective, given, &known, "")?;
        value::apply_environment(&mut effective, &known, &ENVIRONMENT_PREFIXES, &environment)?;
        Ok(Self(effective))
    }

    /// As a file that can be fed back.
    pub fn to_text(&self) -> String {
        toml::to_string(&self.0).expect("what was read can be written")
    }

    /// Keys that were set to something else than their default and change nothing.
    pub fn without_effect(&self) -> Vec<String> {
        let known = defaults();
        let mut keys = Vec::new();
        for (section, names) in WITHOUT_EFFECT {
            let (Some(Value::Table(given)), Some(Value::Table(known))) =
                (self.0.get(section), known.get(section))
            else {
                continue;
            };
            let is_set = |name: &&&str| given.get(**name) != known.get(**name);
            keys.extend(names.iter().filter(is_set).map(|name| format!("{section}.{name}")));
        }
        keys
    }

    /// Reads and checks it.
    pub fn config(&self) -> Result<Config> {
        let config: Config =
            self.0.clone().try_into().map_err(|error: toml::de::Error| ConfigError(one_line(&error)))?;
        config.check()?;
        Ok(config)
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn defaults() -> Table {
    DEFAULTS.parse().expect("the table of defaults is good TOML")
}

/// Lays `given` over `onto`, checking every key against the table of defaults.
fn lay_over(onto: &mut Table, given: Table, known: &Table, path: &str) -> Result<()> {
    for (key, value) in given {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let Some(default) = known.get(&key) else {
            return Err(unknown_key(&full, &key, known, path));
        };
        match (default, value) {
            (Value::Table(_), Value::Table(inner)) if FREE_TABLES.contains(&full.as_str()) => {
                onto.insert(key, Value::Table(inner));
            }
            (Value::Table(known), Value::Table(inner)) => {
                let Some(Value::Table(onto)) = onto.get_mut(&key) else { continue };
                lay_over(onto, inner, known, &full)?;
            }
            (Value::Array(template), value) if template.first().is_some_and(Value::is_table) => {
                let elements = match value {
                    Value::Array(elements) => elements,
                    // The older form: one table instead of a list of them.
                    single => vec![single],
                };
                let template = template[0].as_table().expect("just seen");
                let mut laid = Vec::new();
                for element in elements {
                    let Value::Table(element) = element else {
                        return Err(ConfigError(format!("{full} must be a table")));
                    };
                    let mut listener = template.clone();
                    lay_over(&mut listener, element, template, &full)?;
                    laid.push(Value::Table(listener));
                }
                onto.insert(key, Value::Array(laid));
            }
            (Value::Table(_), _) => return Err(ConfigError(format!("{full} must be a table"))),
            (_, value) => {
                onto.insert(key, value);
            }
        }
    }
    Ok(())
}

fn unknown_key(full: &str, key: &str, known: &Table, path: &str) -> ConfigError {
    let near = known
        .keys()
        .map(|known| (strsim::damerau_levenshtein(known, key), known))
        .min()
        .filter(|(distance, known)| *distance <= 3.max(known.len() / 3));
    let place = if path.is_empty() { String::new() } else { format!("{path}.") };
    match near {
        Some((_, near)) => ConfigError(format!("unknown key {full}, did you mean {place}{near}?")),
        None => ConfigError(format!("unknown key {full}")),
    }
}

impl Config {
    fn check(&self) -> Result<()> {
        let must = |holds: bool, otherwise: &str| {
            if holds { Ok(()) } else { Err(ConfigError(otherwise.to_owned())) }
        };
        must(!self.meta.dir.as_os_str().is_empty(), "Meta.Dir must be specified")?;
        must(!self.data.dir.as_os_str().is_empty(), "Data.Dir must be specified")?;
        must(self.data.engine == "tsm1", &format!("unrecognized engine {}", self.data.engine))?;
        let index = self.data.index_version.as_str();
        must(matches!(index, "inmem" | "tsi1"), &format!("unrecognized index {index}"))?;
        must(self.data.enabled || self.meta.enabled, "either Meta, Data, or both must be enabled")?;
        must(
            matches!(self.engine.cold_codec.as_str(), "none" | "pco"),
            "engine.cold-codec must be \"none\" or \"pco\"",
        )?;
        must(
            matches!(self.logging.format.as_str(), "auto" | "logfmt" | "json"),
            "logging.format must be auto, logfmt or json",
        )?;
        must(
            matches!(self.logging.level.to_ascii_lowercase().as_str(), "error" | "warn" | "info" | "debug"),
            "logging.level must be error, warn, info or debug",
        )?;
        // An empty one switches bearer tokens off; a short one can be guessed from any token.
        must(
            matches!(self.http.shared_secret.len(), 0 | SHARED_SECRET_BYTES_MIN..),
            "http.shared-secret must have at least 32 bytes, or tokens can be forged",
        )?;
        for filter in &self.http.access_log_status_filters {
            must(filter.len() == 3, "status filter must be exactly 3 characters long")?;
        }
        let mode = u32::from_str_radix(self.http.unix_socket_permissions.trim_start_matches("0o"), 8);
        must(
            mode.is_ok_and(|mode| mode <= 0o777),
            "http.unix-socket-permissions must be an octal mode such as 0777",
        )?;
        self.check_not_built()
    }

    /// What may stand in a file only while it is off.
    fn check_not_built(&self) -> Result<()> {
        let switched_on = [
            (
                !self.meta.enabled || !self.data.enabled || !self.join.is_empty(),
                "a node that is only meta or only data, or joins others,",
            ),
            (
                self.data.wal_fsync_delay.0 != 0,
                "a data.wal-fsync-delay other than \"0s\" (waiting writes share a sync without it)",
            ),
            (self.hinted_handoff.enabled, "hinted-handoff"),
            (self.anti_entropy.enabled, "anti-entropy"),
            (self.http.flux_enabled, "Flux (http.flux-enabled)"),
        ];
        match switched_on.iter().find(|(is_on, _)| *is_on) {
            Some((_, what)) => {
                Err(ConfigError(format!("{what} is not part of this version; switch it off to start")))
            }
            None => Ok(()),
        }
    }
}

/// An address as configurations write it: `:8086` is every address of this machine, a name is asked for.
pub fn socket_address(text: &str) -> Result<std::net::SocketAddr> {
    use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
    let bad = |why: &str| ConfigError(format!("bad address {text:?}: {why}"));
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().map_err(|_| bad("no port number"))?;
        // Machines without IPv6 listen on IPv4 instead.
        let any = if Path::new("/proc/net/if_inet6").exists() {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
        } else {
            SocketAddr::from(([0, 0, 0, 0], port))
        };
        return Ok(any);
    }
    let mut addresses = text.to_socket_addrs().map_err(|error| bad(&error.to_string()))?;
    addresses.next().ok_or_else(|| bad("the name has no address"))
}

#[cfg(test)]
mod tests;
