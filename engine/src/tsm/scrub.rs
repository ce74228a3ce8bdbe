//! Reads a file again in steps, so that rot is found while another copy of the data lives.
//!
//! A step checks the head, the schema and the tag pages, or one index page with the blocks it describes; its caller paces
//! the steps.

use super::reader::TsmReader;
use crate::disk::Disk;
use crate::error::Result;
use crate::pace::Pace;

/// A scrub under way over an open file. It holds it open.
pub struct Scrub<D: Disk> {
    file: TsmReader<D>,
    /// The page that is next; `None` before the sections.
    page: Option<usize>,
}

impl<D: Disk> Scrub<D> {
    pub fn new(file: TsmReader<D>) -> Self {
        Self { file, page: None }
    }

    /// Checks the next piece and gives its bytes, or what is wrong with it; `None` at the end. A damaged piece does not end
    /// it.
    pub async fn step(&mut self, pace: &Pace) -> Option<Result<u64>> {
        let page = self.page;
        if page.is_some_and(|page| page >= self.file.page_count()) {
            return None;
        }
        self.page = Some(page.map_or(0, |page| page + 1));
        Some(match page {
            None => self.file.verify_sections().await,
            Some(page) => self.file.verify_page(page, pace).await,
        })
    }
}
