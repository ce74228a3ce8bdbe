//! Starts real nodes and speaks to them as clients do.

mod full;
mod kill;
mod malformed;
#[path = "../oracle/mod.rs"]
mod oracle;
mod power;
mod query;
mod restart;
mod shell;
mod support;
mod write_and_query;
