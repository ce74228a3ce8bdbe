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
fn collectd_datagrams_come_as_the_listener_asks_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (types, users) = (file("types", "load v:GAUGE:0:U\n"), file("users", "# all\nalice: w0nderl4nd\n"));
    let port = free_port();
    let node = Node::start(&format!(
        "[[collectd]]\nenabled = true\nbind-address = \"127.0.0.1:{port}\"\ntypesdb = \"{types}\"\n\
         security-level = \"sign\"\nauth-file = \"{users}\"\nbatch-timeout = \"50ms\"\n"
    ));
    let client = node.client();
    // The host h, one load of 1.5; by itself, and after a signature that Python has made, good and with a bit changed.
    let plain = "0000000668000001000c0000000059682f00000200096c6f616400000400096c6f6164000006000f000101000000000000f83f";
    let rest = "ea63387bc52ad8f76247abba6c31f83a0f7832d68f2538d54bc37847d9b7f92a616c696365";
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    for datagram in [plain.to_owned(), format!("02000029{}{plain}", rest.replacen("ea", "eb", 1))] {
        socket.send_to(&bytes(&datagram), ("127.0.0.1", port)).expect("sent");
    }
    // Of 143 bytes one value is dropped and one datagram is bad; there are no points.
    wait_for(&client, "", "SHOW STATS FOR 'collectd'", r#""values":[[0,0,143,1,1,0,0,0]]"#);
    socket.send_to(&bytes(&format!("02000029{rest}{plain}")), ("127.0.0.1", port)).expect("sent");
    wait_for(&client, "collectd", "SELECT * FROM load_v", r#"[[1500000000000000000,"h","load",1.5]]"#);
    // Who may send is asked again, once a second at most, when the file has changed.
    let bad = || {
        let stats = client.query("", "SHOW STATS FOR 'collectd'");
        stats.split_once("\"values\":[[").expect("values").1.split(',').nth(4).map(str::to_owned)
    };
    let (mut before, deadline) = (bad(), Instant::now() + Duration::from_secs(20));
    for users in ["bob: bu1lder\n", "alice: w0nderl4nd\n"] {
        file("users", users);
        loop {
            assert!(Instant::now() < deadline, "{users} is not noticed");
            socket.send_to(&bytes(&format!("02000029{rest}{plain}")), ("127.0.0.1", port)).expect("sent");
            std::thread::sleep(Duration::from_millis(200));
            let now = bad();
            if (now == before) == users.starts_with("alice") {
                break;
            }
            before = now;
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn a_protocol_nobody_knows_is_refused_at_start() {
    refused("[[graphite]]\nprotocol = \"pigeon\"\n", "unrecognized Graphite input protocol pigeon");
}

#[test]
fn collectd_protection_without_its_users_is_refused_at_start() {
    let asking = |level: &str, file: &str| {
        format!(
            "[[collectd]]\ntypesdb = \"/dev/null\"\nsecurity-level = \"{level}\"\nauth-file = \"{file}\"\n"
        )
    };
    refused(
        &asking("Sign", "/dev/null"),
        "collectd.security-level must be \"none\", \"sign\" or \"encrypt\"",
    );
    refused(&asking("sign", "/nowhere"), "collectd.auth-file /nowhere: No such file or directory");
    refused(&asking("encrypt", "/dev/null"), "collectd.auth-file /dev/null: it names no users");
}

/// A node with this listener, switched on, does not start and says why.
fn refused(section: &str, why: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config");
    let text = format!(
        "bind-address = \"127.0.0.1:0\"\n[meta]\ndir = \"{0}/m\"\n[data]\ndir = \"{0}/d\"\n[http]\nbind-address = \"127.0.0.1:0\"\n\
         {section}enabled = true\n",
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
    assert!(all.contains(why), "{all}");
}
