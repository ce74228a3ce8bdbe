//! SHOW of what the catalogue of the cluster knows, and of running queries.

use crate::influxql::display::rfc3339;
use crate::influxql::duration::{MICROSECOND, MILLISECOND, SECOND, format_duration_go};
use crate::meta::{Data, NodeInfo, Privilege, ShardInfo, UserInfo};
use crate::query::error::{QueryError, Result};
use crate::query::result::{Cell, ResultSink, Series};

/// A running query as SHOW QUERIES lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningQuery {
    pub id: u64,
    /// Passwords redacted.
    pub text: String,
    pub database: String,
    pub duration_ns: i64,
    /// `running` or `killed`.
    pub status: &'static str,
}

fn integer(number: u64) -> Cell {
    Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The catalogue's answers are sent even without rows: clients see the columns.
async fn send(sink: &mut impl ResultSink, name: &str, columns: &[&str], rows: Vec<Vec<Cell>>) -> Result<()> {
    sink.series(Series::from_rows(name.as_bytes(), columns, rows)).await
}

/// Those the user may read or write.
pub async fn databases(meta: &Data, user: Option<&UserInfo>, sink: &mut impl ResultSink) -> Result<()> {
    let visible = |name: &str| {
        user.is_none_or(|user| user.may(Privilege::Read, name) || user.may(Privilege::Write, name))
    };
    let databases = meta.databases.iter().filter(|database| visible(&database.name));
    let rows = databases.map(|database| vec![Cell::text(database.name.as_str())]).collect();
    send(sink, "databases", &["name"], rows).await
}

pub async fn retention_policies(meta: &Data, database: &str, sink: &mut impl ResultSink) -> Result<()> {
    let Some(database) = meta.database(database) else {
        return Err(QueryError::statement(format!("database not found: {database}")));
    };
    let row = |policy: &std::sync::Arc<crate::meta::RetentionPolicyInfo>| {
        vec![
            Cell::text(policy.name.as_str()),
            Cell::text(format_duration_go(policy.duration)),
            Cell::text(format_duration_go(policy.shard_group_duration)),
            integer(policy.replica_n.into()),
            Cell::Boolean(policy.name == database.default_retention_policy),
        ]
    };
    let rows = database.retention_policies.iter().map(row).collect();
    send(sink, "", &["name", "duration", "shardGroupDuration", "replicaN", "default"], rows).await
}

pub async fn users(meta: &Data, sink: &mut impl ResultSink) -> Result<()> {
    let row = |user: &UserInfo| vec![Cell::text(user.name.as_str()), Cell::Boolean(user.admin)];
    send(sink, "", &["user", "admin"], meta.users.iter().map(row).collect()).await
}

pub async fn grants(meta: &Data, user: &str, sink: &mut impl ResultSink) -> Result<()> {
    let Some(user) = meta.user(user) else {
        return Err(QueryError::statement("user not found"));
    };
    let mut privileges: Vec<_> = user.privileges.iter().collect();
    privileges.sort();
    let row = |(database, privilege): &(String, Privilege)| {
        vec![Cell::text(database.as_str()), Cell::text(privilege.name())]
    };
    send(sink, "", &["database", "privilege"], privileges.into_iter().map(row).collect()).await
}

pub async fn continuous_queries(meta: &Data, sink: &mut impl ResultSink) -> Result<()> {
    for database in &meta.databases {
        let queries = database.continuous_queries.iter();
        let rows =
            queries.map(|query| vec![Cell::text(query.name.as_str()), Cell::text(query.query.as_str())]);
        send(sink, &database.name, &["name", "query"], rows.collect()).await?;
    }
    Ok(())
}

/// Databases without subscriptions are not listed.
pub async fn subscriptions(meta: &Data, sink: &mut impl ResultSink) -> Result<()> {
    for database in &meta.databases {
        let mut rows = Vec::new();
        for policy in &database.retention_policies {
            for subscription in &policy.subscriptions {
                let destinations =
                    subscription.destinations.iter().map(|url| url.as_bytes().to_vec()).collect();
                rows.push(vec![
                    Cell::text(policy.name.as_str()),
                    Cell::text(subscription.name.as_str()),
                    Cell::text(match subscription.mode {
                        crate::meta::SubscriptionMode::All => "ALL",
                        crate::meta::SubscriptionMode::Any => "ANY",
                    }),
                    Cell::List(destinations),
                ]);
            }
        }
        if !rows.is_empty() {
            send(sink, &database.name, &["retention_policy", "name", "mode", "destinations"], rows).await?;
        }
    }
    Ok(())
}

/// When a group's data may go: its end plus what its policy keeps.
fn expiry(end: i64, duration: i64) -> String {
    seconds(end.saturating_add(duration))
}

/// Whole seconds, as InfluxDB prints the bounds of groups.
fn seconds(time: i64) -> String {
    rfc3339(time.div_euclid(SECOND).saturating_mul(SECOND))
}

pub async fn shards(meta: &Data, sink: &mut impl ResultSink) -> Result<()> {
    let columns = [
        "id",
        "database",
        "retention_policy",
        "shard_group",
        "start_time",
        "end_time",
        "expiry_time",
        "owners",
    ];
    for database in &meta.databases {
        let mut rows = Vec::new();
        for policy in &database.retention_policies {
            for group in policy.live_groups() {
                let row = |shard: &ShardInfo| {
                    let owners: Vec<String> = shard.owners.iter().map(ToString::to_string).collect();
                    vec![
                        integer(shard.id.0),
                        Cell::text(database.name.as_str()),
                        Cell::text(policy.name.as_str()),
                        integer(group.id.0),
                        Cell::text(seconds(group.start)),
                        Cell::text(seconds(group.end)),
                        Cell::text(expiry(group.end, policy.duration)),
                        Cell::text(owners.join(",")),
                    ]
                };
                rows.extend(group.shards.iter().map(row));
            }
        }
        send(sink, &database.name, &columns, rows).await?;
    }
    Ok(())
}

pub async fn shard_groups(meta: &Data, sink: &mut impl ResultSink) -> Result<()> {
    let mut rows = Vec::new();
    for database in &meta.databases {
        for policy in &database.retention_policies {
            for group in policy.live_groups() {
                rows.push(vec![
                    integer(group.id.0),
                    Cell::text(database.name.as_str()),
                    Cell::text(policy.name.as_str()),
                    Cell::text(seconds(group.start)),
                    Cell::text(seconds(group.end)),
                    Cell::text(expiry(group.end, policy.duration)),
                ]);
            }
        }
    }
    let columns = ["id", "database", "retention_policy", "start_time", "end_time", "expiry_time"];
    send(sink, "shard groups", &columns, rows).await
}

pub async fn servers(meta: &Data, sink: &mut impl ResultSink) -> Result<()> {
    let rows = |wanted: fn(&NodeInfo) -> bool| {
        let row = |node: &NodeInfo| {
            vec![
                integer(node.id.0),
                Cell::text(node.http_address.as_str()),
                Cell::text(node.tcp_address.as_str()),
            ]
        };
        meta.nodes.iter().filter(|node| wanted(node)).map(row).collect()
    };
    let columns = ["id", "http_addr", "tcp_addr"];
    send(sink, "data_nodes", &columns, rows(|node| node.is_data)).await?;
    send(sink, "meta_nodes", &columns, rows(|node| node.is_meta)).await
}

pub async fn queries(running: &[RunningQuery], sink: &mut impl ResultSink) -> Result<()> {
    let row = |query: &RunningQuery| {
        // Cut to the greatest unit that fits.
        let unit = [SECOND, MILLISECOND, MICROSECOND]
            .into_iter()
            .find(|unit| query.duration_ns >= *unit)
            .unwrap_or(1);
        vec![
            integer(query.id),
            Cell::text(query.text.as_str()),
            Cell::text(query.database.as_str()),
            Cell::text(format_duration_go(query.duration_ns / unit * unit)),
            Cell::text(query.status),
        ]
    };
    send(sink, "", &["qid", "query", "database", "duration", "status"], running.iter().map(row).collect())
        .await
}
