//! What the server tells about itself, under InfluxDB's names.

use std::time::{Duration, Instant};

use crate::support::{Client, Node};

fn vars(client: &Client) -> serde_json::Value {
    serde_json::from_str(&client.request("GET", "/debug/vars", &[], b"").body).expect("JSON")
}

/// The sum of a value over the statistics of a name.
fn sum(vars: &serde_json::Value, name: &str, value: &str) -> i64 {
    let members = vars.as_object().expect("an object").values();
    let named = members.filter(|member| member["name"] == name);
    named.filter_map(|member| member["values"][value].as_i64()).sum()
}

#[test]
fn databases_and_shards_have_statistics() {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db; CREATE DATABASE empty");
    assert_eq!(client.write("db=db", "m,h=a v=1,w=2 1\nm,h=b v=1 1\nn v=1 1\n").status, 204);
    assert_eq!(client.write("db=db", "m,h=a v=\"text\" 2\n").status, 400);
    let before = vars(&client);
    assert_eq!(before["database:db"]["tags"]["database"], "db");
    let database = |vars: &serde_json::Value, name: &str, value: &str| {
        vars[format!("database:{name}")]["values"][value].as_i64()
    };
    assert_eq!(database(&before, "db", "numMeasurements"), Some(2));
    assert_eq!(database(&before, "db", "numSeries"), Some(3));
    assert_eq!(database(&before, "empty", "numSeries"), Some(0));
    assert_eq!(sum(&before, "shard", "writePointsOk"), 3);
    assert_eq!(sum(&before, "shard", "writeValuesOk"), 4);
    assert_eq!(sum(&before, "shard", "writePointsDropped"), 1);
    assert!(sum(&before, "tsm1_cache", "memBytes") > 0);

    let shard = before.as_object().expect("an object").iter().find(|(_, member)| member["name"] == "shard");
    let (key, shard) = shard.expect("a shard");
    let (tags, path) = (&shard["tags"], shard["tags"]["path"].as_str().expect("a path"));
    assert_eq!(*key, format!("shard:{path}:{}", tags["id"].as_str().expect("an id")));
    assert_eq!((&tags["database"], &tags["retentionPolicy"]), (&"db".into(), &"autogen".into()));
    assert!(path.contains("/data/"), "{path}");

    let shown = client.query("", "SHOW STATS FOR 'database'");
    assert!(
        shown.contains(r#"{"name":"database","tags":{"database":"db"},"columns":["numMeasurements","numSeries"],"values":[[2,3]]}"#),
        "{shown}"
    );
    assert!(!shown.contains("\"shard\""));
    assert!(client.query("", "SHOW STATS").contains("tsm1_filestore"));
}

#[test]
fn shards_tell_what_their_files_take_after_a_restart() {
    let mut node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    assert_eq!(client.write("db=db", "m,h=a v=1 1\nm,h=b v=1 1\nn v=1 1\n").status, 204);
    // A clean end leaves everything in files.
    node.stop();
    node.start_again();
    let after = vars(&node.client());
    assert_eq!(after["database:db"]["values"]["numSeries"], 3);
    assert_eq!(after["database:db"]["values"]["numMeasurements"], 2);
    assert_eq!(sum(&after, "shard", "writePointsOk"), 0);
    let members = after.as_object().expect("an object").values();
    let paths: Vec<&str> = members.filter_map(|member| member["tags"]["path"].as_str()).collect();
    assert!(!paths.is_empty() && paths.iter().any(|path| std::path::Path::new(path).is_dir()), "{paths:?}");
}

#[test]
fn errors_are_escaped_as_go_escapes_them() {
    let node = Node::start("");
    let client = node.client();
    let reply = client.write("db=%3Cx%26%3E", "m v=1");
    assert_eq!(reply.body, "{\"error\":\"database not found: \\\"\\u003cx\\u0026\\u003e\\\"\"}\n");
    assert_eq!(reply.header("x-influxdb-error"), Some("database not found: \"<x&>\""));
}

/// Asks until the answer has a text.
fn wait_for(client: &Client, database: &str, statement: &str, text: &str) -> String {
    let begun = Instant::now();
    loop {
        let answer = client.query(database, statement);
        if answer.contains(text) {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{statement}: {answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn statistics_are_stored_when_that_is_asked_for_and_those_of_continuous_queries_with_them() {
    let node = Node::start(
        "[monitor]\nstore-enabled = true\nstore-interval = \"1s\"\n\
         [continuous_queries]\nquery-stats-enabled = true\nrun-interval = \"1h\"\n",
    );
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    assert_eq!(client.write("db=db", "m,h=a v=1 600000000000\n").status, 204);
    let policies = wait_for(&client, "_internal", "SHOW RETENTION POLICIES", "monitor");
    assert!(policies.contains(r#"["monitor","168h0m0s","24h0m0s",1,true]"#), "{policies}");
    let series = "SELECT last(numSeries) FROM \"database\" WHERE \"database\" = 'db' GROUP BY hostname";
    wait_for(&client, "_internal", series, ",1]]");
    wait_for(&client, "_internal", "SHOW MEASUREMENTS", r#"["httpd"]"#);

    client.query(
        "",
        "CREATE CONTINUOUS QUERY cq ON db BEGIN SELECT mean(v) INTO n FROM m GROUP BY time(1m) END",
    );
    let run = "/data/process_continuous_queries?db=db&name=cq&time=660000000000";
    assert_eq!(client.request("POST", run, &[], b"").status, 204);
    let runs = "SELECT pointsWrittenOK, startTime, endTime FROM cq_query WHERE db = 'db' AND cq = 'cq'";
    wait_for(&client, "_internal", runs, ",1,600000000000,660000000000]]");
}
