//! Databases, retention policies, continuous queries, subscriptions.

use super::{Environment, Result, normalise};
use crate::influxql::ast::{
    AlterRetentionPolicy, CreateContinuousQuery, CreateDatabase, CreateRetentionPolicy, CreateSubscription,
    Statement, SubscriptionMode,
};
use crate::meta::{
    Command, MetaError, RetentionPolicyChange, RetentionPolicySpec, SubscriptionMode as MetaSubscriptionMode,
};
use crate::query::error::QueryError;

/// Proposes a command that answers nothing.
pub async fn propose(environment: &impl Environment, command: Command) -> Result<()> {
    environment.propose(command).await?;
    Ok(())
}

/// Proposes a command that may make shards superfluous, and has them removed.
pub async fn drop_things(environment: &impl Environment, command: Command) -> Result<()> {
    let outcome = environment.propose(command).await?;
    if outcome.dropped_shards.is_empty() {
        return Ok(());
    }
    environment.remove_shards(outcome.dropped_shards).await
}

/// The parser admits up to `i32::MAX` copies.
fn replicas(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A shard duration of 0 leaves the choice to the catalogue.
fn chosen(shard_duration: i64) -> Option<i64> {
    (shard_duration != 0).then_some(shard_duration)
}

pub async fn create_database(environment: &impl Environment, create: &CreateDatabase) -> Result<()> {
    let spec = create.retention_policy.as_ref().map(|policy| RetentionPolicySpec {
        name: policy.name.clone().unwrap_or_default(),
        duration: policy.duration,
        replica_n: policy.replication.map(replicas),
        shard_group_duration: chosen(policy.shard_duration),
    });
    let autocreate = environment.retention_autocreate();
    propose(environment, Command::CreateDatabase { name: create.name.clone(), spec, autocreate }).await
}

pub async fn create_retention_policy(
    environment: &impl Environment,
    create: &CreateRetentionPolicy,
) -> Result<()> {
    let spec = RetentionPolicySpec {
        name: create.name.clone(),
        duration: Some(create.duration),
        replica_n: Some(replicas(create.replication)),
        shard_group_duration: chosen(create.shard_duration),
    };
    let database = create.database.clone();
    propose(environment, Command::CreateRetentionPolicy { database, spec, make_default: create.default })
        .await
}

pub async fn alter_retention_policy(
    environment: &impl Environment,
    alter: &AlterRetentionPolicy,
) -> Result<()> {
    let change = RetentionPolicyChange {
        duration: alter.duration,
        replica_n: alter.replication.map(replicas),
        shard_group_duration: alter.shard_duration,
        make_default: alter.default,
    };
    let command =
        Command::AlterRetentionPolicy { database: alter.database.clone(), name: alter.name.clone(), change };
    propose(environment, command).await
}

/// Stored as canonical text with all names qualified, so that a later default does not change what it reads.
pub async fn create_continuous_query(
    environment: &impl Environment,
    create: &CreateContinuousQuery,
) -> Result<()> {
    let meta = environment.meta();
    if meta.database(&create.database).is_none() {
        return Err(MetaError::DatabaseNotFound(create.database.clone()).into());
    }
    let mut create = create.clone();
    normalise::select(&mut create.select, &meta, &create.database)?;
    let (database, name) = (create.database.clone(), create.name.clone());
    let query = Statement::CreateContinuousQuery(create).to_string();
    propose(environment, Command::CreateContinuousQuery { database, name, query }).await
}

/// As InfluxDB: what does not exist need not be dropped.
pub async fn drop_continuous_query(environment: &impl Environment, database: &str, name: &str) -> Result<()> {
    if environment.meta().database(database).is_none() {
        return Ok(());
    }
    let command = Command::DropContinuousQuery { database: database.to_owned(), name: name.to_owned() };
    propose(environment, command).await
}

pub async fn create_subscription(environment: &impl Environment, create: &CreateSubscription) -> Result<()> {
    if let Some(url) = create.destinations.iter().find(|url| !is_subscription_url(url)) {
        return Err(QueryError::statement(format!("invalid subscription URL: {url}")));
    }
    let mode = match create.mode {
        SubscriptionMode::All => MetaSubscriptionMode::All,
        SubscriptionMode::Any => MetaSubscriptionMode::Any,
    };
    let command = Command::CreateSubscription {
        database: create.database.clone(),
        retention_policy: create.retention_policy.clone(),
        name: create.name.clone(),
        mode,
        destinations: create.destinations.clone(),
    };
    propose(environment, command).await
}

/// `http`, `https` or `udp` with a host and a port.
fn is_subscription_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https" | "udp")
        && (bracketed || !host.contains(':'))
        && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscription_urls_have_a_known_scheme_a_host_and_a_port() {
        for url in ["udp://h:1", "http://x:2", "https://user:pw@h:8086/path", "http://[::1]:80"] {
            assert!(is_subscription_url(url), "{url}");
        }
        for url in ["foo", "ftp://h:1", "udp://h", "http://x", "http://h:99999", "http://::1:x"] {
            assert!(!is_subscription_url(url), "{url}");
        }
    }
}
