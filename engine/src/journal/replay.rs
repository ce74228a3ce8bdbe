//! Reading a journal back, in order, and the rule for a torn tail against damage.
//!
//! A record that is not sound, or out of sequence, is a hole. What follows decides:
//! 1. A later sound record says that the missing sequence was durable: damage. It is reported with file and offset,
//!    the segment is kept aside when it is released, and reading goes on behind the hole.
//! 2. A later segment's name says that its first sequence was reached: damage, the same.
//! 3. Nothing follows: a torn tail, never acknowledged as far as anyone can tell. It is cut, which means that the next
//!    record goes into a new segment and takes its sequence; the torn bytes are never looked at again.
//! 4. Bytes the disk cannot read are damage wherever they are.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;

use super::record::{Header, RECORD_HEADER_BYTES, looks_begun};
use super::segment::{Name, Segment, SegmentId, parse_name, segment_name};
use super::writer::{Journal, Opened};
use super::{FIRST_SEQUENCE, JournalOptions};
use crate::disk::{BLOCK_BYTES, Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};

/// Bytes of one read where the disk could not read a whole segment: an unreadable sector costs this much at most.
const PIECE_BYTES: usize = 64 * 1024;

/// Damages listed one by one; more are only counted.
const DAMAGES_MAX: usize = 1024;

/// Bytes that should be records and are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: String,
    pub offset: u64,
    /// Sequences of the records lost; empty when only bytes are known to be bad.
    pub sequences: Range<u64>,
    pub what: String,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub bytes_read: u64,
    pub bytes_total: u64,
    pub records: u64,
}

/// What a replay found beside records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReport {
    pub damages: Vec<Damage>,
    /// Damages beyond those listed.
    pub damages_unlisted: u64,
    /// File and offset of a record cut at the very end: an unacknowledged write at the moment of a crash.
    pub torn: Option<(String, u64)>,
    pub records: u64,
    pub segments: usize,
}

/// One record's body.
#[derive(Debug)]
pub struct Replayed<'a> {
    pub sequence: u64,
    pub segment: SegmentId,
    pub body: &'a [u8],
}

/// A journal being read. Changes nothing on disk until [`Replay::finish`].
pub struct Replay<D: Disk> {
    disk: D,
    folder: String,
    options: JournalOptions,
    segments: Vec<Segment>,
    /// Files that [`Replay::finish`] removes.
    leftovers: Vec<String>,
    spares: Vec<u64>,
    epoch_max: u64,
    /// The segment being read, and how far.
    position: usize,
    loaded: Option<Loaded>,
    /// The segment behind it, being read while records are applied: neither the disk nor the core waits for the other.
    ahead: Option<Loading>,
    expected: u64,
    /// The last segment can take more records, from this offset.
    continued_at: Option<u64>,
    body: Vec<u8>,
    bytes_read: u64,
    report: ReplayReport,
}

/// The segment in memory.
struct Loaded {
    bytes: Vec<u8>,
    unreadable: Vec<Range<usize>>,
    at: usize,
    records: u64,
}

/// Goes on whenever it is polled, which is once per record.
type Loading = Pin<Box<dyn Future<Output = Result<Loaded>>>>;

enum Step {
    /// A record whose body is in the segment, here; in `Replay::body` when it had to be decompressed.
    Record {
        sequence: u64,
        is_mark: bool,
        stored: Option<Range<usize>>,
    },
    End,
}

impl<D: Disk> Replay<D> {
    /// Lists the folder. One that does not exist is an empty journal.
    pub async fn open(disk: D, folder: &str, options: JournalOptions) -> Result<Self> {
        let mut replay = Self {
            disk,
            folder: folder.to_owned(),
            options,
            segments: Vec::new(),
            leftovers: Vec::new(),
            spares: Vec::new(),
            epoch_max: 0,
            position: 0,
            loaded: None,
            ahead: None,
            expected: FIRST_SEQUENCE,
            continued_at: None,
            body: Vec::new(),
            bytes_read: 0,
            report: ReplayReport::default(),
        };
        replay.read_names().await?;
        Ok(replay)
    }

    async fn read_names(&mut self) -> Result<()> {
        for entry in self.disk.list(&self.folder).await? {
            match parse_name(&entry.name) {
                Name::Segment { id, is_snapshot } => {
                    self.epoch_max = self.epoch_max.max(id.epoch);
                    let file_bytes = entry.length;
                    self.segments.push(Segment {
                        id,
                        is_snapshot,
                        used_bytes: 0,
                        file_bytes,
                        is_damaged: false,
                        is_recyclable: self.options.is_preallocated
                            && !is_snapshot
                            && file_bytes == self.options.segment_bytes,
                    });
                }
                Name::Spare { epoch } => {
                    self.epoch_max = self.epoch_max.max(epoch);
                    match entry.length == self.options.segment_bytes && self.options.is_preallocated {
                        true => self.spares.push(epoch),
                        false => self.leftovers.push(entry.name),
                    }
                }
                Name::Temporary => self.leftovers.push(entry.name),
                Name::Foreign => {}
            }
        }
        self.segments.sort_by_key(|segment| segment.id);
        if let Some(newest) = self.segments.iter().rposition(|segment| segment.is_snapshot) {
            for replaced in self.segments.drain(..newest) {
                self.leftovers.push(replaced.name());
            }
        }
        if let Some(oldest) = self.segments.first() {
            self.expected = oldest.id.first;
        }
        self.report.segments = self.segments.len();
        Ok(())
    }

