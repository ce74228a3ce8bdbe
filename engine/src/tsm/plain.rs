//! Small blocks that live in their index page, read straight from it: of a shard with millions of series of a few rows each
//! nearly every block is one, and a merge handles each of them once.
//!
//! *Plain* is a block of one group without missing values and without statistics: its chunk table is one length per
//! column (see block.rs), and its rows can be put behind those of another block without building anything in between.

use super::block::{ColumnShape, STATISTICS_ROWS_MIN};
use super::index::BlockEntry;
use crate::codec::varint::{take_bytes, take_count};
use crate::codec::{DecodeError, append_column, timestamp};
use crate::model::Column;

/// See the head of this file.
#[derive(Debug, Clone, Copy)]
pub struct PlainBlock<'a> {
    pub columns: &'a [ColumnShape],
    entry: &'a BlockEntry,
}

impl BlockEntry {
    /// The block, if it is plain.
    pub fn plain(&self) -> Option<PlainBlock<'_>> {
        let [columns] = self.shape().groups.as_slice() else { return None };
        let is_plain = self.is_inline
            && (self.rows as usize) < STATISTICS_ROWS_MIN
            && columns.iter().all(|column| !column.is_nullable);
        is_plain.then_some(PlainBlock { columns, entry: self })
    }
}

impl PlainBlock<'_> {
    /// Appends its rows: to `times`, and to one column for each of [`Self::columns`], of its type.
    pub fn append_to<'c>(
        &self,
        times: &mut Vec<i64>,
        columns: impl Iterator<Item = &'c mut Column>,
    ) -> Result<(), DecodeError> {
        let entry = self.entry;
        let rows = entry.rows as usize;
        let mut table = entry.table_bytes();
        let all = table.len();
        let times_length = take_count(&mut table, all)?;
        let mut data = table;
        for _ in self.columns {
            take_count(&mut data, all)?;
        }
        timestamp::decode(take_bytes(&mut data, times_length)?, rows, entry.min_time, entry.max_time, times)?;
        for (shape, column) in self.columns.iter().zip(columns) {
            let length = take_count(&mut table, all)?;
            let bytes = take_bytes(&mut data, length)?;
            append_column(bytes, rows, shape.field_type, &mut column.data)?;
        }
        if data.is_empty() { Ok(()) } else { Err(DecodeError("chunk table")) }
    }
}
