//! Which files are a shard's, which deletes mask them, and up to where WALs are in them: one small file per shard.
//!
//! It is switched whole: written beside under another name, synced, renamed, folder synced. Killed at any byte, the next
//! start finds the old manifest or the new one. Files are written before the manifest that names them and removed after
//! the one that no longer does; what it does not name is rubbish.
//!
//!     0  "TMMF"
//!     4  u32  format, 1
//!     8  u32  length of what follows the checksum
//!    12  u32  crc32c of it
//!    16  varint next file id
//!        varint files, oldest first: varint id, u8 level, varint bytes, varint rows, zigzag first time, zigzag last time
//!        varint tombstones: predicate, varint files, varint ids each as difference to the one before
//!        varint WALs: varint WAL id, varint sequence up to which this shard's entries are in the files

use crate::checksum;
use crate::compact::tombstone::{Predicate, Tombstone, take_byte};
use crate::disk::{AlignedBuffer, DirEntry, Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::model::varint::{put_varint, take_varint, unzigzag, zigzag};

const MAGIC: &[u8; 4] = b"TMMF";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 16;
/// Largest manifest read; larger is damage. A file takes some 30 B, a tombstone what its predicate does.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// One TSM file of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEntry {
    /// Names the file; never used twice in a shard.
    pub id: u64,
    /// A shard's only file becomes full without being written again.
    pub level: u8,
    pub bytes: u64,
    pub rows: u64,
    /// First and last timestamp, both inside.
    pub time_min: i64,
    pub time_max: i64,
}

/// See the module's head.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    pub next_file: u64,
    /// Oldest first: of equal timestamps the later file wins.
    pub files: Vec<FileEntry>,
    /// Predicates and the ids of the files they mask, ascending.
    pub tombstones: Vec<(Predicate, Vec<u64>)>,
    /// (WAL id, sequence): entries of this shard up to it need no replay.
    pub replayed: Vec<(u64, u64)>,
}

impl Manifest {
    /// The highest sequence of a WAL whose entries are in the files; 0 when none is known.
    pub fn replayed_up_to(&self, wal_id: u64) -> u64 {
        self.replayed.iter().find(|(id, _)| *id == wal_id).map_or(0, |(_, sequence)| *sequence)
    }

