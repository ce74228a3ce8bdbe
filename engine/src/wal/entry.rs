//! What stands in the WAL. A record's body is entries, one after the other:
//!
//!      0  u8   kind: 1 write, 2 delete, 3 shard dropped
//!      1  u8   zero, three of them
//!      4  u32  length of the body
//!      8  u64  shard
//!     16  u64  shard group
//!     24  ...  body: of a write the batch (docs/formats/batch.md), of a delete what the store says

use crate::journal::Record;
use crate::model::{ShardGroupId, ShardId};

pub const ENTRY_HEADER_BYTES: usize = 24;

const WRITE: u8 = 1;
const DELETE: u8 = 2;
const SHARD_DROPPED: u8 = 3;

/// One entry; its bytes are somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// `batch` as it came: the bytes of the wire are the bytes of the WAL.
    Write {
        shard: ShardId,
        group: ShardGroupId,
        batch: &'a [u8],
    },
    Delete {
        shard: ShardId,
        group: ShardGroupId,
        body: &'a [u8],
    },
    /// What came before in this shard is of no use.
    ShardDropped {
        shard: ShardId,
        group: ShardGroupId,
    },
}

impl<'a> Entry<'a> {
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Write { shard, .. } | Self::Delete { shard, .. } | Self::ShardDropped { shard, .. } => {
                *shard
            }
        }
    }

    pub fn group(&self) -> ShardGroupId {
        match self {
            Self::Write { group, .. } | Self::Delete { group, .. } | Self::ShardDropped { group, .. } => {
                *group
            }
        }
    }

    fn kind_and_body(&self) -> (u8, &'a [u8]) {
        match self {
            Self::Write { batch, .. } => (WRITE, batch),
            Self::Delete { body, .. } => (DELETE, body),
            Self::ShardDropped { .. } => (SHARD_DROPPED, &[]),
        }
    }

    /// Bytes it takes in a record.
    pub(super) fn bytes(&self) -> usize {
        ENTRY_HEADER_BYTES + self.kind_and_body().1.len()
    }

    pub(super) fn put(&self, record: &mut Record) {
        let (kind, body) = self.kind_and_body();
        let length = u32::try_from(body.len()).expect("BUG: batches are far below 4 GiB");
        let mut header = [0; ENTRY_HEADER_BYTES];
        header[0] = kind;
        header[4..8].copy_from_slice(&length.to_le_bytes());
        header[8..16].copy_from_slice(&self.shard().0.to_le_bytes());
        header[16..24].copy_from_slice(&self.group().0.to_le_bytes());
        record.extend_from_slice(&header);
        record.extend_from_slice(body);
    }

    /// Takes one entry off the front; none when the bytes do not begin with one.
    pub(super) fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<ENTRY_HEADER_BYTES>()?;
        let [kind, zeros @ .., l0, l1, l2, l3] = header.first_chunk::<8>()?;
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let shard = ShardId(u64::from_le_bytes(*header[8..].first_chunk()?));
        let group = ShardGroupId(u64::from_le_bytes(*header[16..].first_chunk()?));
        let (body, rest) = rest.split_at_checked(length)?;
        let entry = match (*kind, zeros, length) {
            (WRITE, [0, 0, 0], _) => Self::Write { shard, group, batch: body },
            (DELETE, [0, 0, 0], _) => Self::Delete { shard, group, body },
            (SHARD_DROPPED, [0, 0, 0], 0) => Self::ShardDropped { shard, group },
            _ => return None,
        };
        *bytes = rest;
        Some(entry)
    }
}

/// The entries of a record's body; none when it is not exactly entries.
pub(super) fn entries_of(mut body: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    while !body.is_empty() {
        entries.push(Entry::take(&mut body)?);
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_read_back_and_nothing_shorter_or_longer_does() {
        let (shard, group) = (ShardId(3), ShardGroupId(u64::MAX));
        let entries = [
            Entry::Write { shard, group, batch: b"batch" },
            Entry::ShardDropped { shard, group },
            Entry::Delete { shard: ShardId(4), group, body: b"" },
        ];
        let mut record = Record::new();
        let mut ends = vec![0];
        for entry in &entries {
            let before = record.body_len();
            entry.put(&mut record);
            ends.push(record.body_len());
            assert_eq!(record.body_len() - before, entry.bytes());
        }
        for length in 0..=record.body_len() {
            let read = entries_of(&record.body()[..length]);
            match ends.iter().position(|end| *end == length) {
                Some(count) => assert_eq!(read.as_deref(), Some(&entries[..count])),
                None => assert_eq!(read, None, "{length} bytes"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_entries_or_not_without_a_panic(bytes in prop::collection::vec(0u8..5, 0..200)) {
            let _ = entries_of(&bytes);
        }
    }
}
