//! Listeners of other protocols: what is sent to them can be asked for.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::{Client, Node, free_port};

/// Waits until a query answers what is wanted.
fn wait_for(client: &Client, database: &str, statement: &str, wanted: &str) {
    let started = Instant::now();
    loop {
        let got = client.query(database, statement);
        if got.contains(wanted) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{got}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn send(port: u16, text: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    stream.write_all(text.as_bytes()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("closed");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn graphite_lines_come_by_tcp_and_udp() {
    let (tcp, udp) = (free_port(), free_port());
    let node = Node::start(&format!(
        "[[graphite]]\nenabled = true\nbind-address = \"127.0.0.1:{tcp}\"\ndatabase = \"g\"\nbatch-timeout = \"50ms\"\n\
         tags = [\"dc=x\"]\ntemplates = [\"servers.* .host.measurement*\", \"measurement*\"]\n\
         [[graphite]]\nenabled = true\nbind-address = \"127.0.0.1:{udp}\"\ndatabase = \"u\"\nprotocol = \"udp\"\n\
         batch-timeout = \"50ms\"\n"
    ));
    let client = node.client();
    send(
        tcp,
        "servers.a.cpu.load 1.5 1500000000\nbad\nother.x 2 1500000000.5\nservers.b.cpu.load NaN 1500000000\n",
    );
    wait_for(
        &client,
        "g",
        "SELECT * FROM \"cpu.load\"",
        r#""columns":["time","dc","host","value"],"values":[[1500000000000000000,"x","a",1.5]]"#,
    );
    wait_for(&client, "g", "SELECT * FROM \"other.x\"", r#"[[1500000000500000000,"x",2]]"#);
    let stats = client.query("", "SHOW STATS FOR 'graphite'");
    assert!(stats.contains("\"pointsParseFail\"") && stats.contains("\"proto\":\"udp\""), "{stats}");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.send_to(b"a.b 7 1500000000", ("127.0.0.1", udp)).expect("sent");
    wait_for(&client, "u", "SELECT * FROM \"a.b\"", "[[1500000000000000000,7]]");
}

#[test]
fn opentsdb_puts_come_as_lines_and_as_json_on_one_port() {
    let port = free_port();
    let node = Node::start(&format!(
        "[[opentsdb]]\nenabled = true\nbind-address = \"127.0.0.1:{port}\"\ndatabase = \"o\"\nbatch-timeout = \"50ms\"\n"
    ));
    let client = node.client();
    assert_eq!(
        send(port, "put sys.cpu 1500000000 1.5 host=a\nput sys.cpu 15 1\nversion\n"),
        "InfluxDB TSDB proxy"
    );
    wait_for(&client, "o", "SELECT * FROM \"sys.cpu\"", r#"[[1500000000000000000,"a",1.5]]"#);
    let http = Client { address: format!("127.0.0.1:{port}") };
    let put = |path: &str, body: &str| http.request("POST", path, &[], body.as_bytes()).status;
    let point = r#"{"metric":"m","timestamp":1500000000123,"value":2,"tags":{"host":"b"}}"#;
    assert_eq!(put("/api/put", point), 204);
    assert_eq!(put("/api/put", &format!("[{point}]")), 204);
    assert_eq!(put("/api/put", "nothing"), 400);
    assert_eq!(put("/api/put", "[1]"), 400);
    assert_eq!(put("/api/metadata/put", "{}"), 204);
    assert_eq!(put("/other", ""), 404);
    assert_eq!(http.request("GET", "/api/put", &[], b"").status, 405);
    wait_for(&client, "o", "SELECT * FROM m", r#"[[1500000000123000000,"b",2]]"#);
    let stats = client.query("", "SHOW STATS FOR 'opentsdb'");
    assert!(stats.contains("tlBadTime"), "{stats}");
}

#[test]
fn a_protocol_nobody_knows_is_refused_at_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config");
    let text = format!(
        "bind-address = \"127.0.0.1:0\"\n[meta]\ndir = \"{0}/m\"\n[data]\ndir = \"{0}/d\"\n[http]\nbind-address = \"127.0.0.1:0\"\n\
         [[graphite]]\nenabled = true\nprotocol = \"pigeon\"\n",
        folder.path().display()
    );
    std::fs::write(&config, text).expect("written");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidemarkd"))
        .args(["run", "-config"])
        .arg(&config)
        .output()
        .expect("it ends");
    let all = [output.stdout, output.stderr].concat();
    let all = String::from_utf8_lossy(&all);
    assert!(all.contains("unrecognized Graphite input protocol pigeon"), "{all}");
}
