//! Every upper bound of the crate, each with its reason.
