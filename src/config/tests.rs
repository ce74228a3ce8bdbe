//! Texts in, effective values or errors out.

use super::*;

const MINIMAL: &str = "[meta]\ndir = \"m\"\n[data]\ndir = \"d\"\n";

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config> {
    let environment: BTreeMap<_, _> = environment.iter().copied().collect();
    let lookup = |name: &str| environment.get(name).map(|value| value.to_string());
    Effective::from_text(text, lookup)?.config()
}

fn check_error(text: &str, want: &str) {
    let error = load(text, &[]).unwrap_err().0;
    assert!(error.contains(want), "{error}");
}

#[test]
fn the_table_of_defaults_reads_into_the_config() {
    let config = load(MINIMAL, &[]).unwrap();
    assert_eq!(config.http.bind_address, ":8086");
    assert_eq!(config.coordinator.write_timeout.std(), std::time::Duration::from_secs(10));
    assert_eq!(config.data.cache_max_memory_size, Size(1 << 30));
    assert!(config.udp.is_empty(), "a listener exists only when a file names it");
    let template: Config = defaults().try_into().unwrap();
    assert_eq!((template.udp.len(), template.graphite.len(), template.tcp.len()), (1, 1, 1));
}

#[test]
fn without_a_file_the_node_is_for_this_machine_only() {
    let config = Effective::load(None, |_| None).unwrap().config().unwrap();
    assert_eq!(config.http.bind_address, "127.0.0.1:8086");
    assert_eq!(config.data.dir, PathBuf::from("data"));
}

#[test]
fn sizes_and_durations_take_their_suffixes() {
    let text = format!(
        "{MINIMAL}cache-max-memory-size = \"400m\"\ncache-snapshot-write-cold-duration = \"1h30m\"\n"
    );
    let config = load(&text, &[]).unwrap();
    assert_eq!(config.data.cache_max_memory_size, Size(400 << 20));
    assert_eq!(config.data.cache_snapshot_write_cold_duration.0, 5400 * 1_000_000_000);
    for (text, want) in
        [("10s", 10_000_000_000), ("1.5h", 5_400_000_000_000), ("500ms", 500_000_000), ("0", 0)]
    {
        assert_eq!(value::parse_duration(text), Ok(want), "{text}");
    }
    for text in ["10", "s", "1x", "h1", "-5s", "99999999999h"] {
        assert!(value::parse_duration(text).is_err(), "{text}");
    }
    for text in ["1t", "m", "", "99999999999g"] {
        assert!(value::parse_size(text).is_err(), "{text}");
    }
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    check_error(
        &format!("{MINIMAL}[http]\nbind-adress = \":1\"\n"),
        "unknown key http.bind-adress, did you mean http.bind-address?",
    );
    check_error(&format!("{MINIMAL}[htpp]\n"), "unknown key htpp, did you mean http?");
    check_error(&format!("{MINIMAL}[[udp]]\nzzzzzzzzzzzzzz = 1\n"), "unknown key udp.zzzzzzzzzzzzzz");
}

#[test]
fn what_must_be_there_and_what_is_not_built_is_told() {
    check_error("[data]\ndir = \"d\"\n", "Meta.Dir must be specified");
    check_error("[meta]\ndir = \"d\"\n", "Data.Dir must be specified");
    check_error(&format!("{MINIMAL}engine = \"bz1\"\n"), "unrecognized engine bz1");
    check_error(
        &format!("{MINIMAL}[http]\nflux-enabled = true\n"),
        "Flux (http.flux-enabled) is not part of this version",
    );
    check_error(
        &format!("{MINIMAL}[http]\naccess-log-status-filters = [\"4\"]\n"),
        "status filter must be exactly 3",
    );
    check_error(&format!("{MINIMAL}[http]\nmax-body-size = true\n"), "max-body-size");
    check_error(&format!("{MINIMAL}[http]\nshared-secret = \"short\"\n"), "at least 32 bytes");
}

