//! Newtype ids. Meta hands them out; nothing on disk is named by a user's text.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One slice of a shard group by series hash; the unit of placement. Unique in the cluster.
    ShardId
);
id!(
    /// All shards of one retention policy for one span of time. Unique in the cluster.
    ShardGroupId
);
id!(
    /// A database.
    DatabaseId
);
id!(
    /// A retention policy. Unique in the cluster, not only in its database.
    RetentionPolicyId
);
id!(
    /// A node of the cluster.
    NodeId
);
