//! Reads everything again in steps and says what is damaged, so that rot is found while another copy of the data lives.
//!
//! One per shard at a time. A step checks one index page and the blocks it describes; its caller paces the steps.

use super::reader::TsmReader;
use crate::disk::Disk;
use crate::error::Error;

/// Damages remembered; beyond it they are only counted. A disk that is going to pieces has thousands.
const DAMAGES_MAX: usize = 100;

/// What a scrub found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScrubReport {
    /// Files checked to the end.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Pages or sections that are damaged or could not be read.
    pub damaged: u64,
    /// The first of them: file, offset, what.
    pub damages: Vec<Error>,
}

/// A scrub under way over some open files. It holds them open.
pub struct Scrub<D: Disk> {
    files: Vec<TsmReader<D>>,
    /// Of the last of `files`: pages checked; `None` before its sections are.
    pages: Option<usize>,
    report: ScrubReport,
}

impl<D: Disk> Scrub<D> {
    pub fn new(mut files: Vec<TsmReader<D>>) -> Self {
        files.reverse();
        Self { files, pages: None, report: ScrubReport::default() }
    }

    /// Checks the next piece; false when there is none.
    pub async fn step(&mut self) -> bool {
        let Some(file) = self.files.last() else { return false };
        let checked = match self.pages {
            None => file.verify_sections().await.map(|()| 0),
            Some(page) if page < file.page_count() => file.verify_page(page).await,
            Some(_) => {
                self.files.pop();
                self.pages = None;
                self.report.files += 1;
                return !self.files.is_empty();
            }
        };
        self.pages = Some(self.pages.map_or(0, |page| page + 1));
        match checked {
            Ok(bytes) => self.report.bytes += bytes,
            Err(error) => {
                self.report.damaged += 1;
                if self.report.damages.len() < DAMAGES_MAX {
                    self.report.damages.push(error);
                }
            }
        }
        true
    }

    pub fn report(&self) -> &ScrubReport {
        &self.report
    }
}
