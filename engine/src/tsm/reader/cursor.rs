//! Walking the series of a file in key order, page by page.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use super::{RestOfBlocks, SeriesEntry, TsmReader, UnlistedBlocks};
use crate::disk::Disk;
use crate::error::Result;
use crate::model::TimeRange;
use crate::tsm::index::IndexPage;

/// Walks the series of a file in key order. Owns a handle of the file.
pub struct SeriesCursor<D: Disk> {
    reader: TsmReader<D>,
    is_cached: bool,
    /// Pages from the next one on that were read along with the last.
    ahead: VecDeque<Rc<IndexPage>>,
    page_at: usize,
    page: Option<Rc<IndexPage>>,
    /// Where the next series stands in the page, and its number there.
    at: usize,
    in_page: u32,
    key: Vec<u8>,
    from: Vec<u8>,
    time: TimeRange,
}

impl<D: Disk> TsmReader<D> {
    /// A cursor over all series that reads each page once and leaves the block cache to others.
    pub fn walk(&self) -> SeriesCursor<D> {
        SeriesCursor { is_cached: false, ..self.cursor(b"") }
    }

    /// A cursor over the series from the first key of at least `from` on.
    pub fn cursor(&self, from: &[u8]) -> SeriesCursor<D> {
        SeriesCursor {
            is_cached: true,
            ahead: VecDeque::new(),
            reader: self.clone(),
            page_at: self.inner.top.page_for(from),
            page: None,
            at: 0,
            in_page: 0,
            key: Vec::new(),
            from: from.to_vec(),
            time: TimeRange::ALL,
        }
    }

    /// One series, when the file has it. Of a series that fills many pages, blocks in pages outside of `time` are left
    /// out; others are not filtered.
    pub async fn find(&self, key: &[u8], time: TimeRange) -> Result<Option<SeriesEntry>> {
        let mut cursor = self.cursor(key);
        cursor.time = time;
        Ok(cursor.next().await?.filter(|series| series.key == key))
    }

    /// The series at a position.
    pub async fn series_at(&self, position: u32, time: TimeRange) -> Result<Option<SeriesEntry>> {
        let Some(page_at) = self.inner.top.page_at(position) else { return Ok(None) };
        let mut cursor = self.cursor(b"");
        (cursor.page_at, cursor.time) = (page_at, time);
        cursor.skip_to(position).await?;
        Ok(cursor.next().await?.filter(|series| series.position == position))
    }
}

