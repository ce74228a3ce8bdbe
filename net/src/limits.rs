//! Every upper bound of the crate.
