//! Streams of series out of files that have the same ones, some of the same, and others.

use futures_lite::future::{block_on, poll_once};
use proptest::prelude::*;

use super::*;
use crate::codec::Temperature;
use crate::disk::sim::SimDisk;
use crate::model::SeriesKey;
use crate::pace::ask_whether_a_turn_is_over;
use crate::tsm::{BlockCache, TsmWriter};

const MEASUREMENTS: [&[u8]; 3] = [b"m", b"m!", b"n"];

/// Series of a file, in order: the measurement's number, and the tag's value (0: no tags).
fn keys_of(series: &[(usize, u8)]) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = series
        .iter()
        .map(|(measurement, value)| match value {
            0 => SeriesKey::build(MEASUREMENTS[*measurement], &[]).0,
            value => SeriesKey::build(MEASUREMENTS[*measurement], &[(b"t", &[b'a' + value])]).0,
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

async fn file_of(disk: &SimDisk, number: i64, keys: &[Vec<u8>]) -> FileSource<SimDisk> {
    let path = format!("data/{number}.tsm");
    let mut writer = TsmWriter::create(disk, &path, Temperature::Hot).await.expect("created");
    for (at, key) in keys.iter().enumerate() {
        writer.begin_series(key).expect("in order");
        let mut column = Column::empty(FieldType::Integer);
        column.push(Some(&Value::Integer(number * 100 + at as i64)));
        let field = writer.field(b"f", FieldType::Integer);
        writer.write_rows(&[number], &[(field, &column)]).await.expect("written");
    }
    writer.finish((1, 1), (1, 1)).await.expect("finished");
    let reader = TsmReader::open(disk, &path, BlockCache::new(1 << 20)).await.expect("opens");
    FileSource { reader, masks: None, held: None }
}

/// Every series with what it has in each source.
async fn found(
    sources: &Sources<SimDisk>,
    filter: Option<&TagFilter>,
    reads: Reads,
) -> Vec<(Vec<u8>, Vec<(u32, Option<Value>)>)> {
    let mut stream = sources.series(filter, reads).await.expect("a stream");
    let mut all = Vec::new();
    while let Some(series) = stream.next(sources).await.expect("read") {
        let mut values = Vec::new();
        for found in &series.occurrences {
            let wanted = [b"f".to_vec()];
            let listed =
                sources.list(found, &series.key, &wanted, TimeRange::ALL, None).await.expect("listed");
            let rows = sources.read(&listed.blocks[0], &wanted).await.expect("read");
            values.push((found.occurrence.source, rows.columns[0].get(0)));
        }
        all.push((series.key, values));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What is found does not depend on what is going to be read, nor on what was found before.
    #[test]
    fn series_are_found_in_every_file_that_has_them(
        sets in prop::collection::vec(prop::collection::vec((0usize..3, 0u8..4), 1..8), 1..4),
        files in prop::collection::vec(0usize..4, 1..7),
        value in prop::option::of(1u8..4),
    ) {
        let filter = value.map(|value| TagFilter::Equal { name: b"t".to_vec(), value: vec![b'a' + value] });
        block_on(async {
            let disk = SimDisk::new(1);
            disk.create_dir_all("data").await.expect("a folder");
            let mut sources = Vec::new();
            let mut want = std::collections::BTreeMap::<Vec<u8>, Vec<(u32, Option<Value>)>>::new();
            for (number, set) in files.iter().enumerate() {
                let keys = keys_of(&sets[set % sets.len()]);
                let is_wanted = |key: &&Vec<u8>| {
                    let tag = crate::model::series_key::tag_value(key, b"t");
                    let measurement = crate::model::series_key::measurement_escaped(key);
                    measurement == b"m" && value.is_none_or(|value| tag.as_deref() == Some(&[b'a' + value]))
                };
                // Files without the measurement are no sources.
                let has = keys.iter().any(|key| crate::model::series_key::measurement_escaped(key) == b"m");
                if has {
                    for key in keys.iter().filter(is_wanted) {
                        let at = keys.iter().position(|other| other == key).expect("its own") as i64;
                        let value = Some(Value::Integer(number as i64 * 100 + at));
                        want.entry(key.clone()).or_default().push((sources.len() as u32, value));
                    }
                    sources.push(file_of(&disk, number as i64, &keys).await);
                }
            }
            let sources = Sources::open(vec![ShardSources::of_files(sources)], b"m", TimeRange::ALL).await;
            let sources = sources.expect("opened");
            let want: Vec<_> = want.into_iter().collect();
            for reads in [Reads::Newest, Reads::Newest, Reads::Oldest, Reads::Everything] {
                prop_assert_eq!(&found(&sources, filter.as_ref(), reads).await, &want, "{:?}", reads);
                // A walk without a filter learns which series there are.
                found(&sources, None, reads).await;
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_pattern_gives_way_between_any_two_values_and_keys_when_the_turn_is_over() {
    let disk = SimDisk::new(1);
    let keys = keys_of(&(0..100).map(|value| (0, value)).collect::<Vec<_>>());
    let sources = block_on(async {
        disk.create_dir_all("data").await.expect("a folder");
        let shard = ShardSources::of_files(vec![file_of(&disk, 1, &keys).await]);
        Sources::open(vec![shard], b"m", TimeRange::ALL).await.expect("opened")
    });
    // All pass, so that the keys are walked after the values.
    let filter = TagFilter::NotMatches { name: b"t".to_vec(), pattern: "^none$".to_owned() };
    let pended = |is_over: fn() -> bool| {
        ask_whether_a_turn_is_over(is_over);
        let mut found = 0;
        let mut walking = Box::pin(async {
            let mut stream = sources.series(Some(&filter), Reads::Oldest).await.expect("found");
            while stream.next(&sources).await.expect("found").is_some() {
                found += 1;
            }
        });
        let pended = (0..).take_while(|_| block_on(poll_once(&mut walking)).is_none()).count();
        drop(walking);
        assert_eq!(found, keys.len());
        pended
    };
    assert!(pended(|| true) >= 2 * keys.len() - 1, "one has no value");
    assert_eq!(pended(|| false), 0);
}
