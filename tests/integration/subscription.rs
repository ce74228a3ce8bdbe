//! What is written reaches those who subscribed to it.

use std::net::UdpSocket;
use std::time::Duration;

use crate::support::receiver::LOCALHOST;
use crate::support::{Node, Receiver, free_port};

#[test]
fn subscribers_get_what_is_written_with_timestamps_in_nanoseconds() {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let (first, second) = (Receiver::start(204), Receiver::start(204));
    let create = format!(
        "CREATE SUBSCRIPTION s ON db.autogen DESTINATIONS ALL 'http://me:pass@127.0.0.1:{}', 'http://127.0.0.1:{}'",
        first.port, second.port
    );
    assert_eq!(client.query("", &create), r#"{"results":[{"statement_id":0}]}"#);
    assert_eq!(client.write("db=db&precision=s", "cpu,host=a value=1 5\ncpu,host=b value=2 6\n").status, 204);
    // A body with bad lines: the good ones go on.
    assert_eq!(client.write("db=db&precision=s", "bad\ncpu,host=c value=3 7\n").status, 400);
    for receiver in [&first, &second] {
        let posted = receiver.wait_for_lines(3);
        assert!(
            posted[0].head.starts_with("POST /write?consistency=&db=db&precision=ns&rp=autogen HTTP/1.1")
        );
        let mut lines: Vec<_> = posted.iter().flat_map(|one| one.body.lines()).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "cpu,host=a value=1 5000000000",
                "cpu,host=b value=2 6000000000",
                "cpu,host=c value=3 7000000000"
            ]
        );
    }
    let login = first.wait_for_lines(3)[0].head.to_lowercase();
    assert!(login.contains("authorization: basic bwu6cgfzcw=="), "{login}");

    let stats = client.query("", "SHOW STATS FOR 'subscriber'");
    assert!(stats.contains(&format!(r#""destination":"http://127.0.0.1:{}""#, first.port)), "{stats}");
    client.query("", "DROP SUBSCRIPTION s ON db.autogen");
    client.write("db=db", "cpu value=9 9\n");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(first.wait_for_lines(3).iter().map(|one| one.body.lines().count()).sum::<usize>(), 3);
}

#[test]
fn any_goes_to_the_next_destination_when_one_fails_and_survives_a_restart() {
    let mut node = Node::start("");
    let receiver = Receiver::start(204);
    // Nobody listens on the first one.
    let create = format!(
        "CREATE DATABASE db; CREATE SUBSCRIPTION s ON db.autogen DESTINATIONS ANY 'http://127.0.0.1:{}', \
         'http://127.0.0.1:{}'",
        free_port(),
        receiver.port
    );
    node.client().query("", &create);
    for at in 0..4 {
        assert_eq!(node.client().write("db=db", &format!("m v={at} {at}\n")).status, 204);
    }
    receiver.wait_for_lines(4);
    node.kill();
    node.start_again();
    assert_eq!(node.client().write("db=db", "m v=5 5\n").status, 204);
    receiver.wait_for_lines(5);
}

#[test]
fn udp_subscribers_get_datagrams_of_whole_lines() {
    let node = Node::start("");
    let client = node.client();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let port = socket.local_addr().expect("an address").port();
    client.query(
        "",
        &format!("CREATE DATABASE db; CREATE SUBSCRIPTION s ON db.autogen DESTINATIONS ALL 'udp://127.0.0.1:{port}'"),
    );
    client.write("db=db", "m,t=a v=1 1\nm,t=b v=2 2\n");
    let mut buffer = [0; 2048];
    let count = socket.recv(&mut buffer).expect("a datagram");
    assert_eq!(std::str::from_utf8(&buffer[..count]), Ok("m,t=a v=1 1\nm,t=b v=2 2\n"));
}

#[test]
fn https_subscribers_are_those_whose_certificate_is_trusted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, LOCALHOST).expect("a file");
    let create = |port: u16| {
        format!(
            "CREATE DATABASE db; CREATE SUBSCRIPTION s ON db.autogen DESTINATIONS ALL 'https://127.0.0.1:{port}'"
        )
    };
    for trust in [format!("ca-certs = {trusted:?}"), "insecure-skip-verify = true".to_owned()] {
        let node = Node::start(&format!("[subscriber]\n{trust}\n"));
        let receiver = Receiver::start_tls(204);
        node.client().query("", &create(receiver.port));
        assert_eq!(node.client().write("db=db", "m,t=a v=1 1\n").status, 204);
        assert_eq!(receiver.wait_for_lines(1)[0].body, "m,t=a v=1 1\n");
    }
    // Nobody the system trusts has signed it.
    let node = Node::start("");
    let receiver = Receiver::start_tls(204);
    node.client().query("", &create(receiver.port));
    assert_eq!(node.client().write("db=db", "m,t=a v=1 1\n").status, 204);
    let failures = || {
        let answer = node.client().query("", "SHOW STATS FOR 'subscriber'");
        let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let series = json["results"][0]["series"].as_array().cloned().unwrap_or_default();
        let last = series.into_iter().rfind(|series| series["tags"]["destination"].is_string());
        last.map_or(0, |series| {
            assert_eq!(series["columns"][2], "writeFailures");
            series["values"][0][2].as_i64().unwrap_or(0)
        })
    };
    let begun = std::time::Instant::now();
    while failures() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the failure is counted");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(receiver.posted().is_empty());
}
