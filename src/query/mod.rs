//! THE READ PATH in one screen.
//!
//! 1. [`compile`]: semantic checks of the statement, its time range and windows ([`condition`], [`window`]);
//! 2. [`rewrite`]: sources, wildcards and types, looked up in the catalogues of [`source`];
//! 3. [`plan`]: what the cores read ([`inputs`], [`where_clause`]) or fold ([`partials`]), which calls run here, how columns
//!    are made ([`columns`], [`eval`]);
//! 4. [`exec`]: all sources ([`legs`], which calls may read apart: [`lanes`]), each a scan of all cores within [`series_limit`]s, [`merge`]d, [`ties`] broken; [`calls`] with their [`functions`]
//!    and [`fill`]; limits; subqueries, their series [`gather`]ed;
//! 5. [`result`]: pieces for a sink that encodes them.
//!
//! [`control`] keeps a query within its bounds. [`show`] answers what exists, with conditions made [`tag_filter`]s.

pub mod calls;
pub mod columns;
pub mod compile;
pub mod condition;
pub mod control;
pub mod edges;
pub mod error;
pub mod eval;
pub mod exec;
pub mod explain;
pub mod fan_out;
pub mod fill;
pub mod functions;
pub mod gather;
pub mod heap;
pub mod inputs;
pub mod into;
pub mod kept;
pub mod lanes;
pub mod legs;
pub mod merge;
pub mod partials;
pub mod plan;
pub mod result;
pub mod rewrite;
pub mod rows;
pub mod select;
pub mod series_limit;
pub mod show;
pub mod source;
mod stand_ins;
pub mod tag_cores;
pub mod tag_filter;
pub mod ties;
pub mod tracker;
pub mod types;
pub mod where_clause;
pub mod window;

pub use control::{Control, End};
pub use error::QueryError;
pub use result::{Cell, Cells, ResultSink, Series};
pub use rewrite::{Defaults, Limits};
pub use select::{Context, select};
pub use source::{ChunkStream, DataSource, Place};

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod select_tests;
