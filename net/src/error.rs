//! The crate's errors.
