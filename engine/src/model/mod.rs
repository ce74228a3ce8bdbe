//! The data model: what a point, series, field and batch are.
//!
//! A *point* is one line of line protocol: series key, timestamp, fields. Inside the engine a *row* is one
//! timestamp's fields of one series. Names of measurements, tags and fields are bytes, not text: line
//! protocol accepts any bytes.

pub mod batch;
pub mod column;
pub mod field;
pub mod id;
pub mod kernel;
mod row_order;
pub mod rows;
pub mod series_key;
pub mod time;
mod time_order;
pub mod varint;

pub use batch::{Batch, BatchBuilder, RowRef, SeriesTable, ShapeRef};
pub use column::{Bitmap, Column, ColumnData, StringColumn};
pub use field::{FieldType, Value};
pub use id::{DatabaseId, NodeId, RetentionPolicyId, ShardGroupId, ShardId};
pub use rows::{Field, Rows};
pub use series_key::SeriesKey;
pub use time::{TIME_MAX, TIME_MIN, TimeRange, Window};
pub(crate) use time_order::TimeOrder;
