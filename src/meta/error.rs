//! Why a command was refused, in the words clients of InfluxDB know.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaError {
    DatabaseNotFound(String),
    RetentionPolicyNotFound(String),
    RetentionPolicyExists,
    RetentionPolicyConflict,
    RetentionPolicyDurationTooLow,
    IncompatibleDurations,
    ReplicationFactorTooLow,
    InvalidName,
    NameTooLong,
    UserExists,
    UserNotFound,
    UsernameRequired,
    ContinuousQueryExists,
    ContinuousQueryNotFound,
    SubscriptionExists,
    SubscriptionNotFound,
    NodeNotFound,
    /// The store of the deciding node cannot write; the reason.
    Unavailable(String),
}

impl fmt::Display for MetaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatabaseNotFound(name) => write!(f, "database not found: {name}"),
            Self::RetentionPolicyNotFound(name) => write!(f, "retention policy not found: {name}"),
            Self::RetentionPolicyExists => f.write_str("retention policy already exists"),
            Self::RetentionPolicyConflict => {
                f.write_str("retention policy conflicts with an existing policy")
            }
            Self::RetentionPolicyDurationTooLow => {
                f.write_str("retention policy duration must be at least 1h0m0s")
            }
            Self::IncompatibleDurations => {
                f.write_str("retention policy duration must be greater than the shard duration")
            }
            Self::ReplicationFactorTooLow => f.write_str("replication factor must be greater than 0"),
            Self::InvalidName => f.write_str("invalid name"),
            Self::NameTooLong => f.write_str("name too long"),
            Self::UserExists => f.write_str("user already exists"),
            Self::UserNotFound => f.write_str("user not found"),
            Self::UsernameRequired => f.write_str("username required"),
            Self::ContinuousQueryExists => f.write_str("continuous query already exists"),
            Self::ContinuousQueryNotFound => f.write_str("continuous query not found"),
            Self::SubscriptionExists => f.write_str("subscription already exists"),
            Self::SubscriptionNotFound => f.write_str("subscription not found"),
            Self::NodeNotFound => f.write_str("node not found"),
            Self::Unavailable(reason) => write!(f, "meta store unavailable: {reason}"),
        }
    }
}

impl std::error::Error for MetaError {}
