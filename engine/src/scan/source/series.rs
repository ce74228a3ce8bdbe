//! The series of all sources as one stream in the order of their keys, each with where it occurs.
//!
//! Files that are known to have the same series of the measurement ([`KeySet`]) are *twins* of one that is walked for all
//! of them.

use std::collections::{BTreeMap, VecDeque};
use std::iter;

use super::{FileSource, Found, FoundSeries, Occurrence, Source, Sources};
use crate::disk::Disk;
use crate::error::Result;
use crate::index::active::SeriesPosition;
use crate::index::tag_filter::{TagMatcher, Work};
use crate::model::series_key;
use crate::tsm::{KeySet, KeySetWalk, SeriesCursor, SeriesEntry};

/// See [`Sources::series`].
pub struct SeriesStream<D: Disk> {
    feeds: Vec<Feed<D>>,
    /// By source: those that have the same series.
    twins: Vec<Vec<Twin>>,
    matcher: TagMatcher,
    /// What the matcher takes for a key.
    work: Work,
    /// The next series of each source that has one, by key: sources mostly have the same series.
    heads: BTreeMap<Vec<u8>, Vec<Found>>,
    /// A buffer.
    entry: SeriesEntry,
}

/// A file with the same series as the one that is walked for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Twin {
    pub source: u32,
    /// Positions of the first series: in it, and in the one that is walked.
    pub first: u32,
    pub walked_first: u32,
}

impl Twin {
    /// The series at a position of the one that is walked.
    fn found(self, position: u32) -> Found {
        let position = self.first + (position - self.walked_first);
        let occurrence = Occurrence { source: self.source, position };
        Found { occurrence, blocks: None }
    }
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
        /// While it is not known which series the file has.
        walk: Option<Box<KeySetWalk>>,
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
    pub(super) fn all_of(file: &FileSource<D>, measurement: &[u8], known: Option<KeySet>) -> Self {
        let mut prefix = Vec::new();
        series_key::escape_measurement_into(&mut prefix, measurement);
        let bare = prefix.clone();
        prefix.push(b',');
        let walk = known.is_none().then(Box::default);
        Self::All { cursor: Box::new(file.reader.cursor(&bare)), bare: Some(bare), prefix, walk }
    }
}

impl<D: Disk> SeriesStream<D> {
    /// Looks up the first series of every source.
    pub(super) async fn begin(
        sources: &Sources<D>,
        feeds: Vec<Feed<D>>,
        twins: Vec<Vec<Twin>>,
        matcher: TagMatcher,
    ) -> Result<Self> {
        let work = matcher.work();
        let (heads, entry) = Default::default();
        let mut stream = Self { feeds, twins, matcher, work, heads, entry };
        for source in 0..sources.list.len() {
            stream.advance(sources, source as u32).await?;
        }
        Ok(stream)
    }

    pub async fn next(&mut self, sources: &Sources<D>) -> Result<Option<FoundSeries>> {
        let Some((key, mut occurrences)) = self.heads.pop_first() else { return Ok(None) };
        for found in &occurrences {
            let source = found.occurrence.source;
            if !matches!(self.feeds[source as usize], Feed::End) {
                self.advance(sources, source).await?;
            }
        }
        occurrences.sort_unstable_by_key(|found| found.occurrence);
        Ok(Some(FoundSeries { key, occurrences }))
    }

    /// Puts the next series of a source among the heads.
    async fn advance(&mut self, sources: &Sources<D>, source: u32) -> Result<()> {
        let feed = &mut self.feeds[source as usize];
        let twins = &self.twins[source as usize];
        match (&sources.list[source as usize], &mut *feed) {
            (Source::Cache(cache), Feed::Cache { positions, next }) => {
                while let Some(&position) = positions.get(*next) {
                    *next += 1;
                    self.work.spent(&sources.pace, 300).await;
                    if cache.row_count(position) == 0 {
                        continue;
                    }
                    let occurrence = Occurrence { source, position };
                    let found = Found { occurrence, blocks: None };
                    let (matcher, heads) = (&self.matcher, &mut self.heads);
                    let is_taken = cache.with_key(position, |key| {
                        let is_taken = matcher.matches_key(key);
                        if is_taken {
                            put(heads, key, found, &[]);
                        }
                        is_taken
                    });
                    if is_taken {
                        return Ok(());
                    }
                }
            }
            (Source::File { file, .. }, Feed::All { cursor, bare, prefix, walk }) => loop {
                self.work.spent(&sources.pace, 500).await;
                let series = &mut self.entry;
                let next = cursor.next_unlisted(series).await?;
                let is_ended = next.is_none() || (bare.is_none() && !series.key.starts_with(prefix));
                let Some(unlisted) = next.filter(|_| !is_ended) else {
                    if let Some(set) = walk.take().and_then(|walk| walk.finish()) {
                        file.reader.keep_key_set(&sources.measurement, set);
                    }
                    break;
                };
                if let Some(wanted) = bare.take() {
                    // Other measurements (`m!`) may sort between `m` and `m,…`.
                    if series.key != wanted && !series.key.starts_with(prefix) {
                        **cursor = file.reader.cursor(prefix);
                        continue;
                    }
                    if series.key == wanted {
                        **cursor = file.reader.cursor(prefix);
                    }
                }
                if let Some(walk) = walk {
                    walk.pass(series.position, &series.key);
                }
                if self.matcher.matches_key(&series.key) {
                    let occurrence = Occurrence { source, position: series.position };
                    let found = Found { occurrence, blocks: Some(unlisted) };
                    put(&mut self.heads, &series.key, found, twins);
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
                    put(&mut self.heads, &key, Found { occurrence, blocks: None }, twins);
                    return Ok(());
                }
            }
            _ => {}
        }
        *feed = Feed::End;
        Ok(())
    }
}

fn put(heads: &mut BTreeMap<Vec<u8>, Vec<Found>>, key: &[u8], found: Found, twins: &[Twin]) {
    let position = found.occurrence.position;
    let all = iter::once(found).chain(twins.iter().map(|twin| twin.found(position)));
    match heads.get_mut(key) {
        Some(known) => known.extend(all),
        None => {
            heads.insert(key.to_vec(), all.collect());
        }
    }
}
