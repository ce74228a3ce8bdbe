//! The row lists of a generation by series position, in pages: millions of new series are met one batch at a time, and
//! one long row of lists would be copied again and again.

use std::ops::{Index, IndexMut};

use super::RowList;
use crate::index::active::SeriesPosition;
use crate::prefetch::prefetch;

/// Lists of a page, 40 KiB. A power of two.
const PAGE_LISTS: usize = 1024;
/// Lists that the first page grows by at least: small shards stay small.
const FIRST_LISTS: usize = 16;

/// See the head of this file. Every page but the last is full.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pages: Vec<Vec<RowList>>,
    len: usize,
}

impl Lists {
    /// Shorter than the index when the newest series have no rows here.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> u64 {
        // Only the first page may be smaller than a page.
        let first = self.pages.first().map_or(0, Vec::capacity);
        let lists = first + self.pages.len().saturating_sub(1) * PAGE_LISTS;
        (lists * size_of::<RowList>() + self.pages.capacity() * size_of::<Vec<RowList>>()) as u64
    }

    /// Adds empty lists up to `len` of them.
    pub fn grow_to(&mut self, len: usize) {
        while self.len < len {
            let (page_at, used) = (self.len / PAGE_LISTS, self.len % PAGE_LISTS);
            if page_at == self.pages.len() {
                self.pages.push(Vec::new());
            }
            let more = (len - self.len).min(PAGE_LISTS - used);
            let page = &mut self.pages[page_at];
            if used + more > page.capacity() {
                let wanted =
                    if page_at == 0 { (used + more).max(2 * used).max(FIRST_LISTS) } else { PAGE_LISTS };
                page.reserve_exact(wanted.min(PAGE_LISTS) - used);
            }
            page.resize(used + more, RowList::default());
            self.len += more;
        }
    }

    pub fn push(&mut self, list: RowList) {
        let position = self.len as SeriesPosition;
        self.grow_to(self.len + 1);
        self[position] = list;
    }

    #[inline]
    pub fn get(&self, position: SeriesPosition) -> Option<&RowList> {
        self.pages.get(position as usize / PAGE_LISTS)?.get(position as usize % PAGE_LISTS)
    }

    /// In order of positions.
    pub fn iter(&self) -> impl Iterator<Item = &RowList> {
        self.pages.iter().flatten()
    }

    /// Asks for a list, which may reach into a second line of memory.
    #[inline]
    pub fn prefetch(&self, position: SeriesPosition) {
        if let Some(page) = self.pages.get(position as usize / PAGE_LISTS) {
            let at = position as usize % PAGE_LISTS;
            prefetch(page, at);
            prefetch(page, at + 1);
        }
    }
}

impl Index<SeriesPosition> for Lists {
    type Output = RowList;

    #[inline]
    fn index(&self, position: SeriesPosition) -> &RowList {
        &self.pages[position as usize / PAGE_LISTS][position as usize % PAGE_LISTS]
    }
}

impl IndexMut<SeriesPosition> for Lists {
    #[inline]
    fn index_mut(&mut self, position: SeriesPosition) -> &mut RowList {
        &mut self.pages[position as usize / PAGE_LISTS][position as usize % PAGE_LISTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rows: u32) -> RowList {
        RowList { rows, ..RowList::default() }
    }

    #[test]
    fn lists_keep_their_place_however_they_grow() {
        for steps in [&[1usize, 2, 3, 17, 1023, 1024, 1025, 5000][..], &[5000], &[1024, 2048], &[0, 1]] {
            let mut lists = Lists::default();
            for &len in steps {
                let before = lists.len();
                lists.grow_to(len);
                assert_eq!(lists.len(), len);
                for at in before..len {
                    assert_eq!(lists[at as u32].rows, 0);
                    lists[at as u32] = list(at as u32 + 1);
                }
            }
            lists.push(list(lists.len() as u32 + 1));
            let rows: Vec<u32> = lists.iter().map(|list| list.rows).collect();
            assert_eq!(rows, (1..=lists.len() as u32).collect::<Vec<_>>());
            assert!(lists.get(lists.len() as u32).is_none());
            assert_eq!(lists.get(0).map(|list| list.rows), Some(1));
        }
    }

    #[test]
    fn a_few_lists_take_little_and_many_no_more_than_a_page_beyond_their_own() {
        let bytes_of = |len| {
            let mut lists = Lists::default();
            lists.grow_to(len);
            lists.bytes() as usize
        };
        assert_eq!(bytes_of(0), 0);
        assert!(bytes_of(1) <= 1024);
        let (many, page) = (100_000 * size_of::<RowList>(), PAGE_LISTS * size_of::<RowList>());
        assert!((many..many + page + 8 * 1024).contains(&bytes_of(100_000)));
    }
}
