use super::*;
use proptest::prelude::*;

const KINDS: [PartialKind; 6] = [
    PartialKind::Count,
    PartialKind::Sum,
    PartialKind::Min,
    PartialKind::Max,
    PartialKind::First,
    PartialKind::Last,
];

fn calls() -> Vec<PartialCall> {
    KINDS.iter().map(|kind| PartialCall { column: 0, kind: *kind }).collect()
}

fn column(field_type: FieldType, values: &[Option<Value>]) -> Column {
    let mut column = Column::empty(field_type);
    values.iter().for_each(|value| column.push(value.as_ref()));
    column
}

/// Times and values of one series.
type Rows = Vec<(i64, Option<i64>)>;

/// What the table must say of one window, by plain loops over all rows of all series.
fn naive(series: &[Rows], window: Window, start: i64) -> Vec<Option<(i64, Value)>> {
    let mut there: Vec<(i64, i64)> = series
        .iter()
        .flatten()
        .filter(|(time, _)| window.start_of(*time) == start)
        .filter_map(|(time, value)| Some((*time, (*value)?)))
        .collect();
    there.sort();
    if there.is_empty() {
        return vec![None; 6];
    }
    let least = there.iter().min_by_key(|(time, value)| (*value, *time));
    let greatest = there.iter().max_by_key(|(time, value)| (*value, -*time));
    let first = there.iter().min_by_key(|(time, value)| (*time, -*value));
    let last = there.iter().max_by_key(|(time, value)| (*time, *value));
    let sum: i64 = there.iter().map(|(_, value)| *value).sum();
    let mut want = vec![Some((0, Value::Integer(there.len() as i64))), Some((0, Value::Integer(sum)))];
    want.extend(
        [least, greatest, first, last].map(|row| row.map(|(time, value)| (*time, Value::Integer(*value)))),
    );
    want
}

fn check(series: &[Rows], window: Window, windows: &[i64], partials: &[PartialColumn]) {
    let mut starts: Vec<i64> = series
        .iter()
        .flatten()
        .filter(|row| row.1.is_some())
        .map(|(time, _)| window.start_of(*time))
        .collect();
    starts.sort();
    starts.dedup();
    assert_eq!(windows, starts);
    for (at, start) in starts.iter().enumerate() {
        let got: Vec<Option<(i64, Value)>> = partials
            .iter()
            .map(|partial| Some((partial.times.get(at).copied().unwrap_or(0), partial.values.get(at)?)))
            .collect();
        assert_eq!(got, naive(series, window, *start));
    }
    for (partial, is_first) in [(&partials[4], true), (&partials[5], false)] {
        let shares_its_edge = |start: &i64| {
            let is_there = |row: &&(i64, Option<i64>)| row.1.is_some() && window.start_of(row.0) == *start;
            let times: Vec<i64> = series.iter().flatten().filter(is_there).map(|row| row.0).collect();
            let edge = if is_first { times.iter().min() } else { times.iter().max() };
            times.iter().filter(|time| Some(*time) == edge).count() > 1
        };
        assert!(partial.tied || !starts.iter().any(shares_its_edge));
    }
}

fn table_of(series: &[Rows], window: Window) -> PartialTable {
    let mut table = PartialTable::new(Some(window), 0, &calls(), &[FieldType::Integer]);
    for rows in series {
        let times: Vec<i64> = rows.iter().map(|row| row.0).collect();
        let values: Vec<_> = rows.iter().map(|row| row.1.map(Value::Integer)).collect();
        table.fold_rows(&times, &[column(FieldType::Integer, &values)]);
    }
    table
}

fn rows_strategy() -> impl Strategy<Value = Rows> {
    prop::collection::btree_map(-50i64..50, prop::option::of(-3i64..3), 0..40)
        .prop_map(|rows| rows.into_iter().collect())
}

proptest! {
    #[test]
    fn folding_and_merging_equal_plain_loops(
        series in prop::collection::vec(rows_strategy(), 0..6),
        every in 1i64..40,
        cut in 0usize..6,
    ) {
        let window = Window { every, offset: 3 };
        let (windows, partials) = table_of(&series, window).finish(false);
        check(&series, window, &windows, &partials);

        let (left, right) = series.split_at(cut.min(series.len()));
        let (left, right) = (table_of(left, window).finish(false), table_of(right, window).finish(true));
        let parts: [(&[i64], &[PartialColumn]); 2] = [(&left.0, &left.1), (&right.0, &right.1)];
        let pace = Pace::new();
        let merged = merge_partials(&KINDS, false, &parts, &pace);
        let (windows, partials) = futures_lite::future::block_on(merged);
        check(&series, window, &windows, &partials);
    }
}

