//! Who may do what, by every way to say who one is, on every listener.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::client::Reply;
use crate::support::{Client, Node, encode, free_port};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn ask(client: &Client, parameters: &str, headers: &[(&str, &str)], statement: &str) -> Reply {
    client.request("POST", &format!("/query?{parameters}&q={}", encode(statement)), headers, b"")
}

fn token(claims: serde_json::Value, secret: &str, algorithm: jsonwebtoken::Algorithm) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), &claims, &key).expect("a token")
}

fn node_with_users(more: &str) -> Node {
    let node = Node::start(&format!("auth-enabled = true\nshared-secret = \"{SECRET}\"\n{more}"));
    let client = node.client();
    let first = "CREATE USER root WITH PASSWORD 'ro:ot' WITH ALL PRIVILEGES";
    assert_eq!(ask(&client, "", &[], first).body.trim_end(), r#"{"results":[{"statement_id":0}]}"#);
    let more = "CREATE DATABASE db; CREATE DATABASE other; CREATE USER reader WITH PASSWORD 'r'; CREATE USER writer WITH \
                PASSWORD 'w'; GRANT READ ON db TO reader; GRANT WRITE ON db TO writer";
    let reply = ask(&client, "u=root&p=ro:ot", &[], more);
    assert!(reply.status == 200 && !reply.body.contains("error"), "{}", reply.body);
    node
}

#[test]
fn the_first_administrator_is_made_before_anything_else() {
    let node = Node::start("auth-enabled = true\n");
    let client = node.client();
    let reply = ask(&client, "", &[], "SHOW DATABASES");
    let text = r#"{"error":"error authorizing query: create admin user first or disable authentication"}"#;
    assert_eq!((reply.status, reply.body.trim_end()), (403, text));
    assert_eq!(ask(&client, "", &[], "CREATE USER a WITH PASSWORD 'x'").status, 403);
    assert_eq!(ask(&client, "", &[], "CREATE USER a WITH PASSWORD 'x' WITH ALL PRIVILEGES").status, 200);
    assert_eq!(ask(&client, "", &[], "CREATE USER b WITH PASSWORD 'x' WITH ALL PRIVILEGES").status, 401);
    assert_eq!(ask(&client, "u=a&p=x", &[], "CREATE DATABASE db").status, 200);
}

#[test]
fn each_way_to_say_who_one_is_is_understood_and_wrong_ones_are_refused() {
    let node = node_with_users("");
    let client = node.client();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    use jsonwebtoken::Algorithm::{HS256, HS384};
    let bearer = |claims, secret: &str, algorithm| format!("Bearer {}", token(claims, secret, algorithm));
    let later = now + 600;
    let good = bearer(serde_json::json!({"username": "root", "exp": later}), SECRET, HS256);
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("", String::new(), 401, "unable to parse authentication credentials"),
        ("u=root&p=ro:ot", String::new(), 200, ""),
        ("u=root&p=wrong", String::new(), 401, "authorization failed"),
        ("u=nobody&p=x", String::new(), 401, "authorization failed"),
        // A password without a user is none.
        ("p=x", String::new(), 401, "unable to parse authentication credentials"),
        ("", "Basic cm9vdDpybzpvdA==".into(), 200, ""),
        ("", "Basic OnBhc3M=".into(), 401, "username required"),
        ("", "Token root:ro:ot".into(), 200, ""),
        ("", "Token root".into(), 401, "unable to parse authentication credentials"),
        ("", good.clone(), 200, ""),
        ("", good.clone() + "x", 401, "signature is invalid"),
        (
            "",
            bearer(serde_json::json!({"username": "root"}), SECRET, HS256),
            401,
            "token expiration required",
        ),
        (
            "",
            bearer(serde_json::json!({"username": "root", "exp": now - 10}), SECRET, HS256),
            401,
            "token is expired",
        ),
        ("", bearer(serde_json::json!({"exp": later}), SECRET, HS256), 401, "token must contain a username"),
        (
            "",
            bearer(serde_json::json!({"username": 1, "exp": later}), SECRET, HS256),
            401,
            "username in token must be a string",
        ),
        (
            "",
            bearer(serde_json::json!({"username": "nobody", "exp": later}), SECRET, HS256),
            401,
            "user not found",
        ),
        (
            "",
            bearer(serde_json::json!({"username": "root", "exp": later}), SECRET, HS384),
            401,
            "unexpected signing method: HS384",
        ),
        (
            "",
            bearer(serde_json::json!({"username": "root", "exp": later}), "", HS256),
            401,
            "signature is invalid",
        ),
        // {"alg":"none"}
        ("", "Bearer eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QifQ.".into(), 401, ""),
    ];
    for (parameters, header, status, text) in cases {
        let headers = [("Authorization", header.as_str())];
        let headers: &[_] = if header.is_empty() { &[] } else { &headers };
        let reply = ask(&client, parameters, headers, "SHOW USERS");
        assert_eq!(reply.status, status, "{parameters} {header}: {}", reply.body);
        assert!(reply.body.contains(text), "{parameters} {header}: {}", reply.body);
        if status == 401 {
            assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"InfluxDB\""));
        }
    }
}

