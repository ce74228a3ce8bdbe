//! TSM files: immutable, columnar, sorted by series key and time, each carrying its own index. Drawn in
//! docs/formats/tsm.md.
//!
//! ```text
//! "TideTSM1" · (data of some blocks · index page about them)… · tag pages · schema · top level · zeros · footer
//! ```
//! A chain of checksums covers every byte that is read: the footer has its own and those of top level and schema, the
//! top level those of the index pages, a page those of the chunks, the schema those of the tag pages.
//!
//! # Writing
//!
//! ```ignore
//! let mut writer = TsmWriter::create(&disk, "data/7/12/000000001.tsm", Temperature::Hot).await?;
//! writer.begin_series(b"cpu,host=a")?;                            // strictly ascending canonical keys
//! let usage = writer.field(b"usage", FieldType::Float);           // the same for all series of the measurement
//! writer.write_rows(&times, &[(usage, &column)]).await?;          // any number of rows, strictly ascending times
//! writer.copy_block(&reader, &block).await?;                      // or whole blocks of another file
//! let meta: Option<FileMeta> = writer.finish(version_min, version_max).await?; // durable and named; None if empty
//! ```
//!
//! # Reading
//!
//! ```ignore
//! let reader = TsmReader::open(&disk, path, cache).await?;        // footer and top level; a handle, cheap to clone
//! let mut cursor = reader.cursor(from_key);                       // SeriesEntry { key, position, blocks } in key order
//! while let Some(series) = cursor.next().await? { … }
//! reader.find(key, time).await?; reader.series_at(position, time).await?; reader.keys_at(&positions).await?;
//! block.rows, block.min_time, block.max_time, block.overlaps(&range);
//! reader.summaries(&block)?;                                      // per column: count, statistics; no read
//! reader.read_block(&block, Wanted::Fields(&fields)).await?;      // BlockRows { times, columns: Vec<(FieldId, Column)> }
//! reader.read_blocks(&blocks, Wanted::All).await?;                // the first few of neighbouring blocks in one read
//! let schema = reader.schema().await?;                            // measurement_names(), fields_of(m), tag_keys_of(m)
//! reader.measurement_positions(m).await?; reader.tag_positions(m, key, value).await?;
//! let mut values = reader.tag_values(m, key).await?;              // of a tag key, ascending
//! while let Some(value) = values.next().await? { values.positions(&mut positions)?; }
//! reader.verify().await?;
//! ```
//! Names of measurements, tags and fields are unescaped everywhere but in keys. Damage is
//! [`Error::Corrupted`](crate::Error::Corrupted) with file, offset and what.

pub mod block;
pub mod block_cache;
mod followed;
pub mod footer;
pub mod index;
pub mod key_set;
pub mod plain;
mod reader;
pub mod schema;
pub mod scrub;
pub mod statistics;
pub mod tags;
pub mod writer;

#[cfg(test)]
mod tests;

pub use block::{BLOCK_ROWS_MAX, BlockRows};
pub use block_cache::BlockCache;
pub use footer::{FileMeta, Version};
pub use index::BlockEntry;
pub use key_set::{KeySet, KeySetWalk};
pub use reader::{ColumnSummary, SeriesCursor, SeriesEntry, TagValues, TsmReader, UnlistedBlocks, Wanted};
pub use schema::Schema;
pub use scrub::Scrub;
pub use statistics::{Extent, Statistics, sum_of_floats};
use tags::KEY_PREFIX_BYTES;
pub use writer::TsmWriter;

/// The number of a field (measurement, name and type) in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldId(pub u32);

/// What the name of a file ends with while it is written. A start removes such files.
pub const TEMPORARY_SUFFIX: &str = ".tmp";
