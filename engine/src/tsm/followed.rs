//! The tags of an input of a merge that has all series written so far, at the same positions. When that holds to the end,
//! its tag pages serve again as they stand; where it ends, the postings of the series before are taken from them.
//!
//! Most merges are of files with the same series, and of very many small series the postings are a quarter of the work.

use std::rc::Rc;

use super::reader::TsmReader;
use super::schema::Schema;
use super::tags::TagBuilder;
use crate::disk::Disk;
use crate::error::Result;
use crate::pace::Pace;

/// See the head of this file.
pub(super) struct Followed<D: Disk> {
    reader: TsmReader<D>,
    pub schema: Rc<Schema>,
}

/// Nanoseconds, about, that noting one series of one value takes.
const NOTED_NS: u64 = 40;

impl<D: Disk> Followed<D> {
    pub async fn new(reader: &TsmReader<D>) -> Result<Self> {
        Ok(Self { schema: reader.schema().await?, reader: reader.clone() })
    }

    /// Series of the file.
    pub fn series(&self) -> u32 {
        self.reader.meta().series
    }

    /// Tag pages from the one at `at` on, as many as one read gives: their bytes, checked. Nothing is kept in the block
    /// cache.
    pub async fn pages(&self, at: usize) -> Result<Vec<Vec<u8>>> {
        self.reader.read_tag_pages(&self.schema, at).await
    }

