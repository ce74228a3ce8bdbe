//! A sealed cache generation → one level-1 TSM file: series in the order of their keys, each brought to columns.

use std::cell::RefCell;
use std::rc::Rc;

use smallvec::SmallVec;

use crate::cache::{Cache, Part, ReusedRows, Walk};
use crate::codec::Temperature;
use crate::disk::Disk;
use crate::error::Result;
use crate::index::active::{ActiveIndex, SeriesPosition, sorted_positions};
use crate::model::{Column, Rows};
use crate::pace::Pace;
use crate::tsm::{BlockCache, FieldId, FileMeta, TsmWriter};

/// Writes the generation's rows as the file `path`, known to `blocks`; durable and named when it answers, `None` when there
/// are no rows.
pub async fn write_snapshot<D: Disk>(
    disk: &D,
    path: &str,
    index: &RefCell<ActiveIndex>,
    sealed: &Rc<RefCell<Cache>>,
    blocks: &Rc<BlockCache>,
    pace: &Pace,
) -> Result<Option<FileMeta>> {
    let sorted = sorted_positions(index, pace).await;
    let mut writer = TsmWriter::create(disk, path, Temperature::Hot).await?.keep_in(blocks);
    let mut rows = ReusedRows::default();
    for (at, &position) in sorted.iter().enumerate() {
        look_ahead(&index.borrow(), &sealed.borrow(), &sorted[at..]);
        if !read_series(index, sealed, position, &mut rows, pace).await {
            pace.spent(8).await;
            continue;
        }
        writer.begin_series(index.borrow().key(position))?;
        if let Err(error) = write_rows(&mut writer, &rows).await {
            writer.abandon().await?;
            return Err(error);
        }
    }
    let (version_min, version_max) = sealed.borrow().versions();
    writer.finish(version_min, version_max).await
}

/// Series read before those that are asked for now.
const AHEAD: usize = 8;

/// Asks for the memory of the series that are read soon; `sorted` begins with the one that is read next. In the order of
/// their keys each lies elsewhere.
pub(super) fn look_ahead(index: &ActiveIndex, sealed: &Cache, sorted: &[SeriesPosition]) {
    if let Some(&position) = sorted.get(2 * AHEAD) {
        index.prefetch_entry(position);
        sealed.prefetch_list(position);
    }
    if let Some(&position) = sorted.get(AHEAD) {
        index.prefetch_key(position);
        sealed.prefetch_rows(position);
    }
}

/// Reads the rows of a series over those read before, giving way in between; whether there are any.
pub(super) async fn read_series(
    index: &RefCell<ActiveIndex>,
    sealed: &RefCell<Cache>,
    position: SeriesPosition,
    rows: &mut ReusedRows,
    pace: &Pace,
) -> bool {
    let walk = sealed.borrow().begin_reading(&index.borrow(), position, Part::ALL, rows);
    let Some(walk) = walk else { return false };
    read_rest(index, sealed, walk, Part::ALL, rows, pace).await;
    true
}

/// Reads what is left of a series that was begun, giving way in between.
pub(crate) async fn read_rest(
    index: &RefCell<ActiveIndex>,
    cache: &RefCell<Cache>,
    mut walk: Walk,
    part: Part<'_>,
    rows: &mut ReusedRows,
    pace: &Pace,
) {
    let (mut before, mut found_before_ns) = (0, 0);
    loop {
        let read = rows.len().saturating_sub(before) as u64;
        let found_ns = walk.found_ns() - found_before_ns;
        pace.spent(100 + READ_NS * read * (rows.columns.len() as u64 + 1) + found_ns).await;
        if walk.is_at_end() {
            return;
        }
        (before, found_before_ns) = (rows.len(), walk.found_ns());
        cache.borrow().read_on(&index.borrow(), &mut walk, part, rows);
    }
}

/// Nanoseconds, about, that bringing a value to its column takes.
const READ_NS: u64 = 6;

/// Adds rows to the writer's series.
pub(super) async fn write_rows<D: Disk>(writer: &mut TsmWriter<D>, rows: &Rows) -> Result<()> {
    let columns: SmallVec<[(FieldId, &Column); 16]> = rows
        .fields
        .iter()
        .zip(&rows.columns)
        .map(|(field, column)| (writer.field(&field.name, field.field_type), column))
        .collect();
    writer.write_rows(&rows.times, &columns).await
}

/// Units of work (see [`Pace`]) that decoding rows takes, and putting them together: about 10 ns a value.
pub(super) fn work_of(rows: &Rows) -> u64 {
    256 + 10 * (rows.len() as u64) * (rows.columns.len() as u64 + 1)
}
