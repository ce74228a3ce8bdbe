//! The files of a journal's folder: their names, and how one comes to be.
//!
//! - `<epoch>-<first sequence>.seg`, both as 16 hex digits: a segment. The epoch is unique in the folder and rises from
//!   segment to segment; each record repeats it, so the old contents of a recycled file are never taken for records.
//! - `<epoch>-<first sequence>.snap`: a segment that replaces all before it.
//! - `<epoch>.spare`: a segment to be recycled. The number is the last epoch it was used under.
//! - `*.tmp`: unfinished, removed at the next start.

use super::QUARANTINE;
use crate::disk::{AlignedBuffer, Disk, DiskFile, OpenMode};
use crate::error::Result;

/// Which segment: its epoch, and the sequence of its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentId {
    pub epoch: u64,
    pub first: u64,
}

/// A segment as the journal keeps it in mind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub id: SegmentId,
    pub is_snapshot: bool,
    /// Bytes of its records, for the limit of what is live.
    pub used_bytes: u64,
    /// Length of the file.
    pub file_bytes: u64,
    pub is_damaged: bool,
    /// The file may serve again: whole, and no write can be under way in it.
    pub is_recyclable: bool,
}

impl Segment {
    pub(super) fn name(&self) -> String {
        segment_name(self.id, self.is_snapshot)
    }
}

/// What a name in a journal's folder means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Segment { id: SegmentId, is_snapshot: bool },
    Spare { epoch: u64 },
    Temporary,
    Foreign,
}

pub(super) fn segment_name(id: SegmentId, is_snapshot: bool) -> String {
    let extension = if is_snapshot { "snap" } else { "seg" };
    format!("{:016x}-{:016x}.{extension}", id.epoch, id.first)
}

pub(super) fn spare_name(epoch: u64) -> String {
    format!("{epoch:016x}.spare")
}

pub(super) fn parse_name(name: &str) -> Name {
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return Name::Foreign;
    };
    match extension {
        "tmp" => Name::Temporary,
        "spare" => hex(stem).map_or(Name::Foreign, |epoch| Name::Spare { epoch }),
        "seg" | "snap" => {
            let numbers = stem.split_once('-').and_then(|(epoch, first)| Some((hex(epoch)?, hex(first)?)));
            let is_snapshot = extension == "snap";
            match numbers {
                Some((epoch, first)) => Name::Segment { id: SegmentId { epoch, first }, is_snapshot },
                None => Name::Foreign,
            }
        }
        _ => Name::Foreign,
    }
}

/// Exactly 16 lower-case hex digits, so that a name has one spelling.
fn hex(text: &str) -> Option<u64> {
    let is_ours = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_ours { u64::from_str_radix(text, 16).ok() } else { None }
}

/// Bytes of one write while zeroing: large enough for the disk's full speed, small enough to leave others room.
const ZERO_BYTES: usize = 1024 * 1024;

/// Writes a file of zeros and syncs it: after that, a write in it changes no metadata and costs one round trip.
pub(super) async fn write_zeros<D: Disk>(disk: &D, path: &str, length: u64) -> Result<()> {
    let file = disk.open(path, OpenMode::Write).await?;
    let written = write_zeros_to(&file, length).await;
    let closed = file.close().await;
    written.and(closed)
}

async fn write_zeros_to<F: DiskFile>(file: &F, length: u64) -> Result<()> {
    let mut zeros = AlignedBuffer::new();
    let mut at = 0;
    while at < length {
        let step = ZERO_BYTES.min((length - at) as usize);
        zeros.resize(step);
        zeros = file.write_at(at, zeros).await?;
        at += step as u64;
    }
    file.sync().await
}

/// Moves a damaged segment aside, for a person. Only so many are kept.
pub(super) async fn quarantine<D: Disk>(disk: &D, folder: &str, name: &str) -> Result<()> {
    let aside = format!("{folder}/{QUARANTINE}");
    disk.create_dir_all(&aside).await?;
    let kept = disk.list(&aside).await?;
    for old in kept.iter().take((kept.len() + 1).saturating_sub(super::QUARANTINED_SEGMENTS_MAX)) {
        disk.remove_file(&format!("{aside}/{}", old.name)).await?;
    }
    disk.rename(&format!("{folder}/{name}"), &format!("{aside}/{name}")).await?;
    disk.sync_dir(&aside).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_what_it_names() {
        let id = SegmentId { epoch: 0xabc, first: 17 };
        for is_snapshot in [false, true] {
            assert_eq!(parse_name(&segment_name(id, is_snapshot)), Name::Segment { id, is_snapshot });
        }
        assert_eq!(parse_name(&spare_name(9)), Name::Spare { epoch: 9 });
        assert_eq!(parse_name("new.tmp"), Name::Temporary);
        for foreign in
            ["quarantine", "x.seg", "1-2.seg", "000000000000000A.spare", "+00000000000001.spare", ".seg"]
        {
            assert_eq!(parse_name(foreign), Name::Foreign, "{foreign}");
        }
    }
}
