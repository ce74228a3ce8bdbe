//! What may be asked of one core's data, and the shape of the answers.
//!
//! Plain owned values only: they travel between cores, and one day between nodes. Three kinds of question:
//!
//! * [`ScanRequest`] → a stream of [`ScanChunk`]s: rows merged in time order per tag set, or partials per
//!   (tag set, window).
//! * [`CatalogRequest`] → one [`CatalogReply`]: which measurements, fields, tags and series there are.
//! * `EXPLAIN`'s counts are part of the catalogue.
//!
//! Names are unescaped bytes.

use super::projection::column_bytes;
use crate::model::{Column, FieldType, ShardGroupId, ShardId, TimeRange, Value, Window};

/// A shard to read, and the group whose field types it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardRef {
    pub shard: ShardId,
    pub group: ShardGroupId,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ScanRequest {
    /// Shards of this core to read; a series' rows of several shards are joined.
    pub shards: Vec<ShardRef>,
    pub measurement: Vec<u8>,
    pub time: TimeRange,
    /// Which series; decided from keys alone.
    pub series: Option<TagFilter>,
    /// Which rows; evaluated on the columns and the series' tags. `None`: all.
    pub rows: Option<Expr>,
    /// What each row carries, in order. A row in which every `Field` column is absent is not emitted.
    pub columns: Vec<ScanColumn>,
    /// GROUP BY tags, in the order wanted in [`ScanGroup::values`].
    pub dimensions: Vec<Vec<u8>>,
    pub descending: bool,
    pub output: ScanOutput,
    /// Bytes of memory the scan may hold on this core; more is refused with `Error::Budget`.
    pub budget_bytes: u64,
    /// Most series the scan may touch; 0 is no limit. More is refused with `Error::Limit`.
    pub series_max: u64,
}

/// One output column of a scan.
#[derive(Debug, Clone, PartialEq)]
pub enum ScanColumn {
    /// A field. `as_type`: values of this type pass; integers are promoted to float when float is asked for; with
    /// `cast`, numbers convert to one another; anything else is absent.
    Field { name: Vec<u8>, as_type: FieldType, cast: bool },
    /// A tag as a string column; absent when the series does not have it.
    Tag { name: Vec<u8> },
}

#[derive(Debug, Clone, PartialEq)]
pub enum ScanOutput {
    /// Rows in time order (on equal times in ascending order of series keys, whatever the direction) within a tag set. At most `limit` rows per tag set are
    /// needed (0: all); series tags are given per row only through `Tag` columns.
    ///
    /// With `ahead`, each row comes in the place of the row before it in its series, and the first row of every series
    /// at once, so that the asker knows how each series goes on; with a limit, the rows after that many rows.
    Rows { limit: u64, ahead: bool },
    /// Partials per window (`None`: one window, the whole range).
    Partials { window: Option<Window>, calls: Vec<PartialCall> },
}

/// A partial aggregate of one field column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartialCall {
    /// Position in [`ScanRequest::columns`].
    pub column: usize,
    pub kind: PartialKind,
}

/// Aggregates that can be computed in parts and merged. All others are computed from rows by the asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartialKind {
    Count,
    /// Float sums are made in time order within a series; integers wrap.
    Sum,
    /// With the earliest time the least value has.
    Min,
    Max,
    /// With its time; on equal times the larger value.
    First,
    Last,
}

/// One tag set of a scan's answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanGroup {
    /// Values of the dimensions, in their order; empty where a series lacks the tag.
    pub values: Vec<Vec<u8>>,
}

/// A piece of an answer. Groups come in ascending order of their values (descending if asked so); a group's chunks
/// follow each other, its rows in time order (descending if asked so). About a thousand rows a chunk.
#[derive(Debug, Clone, PartialEq)]
pub enum ScanChunk {
    Rows {
        group: ScanGroup,
        times: Vec<i64>,
        /// One column per [`ScanRequest::columns`] entry.
        columns: Vec<Column>,
        /// Per row, position in `series_keys`: breaks ties of equal times between cores.
        series: Vec<u32>,
        /// Canonical keys of the series of this chunk.
        series_keys: Vec<Vec<u8>>,
    },
    Partials {
        group: ScanGroup,
        /// Starts of the windows that have rows, ascending (descending if asked so); the range's start without
        /// windows.
        windows: Vec<i64>,
        /// One per call.
        partials: Vec<PartialColumn>,
    },
}

