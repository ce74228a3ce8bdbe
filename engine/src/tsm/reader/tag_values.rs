//! Walking the values of a tag key in a file, in order, page by page: whoever walks may wait between two of them.

use std::ops::Range;
use std::rc::Rc;

use super::{EncodedPositions, TsmReader, tag_prefix};
use crate::codec::DecodeError;
use crate::disk::Disk;
use crate::error::Result;
use crate::postings::Positions;
use crate::tsm::KEY_PREFIX_BYTES;
use crate::tsm::schema::Schema;
use crate::tsm::tags::take_entry;

/// The values of a tag key, ascending. Owns a handle of the file.
pub struct TagValues<D: Disk> {
    reader: TsmReader<D>,
    schema: Rc<Schema>,
    /// How the keys of the values begin.
    prefix: [u8; KEY_PREFIX_BYTES],
    page: Rc<[u8]>,
    /// The page after that one.
    next_page: usize,
    /// Where the next value stands in the page.
    at: usize,
    key: Vec<u8>,
    /// Where the positions of the value stand in the page.
    positions: Range<usize>,
}

impl<D: Disk> TsmReader<D> {
    /// The values of a tag key; none when no series of the measurement has the key.
    pub async fn tag_values(&self, measurement: &[u8], key: &[u8]) -> Result<TagValues<D>> {
        let schema = self.schema().await?;
        let (prefix, next_page) = match tag_prefix(&schema, measurement, key) {
            Some(prefix) => {
                let after = schema.tag_pages.partition_point(|page| page.first_key[..] <= prefix[..]);
                (prefix, after.saturating_sub(1))
            }
            None => ([0; KEY_PREFIX_BYTES], schema.tag_pages.len()),
        };
        Ok(TagValues {
            reader: self.clone(),
            schema,
            prefix,
            page: Rc::default(),
            next_page,
            at: 0,
            key: Vec::new(),
            positions: 0..0,
        })
    }
}

impl<D: Disk> TagValues<D> {
    pub async fn next(&mut self) -> Result<Option<&[u8]>> {
        loop {
            if self.at >= self.page.len() {
                if self.next_page >= self.schema.tag_pages.len() {
                    return Ok(None);
                }
                self.page = self.reader.tag_page(&self.schema, self.next_page).await?;
                self.next_page += 1;
                self.at = 0;
                self.key.clear();
                continue;
            }
            let step = self.step();
            if self.damaged(step)? {
                break;
            }
        }
        Ok(Some(&self.key[KEY_PREFIX_BYTES..]))
    }

    /// Appends the positions that have the value, ascending.
    pub fn positions(&self, out: &mut Positions) -> Result<()> {
        let bytes = &self.page[self.positions.clone()];
        let series = self.reader.meta().series;
        self.damaged(EncodedPositions { bytes, series }.decode(out))
    }

    /// Goes on to the next entry of the page: whether it is a value of the tag key. Behind the last all pages are passed.
    fn step(&mut self) -> Result<bool, DecodeError> {
        let mut rest = &self.page[self.at..];
        let positions = take_entry(&mut rest, &mut self.key)?;
        self.at = self.page.len() - rest.len();
        self.positions = self.at - positions.len()..self.at;
        let head = self.key.get(..KEY_PREFIX_BYTES).ok_or(DecodeError("tag page"))?;
        if head > &self.prefix[..] {
            (self.at, self.next_page) = (self.page.len(), self.schema.tag_pages.len());
        }
        Ok(head == self.prefix)
    }

    fn damaged<T>(&self, result: Result<T, DecodeError>) -> Result<T> {
        let page = self.next_page.saturating_sub(1);
        self.reader.damaged(self.schema.tag_pages.get(page).map_or(0, |page| page.offset), result)
    }
}
