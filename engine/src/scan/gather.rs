//! Rows out of several chunks, in any order: what merges end in.
//!
//! The order is decided first, then each column is copied in one plain loop.

use crate::model::{Bitmap, Column, ColumnData, StringColumn};

/// One row: number of its chunk, and its row there.
pub type RowAt = (u32, u32);

/// The columns of the rows in the order given. `chunks` are the columns of each chunk, all of the same types; one that no
/// row comes from may be of any shape.
pub fn gather(chunks: &[&[Column]], order: &[RowAt]) -> Vec<Column> {
    let Some(first) = order.first() else { return Vec::new() };
    // One chunk's rows one after another: mostly whole chunks of one series.
    if order.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 + 1 == pair[1].1) {
        let (start, end) = (first.1 as usize, first.1 as usize + order.len());
        return chunks[first.0 as usize].iter().map(|column| column.slice(start, end)).collect();
    }
    (0..chunks[first.0 as usize].len())
        .map(|at| {
            let model = &chunks[first.0 as usize][at];
            let columns: Vec<&Column> =
                chunks.iter().map(|columns| columns.get(at).unwrap_or(model)).collect();
            gather_column(&columns, model, order)
        })
        .collect()
}

fn gather_column(chunks: &[&Column], model: &Column, order: &[RowAt]) -> Column {
    macro_rules! gather {
        ($kind:ident) => {{
            let slices: Vec<_> = chunks
                .iter()
                .map(|chunk| match &chunk.data {
                    ColumnData::$kind(values) => values.as_slice(),
                    _ => &[],
                })
                .collect();
            ColumnData::$kind(
                order.iter().map(|(chunk, row)| slices[*chunk as usize][*row as usize]).collect(),
            )
        }};
    }
    let data = match &model.data {
        ColumnData::Float(_) => gather!(Float),
        ColumnData::Integer(_) => gather!(Integer),
        ColumnData::Unsigned(_) => gather!(Unsigned),
        ColumnData::Boolean(_) => gather!(Boolean),
        ColumnData::String(_) => ColumnData::String(gather_strings(chunks, order)),
    };
    if chunks.iter().all(|chunk| chunk.present.is_none()) {
        return Column { data, present: None };
    }
    let mut present = Bitmap::filled(order.len(), false);
    let mut count = 0;
    for (to, (chunk, row)) in order.iter().enumerate() {
        if chunks[*chunk as usize].is_present(*row as usize) {
            present.set(to, true);
            count += 1;
        }
    }
    Column { data, present: (count < order.len()).then_some(present) }
}

fn gather_strings(chunks: &[&Column], order: &[RowAt]) -> StringColumn {
    let strings: Vec<Option<&StringColumn>> = chunks
        .iter()
        .map(|chunk| match &chunk.data {
            ColumnData::String(strings) => Some(strings),
            _ => None,
        })
        .collect();
    let text_of = |at: &RowAt| strings[at.0 as usize].map_or(&[][..], |strings| strings.get(at.1 as usize));
    let bytes = order.iter().map(|at| text_of(at).len()).sum();
    let mut gathered =
        StringColumn { ends: Vec::with_capacity(order.len()), bytes: Vec::with_capacity(bytes) };
    order.iter().for_each(|at| gathered.push(text_of(at)));
    gathered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FieldType, Value};

    fn column(field_type: FieldType, values: &[Option<Value>]) -> Column {
        let mut column = Column::empty(field_type);
        values.iter().for_each(|value| column.push(value.as_ref()));
        column
    }

    #[test]
    fn rows_come_in_the_order_given_with_their_gaps() {
        let text = |text: &str| Some(Value::String(text.as_bytes().to_vec()));
        let one = [
            column(FieldType::Integer, &[Some(Value::Integer(1)), None]),
            column(FieldType::String, &[text("a"), text("bb")]),
        ];
        let other =
            [column(FieldType::Integer, &[Some(Value::Integer(3))]), column(FieldType::String, &[text("")])];
        let gathered = gather(&[&one, &other], &[(1, 0), (0, 1), (0, 0), (0, 1)]);
        let want = [
            column(FieldType::Integer, &[Some(Value::Integer(3)), None, Some(Value::Integer(1)), None]),
            column(FieldType::String, &[text(""), text("bb"), text("a"), text("bb")]),
        ];
        assert_eq!(gathered, want);
        // Of rows that all have a value no bitmap is left.
        assert_eq!(gather(&[&one, &other], &[(0, 0), (1, 0)])[0].present, None);
        assert_eq!(gather(&[&one], &[(0, 0), (0, 1)]), one);
        assert!(gather(&[&one], &[]).is_empty());
    }
}
