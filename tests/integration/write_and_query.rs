//! The first minutes of a user: create, write, ask.

use crate::support::Node;

#[test]
fn what_was_written_is_answered() {
    let node = Node::start("");
    let client = node.client();
    assert_eq!(client.query("", "CREATE DATABASE db"), r#"{"results":[{"statement_id":0}]}"#);
    let lines = "cpu,host=a value=1.5,n=3i 1000\ncpu,host=b value=2.5,s=\"x y\" 2000\n";
    assert_eq!(client.write("db=db", lines).status, 204);
    assert_eq!(
        client.query("db", "SELECT * FROM cpu"),
        r#"{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","host","n","s","value"],"values":[[1000,"a",3,null,1.5],[2000,"b",null,"x y",2.5]]}]}]}"#
    );
    assert_eq!(
        client.query("db", "SELECT mean(value) FROM cpu GROUP BY host"),
        r#"{"results":[{"statement_id":0,"series":[{"name":"cpu","tags":{"host":"a"},"columns":["time","mean"],"values":[[0,1.5]]},{"name":"cpu","tags":{"host":"b"},"columns":["time","mean"],"values":[[0,2.5]]}]}]}"#
    );
}

/// Statuses and texts that clients match on.
#[test]
fn refused_writes_have_the_words_clients_know() {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    client.query("", "CREATE RETENTION POLICY short ON db DURATION 1h REPLICATION 1");
    assert_eq!(client.write("db=db", "m v=1.0 1\n").status, 204);
    for (parameters, body, status, text) in [
        ("db=db", "", 204, ""),
        ("db=nope", "m v=1", 404, r#"{"error":"database not found: \"nope\""}"#),
        ("", "m v=1", 400, r#"{"error":"database is required"}"#),
        ("db=db&rp=zz", "m v=1", 500, r#"{"error":"retention policy not found: zz"}"#),
        (
            "db=db",
            "m v=1i 2",
            400,
            r#"{"error":"partial write: field type conflict: input field \"v\" on measurement \"m\" is type integer, already exists as type float dropped=1"}"#,
        ),
        (
            "db=db",
            "m v=1,\nm v=3 3",
            400,
            r#"{"error":"partial write: unable to parse 'm v=1,': invalid field format dropped=0"}"#,
        ),
        ("db=db", "m v=1,", 400, r#"{"error":"unable to parse 'm v=1,': invalid field format"}"#),
        (
            "db=db&rp=short",
            "m v=1 1",
            400,
            r#"{"error":"partial write: points beyond retention policy dropped=1"}"#,
        ),
        ("db=db&consistency=zz", "m v=1", 400, r#"{"error":"invalid consistency level"}"#),
    ] {
        let reply = client.write(parameters, body);
        assert_eq!((reply.status, reply.body.trim_end()), (status, text), "{parameters} {body:?}");
    }
    assert!(client.query("db", "SELECT count(v) FROM m").contains("[0,2]"));
}
