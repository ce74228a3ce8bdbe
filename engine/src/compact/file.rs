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
    opening: Rc<Opening<D>>,
}

/// How a file is opened, whatever its standing among the others becomes.
struct Opening<D: Disk> {
    path: String,
    disk: D,
    cache: Rc<BlockCache>,
    reader: RefCell<Option<TsmReader<D>>>,
}

impl<D: Disk> Drop for Opening<D> {
    fn drop(&mut self) {
        self.cache.forget_written(&self.path);
    }
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
        let opening = Opening {
            path: format!("{folder}/{}", file_name(entry.id)),
            disk: disk.clone(),
            cache: cache.clone(),
            reader: RefCell::new(None),
        };
        Self { entry, opening: Rc::new(opening) }
    }

    /// The same file, of which the manifest says something else now.
    pub(crate) fn with_entry(&self, entry: FileEntry) -> Self {
        Self { entry, opening: self.opening.clone() }
    }

    /// A span that holds all its timestamps.
    pub fn time_range(&self) -> TimeRange {
        TimeRange::new(self.entry.time_min, self.entry.time_max.saturating_add(1))
    }

    /// The open file. Two who ask at once may both open it; one of the two is kept.
    pub async fn reader(&self) -> Result<TsmReader<D>> {
        let opening = &*self.opening;
        if let Some(reader) = opening.reader.borrow().as_ref() {
            return Ok(reader.clone());
        }
        let reader = TsmReader::open(&opening.disk, &opening.path, opening.cache.clone()).await?;
        Ok(opening.reader.borrow_mut().get_or_insert(reader).clone())
    }

    /// The open file, or one that is open for the asker alone.
    pub(crate) async fn reader_for_once(&self) -> Result<TsmReader<D>> {
        let opening = &*self.opening;
        if let Some(reader) = opening.reader.borrow().as_ref() {
            return Ok(reader.clone());
        }
        TsmReader::open(&opening.disk, &opening.path, opening.cache.clone()).await
    }

    pub fn path(&self) -> &str {
        &self.opening.path
    }

    pub fn is_open(&self) -> bool {
        self.opening.reader.borrow().is_some()
    }

    /// Lets the open file go; it is opened again when needed.
    pub(crate) fn close(&self) {
        self.opening.reader.borrow_mut().take();
    }
}