impl<D: Disk> SeriesCursor<D> {
    /// The next series; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<SeriesEntry>> {
        let mut series = SeriesEntry::default();
        Ok(self.next_into(&mut series).await?.then_some(series))
    }

    /// As [`Self::next`], into a series whose memory serves again; false at the end.
    pub async fn next_into(&mut self, series: &mut SeriesEntry) -> Result<bool> {
        let Some((page, entries)) = self.step(series).await? else { return Ok(false) };
        self.list(&page, entries, series).await?;
        Ok(true)
    }

    /// As [`Self::next_into`], its blocks not listed; `None` at the end.
    pub async fn next_unlisted(&mut self, series: &mut SeriesEntry) -> Result<Option<UnlistedBlocks>> {
        let Some((page, entries)) = self.step(series).await? else { return Ok(None) };
        let rest = if entries.end < page.series_end() { None } else { self.skip_rest(series).await? };
        Ok(Some(UnlistedBlocks { page, entries, rest }))
    }

    /// Goes behind the blocks of a series that ends the page at hand; where they stand, if there are any in the next
    /// pages.
    async fn skip_rest(&mut self, series: &SeriesEntry) -> Result<Option<Rc<RestOfBlocks>>> {
        let pages = &self.reader.inner.top.pages;
        let goes_on = |at: usize| pages.get(at).is_some_and(|page| page.continues);
        let first = self.page_at + 1;
        if !goes_on(first) {
            return Ok(None);
        }
        let mut last = first;
        while pages[last].series == 0 && goes_on(last + 1) {
            last += 1;
        }
        while self.page_at < last {
            self.next_page();
        }
        let between = first..last;
        let Some(page) = self.load().await? else { return Ok(None) };
        let (entries, next) = self.step_on(&page, series)?;
        (self.at, self.in_page) = (next, 1);
        Ok(Some(Rc::new(RestOfBlocks { between, page, entries })))
    }

    /// The entries of a series that goes on in this page, just loaded, and where the next series stands.
    fn step_on(&mut self, page: &IndexPage, series: &SeriesEntry) -> Result<(Range<usize>, usize)> {
        let step = self.reader.damaged(page.offset, page.step(self.at, &mut self.key))?;
        step.filter(|_| self.key == series.key)
            .ok_or_else(|| self.reader.corrupted(page.offset, "index page: another series goes on here"))
    }

    /// Goes to the next series: its key, its position, and where its entries stand.
    async fn step(&mut self, series: &mut SeriesEntry) -> Result<Option<(Rc<IndexPage>, Range<usize>)>> {
        series.blocks.clear();
        loop {
            let Some(page) = self.load().await? else { return Ok(None) };
            let step = self.reader.damaged(page.offset, page.step(self.at, &mut self.key))?;
            let Some((entries, next)) = step else {
                self.next_page();
                continue;
            };
            let position = page.first_position + self.in_page;
            (self.at, self.in_page) = (next, self.in_page + 1);
            if self.key < self.from {
                continue;
            }
            series.position = position;
            series.key.clear();
            series.key.extend_from_slice(&self.key);
            return Ok(Some((page, entries)));
        }
    }

    async fn list(
        &mut self,
        page: &Rc<IndexPage>,
        entries: Range<usize>,
        series: &mut SeriesEntry,
    ) -> Result<()> {
        let is_last = entries.end >= page.series_end();
        self.reader.damaged(page.offset, page.blocks(entries, &mut series.blocks))?;
        if is_last { self.go_on(series).await } else { Ok(()) }
    }

    /// Adds the blocks of a series that goes on in the next pages.
    async fn go_on(&mut self, series: &mut SeriesEntry) -> Result<()> {
        self.next_page();
        loop {
            let pages = &self.reader.inner.top.pages;
            let Some(entry) = pages.get(self.page_at) else { return Ok(()) };
            if !entry.continues {
                return Ok(());
            }
            // A page of nothing but this series, outside of the wanted time, need not be read.
            if entry.series == 0 && (entry.max_time < self.time.start || entry.min_time >= self.time.end) {
                self.next_page();
                continue;
            }
            let Some(page) = self.load().await? else { return Ok(()) };
            let (entries, next) = self.step_on(&page, series)?;
            self.reader.damaged(page.offset, page.blocks(entries, &mut series.blocks))?;
            (self.at, self.in_page) = (next, 1);
            if next < page.series_end() {
                return Ok(());
            }
            self.next_page();
        }
    }

    async fn skip_to(&mut self, position: u32) -> Result<()> {
        let Some(page) = self.load().await? else { return Ok(()) };
        while page.first_position + self.in_page < position {
            let step = self.reader.damaged(page.offset, page.step(self.at, &mut self.key))?;
            let Some((_, next)) = step else { break };
            (self.at, self.in_page) = (next, self.in_page + 1);
        }
        Ok(())
    }

    async fn load(&mut self) -> Result<Option<Rc<IndexPage>>> {
        if self.page.is_none() {
            if self.page_at >= self.reader.inner.top.pages.len() {
                return Ok(None);
            }
            let page = match self.is_cached {
                true => self.reader.page(self.page_at).await?,
                false => self.read_ahead().await?,
            };
            (self.at, self.in_page) = (page.series_start(), 0);
            self.key.clear();
            self.page = Some(page);
        }
        Ok(self.page.clone())
    }

    async fn read_ahead(&mut self) -> Result<Rc<IndexPage>> {
        if self.ahead.is_empty() {
            self.ahead = self.reader.read_pages(self.page_at).await?;
        }
        match self.ahead.pop_front() {
            Some(page) => Ok(page),
            None => self.reader.read_page(self.page_at).await,
        }
    }

    fn next_page(&mut self) {
        // A page that was passed over unread was read ahead all the same.
        if self.page.take().is_none() {
            self.ahead.pop_front();
        }
        self.page_at += 1;
    }
}