#[test]
fn the_environment_is_laid_over_the_file() {
    let text = format!(
        "{MINIMAL}[http]\nbind-address = \":1\"\n[[udp]]\n[[udp]]\n[cluster]\nwrite-timeout = \"3s\"\n"
    );
    let config = load(
        &text,
        &[
            ("INFLUXDB_HTTP_BIND_ADDRESS", ":2"),
            ("TIDEMARK_HTTP_BIND_ADDRESS", ":3"),
            ("INFLUXDB_HTTP_MAX_BODY_SIZE", "1m"),
            ("INFLUXDB_HTTP_AUTH_ENABLED", ""),
            ("INFLUXDB_UDP_ENABLED", "true"),
            ("INFLUXDB_UDP_1_DATABASE", "other"),
            ("INFLUXDB_CONTINUOUS_QUERIES_ENABLED", "false"),
            ("INFLUXDB_HTTP_ACCESS_LOG_STATUS_FILTERS", "4xx,5xx"),
        ],
    )
    .unwrap();
    assert_eq!(config.http.bind_address, ":3");
    assert_eq!(config.http.max_body_size, Size(1 << 20));
    assert!(!config.http.auth_enabled && !config.continuous_queries.enabled);
    assert!(config.udp.iter().all(|one| one.enabled));
    assert_eq!((config.udp[0].database.as_str(), config.udp[1].database.as_str()), ("udp", "other"));
    assert_eq!(config.http.access_log_status_filters, ["4xx", "5xx"]);
    assert_eq!(config.coordinator.write_timeout.0, 3_000_000_000, "the older name of the section");
    let error = load(MINIMAL, &[("INFLUXDB_HTTP_AUTH_ENABLED", "maybe")]).unwrap_err();
    assert_eq!(
        error.0,
        "failed to apply INFLUXDB_HTTP_AUTH_ENABLED to auth-enabled using type bool and value 'maybe'"
    );
}

#[test]
fn what_is_printed_can_be_fed_back() {
    let text = format!("{MINIMAL}[[udp]]\nenabled = true\n[http.headers]\nX-Frame-Options = \"DENY\"\n");
    let first = Effective::from_text(&text, |_| None).unwrap();
    let second = Effective::from_text(&first.to_text(), |_| None).unwrap();
    assert_eq!(first.to_text(), second.to_text());
    let config = second.config().unwrap();
    assert_eq!(config.http.headers["X-Frame-Options"], "DENY");
}

#[test]
fn addresses_without_a_host_mean_every_one() {
    assert_eq!(socket_address("127.0.0.1:80").unwrap().to_string(), "127.0.0.1:80");
    assert!(socket_address(":8086").unwrap().ip().is_unspecified());
    assert!(socket_address("8086").is_err() && socket_address(":x").is_err());
}

#[test]
fn how_collectd_data_must_be_protected_is_taken() {
    let plain = load(&format!("{MINIMAL}[[collectd]]\nenabled = true\n"), &[]).unwrap();
    let listener = &plain.collectd[0];
    assert_eq!(
        (listener.security_level.as_str(), listener.auth_file.as_str()),
        ("none", "/etc/collectd/auth_file")
    );
    let text =
        format!("{MINIMAL}[[collectd]]\nenabled = true\nsecurity-level = \"sign\"\nauth-file = \"users\"\n");
    let listener = &load(&text, &[]).unwrap().collectd[0];
    assert_eq!((listener.security_level.as_str(), listener.auth_file.as_str()), ("sign", "users"));
    let config = load(&text, &[("INFLUXDB_COLLECTD_SECURITY_LEVEL", "encrypt")]).unwrap();
    assert_eq!(config.collectd[0].security_level, "encrypt");
}

#[test]
fn keys_without_effect_are_told_when_they_are_set() {
    let told = |text: &str| Effective::from_text(text, |_| None).unwrap().without_effect();
    assert!(told(MINIMAL).is_empty());
    let text =
        format!("{MINIMAL}max-series-per-database = 1000\nwal-dir = \"w\"\n[http]\npprof-enabled = false\n");
    assert_eq!(told(&text), ["data.max-series-per-database", "http.pprof-enabled"]);
    // Every one of them is a key.
    for (section, names) in WITHOUT_EFFECT {
        let defaults = defaults();
        assert!(names.iter().all(|name| defaults[section].get(name).is_some()), "{section}");
    }
}