    pub fn set_replayed(&mut self, wal_id: u64, sequence: u64) {
        match self.replayed.iter_mut().find(|(id, _)| *id == wal_id) {
            Some((_, known)) => *known = (*known).max(sequence),
            None => self.replayed.push((wal_id, sequence)),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_varint(&mut body, self.next_file);
        put_varint(&mut body, self.files.len() as u64);
        for file in &self.files {
            put_varint(&mut body, file.id);
            body.push(file.level);
            put_varint(&mut body, file.bytes);
            put_varint(&mut body, file.rows);
            put_varint(&mut body, zigzag(file.time_min));
            put_varint(&mut body, zigzag(file.time_max));
        }
        put_varint(&mut body, self.tombstones.len() as u64);
        for (predicate, files) in &self.tombstones {
            predicate.put(&mut body);
            put_varint(&mut body, files.len() as u64);
            let mut before = 0;
            for file in files {
                put_varint(&mut body, file - before);
                before = *file;
            }
        }
        put_varint(&mut body, self.replayed.len() as u64);
        for (wal_id, sequence) in &self.replayed {
            put_varint(&mut body, *wal_id);
            put_varint(&mut body, *sequence);
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&checksum::of(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads a manifest; bytes behind it are ignored. The error says what is wrong and where.
    pub fn from_bytes(bytes: &[u8]) -> std::result::Result<Self, (u64, &'static str)> {
        let header = bytes.get(..HEADER_BYTES).ok_or((0, "shorter than its header"))?;
        if &header[..4] != MAGIC {
            return Err((0, "not a manifest"));
        }
        let u32_at =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if u32_at(4) != FORMAT {
            return Err((4, "unknown format"));
        }
        let body = bytes
            .get(HEADER_BYTES..HEADER_BYTES + u32_at(8) as usize)
            .ok_or((8, "shorter than its length says"))?;
        if !checksum::is(body, u32_at(12)) {
            return Err((12, "checksum"));
        }
        let mut rest = body;
        let manifest = Self::take(&mut rest).filter(|_| rest.is_empty());
        manifest.ok_or((HEADER_BYTES as u64, "malformed body"))
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut manifest = Self { next_file: take_varint(bytes)?, ..Self::default() };
        for _ in 0..take_varint(bytes)? {
            manifest.files.push(FileEntry {
                id: take_varint(bytes)?,
                level: take_byte(bytes)?,
                bytes: take_varint(bytes)?,
                rows: take_varint(bytes)?,
                time_min: unzigzag(take_varint(bytes)?),
                time_max: unzigzag(take_varint(bytes)?),
            });
        }
        for _ in 0..take_varint(bytes)? {
            let predicate = Predicate::take(bytes)?;
            let mut files = Vec::new();
            let mut before = 0u64;
            for _ in 0..take_varint(bytes)? {
                before = before.checked_add(take_varint(bytes)?)?;
                files.push(before);
            }
            manifest.tombstones.push((predicate, files));
        }
        for _ in 0..take_varint(bytes)? {
            manifest.replayed.push((take_varint(bytes)?, take_varint(bytes)?));
        }
        Some(manifest)
    }

    /// The manifest of the shard in `folder`, which lists `entries`; an empty one when there is none yet.
    pub async fn read<D: Disk>(disk: &D, folder: &str, entries: &[DirEntry]) -> Result<Self> {
        let Some(entry) = entries.iter().find(|entry| entry.name == "manifest") else {
            return Ok(Self { next_file: 1, ..Self::default() });
        };
        let path = format!("{folder}/manifest");
        if entry.length > MANIFEST_BYTES_MAX {
            return Err(Error::Corrupted { file: path, offset: 0, what: "manifest is too long".to_owned() });
        }
        let file = disk.open(&path, OpenMode::Read).await?;
        let bytes = file.read_at(0, entry.length as usize).await;
        file.close().await?;
        Self::from_bytes(&bytes?).map_err(|(offset, what)| Error::Corrupted {
            file: path,
            offset,
            what: what.to_owned(),
        })
    }

    /// Makes this the manifest of the shard in `folder`. Durable when it answers.
    pub async fn switch<D: Disk>(&self, disk: &D, folder: &str) -> Result<()> {
        let mut buffer = AlignedBuffer::new();
        buffer.extend_from_slice(&self.to_bytes());
        buffer.pad();
        let beside = format!("{folder}/manifest.new");
        let file = disk.open(&beside, OpenMode::WriteDurable).await?;
        // An earlier attempt may have left a longer one.
        let length = buffer.len() as u64;
        let written = file.write_at(0, buffer).await.map(drop);
        let cut = file.truncate(length).await;
        let synced = file.sync().await;
        file.close().await?;
        written.and(cut).and(synced)?;
        disk.rename(&beside, &format!("{folder}/manifest")).await?;
        disk.sync_dir(folder).await
    }

    /// The tombstones, compiled.
    pub fn compile_tombstones(&self) -> Result<Vec<std::rc::Rc<Tombstone>>> {
        self.tombstones
            .iter()
            .map(|(predicate, files)| Ok(std::rc::Rc::new(Tombstone::new(predicate.clone(), files.clone())?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimeRange;

    fn manifest() -> Manifest {
        let file =
            |id| FileEntry { id, level: 5, bytes: 4096, rows: 10, time_min: -1, time_max: i64::MAX - 1 };
        Manifest {
            next_file: 9,
            files: vec![file(3), file(8)],
            tombstones: vec![(
                Predicate { measurement: Some(b"m".to_vec()), series: None, time: TimeRange::ALL },
                vec![3, 8],
            )],
            replayed: vec![(0, 17), (4, 1)],
        }
    }

    #[test]
    fn a_manifest_reads_back_and_every_flipped_bit_and_cut_is_noticed() {
        let bytes = manifest().to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes), Ok(manifest()));
        for at in 0..bytes.len() {
            assert!(Manifest::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(Manifest::from_bytes(&changed).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn the_highest_replayed_sequence_of_a_wal_is_kept() {
        let mut manifest = manifest();
        manifest.set_replayed(4, 9);
        manifest.set_replayed(4, 3);
        assert_eq!((manifest.replayed_up_to(4), manifest.replayed_up_to(5)), (9, 0));
    }
}
