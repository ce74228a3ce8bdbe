//! Rows brought to strictly increasing times as [`Rows::bring_to_order`] does it, giving way in between where there are
//! many. The rows are owned: nothing is left behind when nobody waits for the end.

use crate::model::{Column, Field, Rows, TimeOrder};
use crate::pace::Pace;

/// Values, timestamps among them, up to which rows are brought to order at once: half a millisecond at most.
const VALUES_AT_ONCE_MAX: usize = 50_000;
/// Of more, so many are brought to their place between two looks at who else waits.
const VALUES_OF_A_STEP: usize = 10_000;

/// See the head of this file.
pub(crate) async fn in_order(mut rows: Rows, pace: &Pace) -> Rows {
    let width = rows.columns.len() + 1;
    if rows.len() * width <= VALUES_AT_ONCE_MAX || rows.is_in_order() {
        rows.bring_to_order();
        return rows;
    }
    let mut order = TimeOrder::default();
    while !order.is_whole(rows.len()) {
        pace.spent(order.step(&rows.times)).await;
    }
    let column_for = |field: &Field| {
        // Growing later would move all columns in one step.
        let mut column = Column::empty(field.field_type);
        column.reserve(rows.len());
        column
    };
    let columns = rows.fields.iter().map(column_for).collect();
    let mut ordered = Rows { times: Vec::with_capacity(rows.len()), fields: rows.fields.clone(), columns };
    for picked in order.positions().chunks((VALUES_OF_A_STEP / width).max(1)) {
        let before = ordered.len();
        ordered.append_picked(&rows, picked);
        // The last row before may be of the time that goes on here.
        ordered.merge_from(before.saturating_sub(1));
        pace.spent(10 * (picked.len() * width) as u64).await;
    }
    ordered
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::model::{FieldType, Value};

    /// Rows of which each third has no value of the first field, and each fifth none of the second.
    fn rows_at(times: impl Iterator<Item = i64>) -> Rows {
        let types = [FieldType::Integer, FieldType::String, FieldType::Float];
        let mut rows = Rows { times: times.collect(), ..Rows::default() };
        for (at, field_type) in types.into_iter().enumerate() {
            let mut column = Column::empty(field_type);
            for row in 0..rows.len() {
                let value = match field_type {
                    FieldType::Integer => Value::Integer(row as i64),
                    FieldType::String => Value::String(row.to_string().into_bytes()),
                    _ => Value::Float(row as f64),
                };
                column.push((row % (3 + 2 * at) > 0 || at == 2).then_some(&value));
            }
            rows.fields.push(Field { name: vec![b'a' + at as u8], field_type });
            rows.columns.push(column);
        }
        rows
    }

    #[test]
    fn many_rows_out_of_order_are_brought_to_order_with_others_in_between() {
        let twice = (0..60_000).map(|row| row * 7_919 % 30_011);
        let of_one_time = (0..9_000).map(|_| 5);
        for rows in [rows_at(twice.chain(of_one_time)), rows_at((0..40_000).chain(20_000..60_000))] {
            let mut expected = rows.clone();
            expected.bring_to_order();
            let pace = Pace::new();
            let mut ordering = Box::pin(in_order(rows, &pace));
            let (mut gave_way, mut ordered) = (0, None);
            while ordered.is_none() {
                ordered = block_on(poll_once(&mut ordering));
                gave_way += 1;
            }
            assert!(gave_way > 10, "{gave_way} times");
            assert!(ordered == Some(expected));
        }
    }

    #[test]
    fn few_rows_and_rows_in_order_are_not_waited_for() {
        for rows in [rows_at((0..1_000).rev()), rows_at(0..100_000)] {
            let mut expected = rows.clone();
            expected.bring_to_order();
            assert!(block_on(poll_once(in_order(rows, &Pace::new()))) == Some(expected));
        }
    }
}
