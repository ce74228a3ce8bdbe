//! Statements against a catalogue and cores in memory, with answers recorded from influxd 1.6.7.

use std::cell::RefCell;

use futures_lite::future::block_on;

use super::*;
use crate::influxql::parse_statement;
use crate::meta::{NodeInfo, apply};
use crate::query::result::Collected;
use crate::query::show::tests::{Catalog, print};

/// A server of one core: the catalogue decides at once, cores only note what they are asked.
struct Server {
    catalog: Catalog,
    deletes: RefCell<Vec<PendingDelete>>,
    removed_shards: RefCell<Vec<(ShardGroupId, ShardId)>>,
}

impl Server {
    fn new() -> Self {
        let server = Self {
            catalog: Catalog::recorded(),
            deletes: RefCell::default(),
            removed_shards: RefCell::default(),
        };
        let node = NodeInfo {
            id: tidemark_engine::model::NodeId(1),
            http_address: "h:8086".into(),
            tcp_address: "h:8088".into(),
            is_meta: true,
            is_data: true,
            cores: 1,
        };
        server.catalog.meta.borrow_mut().nodes.push(node);
        server
    }

    fn ask_as(&self, text: &str, database: &str, user: Option<&str>) -> String {
        let user = user.map(|user| self.meta().user(user).expect("user").clone());
        let context = Context {
            database: database.into(),
            retention_policy: String::new(),
            user,
            now: 0,
            budget_bytes: 1 << 20,
            pace: Default::default(),
        };
        let mut sink = Collected::default();
        let statement = parse_statement(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        match block_on(execute(&statement, &context, &self.catalog, self, &mut sink)) {
            Ok(()) => print(&sink),
            Err(error) => format!("error: {error}"),
        }
    }

    fn check(&self, cases: &[(&str, &str)]) {
        for (text, want) in cases {
            assert_eq!(self.ask_as(text, "db0", None), *want, "{text}");
        }
    }
}

impl Environment for Server {
    fn meta(&self) -> Arc<Data> {
        Arc::new(self.catalog.meta.borrow().clone())
    }

    fn retention_autocreate(&self) -> bool {
        true
    }

    async fn propose(&self, command: Command) -> Result<Outcome, MetaError> {
        apply::apply(&mut self.catalog.meta.borrow_mut(), &command)
    }

    async fn hash_password(&self, password: String) -> Result<String> {
        Ok(format!("hash of {password}"))
    }

    async fn verify_password(&self, password: String, hash: String) -> Result<bool> {
        Ok(hash == format!("hash of {password}"))
    }

    async fn carry_out(&self, delete: PendingDelete) -> Result<()> {
        self.deletes.borrow_mut().push(delete);
        Ok(())
    }

    async fn remove_shards(&self, shards: Vec<(ShardGroupId, ShardId)>) -> Result<()> {
        self.removed_shards.borrow_mut().extend(shards);
        Ok(())
    }

    async fn running_queries(&self) -> Result<Vec<RunningQuery>> {
        let running = |id, duration_ns| RunningQuery {
            id,
            text: "SHOW QUERIES".into(),
            database: "db0".into(),
            duration_ns,
            status: "running",
        };
        Ok(vec![running(1, 9_123), running(2, 61_500_000_000)])
    }

    async fn kill_query(&self, id: u64, _: Option<&str>) -> Result<()> {
        Err(QueryError::statement(format!("no such query id: {id}")))
    }

    async fn statistics(&self, _: Option<&str>) -> Result<Vec<Series>> {
        Ok(Vec::new())
    }

