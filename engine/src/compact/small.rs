//! The merge of a series that has one small plain block in each file, later files later in time: the usual case among
//! millions of series. Its rows are put one behind the other into buffers that serve every series.

use smallvec::SmallVec;

use crate::compact::lane::Lane;
use crate::disk::Disk;
use crate::error::Result;
use crate::model::Column;
use crate::tsm::plain::PlainBlock;
use crate::tsm::{FieldId, TsmWriter};

/// Rows of one series; the columns' memory serves the next one with the same fields.
#[derive(Default)]
pub(super) struct SmallRows {
    times: Vec<i64>,
    columns: Vec<(FieldId, Column)>,
}

impl SmallRows {
    /// Gathers the first series of `lanes` (oldest first), if they suit; the writer has begun the series.
    pub fn gather<D: Disk>(&mut self, lanes: &[&Lane<D>], writer: &mut TsmWriter<D>) -> Result<bool> {
        let mut end = None;
        for (at, lane) in lanes.iter().enumerate() {
            let Some(blocks) = lane.next().map(|series| &series.blocks) else { return Ok(false) };
            let (1, Some((block, _))) = (blocks.len(), blocks.front()) else { return Ok(false) };
            let Some(plain) = block.plain() else { return Ok(false) };
            let is_later = end.is_none_or(|end| block.min_time > end);
            if !is_later || !self.has_fields_of(plain, lane, writer, at == 0) {
                return Ok(false);
            }
            end = Some(block.max_time);
        }
        self.times.clear();
        self.columns.iter_mut().for_each(|(_, column)| column.clear());
        for lane in lanes {
            let Some((block, _)) = lane.next().and_then(|series| series.blocks.front()) else { continue };
            let Some(plain) = block.plain() else { continue };
            let columns = self.columns.iter_mut().map(|(_, column)| column);
            plain
                .append_to(&mut self.times, columns)
                .map_err(|error| lane.reader.corrupted(block.page_offset(), error.0))?;
        }
        Ok(true)
    }

    /// Whether the block's columns are these, in this order; with `or_set` they become so.
    fn has_fields_of<D: Disk>(
        &mut self,
        block: PlainBlock<'_>,
        lane: &Lane<D>,
        writer: &mut TsmWriter<D>,
        or_set: bool,
    ) -> bool {
        if or_set {
            self.columns.truncate(block.columns.len());
        }
        if self.columns.len() > block.columns.len() || (!or_set && self.columns.len() < block.columns.len()) {
            return false;
        }
        for (at, shape) in block.columns.iter().enumerate() {
            let Some(field) = lane.schema.field(shape.field) else { return false };
            if field.field_type != shape.field_type {
                return false;
            }
            let wanted = writer.field(&field.name, field.field_type);
            match self.columns.get_mut(at) {
                Some((field, _)) if *field == wanted => {}
                Some(column) if or_set => *column = (wanted, Column::empty(shape.field_type)),
                None if or_set => self.columns.push((wanted, Column::empty(shape.field_type))),
                _ => return false,
            }
        }
        true
    }

    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Writes what was gathered.
    pub async fn write<D: Disk>(&self, writer: &mut TsmWriter<D>) -> Result<()> {
        let columns: SmallVec<[_; 16]> =
            self.columns.iter().map(|(field, column)| (*field, column)).collect();
        writer.write_rows(&self.times, &columns).await
    }
}
