//! Malformed requests of every kind get the status and text InfluxDB 1.x gives (taken from 1.6.7), and change nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Client, Node};

const WRITE: &str = "/write?db=db";
const JSON_NO_MAP: &str = "json: cannot unmarshal array into Go value of type map[string]interface {}";

/// A gzip stream without its end.
const CUT_GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbU(S0";

struct Case {
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static [u8],
    status: u16,
    /// The whole body, or with `…` at its end the beginning of it.
    text: String,
}

fn case(method: &'static str, path: &'static str, body: &'static [u8], status: u16, text: &str) -> Case {
    Case { method, path, headers: &[], body, status, text: text.to_owned() }
}

/// A body with this error.
fn error(path: &'static str, body: &'static [u8], status: u16, error: &str) -> Case {
    let text = serde_json::json!({ "error": error }).to_string();
    // Go escapes what HTML gives a meaning.
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    case("POST", path, body, status, &text)
}

/// A line that cannot be parsed.
fn line(body: &'static str, reason: &str) -> Case {
    error(WRITE, body.as_bytes(), 400, &format!("unable to parse '{body}': {reason}"))
}

/// A statement's own error.
fn statement(path: &'static str, error: &str) -> Case {
    let text = serde_json::json!({ "results": [{ "statement_id": 0, "error": error }] });
    // Keys in InfluxDB's order.
    let text = text.to_string().replace(
        &format!("{{\"error\":{},\"statement_id\":0}}", serde_json::json!(error)),
        &format!("{{\"statement_id\":0,\"error\":{}}}", serde_json::json!(error)),
    );
    case("POST", path, b"", 200, &text)
}

fn writes() -> Vec<Case> {
    vec![
        case("POST", WRITE, b"", 204, ""),
        case("POST", WRITE, b"\n\n", 204, ""),
        case("POST", WRITE, b"# a comment\n", 204, ""),
        error("/write", b"m v=1", 400, "database is required"),
        error("/write?db=%zz", b"m v=1", 400, "database is required"),
        error("/write?db=nope", b"m v=1", 404, "database not found: \"nope\""),
        error("/write?db=db&rp=zz", b"m v=1", 500, "retention policy not found: zz"),
        error("/write?db=db&consistency=zz", b"m v=1", 400, "invalid consistency level"),
        line("m", "missing fields"),
        line(",a=b v=1", "missing measurement"),
        line("m v=1x", "invalid number"),
        line("m v=1 abc", "bad timestamp"),
        line("m v=\"abc 5", "unbalanced quotes"),
        line("m,a=1,a=2 v=1 2", "duplicate tags"),
        line("m,a= v=1 2", "missing tag value"),
        line("m,=a v=1 2", "missing tag key"),
        line("m v=1e999 2", "invalid float"),
        line(
            "m v=99999999999999999999i 2",
            "unable to parse integer 99999999999999999999: strconv.ParseInt: parsing \"99999999999999999999\": value \
             out of range",
        ),
        line("m v=1 9223372036854775807", "time outside range -9223372036854775806 - 9223372036854775806"),
        line(
            "m v=1 99999999999999999999",
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
        ),
        error(
            WRITE,
            b"m v=1i 2",
            400,
            "partial write: field type conflict: input field \"v\" on measurement \"m\" is type integer, already exists \
             as type float dropped=1",
        ),
        error(
            WRITE,
            b"m,time=1 v=1 2",
            400,
            "partial write: invalid tag key: input tag \"time\" on measurement \"m\" is invalid dropped=1",
        ),
        error(
            WRITE,
            b"m time=1 2",
            400,
            "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid dropped=1",
        ),
        Case { headers: &[("Content-Encoding", "gzip")], ..error(WRITE, b"no gzip", 400, "unexpected EOF") },
        Case { headers: &[("Content-Encoding", "gzip")], ..error(WRITE, CUT_GZIP, 400, "unexpected EOF") },
        case("GET", WRITE, b"", 405, "Method Not Allowed"),
        case("PUT", WRITE, b"m v=1", 405, "Method Not Allowed"),
    ]
}

fn queries() -> Vec<Case> {
    let missing = "missing required parameter \"q\"";
    vec![
        error("/query?db=db", b"", 400, missing),
        error("/query?db=db&q=", b"", 400, missing),
        error("/query?db=db&q=++", b"", 400, missing),
        error("/query?db=db&q=%zz", b"", 400, missing),
        Case {
            headers: &[("Content-Type", "multipart/form-data; boundary=x")],
            ..error("/query?db=db", b"junk", 400, missing)
        },
        error(
            "/query?db=db&q=selec+1",
            b"",
            400,
            "error parsing query: found selec, expected SELECT, DELETE, SHOW, CREATE, DROP, EXPLAIN, GRANT, REVOKE, \
             ALTER, SET, KILL at line 1, char 1",
        ),
        error(
            "/query?db=db&q=SELECT+v+FROM+/(/",
            b"",
            400,
            "error parsing query: error parsing regexp: missing closing ): `(` at line 1, char 14",
        ),
        error(
            "/query?db=db&params=zz&q=SELECT+v+FROM+m",
            b"",
            400,
            "error parsing query parameters: invalid character 'z' looking for beginning of value",
        ),
        error(
            "/query?db=db&params=[]&q=SELECT+v+FROM+m",
            b"",
            400,
            &format!("error parsing query parameters: {JSON_NO_MAP}"),
        ),
        error(
            "/query?db=db&params={&q=SELECT+v+FROM+m",
            b"",
            400,
            "error parsing query parameters: unexpected EOF",
        ),
        error(
            "/query?db=db&params={%22x%22:null}&q=SELECT+v+FROM+m+WHERE+v=$x",
            b"",
            400,
            "error parsing query: unable to bind parameter with type <nil>",
        ),
        error(
            "/query?db=db&q=SELECT+v+FROM+m+WHERE+v=$x",
            b"",
            400,
            "error parsing query: missing parameter: x",
        ),
        statement("/query?db=nope&q=SELECT+v+FROM+m", "database not found: nope"),
        statement("/query?q=SELECT+v+FROM+m", "database name required"),
        statement("/query?db=db&q=SELECT+foo(v)+FROM+m", "undefined function foo()"),
        statement("/query?q=CREATE+DATABASE+%22a/b%22", "invalid name"),
        statement("/query?q=CREATE+DATABASE+%22..%22", "invalid name"),
        statement("/query?q=DELETE+FROM+m", "database not found: "),
        case("DELETE", "/query?q=x", b"", 405, "Method Not Allowed"),
        case("GET", "/nope", b"", 404, "404 page not found"),
        case("GET", "/", b"", 404, "404 page not found"),
    ]
}

/// Sends bytes as they are; the first line of what comes back.
fn status_line(client: &Client, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&client.address).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(count) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..count]);
        if count == 0 || answer.windows(2).any(|pair| pair == b"\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn malformed_requests_get_the_known_status_and_text_and_change_nothing() {
    let node = Node::start("max-body-size = 100000\n");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    assert_eq!(client.write("db=db", "m v=1.0 1\n").status, 204);
    let state = |client: &Client| {
        let data = client.query("db", "SELECT * FROM /.*/; SHOW SERIES; SHOW FIELD KEYS");
        data + &client.query("", "SHOW DATABASES; SHOW SHARDS")
    };
    let before = state(&client);
    for Case { method, path, headers, body, status, text } in writes().into_iter().chain(queries()) {
        let reply = client.request(method, path, headers, body);
        let shown = String::from_utf8_lossy(body);
        assert_eq!(
            (reply.status, reply.body.trim_end()),
            (status, text.as_str()),
            "{method} {path} {shown:?}"
        );
    }
    let large = client.write("db=db", &"m v=2 1\n".repeat(20_000));
    assert_eq!((large.status, large.body.trim_end()), (413, r#"{"error":"Request Entity Too Large"}"#));

    let bad_request = "HTTP/1.1 400 Bad Request";
    for (what, bytes, status) in [
        ("garbage", b"\x00\x01\x02\r\n\r\n".as_slice(), bad_request),
        ("no version", b"GET /ping\r\n\r\n", bad_request),
        ("a bad method", b"G\x00T /ping HTTP/1.1\r\nHost: x\r\n\r\n", bad_request),
        ("no host", b"GET /ping HTTP/1.1\r\n\r\n", bad_request),
        ("a header without colon", b"GET /ping HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", bad_request),
        (
            "a length that is no number",
            b"POST /write?db=db HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\nm v=3 1",
            bad_request,
        ),
        (
            "two lengths",
            b"POST /write?db=db HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\nContent-Length: 6\r\n\r\nm v=3 1",
            bad_request,
        ),
        (
            "a chunk without length",
            b"POST /write?db=db HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nm v=3 1\r\n0\r\n\r\n",
            bad_request,
        ),
        ("HTTP/1.0", b"GET /ping HTTP/1.0\r\n\r\n", "HTTP/1.0 204 No Content"),
    ] {
        assert_eq!(status_line(&client, bytes), status, "{what}");
    }
    // Bodies whose lines are read while they come in: one that ends early, one that becomes too long.
    let lines = "m v=4 1\n".repeat(10_000);
    let mut cut = b"POST /write?db=db HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n".to_vec();
    cut.extend_from_slice(lines.as_bytes());
    let mut stream = TcpStream::connect(&client.address).expect("the server accepts");
    stream.write_all(&cut).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("shut down");
    let _ = stream.read_to_end(&mut Vec::new());
    let mut endless = b"POST /write?db=db HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..2 {
        endless.extend_from_slice(format!("{:x}\r\n{lines}\r\n", lines.len()).as_bytes());
    }
    assert_eq!(status_line(&client, &endless), "HTTP/1.1 413 Payload Too Large");
    assert_eq!(state(&client), before, "a malformed request changed something");
}
