//! One shard: index, cache part and file set.