    /// The journal will be written with other options than it is read with.
    pub fn with_options(mut self, options: JournalOptions) -> Self {
        self.options = options;
        if !options.is_preallocated {
            for segment in &mut self.segments {
                segment.is_recyclable = false;
            }
        }
        self
    }

    /// The next record; none at the end.
    pub async fn next(&mut self) -> Result<Option<Replayed<'_>>> {
        loop {
            let Some(segment) = self.segments.get(self.position).copied() else {
                return Ok(None);
            };
            if self.loaded.is_none() {
                let loading = self.ahead.take().unwrap_or_else(|| self.loading(&segment));
                let loaded = loading.await?;
                self.bytes_read += loaded.bytes.len() as u64;
                self.loaded = Some(loaded);
                self.ahead = self.segments.get(self.position + 1).map(|next| self.loading(next));
            }
            if self.ahead.is_some() {
                self.read_ahead().await;
            }
            match self.step(&segment) {
                Step::Record { is_mark: true, .. } => {}
                Step::Record { sequence, stored, .. } => {
                    self.report.records += 1;
                    let in_segment =
                        self.loaded.as_ref().zip(stored).and_then(|(loaded, range)| loaded.bytes.get(range));
                    let body = in_segment.unwrap_or(&self.body);
                    return Ok(Some(Replayed { sequence, segment: segment.id, body }));
                }
                Step::End => self.end_segment(&segment),
            }
        }
    }

    /// Lets the reading of the next segment go on without waiting for it.
    async fn read_ahead(&mut self) {
        let Some(mut loading) = self.ahead.take() else { return };
        let polled = poll_fn(|context| Poll::Ready(loading.as_mut().poll(context))).await;
        self.ahead = Some(match polled {
            Poll::Pending => loading,
            Poll::Ready(loaded) => Box::pin(std::future::ready(loaded)),
        });
    }

    fn loading(&self, segment: &Segment) -> Loading {
        let path = format!("{}/{}", self.folder, segment.name());
        Box::pin(load(self.disk.clone(), path))
    }

    pub fn progress(&self) -> Progress {
        Progress {
            bytes_read: self.bytes_read,
            bytes_total: self.segments.iter().map(|segment| segment.file_bytes).sum(),
            records: self.report.records,
        }
    }

    /// What was found so far; all of it once [`Replay::next`] answered none.
    pub fn report(&self) -> &ReplayReport {
        &self.report
    }

    /// The journal that goes on behind the last record. Reads what is left, without handing it out. Sequences up to
    /// `known` (0 when nothing is known) were given before, whatever is left of them: they are not given again.
    pub async fn finish(mut self, known: u64) -> Result<(Journal<D>, ReplayReport)> {
        while self.next().await?.is_some() {}
        if self.expected <= known {
            let lost = self.expected..known + 1;
            self.expected = lost.end;
            // In an empty folder nothing is left to be damaged, and the first name will carry the number on.
            if !self.segments.is_empty() {
                self.position -= 1;
                self.damaged(0, lost, "records at the end are missing that were there before");
                self.continued_at = None;
            }
        }
        self.disk.create_dir_all(&self.folder).await?;
        if !self.leftovers.is_empty() {
            for name in &self.leftovers {
                self.disk.remove_file(&format!("{}/{name}", self.folder)).await?;
            }
            self.disk.sync_dir(&self.folder).await?;
        }
        let opened = Opened {
            segments: self.segments,
            spares: self.spares,
            next_epoch: self.epoch_max + 1,
            next_sequence: self.expected,
            continued_at: self.continued_at,
        };
        let journal = Journal::new(self.disk, self.folder, self.options, opened).await?;
        Ok((journal, self.report))
    }

    /// Sequences from here on belong to the next segment.
    fn sequence_end(&self) -> u64 {
        self.segments.get(self.position + 1).map_or(u64::MAX, |next| next.id.first)
    }

    fn step(&mut self, segment: &Segment) -> Step {
        let sequence_end = self.sequence_end();
        let epoch = segment.id.epoch;
        loop {
            let Some(loaded) = &mut self.loaded else {
                return Step::End;
            };
            if self.expected >= sequence_end {
                return Step::End;
            }
            let mut what = "no record where one should be";
            if let Some(header) = Header::read(&loaded.bytes, loaded.at, epoch)
                && header.sequence == self.expected
            {
                match header.read_body(&loaded.bytes, loaded.at, &mut self.body) {
                    Ok(stored) => {
                        loaded.at += header.padded_len();
                        loaded.records += 1;
                        self.expected += 1;
                        return Step::Record { sequence: header.sequence, is_mark: header.is_mark(), stored };
                    }
                    Err(why) => what = why,
                }
            }
            let Some((found, header)) = loaded.find_behind_hole(epoch, self.expected, sequence_end) else {
                return Step::End;
            };
            let hole_at = std::mem::replace(&mut loaded.at, found);
            let lost = self.expected..header.sequence;
            self.expected = header.sequence;
            self.damaged(hole_at, lost, what);
        }
    }

    fn end_segment(&mut self, segment: &Segment) {
        let sequence_end = self.sequence_end();
        let Some(loaded) = self.loaded.take() else { return };
        let Loaded { bytes, unreadable, at, records } = loaded;
        self.segments[self.position].used_bytes = at as u64;
        let is_last = self.position + 1 == self.segments.len();
        let unreadable_blocks: usize =
            unreadable.iter().filter(|range| range.end > at).map(|range| range.len() / BLOCK_BYTES).sum();
        if !is_last {
            if self.expected < sequence_end {
                let lost = self.expected..sequence_end;
                self.damaged(at, lost, "records missing at the end of a full segment");
                self.expected = sequence_end;
            }
        } else if unreadable_blocks > 0 {
            // Their sequences are left out, so that the bytes count again should they become readable.
            let lost = self.expected..self.expected + unreadable_blocks.max(1) as u64;
            self.expected = lost.end;
            self.damaged(at, lost, "the disk cannot read the bytes");
        } else if segment.is_snapshot && records == 0 {
            let lost = self.expected..self.expected + 1;
            self.expected = lost.end;
            self.damaged(at, lost, "no record in a snapshot");
        } else {
            // A segment that grows has nothing of a former life behind its records, and is written in whole blocks.
            let is_strange = !self.options.is_preallocated
                && (!bytes.len().is_multiple_of(BLOCK_BYTES)
                    || bytes.get(at..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0)));
            let is_begun = is_strange || looks_begun(&bytes, at, segment.id.epoch);
            if is_begun {
                self.report.torn = Some((self.path_of(segment.id, segment.is_snapshot), at as u64));
            }
            let is_untouched = at == 0 && segment.is_recyclable && !is_begun;
            let is_whole = !self.options.is_preallocated && at == bytes.len();
            if (is_untouched || is_whole) && !self.segments[self.position].is_damaged {
                self.continued_at = Some(at as u64);
            }
        }
        self.position += 1;
    }

    fn damaged(&mut self, offset: usize, sequences: Range<u64>, what: &str) {
        let segment = &mut self.segments[self.position];
        segment.is_damaged = true;
        let (id, is_snapshot) = (segment.id, segment.is_snapshot);
        if self.report.damages.len() == DAMAGES_MAX {
            self.report.damages_unlisted += 1;
            return;
        }
        let file = self.path_of(id, is_snapshot);
        self.report.damages.push(Damage { file, offset: offset as u64, sequences, what: what.to_owned() });
    }

    fn path_of(&self, id: SegmentId, is_snapshot: bool) -> String {
        format!("{}/{}", self.folder, segment_name(id, is_snapshot))
    }
}

