//! The series of all sources as one stream in the order of their keys, each with where it occurs.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{Found, FoundSeries, Occurrence, Source, Sources};
use crate::disk::Disk;
use crate::error::Result;
use crate::index::active::SeriesPosition;
use crate::index::tag_filter::TagMatcher;
use crate::model::series_key;
use crate::tsm::{SeriesCursor, TsmReader};

/// See [`Sources::series`].
pub struct SeriesStream<D: Disk> {
    feeds: Vec<Feed<D>>,
    matcher: TagMatcher,
    /// About the nanoseconds the matcher takes for a key.
    work: u64,
    /// The next series of each source that has one.
    heap: BinaryHeap<Reverse<Next>>,
}

/// The next series of a source; ordered by key, then source.
struct Next {
    key: Vec<u8>,
    found: Found,
}

impl Next {
    fn order(&self) -> (&[u8], Occurrence) {
        (&self.key, self.found.occurrence)
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Next {}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
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
        let mut stream = Self { feeds, matcher, work, heap: BinaryHeap::new() };
        for source in 0..sources.list.len() {
            stream.advance(sources, source as u32).await?;
        }
        Ok(stream)
    }

    pub async fn next(&mut self, sources: &Sources<D>) -> Result<Option<FoundSeries>> {
        let Some(Reverse(Next { key, found })) = self.heap.pop() else { return Ok(None) };
        self.advance(sources, found.occurrence.source).await?;
        let mut occurrences = vec![found];
        while self.heap.peek().is_some_and(|next| next.0.key == key)
            && let Some(Reverse(next)) = self.heap.pop()
        {
            self.advance(sources, next.found.occurrence.source).await?;
            occurrences.push(next.found);
        }
        Ok(Some(FoundSeries { key, occurrences }))
    }

    /// Puts the next series of a source into the heap.
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
                    let key =
                        cache.with_key(position, |key| self.matcher.matches_key(key).then(|| key.to_vec()));
                    if let Some(key) = key {
                        let occurrence = Occurrence { source, position };
                        self.heap.push(Reverse(Next { key, found: Found { occurrence, blocks: None } }));
                        return Ok(());
                    }
                }
            }
            (Source::File { file, .. }, Feed::All { cursor, bare, prefix }) => loop {
                sources.pace.spent(500 + self.work).await;
                let Some(series) = cursor.next().await? else { break };
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
                    let found = Found { occurrence, blocks: Some(series.blocks.into()) };
                    self.heap.push(Reverse(Next { key: series.key, found }));
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
                    self.heap.push(Reverse(Next { key, found: Found { occurrence, blocks: None } }));
                    return Ok(());
                }
            }
            _ => {}
        }
        *feed = Feed::End;
        Ok(())
    }
}