#[test]
fn a_float_sum_of_negative_zero_keeps_its_sign() {
    let mut table = PartialTable::new(None, 0, &calls()[1..2], &[FieldType::Float]);
    table.fold_rows(&[1], &[column(FieldType::Float, &[Some(Value::Float(-0.0))])]);
    let (_, partials) = table.finish(false);
    assert!(matches!(partials[0].values.get(0), Some(Value::Float(sum)) if sum.is_sign_negative()));
}

#[test]
fn float_sums_of_long_windows_are_those_of_each_window_alone_bit_for_bit() {
    let times: Vec<i64> = (0..1_000).collect();
    let values: Vec<f64> =
        times.iter().map(|at| (at * 7919 % 1000) as f64 / 7.0 * 1e3f64.powi((at % 5) as i32)).collect();
    let floats = Column { data: ColumnData::Float(values.clone()), present: None };
    for every in [1_000, 400, 333, 90, 7] {
        let window = Window { every, offset: 60 };
        let mut table = PartialTable::new(Some(window), 0, &calls()[1..2], &[FieldType::Float]);
        table.fold_rows(&times, std::slice::from_ref(&floats));
        let (windows, partials) = table.finish(false);
        for (at, start) in windows.iter().enumerate() {
            let rows = (*start).max(0) as usize..((start + every) as usize).min(values.len());
            let sum = kernel::sum_floats(&values, None, rows).map(Value::Float);
            assert_eq!(partials[0].values.get(at), sum, "windows of {every}, the one from {start}");
        }
        assert_eq!(windows.len(), times.chunk_by(|a, b| window.start_of(*a) == window.start_of(*b)).count());
    }
}

#[test]
fn strings_have_everything_but_a_sum() {
    let text = |text: &str| Some(Value::String(text.as_bytes().to_vec()));
    let mut table = PartialTable::new(None, 9, &calls(), &[FieldType::String]);
    table.fold_rows(&[1, 2, 3], &[column(FieldType::String, &[text("b"), None, text("a")])]);
    table.fold_rows(&[1, 3], &[column(FieldType::String, &[text("a"), text("c")])]);
    let (windows, partials) = table.finish(false);
    assert_eq!(windows, vec![9]);
    let got: Vec<_> = partials.iter().map(|partial| partial.values.get(0)).collect();
    assert_eq!(got, vec![Some(Value::Integer(4)), None, text("a"), text("c"), text("b"), text("c")]);
}

#[test]
fn windows_without_any_value_are_left_out_and_order_can_be_reversed() {
    let window = Some(Window { every: 10, offset: 0 });
    let mut table = PartialTable::new(window, 0, &calls(), &[FieldType::Integer]);
    let values = [Some(Value::Integer(1)), None, Some(Value::Integer(2))];
    table.fold_rows(&[5, 15, 25], &[column(FieldType::Integer, &values)]);
    assert_eq!(table.finish(true).0, vec![20, 0]);
}

#[test]
fn a_shared_time_is_told_until_a_better_one_takes_its_place() {
    let calls = [PartialKind::First, PartialKind::Last].map(|kind| PartialCall { column: 0, kind });
    let told = |series: &[(i64, i64)]| {
        let mut table = PartialTable::new(None, 0, &calls, &[FieldType::Integer]);
        for (time, value) in series {
            table.fold_rows(&[*time], &[column(FieldType::Integer, &[Some(Value::Integer(*value))])]);
        }
        let (_, partials) = table.finish(false);
        (partials[0].tied, partials[1].tied)
    };
    assert_eq!(told(&[(5, 1)]), (false, false));
    assert_eq!(told(&[(5, 2), (5, 1)]), (true, true));
    assert_eq!(told(&[(5, 1), (5, 2), (4, 1)]), (false, true));
    assert_eq!(told(&[(5, 1), (5, 1), (6, 1), (4, 1)]), (false, false));
    assert_eq!(told(&[(4, 1), (6, 1), (6, 3), (5, 1)]), (false, true));
}
