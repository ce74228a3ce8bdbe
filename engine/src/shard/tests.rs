//! What a view of the caches reads while others go on.

use futures_lite::future::{block_on, poll_once};

use super::*;
use crate::disk::sim::SimDisk;
use crate::model::batch::put_value;
use crate::model::{BatchBuilder, SeriesKey, ShardGroupId, Value};

fn insert(view: &CacheView, cache: &RefCell<Cache>, times: impl Iterator<Item = i64>, sign: i64) {
    let (key, mut builder) = (SeriesKey::build(b"m", &[]), BatchBuilder::new());
    let series = builder.add_series(key.hash(), &key.0);
    let fields = [(FieldType::Integer, &b"a"[..]), (FieldType::Integer, b"b")];
    for time in times {
        let fields = &fields[..1 + usize::from(time % 2 == 0)];
        let shape = builder.add_shape(b"m", fields.iter().copied());
        let mut values = Vec::new();
        fields.iter().for_each(|_| put_value(&mut values, &Value::Integer(sign * time)));
        builder.add_row(series, shape, time, &values);
    }
    cache.borrow_mut().insert(&mut view.index.borrow_mut(), &builder.finish(1, 1), &[]);
}

/// Two generations of rows that came in no order, some of them of the same times.
fn view() -> CacheView {
    let mut view = CacheView::new();
    let sealed = Rc::new(RefCell::new(Cache::new()));
    insert(&view, &sealed, (0..50_000).map(|row| row * 7_919 % 50_021), 1);
    view.sealed = Some(sealed);
    insert(&view, &view.hot, (0..20_000).map(|row| 40_000 + row * 7_919 % 20_011), -1);
    view
}

#[test]
fn rows_out_of_order_are_read_with_others_in_between_as_they_were_at_the_beginning() {
    let view = view();
    let some = TimeRange::new(1_000, 58_000);
    for (time, wanted) in [(TimeRange::ALL, None), (some, None), (some, Some([b"b".to_vec()]))] {
        let wanted = wanted.as_ref().map(|wanted| wanted.as_slice());
        let expected = view.read_at_once(0, time, wanted).expect("there are rows");
        let pace = Pace::new();
        let mut reading = Box::pin(view.read(0, time, wanted, &pace));
        let (mut gave_way, mut read) = (0, None);
        while read.is_none() {
            read = block_on(poll_once(&mut reading));
            gave_way += 1;
            if gave_way == 3 {
                insert(&view, &view.hot, 1..50_000, 7);
                view.hot.borrow_mut().delete(0, TimeRange::ALL);
                insert(&view, &view.hot, (0..20_000).map(|row| 40_000 + row * 7_919 % 20_011), -1);
            }
        }
        assert!(gave_way > 10, "{gave_way} times");
        let mut read = read.flatten().expect("there are rows");
        // Which field was seen first depends on the way.
        if read.fields != expected.fields {
            read.fields.reverse();
            read.columns.reverse();
        }
        assert!(read == expected);
    }
}

#[test]
fn few_rows_out_of_order_are_read_at_once() {
    let view = CacheView::new();
    insert(&view, &view.hot, (0..1_000).rev(), 1);
    let read = block_on(poll_once(view.read(0, TimeRange::ALL, None, &Pace::new())));
    assert_eq!(read.flatten().map(|rows| rows.len()), Some(1_000));
}

#[test]
fn series_and_fields_are_new_until_they_were_met_and_again_after_a_delete() {
    let shard: Shard<SimDisk> = Shard::new(ShardRef { shard: ShardId(1), group: ShardGroupId(1) });
    let is_new = |tag: &[u8], field: &[u8], refused: &[bool]| {
        let (key, mut builder) = (SeriesKey::build(b"m", &[(b"t", tag)]), BatchBuilder::new());
        let series = builder.add_series(key.hash(), &key.0);
        let shape = builder.add_shape(b"m", [(FieldType::Integer, field)].into_iter());
        let mut values = Vec::new();
        put_value(&mut values, &Value::Integer(1));
        builder.add_row(series, shape, 1, &values);
        shard.insert(&builder.finish(1, 1), refused, 0, 1).1
    };
    assert!(!is_new(b"a", b"f", &[true]), "no row of it was taken");
    assert!(is_new(b"a", b"f", &[]));
    assert!(is_new(b"b", b"f", &[]), "a series");
    assert!(is_new(b"b", b"g", &[]), "a field");
    assert!(!is_new(b"a", b"g", &[]), "both are known");

    shard.seal(None);
    assert!(!is_new(b"a", b"f", &[]), "the next generation meets what the one before had");

    let (cache, all) = (shard.cache(), TimeRange::ALL);
    cache.delete(0, all);
    shard.forget_met();
    assert!(is_new(b"a", b"f", &[]), "it comes back");
    assert!(!is_new(b"a", b"f", &[]));
    assert!(is_new(b"b", b"f", &[]), "any other may have gone as well");

    // What a delete leaves is written anew; that is no entrance, as positions may change before the next insert.
    let row_at = |time| {
        let (key, mut builder) = (SeriesKey::build(b"m", &[(b"t", b"c")]), BatchBuilder::new());
        let (series, fields) = (builder.add_series(key.hash(), &key.0), [(FieldType::Integer, &b"f"[..])]);
        let shape = builder.add_shape(b"m", fields.into_iter());
        let mut values = Vec::new();
        put_value(&mut values, &Value::Integer(1));
        builder.add_row(series, shape, time, &values);
        builder.finish(1, 1)
    };
    shard.insert(&row_at(1), &[], 0, 2);
    shard.insert(&row_at(2), &[], 0, 3);
    cache.delete(2, TimeRange::new(0, 2));
    let entered = cache.hot.borrow_mut().take_entered();
    assert_eq!((cache.row_count(2), entered.series.len()), (1, 0));
}