impl ScanChunk {
    /// Memory in use, in bytes.
    pub fn bytes(&self) -> u64 {
        let text = |texts: &[Vec<u8>]| texts.iter().map(|text| text.len() + 24).sum::<usize>();
        let bytes = match self {
            Self::Rows { group, times, columns, series, series_keys } => {
                let columns: usize = columns.iter().map(column_bytes).sum();
                text(&group.values) + text(series_keys) + 8 * times.len() + 4 * series.len() + columns
            }
            Self::Partials { group, windows, partials } => {
                let column =
                    |partial: &PartialColumn| column_bytes(&partial.values) + 8 * partial.times.len();
                text(&group.values) + 8 * windows.len() + partials.iter().map(column).sum::<usize>()
            }
        };
        bytes as u64
    }
}

/// Partials of one call, one slot per window. `present` says which windows had a value.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialColumn {
    /// Count: integers. Sum: the column's type. Min, Max, First, Last: the column's type.
    pub values: Column,
    /// Times of the selected values for Min, Max, First, Last; empty otherwise.
    pub times: Vec<i64>,
    /// Whether several series had a value at the time of First, or Last: exactly where there is one window; of several,
    /// some may have.
    pub tied: bool,
}

/// A condition on tags alone; a missing tag is the empty string.
#[derive(Debug, Clone, PartialEq)]
pub enum TagFilter {
    Equal {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    NotEqual {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    /// Unanchored search; the pattern has been compiled once by the asker and is known to be good.
    Matches {
        name: Vec<u8>,
        pattern: String,
    },
    NotMatches {
        name: Vec<u8>,
        pattern: String,
    },
    And(Vec<TagFilter>),
    Or(Vec<TagFilter>),
    /// All series, or none.
    Constant(bool),
}

impl TagFilter {
    /// All of the conditions; those that are such lists themselves are taken apart.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Vec::new();
        for part in parts {
            match part {
                // A long chain comes as pairs of all before and one more: what is gathered is not moved again.
                Self::And(inner) if all.is_empty() => all = inner,
                Self::And(inner) => all.extend(inner),
                part => all.push(part),
            }
        }
        Self::And(all)
    }

    /// Any of the conditions; those that are such lists themselves are taken apart.
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut any = Vec::new();
        for part in parts {
            match part {
                Self::Or(inner) if any.is_empty() => any = inner,
                Self::Or(inner) => any.extend(inner),
                part => any.push(part),
            }
        }
        Self::Or(any)
    }
}

/// A row expression. Comparisons of unlike types are false; an absent operand makes arithmetic absent and a comparison
/// false.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A field, in the type it has in the shard at hand.
    Field(Vec<u8>),
    /// A tag; the empty string when the series lacks it.
    Tag(Vec<u8>),
    Time,
    Literal(Value),
    Binary {
        op: BinaryOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `left =~ /pattern/`, or `!~` when negated; false when absent or not a string.
    Matches {
        left: Box<Expr>,
        pattern: String,
        negated: bool,
    },
    /// A math function of InfluxQL by its lower-case name.
    Call {
        name: String,
        arguments: Vec<Expr>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    BitAnd,
    BitOr,
    BitXor,
}

/// Questions about what exists. Deleted series and fields are not listed.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogRequest {
    pub shards: Vec<ShardRef>,
    /// `None`: all measurements.
    pub measurements: Option<Vec<Vec<u8>>>,
    pub time: TimeRange,
    pub series: Option<TagFilter>,
    pub what: CatalogKind,
    /// Most items wanted, counted before any merge with other cores; 0 is all.
    pub limit: u64,
    pub budget_bytes: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum CatalogKind {
    /// Names of measurements that have a matching series.
    Measurements,
    /// Fields with their types, and tag keys, per measurement.
    Schema,
    /// Series keys.
    Series,
    /// Distinct values of these tag keys per measurement.
    TagValues { keys: Vec<Vec<u8>> },
    /// Counts for EXPLAIN: series, files, blocks, bytes.
    Cost,
}

#[derive(Debug, Clone, PartialEq)]
pub enum CatalogReply {
    /// Sorted.
    Measurements(Vec<Vec<u8>>),
    /// Sorted by measurement.
    Schema(Vec<MeasurementSchema>),
    /// Canonical keys, sorted, those greater than the last one of the answer before.
    Series(Vec<Vec<u8>>),
    /// (measurement, key, value), sorted, distinct.
    TagValues(Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>),
    Cost(ScanCost),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MeasurementSchema {
    pub measurement: Vec<u8>,
    /// Sorted by name. A field may stand more than once when shard groups disagree on its type.
    pub fields: Vec<(Vec<u8>, FieldType)>,
    /// Sorted.
    pub tag_keys: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanCost {
    pub shards: u64,
    pub series: u64,
    pub cached_values: u64,
    pub files: u64,
    pub blocks: u64,
    pub block_bytes: u64,
}