/// Reads a whole segment; once more in pieces where the disk could not.
async fn load<D: Disk>(disk: D, path: String) -> Result<Loaded> {
    let file = disk.open(&path, OpenMode::Read).await?;
    let length = file.length().await? as usize;
    let mut unreadable = Vec::new();
    let bytes = match file.read_at(0, length).await {
        Ok(bytes) => bytes,
        Err(Error::Io { .. }) => read_in_pieces(&file, length, &mut unreadable).await?,
        Err(error) => return Err(error),
    };
    file.close().await?;
    Ok(Loaded { bytes, unreadable, at: 0, records: 0 })
}

/// Reads up to `length`, with zeros for what the disk cannot read.
async fn read_in_pieces<F: DiskFile>(
    file: &F,
    length: usize,
    unreadable: &mut Vec<Range<usize>>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = bytes.len();
        let wanted = PIECE_BYTES.min(length - at);
        match file.read_at(at as u64, wanted).await {
            Ok(read) if read.is_empty() => break,
            Ok(read) => bytes.extend_from_slice(&read),
            Err(Error::Io { .. }) => {
                unreadable.push(at..at + wanted);
                bytes.resize(at + wanted, 0);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

impl Loaded {
    /// A sound record that proves `expected` was durable, at or behind the current offset.
    fn find_behind_hole(&self, epoch: u64, expected: u64, sequence_end: u64) -> Option<(usize, Header)> {
        let mut at = self.at;
        while at + RECORD_HEADER_BYTES <= self.bytes.len() {
            let Some(header) = Header::read(&self.bytes, at, epoch) else {
                at += BLOCK_BYTES;
                continue;
            };
            let proves =
                header.durable >= expected && header.sequence > expected && header.sequence < sequence_end;
            if proves && header.body_is_sound(&self.bytes, at) {
                return Some((at, header));
            }
            // A sound header tells where its body ends: nothing inside a body is taken for a record.
            at += header.padded_len();
        }
        None
    }
}
