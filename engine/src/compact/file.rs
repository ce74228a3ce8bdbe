//! The TSM files of a shard as readers see them: opened when first needed, kept on disk as long as someone holds them.

use std::cell::RefCell;
use std::rc::Rc;

use crate::compact::manifest::FileEntry;
use crate::disk::Disk;
use crate::error::Result;
use crate::model::TimeRange;
use crate::tsm::{BlockCache, TsmReader};

/// One file of a shard. Held by the shard and by views; removed from the disk when a compaction has replaced it and the
/// last view is gone.
pub struct ShardFile<D: Disk> {
    pub entry: FileEntry,
    path: String,
    disk: D,
    cache: Rc<BlockCache>,
    reader: RefCell<Option<TsmReader<D>>>,
}

const SUFFIX: &str = ".tsm";

/// The name of a file inside its shard's folder.
pub fn file_name(id: u64) -> String {
    format!("{id:09}{SUFFIX}")
}

/// Whether a name is that of a TSM file, finished or not.
pub(crate) fn is_file_name(name: &str) -> bool {
    name.split_once('.').is_some_and(|(id, rest)| {
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with(&SUFFIX[1..])
    })
}

impl<D: Disk> ShardFile<D> {
    pub(crate) fn new(disk: &D, folder: &str, entry: FileEntry, cache: &Rc<BlockCache>) -> Self {
        Self {
            entry,
            path: format!("{folder}/{}", file_name(entry.id)),
            disk: disk.clone(),
            cache: cache.clone(),
            reader: RefCell::new(None),
        }
    }

    /// A span that holds all its timestamps.
    pub fn time_range(&self) -> TimeRange {
        TimeRange::new(self.entry.time_min, self.entry.time_max.saturating_add(1))
    }

    /// The open file. Two who ask at once may both open it; one of the two is kept.
    pub async fn reader(&self) -> Result<TsmReader<D>> {
        if let Some(reader) = self.reader.borrow().as_ref() {
            return Ok(reader.clone());
        }
        let reader = TsmReader::open(&self.disk, &self.path, self.cache.clone()).await?;
        Ok(self.reader.borrow_mut().get_or_insert(reader).clone())
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn is_open(&self) -> bool {
        self.reader.borrow().is_some()
    }

    /// Lets the open file go; it is opened again when needed.
    pub(crate) fn close(&self) {
        self.reader.borrow_mut().take();
    }
}
