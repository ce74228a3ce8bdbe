//! The merge of a series that has one small plain block in each file, later files later in time, rows of a cache last: the usual case among
//! millions of series. Its rows are put one behind the other into buffers that serve every series.

use smallvec::SmallVec;

use crate::compact::lane::Lane;
use crate::disk::Disk;
use crate::error::Result;
use crate::model::{Column, FieldType, Rows};
use crate::tsm::{FieldId, TsmWriter};

/// Rows of one series; the columns' memory serves the next one with the same fields.
#[derive(Default)]
pub(super) struct SmallRows {
    times: Vec<i64>,
    columns: Vec<(FieldId, Column)>,
}

impl SmallRows {
    /// Gathers the first series of `lanes` (oldest first), and rows of a cache behind them, if they suit; the writer has
    /// begun the series.
    pub fn gather<D: Disk>(
        &mut self,
        lanes: &[&Lane<D>],
        cached: Option<&Rows>,
        writer: &mut TsmWriter<D>,
    ) -> Result<bool> {
        let mut end = None;
        for lane in lanes {
            let Some(blocks) = lane.next().map(|series| &series.blocks) else { return Ok(false) };
            let (1, Some((block, _))) = (blocks.len(), blocks.front()) else { return Ok(false) };
            let Some(plain) = block.plain() else { return Ok(false) };
            let fields = plain.columns.iter().map(|column| {
                let field = lane.schema.field(column.field)?;
                (field.field_type == column.field_type).then_some((field.name.as_slice(), field.field_type))
            });
            let is_later = end.is_none_or(|end| block.min_time > end);
            if !is_later || !self.has_fields(fields, writer, end.is_none()) {
                return Ok(false);
            }
            end = Some(block.max_time);
        }
        if let Some(rows) = cached {
            let fields = rows.fields.iter().zip(&rows.columns).map(|(field, column)| {
                column.present.is_none().then_some((field.name.as_slice(), field.field_type))
            });
            let is_later = end.is_none_or(|end| rows.times.first().is_some_and(|first| *first > end));
            if !is_later || !self.has_fields(fields, writer, end.is_none()) {
                return Ok(false);
            }
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
        if let Some(rows) = cached {
            self.times.extend_from_slice(&rows.times);
            for ((_, column), more) in self.columns.iter_mut().zip(&rows.columns) {
                column.append(more);
            }
        }
        Ok(true)
    }

    /// Whether the fields are those of the columns, in their order; with `or_set` the columns become so.
    fn has_fields<'f, D: Disk>(
        &mut self,
        fields: impl ExactSizeIterator<Item = Option<(&'f [u8], FieldType)>>,
        writer: &mut TsmWriter<D>,
        or_set: bool,
    ) -> bool {
        if or_set {
            self.columns.truncate(fields.len());
        } else if self.columns.len() != fields.len() {
            return false;
        }
        for (at, field) in fields.enumerate() {
            let Some((name, field_type)) = field else { return false };
            let wanted = writer.field(name, field_type);
            match self.columns.get_mut(at) {
                Some((field, _)) if *field == wanted => {}
                Some(column) if or_set => *column = (wanted, Column::empty(field_type)),
                None if or_set => self.columns.push((wanted, Column::empty(field_type))),
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
