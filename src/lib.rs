//! The server. Joins `engine` and `net`; tasks, clocks, policies and texts live here.
//!
//! Modules in floor order, lowest first: a module imports lower floors only.

/// The version of InfluxDB whose interface is spoken; clients decide by it what they may use.
pub const INFLUXDB_VERSION: &str = "1.8.10";

pub mod config;
pub mod error;
pub mod influxql;
pub mod line_protocol;

pub mod runtime;

pub mod cores;
pub mod meta;

pub mod stats;

pub mod query;
pub mod statement;
pub mod write;

pub mod http;
pub mod input;
pub mod service;
pub mod shell;

pub mod server;
