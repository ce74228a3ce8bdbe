//! The series of all sources as one stream in the order of their keys, each with where it occurs.

use std::collections::{BTreeMap, VecDeque};

use super::{Found, FoundSeries, KnownBlocks, Occurrence, Source, Sources};
use crate::disk::Disk;
use crate::error::Result;
use crate::index::active::SeriesPosition;
use crate::index::tag_filter::TagMatcher;
use crate::model::series_key;
use crate::tsm::{SeriesCursor, SeriesEntry, TsmReader};

/// See [`Sources::series`].
pub struct SeriesStream<D: Disk> {
    feeds: Vec<Feed<D>>,
    matcher: TagMatcher,
    /// About the nanoseconds the matcher takes for a key.
    work: u64,
    /// The next series of each source that has one, by key: sources mostly have the same series.
    heads: BTreeMap<Vec<u8>, Vec<Found>>,
    /// A buffer.
    entry: SeriesEntry,
}

/// The series of one source still to come.
pub(super) enum Feed<D: Disk> {
    Cache {
        positions: Vec<SeriesPosition>,
        next: usize,
    },
    /// All series of the measurement, streamed from the index pages.
    All {
        cursor: Box<SeriesCursor<D>>,
        /// The bare measurement, while it is still to be looked for.
        bare: Option<Vec<u8>>,
        /// The measurement and a comma: how all other keys begin.
        prefix: Vec<u8>,
    },
    /// Series chosen from the postings; their keys are read some at a time.
    Chosen {
        positions: Vec<u32>,
        next: usize,
        keys: VecDeque<Vec<u8>>,
    },
    End,
}

/// Keys read at once for chosen positions: about the series of one index page.
const KEYS_AT_ONCE: usize = 128;

impl<D: Disk> Feed<D> {
    pub(super) fn all_of(reader: &TsmReader<D>, measurement: &[u8]) -> Self {
        let mut prefix = Vec::new();
        series_key::escape_measurement_into(&mut prefix, measurement);
        let bare = prefix.clone();
        prefix.push(b',');
        Self::All { cursor: Box::new(reader.cursor(&bare)), bare: Some(bare), prefix }
    }
}

impl<D: Disk> SeriesStream<D> {
    /// Looks up the first series of every source.
    pub(super) async fn begin(
        sources: &Sources<D>,
        feeds: Vec<Feed<D>>,
        matcher: TagMatcher,
    ) -> Result<Self> {
        let work = matcher.work();
        let (heads, entry) = Default::default();
        let mut stream = Self { feeds, matcher, work, heads, entry };
        for source in 0..sources.list.len() {
            stream.advance(sources, source as u32).await?;
        }
        Ok(stream)
    }

    pub async fn next(&mut self, sources: &Sources<D>) -> Result<Option<FoundSeries>> {
        let Some((key, mut occurrences)) = self.heads.pop_first() else { return Ok(None) };
        for found in &occurrences {
            self.advance(sources, found.occurrence.source).await?;
        }
        occurrences.sort_unstable_by_key(|found| found.occurrence);
        Ok(Some(FoundSeries { key, occurrences }))
    }

    /// Puts the next series of a source among the heads.
    async fn advance(&mut self, sources: &Sources<D>, source: u32) -> Result<()> {
        let feed = &mut self.feeds[source as usize];
        match (&sources.list[source as usize], &mut *feed) {
            (Source::Cache(cache), Feed::Cache { positions, next }) => {
                while let Some(&position) = positions.get(*next) {
                    *next += 1;
                    sources.pace.spent(300 + self.work).await;
                    if cache.row_count(position) == 0 {
                        continue;
                    }
                    let occurrence = Occurrence { source, position };
                    let found = Found { occurrence, blocks: KnownBlocks::Nothing };
                    let (matcher, heads) = (&self.matcher, &mut self.heads);
                    let is_taken = cache.with_key(position, |key| {
                        let is_taken = matcher.matches_key(key);
                        if is_taken {
                            put(heads, key, found);
                        }
                        is_taken
                    });
                    if is_taken {
                        return Ok(());
                    }
                }
            }
            (Source::File { file, .. }, Feed::All { cursor, bare, prefix }) => loop {
                sources.pace.spent(500 + self.work).await;
                let series = &mut self.entry;
                let Some(unlisted) = cursor.next_unlisted(series).await? else { break };
                if let Some(wanted) = bare.take() {
                    // Other measurements (`m!`) may sort between `m` and `m,…`.
                    if series.key != wanted && !series.key.starts_with(prefix) {
                        **cursor = file.reader.cursor(prefix);
                        continue;
                    }
                    if series.key == wanted {
                        **cursor = file.reader.cursor(prefix);
                    }
                } else if !series.key.starts_with(prefix) {
                    break;
                }
                if self.matcher.matches_key(&series.key) {
                    let occurrence = Occurrence { source, position: series.position };
                    let blocks = match unlisted {
                        Some(unlisted) => KnownBlocks::Unlisted(unlisted),
                        None => KnownBlocks::Listed(series.blocks.as_slice().into()),
                    };
                    put(&mut self.heads, &series.key, Found { occurrence, blocks });
                    return Ok(());
                }
            },
            (Source::File { file, .. }, Feed::Chosen { positions, next, keys }) => {
                if keys.is_empty() && *next < positions.len() {
                    let some = &positions[*next..positions.len().min(*next + KEYS_AT_ONCE)];
                    *keys = file.reader.keys_at(some).await?.into();
                    sources.pace.spent(100 * some.len() as u64).await;
                }
                if let Some(key) = keys.pop_front() {
                    let occurrence = Occurrence { source, position: positions[*next] };
                    *next += 1;
                    put(&mut self.heads, &key, Found { occurrence, blocks: KnownBlocks::Nothing });
                    return Ok(());
                }
            }
            _ => {}
        }
        *feed = Feed::End;
        Ok(())
    }
}

fn put(heads: &mut BTreeMap<Vec<u8>, Vec<Found>>, key: &[u8], found: Found) {
    match heads.get_mut(key) {
        Some(known) => known.push(found),
        None => {
            heads.insert(key.to_vec(), vec![found]);
        }
    }
}