#[test]
fn rights_are_those_of_the_statement_and_its_databases() {
    let node = node_with_users("");
    let client = node.client();
    let refused = |user: &str, rest: &str| {
        format!(r#"{{"error":"error authorizing query: {user} not authorized to execute statement {rest}"}}"#)
    };
    let cases = [
        ("u=reader&p=r&db=db", "SELECT * FROM m", 200, String::new()),
        (
            "u=reader&p=r&db=other",
            "SELECT * FROM m",
            403,
            refused("reader", "'SELECT * FROM m', requires READ on other"),
        ),
        (
            "u=writer&p=w&db=db",
            "SELECT * FROM m",
            403,
            refused("writer", "'SELECT * FROM m', requires READ on db"),
        ),
        (
            "u=reader&p=r&db=db",
            "CREATE DATABASE x",
            403,
            refused("reader", "'CREATE DATABASE x', requires admin privilege"),
        ),
        (
            "u=reader&p=r&db=db",
            "SELECT * INTO n FROM m",
            403,
            refused("reader", "'SELECT * INTO n FROM m', requires WRITE on db"),
        ),
        ("u=root&p=ro:ot", "SHOW GRANTS FOR reader", 200, String::new()),
    ];
    for (parameters, statement, status, text) in cases {
        let reply = ask(&client, parameters, &[], statement);
        assert_eq!(reply.status, status, "{statement}: {}", reply.body);
        assert!(text.is_empty() || reply.body.trim_end() == text, "{statement}: {}", reply.body);
    }
    // Only the databases one may see.
    let shown = ask(&client, "u=reader&p=r", &[], "SHOW DATABASES").body;
    assert!(shown.contains(r#"[["db"]]"#), "{shown}");

    let write = |login: &str, database: &str| client.write(&format!("db={database}&{login}"), "m v=1 1\n");
    assert_eq!(write("u=writer&p=w", "db").status, 204);
    let reply = write("u=reader&p=r", "db");
    let text = r#"{"error":"\"reader\" user is not authorized to write to database \"db\""}"#;
    assert_eq!((reply.status, reply.body.trim_end()), (403, text));
    assert_eq!(write("u=writer&p=w", "other").status, 403);
    assert_eq!(write("", "db").status, 401);

    // A new password and a revoked right hold at once, whatever was remembered.
    ask(&client, "u=root&p=ro:ot", &[], "SET PASSWORD FOR writer = 'w2'");
    assert_eq!(write("u=writer&p=w", "db").status, 401);
    assert_eq!(write("u=writer&p=w2", "db").status, 204);
    ask(&client, "u=root&p=ro:ot", &[], "REVOKE WRITE ON db FROM writer");
    assert_eq!(write("u=writer&p=w2", "db").status, 403);
}

#[test]
fn every_endpoint_has_a_policy() {
    // With this key, being on the same machine is not enough for the debug endpoints.
    let node = node_with_users("pprof-auth-enabled = true\nping-auth-enabled = true\n");
    let client = node.client();
    for (method, path, nobody, reader) in [
        ("GET", "/ping", 401, 204),
        ("GET", "/health", 401, 200),
        ("GET", "/metrics", 401, 200),
        ("GET", "/status", 204, 204),
        ("GET", "/debug/vars", 401, 403),
        ("GET", "/debug/requests?seconds=0", 401, 403),
        ("GET", "/query?db=db&q=SHOW+MEASUREMENTS", 401, 200),
        ("POST", "/write?db=db", 401, 403),
        ("POST", "/api/v2/write?bucket=db", 401, 403),
        ("POST", "/api/v1/prom/write?db=db", 401, 403),
        ("POST", "/data/process_continuous_queries", 401, 403),
    ] {
        let status = |headers: &[_]| client.request(method, path, headers, b"").status;
        assert_eq!(status(&[]), nobody, "{path} by nobody");
        assert_eq!(status(&[("Authorization", "Token reader:r")]), reader, "{path} by a reader");
        let root = status(&[("Authorization", "Token root:ro:ot")]);
        assert!(root < 300 || path.contains("prom"), "{path} by an administrator: {root}");
    }
}

#[test]
fn senders_over_tcp_say_who_they_are() {
    let port = free_port();
    let node = node_with_users(&format!(
        "[[tcp]]\nenabled = true\nbind-address = \"127.0.0.1:{port}\"\ndatabase = \"db\"\nbatch-timeout = \"50ms\"\n"
    ));
    let talk = |text: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.write_all(text.as_bytes()).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("closed");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert_eq!(talk("# auth writer:w\nm v=1 1\n\n"), "ok 1\n");
    assert_eq!(talk("# auth writer:wrong\nm v=2 2\n\n"), "authorization failed\n");
    assert_eq!(
        talk("# auth reader:r\nm v=3 3\n\n"),
        "\"reader\" user is not authorized to write to database \"db\"\n"
    );
    assert_eq!(talk("m v=4 4\n\n"), "unable to parse authentication credentials\n");
    let count = ask(&node.client(), "u=root&p=ro:ot&db=db", &[], "SELECT count(v) FROM m").body;
    assert!(count.contains(",1]"), "{count}");
}

#[test]
fn passwords_are_in_no_log_and_no_answer() {
    let mut node = node_with_users("log-enabled = true\n");
    let client = node.client();
    let form = format!("q={}", encode("SET PASSWORD FOR writer = 'geheim'"));
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(client.request("POST", "/query?u=root&p=ro:ot", &headers, form.as_bytes()).status, 200);
    ask(&client, "u=root&p=ro:ot", &[], "CREATE USER x WITH PASSWORD 'geheim'");
    let users = ask(&client, "u=root&p=ro:ot", &[], "SHOW USERS").body;
    assert!(!users.contains("argon2"), "{users}");
    node.stop();
    let log = node.log();
    assert!(log.contains("[REDACTED]") && log.contains("SET PASSWORD FOR writer"), "{log}");
    assert!(!log.contains("geheim") && !log.contains("ro:ot") && !log.contains("ro%3Aot"), "{log}");
}
