//! What the cluster agrees on: nodes, databases, retention policies, shard groups, users, continuous queries,
//! subscriptions and deletes under way.
//!
//! A deterministic state machine: [`data::Data`] is the state, [`command::Command`] every change to it, and
//! [`apply::apply`] the only way from one state to the next. Time and randomness are arguments of commands.
//! [`store`] makes commands durable on the node that decides; [`view`] is what every core reads.
//!
//! What it does not know: cores, sockets, points, the types of fields.

pub mod apply;
pub mod codec;
pub mod command;
pub mod data;
pub mod error;
pub mod shard_group;
pub mod store;
pub mod view;

pub use command::{Command, DeleteTarget, Outcome, RetentionPolicyChange, RetentionPolicySpec};
pub use data::{
    ContinuousQueryInfo, ContinuousQueryRun, Data, DatabaseInfo, NodeInfo, PendingDelete, Privilege,
    RetentionPolicyInfo, ShardGroupInfo, ShardInfo, SubscriptionInfo, SubscriptionMode, UserInfo,
};
pub use error::MetaError;

pub use store::MetaStore;
pub use view::View;