    async fn diagnostics(&self, _: Option<&str>) -> Result<Vec<Series>> {
        Ok(Vec::new())
    }
}

#[test]
fn databases_and_policies_are_made_changed_and_dropped() {
    Server::new().check(&[
        ("SHOW DATABASES", "databases: db0"),
        ("CREATE DATABASE db2 WITH DURATION 2d", ""),
        ("SHOW RETENTION POLICIES ON db2", ": autogen 48h0m0s 24h0m0s 1 true"),
        ("CREATE DATABASE db2", ""),
        ("CREATE DATABASE db2 WITH DURATION 3d", "error: retention policy conflicts with an existing policy"),
        ("CREATE DATABASE db2 WITH DURATION 2d", ""),
        ("CREATE DATABASE \"a/b\"", "error: invalid name"),
        ("CREATE DATABASE \"\"", "error: invalid name"),
        // In the order they were made.
        ("CREATE DATABASE a", ""),
        ("SHOW DATABASES", "databases: db0, db2, a"),
        ("DROP DATABASE a", ""),
        ("CREATE DATABASE db3 WITH DURATION 1m", "error: retention policy duration must be at least 1h0m0s"),
        ("CREATE RETENTION POLICY rp ON nope DURATION 1h REPLICATION 1", "error: database not found: nope"),
        ("CREATE RETENTION POLICY rp ON db2 DURATION 1h REPLICATION 1", ""),
        ("CREATE RETENTION POLICY rp ON db2 DURATION 1h REPLICATION 1", ""),
        (
            "CREATE RETENTION POLICY rp ON db2 DURATION 2h REPLICATION 1",
            "error: retention policy already exists",
        ),
        ("ALTER RETENTION POLICY rp ON db2 DEFAULT", ""),
        ("SHOW RETENTION POLICIES ON db2", ": autogen 48h0m0s 24h0m0s 1 false, rp 1h0m0s 1h0m0s 1 true"),
        ("ALTER RETENTION POLICY nope ON db2 DEFAULT", "error: retention policy not found: nope"),
        ("ALTER RETENTION POLICY rp ON nope DEFAULT", "error: database not found: nope"),
        (
            "ALTER RETENTION POLICY rp ON db2 SHARD DURATION 4h",
            "error: retention policy duration must be greater than the shard duration",
        ),
        ("DROP RETENTION POLICY nope ON db2", ""),
        ("DROP RETENTION POLICY rp ON nope", ""),
        ("DROP RETENTION POLICY rp ON db2", ""),
        ("SHOW RETENTION POLICIES ON nope", "error: database not found: nope"),
        ("DROP DATABASE db2", ""),
        ("DROP DATABASE db2", ""),
        ("SHOW DATABASES", "databases: db0"),
    ]);
}

#[test]
fn dropping_a_database_removes_its_shards() {
    let server = Server::new();
    let group = Command::CreateShardGroup {
        database: "db0".into(),
        retention_policy: String::new(),
        timestamp: 0,
        slices: 1,
    };
    block_on(server.propose(group)).expect("group");
    let shards = "db0: 1 db0 autogen 1 1969-12-29T00:00:00Z 1970-01-05T00:00:00Z 1970-01-05T00:00:00Z 1";
    let groups = "shard groups: 1 db0 autogen 1969-12-29T00:00:00Z 1970-01-05T00:00:00Z 1970-01-05T00:00:00Z";
    server.check(&[
        ("SHOW SHARDS", shards),
        ("SHOW SHARD GROUPS", groups),
        ("SHOW SERVERS", "data_nodes: 1 h:8086 h:8088; meta_nodes: 1 h:8086 h:8088"),
        ("DROP SHARD 99", ""),
        ("DROP DATABASE db0", ""),
    ]);
    assert_eq!(*server.removed_shards.borrow(), [(ShardGroupId(1), ShardId(1))]);
}

#[test]
fn users_have_passwords_and_privileges() {
    let server = Server::new();
    server.check(&[
        ("SHOW USERS", ": "),
        ("CREATE USER u WITH PASSWORD 'p'", ""),
        ("CREATE USER u WITH PASSWORD 'p'", ""),
        ("CREATE USER u WITH PASSWORD 'q'", "error: user already exists"),
        ("CREATE USER u WITH PASSWORD 'p' WITH ALL PRIVILEGES", "error: user already exists"),
        ("CREATE USER \"\" WITH PASSWORD 'p'", "error: username required"),
        ("SET PASSWORD FOR nope = 'x'", "error: user not found"),
        ("SET PASSWORD FOR u = 'x'", ""),
        ("CREATE USER u WITH PASSWORD 'x'", ""),
        ("GRANT READ ON nope TO u", "error: database not found: nope"),
        ("GRANT READ ON db0 TO nope", "error: user not found"),
        ("GRANT READ ON db0 TO u", ""),
        ("GRANT WRITE ON db0 TO u", ""),
        ("SHOW GRANTS FOR u", ": db0 WRITE"),
        ("REVOKE READ ON db0 FROM u", ""),
        ("SHOW GRANTS FOR u", ": db0 WRITE"),
        ("GRANT ALL ON db0 TO u", ""),
        ("REVOKE READ ON db0 FROM u", ""),
        ("SHOW GRANTS FOR u", ": db0 WRITE"),
        ("REVOKE ALL ON db0 FROM u", ""),
        ("SHOW GRANTS FOR u", ": db0 NO PRIVILEGES"),
        ("SHOW GRANTS FOR nope", "error: user not found"),
        ("GRANT ALL TO u", ""),
        ("SHOW USERS", ": u true"),
        ("REVOKE ALL FROM u", ""),
    ]);
    server.check(&[("CREATE DATABASE secret", ""), ("SHOW DATABASES", "databases: db0, secret")]);
    server.check(&[("GRANT READ ON db0 TO u", "")]);
    assert_eq!(server.ask_as("SHOW DATABASES", "", Some("u")), "databases: db0");
    server.check(&[("DROP USER u", ""), ("DROP USER u", "error: user not found")]);
}

#[test]
fn continuous_queries_are_kept_with_whole_names() {
    let create =
        "CREATE CONTINUOUS QUERY q ON db0 BEGIN SELECT mean(value) INTO x FROM cpu GROUP BY time(1m) END";
    Server::new().check(&[
        (create, ""),
        (create, ""),
        (
            "CREATE CONTINUOUS QUERY q ON db0 BEGIN SELECT mean(value) INTO y FROM cpu GROUP BY time(1m) END",
            "error: continuous query already exists",
        ),
        (
            "CREATE CONTINUOUS QUERY q ON nope BEGIN SELECT mean(value) INTO y FROM cpu GROUP BY time(1m) END",
            "error: database not found: nope",
        ),
        (
            "SHOW CONTINUOUS QUERIES",
            "db0: q CREATE CONTINUOUS QUERY q ON db0 BEGIN SELECT mean(value) INTO db0.autogen.x FROM \
             db0.autogen.cpu GROUP BY time(1m) END",
        ),
        ("DROP CONTINUOUS QUERY nope ON db0", ""),
        ("DROP CONTINUOUS QUERY q ON nope", ""),
        ("DROP CONTINUOUS QUERY q ON db0", ""),
        ("SHOW CONTINUOUS QUERIES", "db0: "),
    ]);
}

#[test]
fn subscriptions_have_checked_destinations() {
    Server::new().check(&[
        ("SHOW SUBSCRIPTIONS", ""),
        (
            "CREATE SUBSCRIPTION s ON db0.autogen DESTINATIONS ALL 'udp://h:1', 'http://x'",
            "error: invalid subscription URL: http://x",
        ),
        (
            "CREATE SUBSCRIPTION s ON db0.nope DESTINATIONS ALL 'udp://h:1'",
            "error: retention policy not found: nope",
        ),
        ("CREATE SUBSCRIPTION s ON db0.autogen DESTINATIONS ALL 'udp://h:1', 'http://x:2'", ""),
        (
            "CREATE SUBSCRIPTION s ON db0.autogen DESTINATIONS ANY 'udp://h:1'",
            "error: subscription already exists",
        ),
        ("SHOW SUBSCRIPTIONS", "db0: autogen s ALL udp://h:1|http://x:2"),
        ("DROP SUBSCRIPTION nope ON db0.autogen", "error: subscription not found"),
        ("DROP SUBSCRIPTION s ON nope.autogen", "error: database not found: nope"),
        ("DROP SUBSCRIPTION s ON db0.autogen", ""),
    ]);
}

#[test]
fn deletes_are_numbered_carried_out_and_finished() {
    use tidemark_engine::model::TimeRange;
    use tidemark_engine::scan::request::TagFilter;

    let server = Server::new();
    server.check(&[
        ("DELETE FROM /c|g/ WHERE host = 'server01' AND time < 10", ""),
        ("DROP MEASUREMENT cpu", ""),
        ("DROP SERIES FROM /nothing/", ""),
        (
            "DELETE FROM cpu WHERE value > 10",
            "error: shard 0: fields not supported in WHERE clause during deletion",
        ),
        ("DELETE WHERE nope = 10", "error: fields not supported in WHERE clause during deletion"),
        ("DELETE FROM cpu WHERE host", "error: invalid condition expression: host"),
        ("DELETE FROM cpu WHERE time != 0", "error: invalid time comparison operator: !="),
        (
            "DELETE FROM cpu WHERE time > 'abc'",
            "error: invalid operation: time and *influxql.StringLiteral are not compatible",
        ),
        ("DROP SERIES FROM cpu WHERE time > 0", "error: DROP SERIES doesn't support time in WHERE clause"),
    ]);
    assert_eq!(server.ask_as("DROP MEASUREMENT cpu", "nope", None), "error: database not found: nope");
    assert_eq!(server.ask_as("DELETE FROM cpu", "", None), "error: database not found: ");
    assert!(server.meta().pending_deletes.is_empty());
    let deletes = server.deletes.borrow();
    let [range, measurement] = deletes.as_slice() else { panic!("{deletes:?}") };
    let names: Vec<Vec<u8>> = ["cpu", "gpu", "notags"].map(|name| name.as_bytes().to_vec()).into();
    assert_eq!(range.measurements, Some(names));
    assert_eq!(range.series, Some(TagFilter::Equal { name: "host".into(), value: "server01".into() }));
    assert_eq!(range.time, TimeRange::new(TimeRange::ALL.start, 10));
    assert!(measurement.whole_measurements);
}

#[test]
fn queries_are_listed_and_killed() {
    Server::new().check(&[
        ("SHOW QUERIES", ": 1 SHOW QUERIES db0 9µs running, 2 SHOW QUERIES db0 1m1s running"),
        ("KILL QUERY 9999", "error: no such query id: 9999"),
    ]);
}
