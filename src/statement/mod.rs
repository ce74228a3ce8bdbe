//! Statements that change something, dispatched by kind.
//!
//! [`execute`] runs every statement but SELECT and EXPLAIN, which are the read path's. What a statement may do is decided
//! before, by [`privilege`]. Changes go to the catalogue as commands and to the cores as requests, both through
//! [`Environment`], so that all of it runs against a catalogue in memory too.

pub mod credentials;
mod ddl;
mod delete;
pub mod environment;
pub mod executor;
mod into;
pub mod normalise;
pub mod password;
pub mod privilege;
mod user;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use tidemark_engine::model::{ShardGroupId, ShardId};
use tidemark_engine::pace::Pace;

use crate::influxql::ast::Statement;
use crate::meta::{Command, Data, MetaError, Outcome, PendingDelete, UserInfo};
use crate::query::error::{QueryError, Result};
use crate::query::result::{ResultSink, Series};
use crate::query::show::meta::RunningQuery;
use crate::query::{DataSource, show};

/// What a request says about all of its statements.
#[derive(Debug, Clone)]
pub struct Context {
    /// The request's database; may be empty.
    pub database: String,
    /// The request's retention policy; empty: the database's default.
    pub retention_policy: String,
    /// Who asks; `None` when nobody has to say.
    pub user: Option<UserInfo>,
    /// ns.
    pub now: i64,
    /// Bytes of memory one statement may hold on each core.
    pub budget_bytes: u64,
    /// What its lists are worked through by.
    pub pace: Rc<Pace>,
}

impl Context {
    fn request(&self) -> show::Request<'_> {
        show::Request {
            database: &self.database,
            retention_policy: &self.retention_policy,
            now: self.now,
            budget_bytes: self.budget_bytes,
            pace: &self.pace,
        }
    }
}

/// What statements need from the server around them.
pub trait Environment {
    /// The newest catalogue this core has.
    fn meta(&self) -> Arc<Data>;

    /// Whether a new database gets a retention policy without being told.
    fn retention_autocreate(&self) -> bool;

    /// Has a command decided. When this answers, [`Environment::meta`] shows its effect on every core of the node.
    async fn propose(&self, command: Command) -> Result<Outcome, MetaError>;

    /// [`password::hash`], on a thread that may be busy for long.
    async fn hash_password(&self, password: String) -> Result<String>;

    /// [`password::verify`], likewise.
    async fn verify_password(&self, password: String, hash: String) -> Result<bool>;

    /// Has every core that owns shards of the database carry out a delete.
    async fn carry_out(&self, delete: PendingDelete) -> Result<()>;

    /// Has the owners remove shards that the catalogue does not know any more.
    async fn remove_shards(&self, shards: Vec<(ShardGroupId, ShardId)>) -> Result<()>;

    async fn running_queries(&self) -> Result<Vec<RunningQuery>>;

    /// Fails with "no such query id: n" or "already killed".
    async fn kill_query(&self, id: u64, host: Option<&str>) -> Result<()>;

    /// SHOW STATS, sorted by name; of one module if named.
    async fn statistics(&self, module: Option<&str>) -> Result<Vec<Series>>;

    /// SHOW DIAGNOSTICS, sorted by name; of one module if named.
    async fn diagnostics(&self, module: Option<&str>) -> Result<Vec<Series>>;
}

impl From<MetaError> for QueryError {
    fn from(error: MetaError) -> Self {
        Self::statement(error.to_string())
    }
}