    /// Notes the tags of the series before `end`.
    pub async fn note_tags(&self, end: u32, tags: &mut TagBuilder, pace: &Pace) -> Result<()> {
        if end == 0 {
            return Ok(());
        }
        let mut at = 0;
        while at < self.schema.tag_pages.len() {
            for page in self.pages(at).await? {
                let noted = self.reader.visit_postings(&self.schema, at, &page, |key, positions| {
                    let before = positions.partition_point(|position| *position < end);
                    for &position in &positions[..before] {
                        tags.add(key.measurement, key.tag_key, key.value, position);
                    }
                    before as u64
                })?;
                pace.spent(NOTED_NS * noted + page.len() as u64).await;
                at += 1;
            }
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use futures_lite::future::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Temperature;
    use crate::disk::sim::SimDisk;
    use crate::error::Error;
    use crate::model::{Column, ColumnData, FieldType, SeriesKey, series_key};
    use crate::tsm::{BlockCache, TsmWriter};

    /// A series by measurement, host and region; of the second measurement some series have no region.
    fn key((measurement, host, region): (u8, u16, u8)) -> Vec<u8> {
        let (host, region_name) = (format!("h, {host}"), format!("eu-{region}"));
        let mut tags = vec![(b"host".as_slice(), host.as_bytes()), (b"region", region_name.as_bytes())];
        tags.truncate(if measurement == 1 && region % 2 == 0 { 1 } else { 2 });
        SeriesKey::build(&[b'm', b'0' + measurement], &tags).0
    }

    /// Writes one row of each series, with the tags of a file that has `theirs` where they serve.
    async fn write(
        disk: &SimDisk,
        path: &str,
        keys: &BTreeSet<Vec<u8>>,
        followed: Option<(&TsmReader<SimDisk>, &BTreeSet<Vec<u8>>)>,
    ) -> Result<TsmReader<SimDisk>> {
        let mut writer = TsmWriter::create(disk, path, Temperature::Hot).await?;
        if let Some((reader, _)) = followed {
            writer = writer.follow(reader).await?;
        }
        let theirs: BTreeMap<&Vec<u8>, u32> =
            followed.iter().flat_map(|(_, theirs)| theirs.iter().zip(0..)).collect();
        for key in keys {
            writer.begin_series_at(key, theirs.get(key).copied())?;
            let field = writer.field(b"value", FieldType::Integer);
            let column = Column { data: ColumnData::Integer(vec![7]), present: None };
            writer.write_rows(&[5], &[(field, &column)]).await?;
        }
        writer.finish((1, 1), (1, 1)).await?;
        TsmReader::open(disk, path, BlockCache::new(1 << 20)).await
    }

    type Postings = BTreeMap<(Vec<u8>, Option<Vec<u8>>, Vec<u8>), Vec<u32>>;

    /// The series of every measurement and of every tag value, by names.
    async fn postings_of(reader: &TsmReader<SimDisk>) -> Result<Postings> {
        let schema = reader.schema().await?;
        let (mut postings, mut at) = (Postings::new(), 0);
        while at < schema.tag_pages.len() {
            for page in reader.read_tag_pages(&schema, at).await? {
                reader.visit_postings(&schema, at, &page, |key, positions| {
                    let entry = &schema.measurements[key.measurement as usize];
                    let tag_key = key.tag_key.map(|at| entry.tag_keys[usize::from(at)].clone());
                    postings.insert((entry.name.clone(), tag_key, key.value.to_vec()), positions.clone());
                    0
                })?;
                at += 1;
            }
        }
        Ok(postings)
    }

    fn postings_wanted(keys: &BTreeSet<Vec<u8>>) -> Postings {
        let mut wanted = Postings::new();
        for (position, key) in (0..).zip(keys) {
            let measurement = series_key::measurement(key).into_owned();
            wanted.entry((measurement.clone(), None, Vec::new())).or_default().push(position);
            for (name, value) in series_key::tags(key) {
                let key = (measurement.clone(), Some(name.into_owned()), value.into_owned());
                wanted.entry(key).or_default().push(position);
            }
        }
        wanted
    }

    async fn disk() -> SimDisk {
        let disk = SimDisk::new(3);
        disk.create_dir_all("data").await.expect("a folder");
        disk
    }

    proptest! {
        /// Whether the new file has the very same series or more of them, wherever those stand.
        #[test]
        fn postings_are_those_of_the_series_written(
            theirs in prop::collection::btree_set((0u8..3, 0u16..400, 0u8..5), 1..120),
            more in prop::collection::btree_set((0u8..4, 0u16..400, 0u8..6), 0..3),
        ) {
            let theirs: BTreeSet<Vec<u8>> = theirs.into_iter().map(key).collect();
            let all: BTreeSet<Vec<u8>> = more.into_iter().map(key).chain(theirs.clone()).collect();
            block_on(async {
                let disk = disk().await;
                let reader = write(&disk, "data/1.tsm", &theirs, None).await.expect("written");
                let merged = write(&disk, "data/2.tsm", &all, Some((&reader, &theirs))).await.expect("written");
                merged.verify().await.expect("whole");
                assert_eq!(postings_of(&merged).await.expect("reads"), postings_wanted(&all));
            });
        }
    }

    #[test]
    fn pages_of_the_same_series_are_taken_as_they_stand() {
        let keys: BTreeSet<Vec<u8>> = (0..40_000).map(|at| key((0, at, (at % 5) as u8))).collect();
        block_on(async {
            let disk = disk().await;
            let reader = write(&disk, "data/1.tsm", &keys, None).await.expect("written");
            let schema = reader.schema().await.expect("reads");
            assert!(schema.tag_pages.len() > 10, "{} pages", schema.tag_pages.len());
            let copy = write(&disk, "data/2.tsm", &keys, Some((&reader, &keys))).await.expect("written");
            copy.verify().await.expect("whole");
            let copied = copy.schema().await.expect("reads");
            let facts = |schema: &Schema| -> Vec<(Vec<u8>, u32, u32)> {
                schema.tag_pages.iter().map(|page| (page.first_key.clone(), page.length, page.crc)).collect()
            };
            assert!(facts(&schema) == facts(&copied));
            assert_eq!(postings_of(&copy).await.expect("reads"), postings_wanted(&keys));
        });
    }

    #[test]
    fn a_damaged_page_is_named_and_not_copied() {
        let keys: BTreeSet<Vec<u8>> = (0..100).map(|at| key((0, at, 1))).collect();
        let more: BTreeSet<Vec<u8>> = keys.iter().cloned().chain([key((2, 1, 1))]).collect();
        block_on(async {
            let disk = disk().await;
            let reader = write(&disk, "data/1.tsm", &keys, None).await.expect("written");
            let page = reader.schema().await.expect("reads").tag_pages[0].offset;
            disk.flip("data/1.tsm", page as usize + 9, 4);
            for all in [&keys, &more] {
                match write(&disk, "data/2.tsm", all, Some((&reader, &keys))).await.err() {
                    Some(Error::Corrupted { file, offset, .. }) => {
                        assert_eq!((file.as_str(), offset), ("data/1.tsm", page));
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
    }
}
