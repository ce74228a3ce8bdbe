//! A restart, clean or not, and with another number of cores, changes nothing that can be read.

use crate::support::Node;

const QUERY: &str = "SELECT count(v), sum(v), min(v), max(v) FROM m GROUP BY host";

fn fill(node: &Node) -> String {
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    for batch in 0..20i64 {
        let lines: String = (0..100)
            .map(|at| {
                format!("m,host=h{} v={}i {}\n", at % 10, at * batch, (batch * 100 + at) * 3_600_000_000_000)
            })
            .collect();
        assert_eq!(client.write("db=db", &lines).status, 204);
    }
    client.query("db", QUERY)
}

#[test]
fn a_clean_stop_and_start_keeps_everything() {
    let mut node = Node::start("");
    let before = fill(&node);
    node.stop();
    node.start_again();
    assert_eq!(node.client().query("db", QUERY), before);
}

#[test]
fn a_restart_with_another_number_of_cores_keeps_everything() {
    let mut node = Node::start("[engine]\ncores = 2\n");
    let before = fill(&node);
    for cores in [1, 2, 3, 1] {
        node.kill();
        node.configuration = format!("[engine]\ncores = {cores}\n");
        node.start_again();
        let metrics = node.client().request("GET", "/metrics", &[], b"").body;
        assert_eq!(metrics.matches("tidemark_shards{core=").count(), cores, "cores that count");
        assert_eq!(node.client().query("db", QUERY), before, "{cores} cores");
        let line = format!("extra,cores={cores} v=1 {cores}");
        assert_eq!(node.client().write("db=db", &line).status, 204);
    }
    assert!(node.client().query("db", "SELECT count(v) FROM extra GROUP BY cores").contains("\"2\""));
}
