//! What series exist and under which tags.
//!
//! Only ACTIVE series (with rows in the cache, or lately) are kept in memory, in [`active`]; all others are answered by the
//! TSM files' own indexes. A write never reads a file: "new" means not active here. [`fields`] holds the types of fields,
//! [`registrar`] decides them, [`tag_filter`] decides conditions on tags from keys alone.

pub mod active;
pub mod fields;
pub mod registrar;
mod slots;
pub mod tag_filter;