/// Executes one statement; its answer goes to `sink`.
pub async fn execute(
    statement: &Statement,
    context: &Context,
    source: &impl DataSource,
    environment: &impl Environment,
    sink: &mut impl ResultSink,
) -> Result<()> {
    let meta = environment.meta();
    let request = context.request();
    match statement {
        Statement::Select(_) | Statement::Explain(_) => {
            Err(QueryError::statement("BUG: a SELECT is executed by the read path"))
        }

        Statement::CreateDatabase(create) => ddl::create_database(environment, create).await,
        Statement::DropDatabase { name } => {
            ddl::drop_things(environment, Command::DropDatabase { name: name.clone() }).await
        }
        Statement::CreateRetentionPolicy(create) => ddl::create_retention_policy(environment, create).await,
        Statement::AlterRetentionPolicy(alter) => ddl::alter_retention_policy(environment, alter).await,
        Statement::DropRetentionPolicy { name, database } => {
            let command = Command::DropRetentionPolicy { database: database.clone(), name: name.clone() };
            ddl::drop_things(environment, command).await
        }
        Statement::CreateContinuousQuery(create) => ddl::create_continuous_query(environment, create).await,
        Statement::DropContinuousQuery { name, database } => {
            ddl::drop_continuous_query(environment, database, name).await
        }
        Statement::CreateSubscription(create) => ddl::create_subscription(environment, create).await,
        Statement::DropSubscription { name, database, retention_policy } => {
            let command = Command::DropSubscription {
                database: database.clone(),
                retention_policy: retention_policy.clone(),
                name: name.clone(),
            };
            ddl::propose(environment, command).await
        }

        Statement::CreateUser { name, password, admin } => {
            user::create(environment, name, password, *admin).await
        }
        Statement::DropUser { name } => {
            ddl::propose(environment, Command::DropUser { name: name.clone() }).await
        }
        Statement::SetPassword { name, password } => user::set_password(environment, name, password).await,
        Statement::Grant { privilege, database, user } => {
            user::set_privilege(environment, user, database, user::granted(*privilege)).await
        }
        Statement::Revoke { privilege, database, user } => {
            user::revoke(environment, user, database, *privilege).await
        }
        Statement::GrantAdmin { user } => user::set_admin(environment, user, true).await,
        Statement::RevokeAdmin { user } => user::set_admin(environment, user, false).await,

        Statement::Delete(statement) => delete::delete(statement, context, source, environment).await,
        Statement::DropSeries(statement) => {
            delete::drop_series(statement, context, source, environment).await
        }
        Statement::DropMeasurement { name } => delete::drop_measurement(name, context, environment).await,
        Statement::DropShard { id } => {
            ddl::drop_things(environment, Command::DropShard { id: ShardId(*id), now: context.now }).await
        }

        Statement::ShowMeasurements(statement) => {
            show::measurements(statement, &request, source, &meta, context.user.as_ref(), sink).await
        }
        Statement::ShowSeries(statement) => show::series(statement, &request, source, sink).await,
        Statement::ShowFieldKeys(statement) => show::field_keys(statement, &request, source, sink).await,
        Statement::ShowTagKeys(statement) => show::tags::tag_keys(statement, &request, source, sink).await,
        Statement::ShowTagValues(statement) => {
            show::tags::tag_values(statement, &request, source, sink).await
        }
        Statement::ShowCardinality(statement) => {
            show::cardinality::cardinality(statement, &request, source, sink).await
        }

        Statement::ShowDatabases => show::meta::databases(&meta, context.user.as_ref(), sink).await,
        Statement::ShowRetentionPolicies { database } => {
            let database = show::database(database.as_deref(), &context.database)?;
            show::meta::retention_policies(&meta, database, sink).await
        }
        Statement::ShowUsers => show::meta::users(&meta, sink).await,
        Statement::ShowGrants { user } => show::meta::grants(&meta, user, sink).await,
        Statement::ShowContinuousQueries => show::meta::continuous_queries(&meta, sink).await,
        Statement::ShowSubscriptions => show::meta::subscriptions(&meta, sink).await,
        Statement::ShowShards => show::meta::shards(&meta, sink).await,
        Statement::ShowShardGroups => show::meta::shard_groups(&meta, sink).await,
        Statement::ShowServers => show::meta::servers(&meta, sink).await,

        Statement::ShowQueries => {
            let running = environment.running_queries().await?;
            show::meta::queries(&running, sink).await
        }
        Statement::KillQuery { id, host } => environment.kill_query(*id, host.as_deref()).await,
        Statement::ShowStats { module } => send(environment.statistics(module.as_deref()).await?, sink).await,
        Statement::ShowDiagnostics { module } => {
            send(environment.diagnostics(module.as_deref()).await?, sink).await
        }
    }
}

async fn send(all: Vec<Series>, sink: &mut impl ResultSink) -> Result<()> {
    for series in all {
        sink.series(series).await?;
    }
    Ok(())
}
