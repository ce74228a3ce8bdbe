//! Batches come back as they were built, and no bytes make reading one panic.

use super::*;
use proptest::prelude::*;

fn sample() -> Batch {
    let mut builder = BatchBuilder::new();
    let key = b"cpu,host=a";
    let series = builder.add_series(series_key::hash(key), key);
    let shape = builder.add_shape(
        b"cpu",
        [(FieldType::Integer, b"i".as_slice()), (FieldType::String, b"s"), (FieldType::Float, b"f")]
            .into_iter(),
    );
    let mut values = Vec::new();
    put_value(&mut values, &Value::Integer(-3));
    put_value(&mut values, &Value::String(b"x".to_vec()));
    put_value(&mut values, &Value::Float(1.5));
    builder.add_row(series, shape, 42, &values);
    builder.finish(7, 1)
}

#[test]
fn a_batch_reads_back_as_it_was_built() {
    let batch = Batch::from_bytes(sample().into_bytes()).expect("valid");
    assert_eq!(batch.version(), (7, 1));
    let mut key = Vec::new();
    assert_eq!(batch.series().next(&mut key), Some(series_key::hash(b"cpu,host=a")));
    assert_eq!(key, b"cpu,host=a");
    let shape = batch.shape(0);
    assert_eq!(shape.measurement(), b"cpu");
    let row = batch.rows().next().expect("one row");
    assert_eq!(row.timestamp, 42);
    let mut values = row.values;
    let read: Vec<_> = shape.fields().map(|(t, _)| take_value(&mut values, t).expect("value")).collect();
    assert_eq!(read, vec![Value::Integer(-3), Value::String(b"x".to_vec()), Value::Float(1.5)]);
}

#[test]
fn keys_longer_than_an_index_takes_are_refused() {
    for (length, is_taken) in [(KEY_BYTES_MAX, true), (KEY_BYTES_MAX + 1, false)] {
        let mut builder = BatchBuilder::new();
        let key = vec![b'k'; length];
        builder.add_series(series_key::hash(&key), &key);
        let batch = builder.finish(1, 1);
        assert_eq!(Batch::from_bytes(batch.into_bytes()).is_ok(), is_taken, "{length}");
    }
}

#[test]
fn a_truncated_batch_is_refused_at_every_length() {
    let bytes = sample().into_bytes();
    for length in 0..bytes.len() {
        assert!(Batch::from_bytes(bytes[..length].to_vec()).is_err(), "{length}");
    }
}

proptest! {
    /// Whatever the order of series and times.
    #[test]
    fn series_and_rows_read_back(
        keys in prop::collection::vec("[ab]{1,3}(,[ab]=[ab]{1,12}){0,3}", 1..20),
        rows in prop::collection::vec((0usize..20, any::<i64>(), any::<i64>()), 0..60),
    ) {
        let mut builder = BatchBuilder::new();
        for key in &keys {
            builder.add_series(series_key::hash(key.as_bytes()), key.as_bytes());
        }
        let shape = builder.add_shape(b"m", [(FieldType::Integer, b"v".as_slice())].into_iter());
        let rows: Vec<_> = rows.into_iter().map(|(s, t, v)| (s % keys.len(), t, v)).collect();
        for (series, time, value) in &rows {
            let mut values = Vec::new();
            put_value(&mut values, &Value::Integer(*value));
            builder.add_row(*series as u32, shape, *time, &values);
        }
        let batch = builder.finish(1, 2);
        let batch = Batch::from_bytes(batch.into_bytes()).expect("valid");
        let table = batch.series().whole();
        for (position, key) in keys.iter().enumerate() {
            let want = (series_key::hash(key.as_bytes()), key.as_bytes());
            prop_assert_eq!(table.get(position as u32), want);
        }
        let read: Vec<_> = batch
            .rows()
            .map(|mut row| {
                let value = take_value(&mut row.values, FieldType::Integer);
                (row.series as usize, row.timestamp, value)
            })
            .collect();
        let want: Vec<_> = rows.iter().map(|&(s, t, v)| (s, t, Some(Value::Integer(v)))).collect();
        prop_assert_eq!(read, want);
    }

    #[test]
    fn changed_bytes_never_panic(at in 0usize..200, byte: u8) {
        let mut bytes = sample().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(batch) = Batch::from_bytes(bytes) {
            let (mut series, mut key) = (batch.series(), Vec::new());
            let count = std::iter::from_fn(|| series.next(&mut key)).count();
            prop_assert_eq!(count, batch.series_count());
            prop_assert_eq!(batch.rows().count(), batch.row_count());
            for row in batch.rows() {
                prop_assert!((row.series as usize) < count);
                let mut values = row.values;
                for (field_type, _) in batch.shape(row.shape).fields() {
                    take_value(&mut values, field_type).expect("checked");
                }
            }
        }
    }
}
