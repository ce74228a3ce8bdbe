//! THE READ PATH in one screen.
//!
//! text → statement → [`source`] (what there is) → rewrite and checks → plan → scans of all cores → merge → calls,
//! transformations, fill, limits → [`result`] pieces → a sink that encodes them.

pub mod error;
pub mod merge;
pub mod result;
pub mod source;

pub use error::QueryError;
pub use result::{Cell, Cells, ResultSink, Series};
pub use source::{ChunkStream, DataSource, Place};
