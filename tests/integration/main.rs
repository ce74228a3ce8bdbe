//! Starts real nodes and speaks to them as clients do.

mod authentication;
mod cancellation;
mod clients;
mod continuous_query;
mod full;
mod hostile;
mod inputs;
mod kill;
mod limits;
mod malformed;
#[path = "../oracle/mod.rs"]
mod oracle;
mod power;
mod prometheus;
mod query;
mod restart;
mod shell;
mod statistics;
mod subscription;
mod support;
mod write_and_query;
