//! Writing a journal: append, roll to the next segment, rewrite as a snapshot, release what is not needed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::record::{Packed, Packer, Place};
use super::segment::{Segment, SegmentId, quarantine, spare_name, write_zeros};
use super::{JournalOptions, Record, Replay, ReplayReport};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Error, Result};
use crate::wait::Gate;

/// A journal open for writing; one per folder. Its methods may be called by many tasks of one core.
pub struct Journal<D: Disk> {
    disk: D,
    folder: String,
    options: JournalOptions,
    state: RefCell<State<D::File>>,
    packer: RefCell<Packer>,
    /// The buffer of the last record, for the next.
    /// Held while a record or a segment is written.
    writing: Gate,
    /// Held while segments are released and spares made; never waited for by an append.
    upkeep: Gate,
}

/// Where a durable record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub sequence: u64,
    pub segment: SegmentId,
}

struct State<F> {
    /// All live segments but the active one, oldest first.
    sealed: VecDeque<Segment>,
    active: Option<Active<F>>,
    /// Replaced by a snapshot, not yet removed.
    superseded: Vec<Segment>,
    /// Last epochs of the spare files.
    spares: Vec<u64>,
    next_sequence: u64,
    next_epoch: u64,
    live_bytes: u64,
    /// Nothing was appended since the last mark.
    is_marked: bool,
    /// Why nothing is written any more.
    refusal: Option<Error>,
}

struct Active<F> {
    segment: Segment,
    file: Rc<F>,
    /// Where the next record goes.
    at: u64,
    /// A write to it was cut short: the next record goes elsewhere.
    is_abandoned: bool,
}

/// What a replay hands over.
pub(super) struct Opened {
    pub segments: Vec<Segment>,
    pub spares: Vec<u64>,
    pub next_epoch: u64,
    pub next_sequence: u64,
    pub continued_at: Option<u64>,
}

impl<D: Disk> Journal<D> {
    /// Replays the folder into `on_record` (sequence, body) and goes on behind the last record.
    pub async fn open(
        disk: D,
        folder: &str,
        options: JournalOptions,
        mut on_record: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<(Self, ReplayReport)> {
        let mut replay = Replay::open(disk, folder, options).await?;
        while let Some(record) = replay.next().await? {
            on_record(record.sequence, record.body)?;
        }
        replay.finish(0).await
    }

    pub(super) async fn new(
        disk: D,
        folder: String,
        options: JournalOptions,
        opened: Opened,
    ) -> Result<Self> {
        let live_bytes = opened.segments.iter().map(|segment| segment.used_bytes).sum();
        let mut sealed: VecDeque<Segment> = opened.segments.into();
        let mut active = None;
        if let (Some(at), Some(segment)) =
            (opened.continued_at, sealed.pop_back_if(|_| opened.continued_at.is_some()))
        {
            let path = format!("{folder}/{}", segment.name());
            let file = Rc::new(disk.open(&path, OpenMode::WriteDurable).await?);
            // Should the crash have come before the name was durable: it must be, before a record is.
            disk.sync_dir(&folder).await?;
            active = Some(Active { segment, file, at, is_abandoned: false });
        }
        let state = State {
            sealed,
            active,
            superseded: Vec::new(),
            spares: opened.spares,
            next_sequence: opened.next_sequence,
            next_epoch: opened.next_epoch,
            live_bytes,
            is_marked: true,
            refusal: None,
        };
        Ok(Self {
            disk,
            folder,
            options,
            state: RefCell::new(state),
            packer: RefCell::new(Packer::new(options.compression)),
            writing: Gate::new(),
            upkeep: Gate::new(),
        })
    }

    /// Appends one body; durable when it answers.
    pub async fn append(&self, body: &[u8]) -> Result<Appended> {
        let mut record = Record::with_room(body.len());
        record.extend_from_slice(body);
        self.append_record(record).await
    }

    /// Appends a record; durable when it answers. [`Error::DiskFull`] can be tried again; a future dropped before it
    /// answers leaves the record there or not, never half of it.
    pub async fn append_record(&self, record: Record) -> Result<Appended> {
        let packed = self.packer.borrow_mut().pack(record)?;
        let _inside = self.writing.enter().await;
        self.append_packed(packed).await
    }

    /// Replaces all records by these, in one step: a crash leaves either the old ones or the new.
    pub async fn rewrite(&self, bodies: &[&[u8]]) -> Result<()> {
        let mut packed = Vec::with_capacity(bodies.len());
        for body in bodies {
            let mut record = Record::with_room(body.len());
            record.extend_from_slice(body);
            packed.push(self.packer.borrow_mut().pack(record)?);
        }
        if packed.is_empty() {
            packed.push(Packed::mark());
        }
        let _inside_upkeep = self.upkeep.enter().await;
        {
            let _inside = self.writing.enter().await;
            self.check_writable()?;
            self.write_snapshot(packed).await?;
        }
        self.remove_superseded().await
    }

    /// Gives up segments whose every record has a lower sequence than `below`, oldest first.
    pub async fn release(&self, below: u64) -> Result<()> {
        let _inside = self.upkeep.enter().await;
        self.remove_superseded().await?;
        while let Some(segment) = self.releasable(below) {
            self.check_writable()?;
            let is_recycled = segment.is_recyclable
                && !segment.is_damaged
                && self.state.borrow().spares.len() < self.options.spare_segments_max;
            let retired = match is_recycled {
                true => self.recycle(&segment).await,
                false => self.remove(&segment).await,
            };
            retired.map_err(|error| self.refuse(error))?;
            let mut state = self.state.borrow_mut();
            state.sealed.pop_front();
            state.live_bytes -= segment.used_bytes;
            if is_recycled {
                state.spares.push(segment.id.epoch);
            }
        }
        Ok(())
    }

    /// Ends the active segment, so that its records can be released. Does nothing when it is empty.
    pub async fn roll(&self) -> Result<()> {
        let _inside = self.writing.enter().await;
        self.check_writable()?;
        if self.state.borrow().active.as_ref().is_some_and(|active| active.at == 0) {
            return Ok(());
        }
        self.next_segment(0).await
    }

    /// As [`Journal::roll`], but the new segment has no bytes yet: its name alone carries the numbers on. What an idle
    /// core does; the next append makes a segment with room. Asks for no free room, for it is how room is given back.
    pub async fn rest(&self) -> Result<()> {
        let _inside = self.writing.enter().await;
        self.check_writable()?;
        match self.is_newest_without_bytes() {
            true => Ok(()),
            false => self.start_segment(0, 0).await,
        }
    }

    /// Whether its files take no room at all.
    pub fn is_resting(&self) -> bool {
        let state = self.state.borrow();
        let is_bare = |segment: &Segment| segment.file_bytes == 0;
        state.spares.is_empty()
            && state.superseded.is_empty()
            && state.sealed.iter().all(is_bare)
            && state.active.as_ref().is_none_or(|active| is_bare(&active.segment))
    }

    fn is_newest_without_bytes(&self) -> bool {
        let state = self.state.borrow();
        match &state.active {
            Some(active) => active.segment.file_bytes == 0 && !active.is_abandoned,
            None => state.sealed.back().is_none_or(|segment| segment.file_bytes == 0),
        }
    }

    /// A spare should be made before the active segment is full.
    pub fn wants_spare(&self) -> bool {
        let state = self.state.borrow();
        let is_half_full =
            state.active.as_ref().is_some_and(|active| active.at * 2 > active.segment.file_bytes);
        self.options.is_preallocated && is_half_full && state.spares.is_empty() && state.refusal.is_none()
    }

    /// Zeroes a spare segment, if one is wanted. Takes about 10 ms of the disk's time, none of the core's.
    pub async fn make_spare(&self) -> Result<()> {
        let _inside = self.upkeep.enter().await;
        if !self.wants_spare() {
            return Ok(());
        }
        self.check_room(self.options.segment_bytes).await?;
        let epoch = self.take_epoch();
        let temporary = self.path("spare.tmp");
        if let Err(error) = write_zeros(&self.disk, &temporary, self.options.segment_bytes).await {
            // What could not be written is given back; should that fail too, the next start does it.
            let _ = self.disk.remove_file(&temporary).await;
            return Err(error);
        }
        self.disk.rename(&temporary, &self.path(&spare_name(epoch))).await?;
        self.state.borrow_mut().spares.push(epoch);
        Ok(())
    }

    /// Removes the spares: what an idle core does.
    pub async fn drop_spares(&self) -> Result<()> {
        let _inside = self.upkeep.enter().await;
        let spares = std::mem::take(&mut self.state.borrow_mut().spares);
        if spares.is_empty() {
            return Ok(());
        }
        for epoch in spares {
            self.disk.remove_file(&self.path(&spare_name(epoch))).await?;
        }
        self.disk.sync_dir(&self.folder).await
    }

    /// Writes a mark, so that damage of the last record at rest is told from a torn tail; then refuses writes.
    pub async fn close(&self) -> Result<()> {
        let _inside = self.writing.enter().await;
        if self.state.borrow().refusal.is_some() {
            return Ok(());
        }
        let needs_mark = {
            let state = self.state.borrow();
            let has_room = state.active.as_ref().is_some_and(|active| !active.is_abandoned);
            has_room && !state.is_marked
        };
        let marked = match needs_mark {
            true => self.append_packed(Packed::mark()).await.map(|_| ()),
            false => Ok(()),
        };
        let active = {
            let mut state = self.state.borrow_mut();
            state.refusal.get_or_insert(Error::Closed);
            state.active.take()
        };
        if let Some(active) = active {
            close_file(active.file).await?;
        }
        match marked {
            // The mark is a kindness, and a full disk is no reason not to close.
            Err(Error::DiskFull { .. }) => Ok(()),
            marked => marked,
        }
    }

    /// The sequence the next record will get.
    pub fn next_sequence(&self) -> u64 {
        self.state.borrow().next_sequence
    }

    /// Bytes on disk of the records not released.
    pub fn live_bytes(&self) -> u64 {
        self.state.borrow().live_bytes
    }

    pub fn segments(&self) -> usize {
        let state = self.state.borrow();
        state.sealed.len() + usize::from(state.active.is_some())
    }

    pub fn spares(&self) -> usize {
        self.state.borrow().spares.len()
    }

    /// Why nothing is written any more, if so.
    pub fn refusal(&self) -> Option<Error> {
        self.state.borrow().refusal.clone()
    }

    // Below: inside `writing`.

    async fn append_packed(&self, packed: Packed) -> Result<Appended> {
        self.check_writable()?;
        let length = packed.padded_len() as u64;
        if !self.has_room(length) {
            self.next_segment(length).await?;
        }
        let (file, segment, at, sequence) = {
            let state = self.state.borrow();
            let active = state.active.as_ref().ok_or(Error::Closed)?;
            (active.file.clone(), active.segment.id, active.at, state.next_sequence)
        };
        // One record is in flight at a time, so all before it is durable.
        let place = Place { sequence, epoch: segment.epoch, durable: sequence - 1 };
        let is_mark = packed.is_mark();
        let buffer = packed.seal(place);
        let abandons = AbandonsOnDrop { journal: self };
        let written = file.write_at(at, buffer).await;
        match written {
            Ok(_) => {
                std::mem::forget(abandons);
                self.appended(length, is_mark);
                Ok(Appended { sequence, segment })
            }
            Err(error) => Err(self.refuse(error)),
        }
    }

    fn has_room(&self, length: u64) -> bool {
        let state = self.state.borrow();
        match &state.active {
            None => false,
            Some(active) if active.is_abandoned => false,
            Some(active) => {
                let end = match self.options.is_preallocated && !active.segment.is_snapshot {
                    true => active.segment.file_bytes,
                    // A growing segment takes one record of any length.
                    false if active.at == 0 => u64::MAX,
                    false => self.options.segment_bytes,
                };
                active.at + length <= end
            }
        }
    }

    fn appended(&self, length: u64, is_mark: bool) {
        let mut state = self.state.borrow_mut();
        state.next_sequence += 1;
        state.is_marked = is_mark;
        state.live_bytes += length;
        if let Some(active) = &mut state.active {
            active.at += length;
            active.segment.used_bytes = active.at;
            active.segment.file_bytes = active.segment.file_bytes.max(active.at);
        }
    }

    /// Makes a segment that takes a record of `length` bytes the active one. A full disk changes nothing.
    async fn next_segment(&self, length: u64) -> Result<()> {
        // A record longer than a segment gets one of its own length, that is not recycled.
        let file_bytes = match self.options.is_preallocated {
            true => length.max(self.options.segment_bytes),
            false => 0,
        };
        self.start_segment(file_bytes, file_bytes.max(length)).await
    }

    /// Makes a new segment of `file_bytes` zeros the active one, when the disk has room for `wanted` bytes.
    async fn start_segment(&self, file_bytes: u64, wanted: u64) -> Result<()> {
        let id = SegmentId { epoch: self.take_epoch(), first: self.next_sequence() };
        let is_recyclable = file_bytes == self.options.segment_bytes;
        let segment =
            Segment { id, is_snapshot: false, used_bytes: 0, file_bytes, is_damaged: false, is_recyclable };
        let path = self.path(&segment.name());
        let opened = async {
            let spare = if is_recyclable { self.state.borrow_mut().spares.pop() } else { None };
            match spare {
                Some(epoch) => self.disk.rename(&self.path(&spare_name(epoch)), &path).await?,
                None => self.create_segment(&path, wanted, file_bytes).await?,
            }
            let file = self.disk.open(&path, OpenMode::WriteDurable).await?;
            self.disk.sync_dir(&self.folder).await?;
            Ok(file)
        };
        let abandons = AbandonsOnDrop { journal: self };
        let file = opened.await.map_err(|error| self.refuse(error))?;
        std::mem::forget(abandons);
        let active = Active { segment, file: Rc::new(file), at: 0, is_abandoned: false };
        self.activate(active).await
    }

    async fn create_segment(&self, path: &str, wanted: u64, zeroed: u64) -> Result<()> {
        if wanted > 0 {
            self.check_room(wanted).await?;
        }
        if zeroed == 0 {
            return Ok(());
        }
        let temporary = self.path("new.tmp");
        if let Err(error) = write_zeros(&self.disk, &temporary, zeroed).await {
            let _ = self.disk.remove_file(&temporary).await;
            return Err(error);
        }
        self.disk.rename(&temporary, path).await
    }

    async fn activate(&self, active: Active<D::File>) -> Result<()> {
        let before = {
            let mut state = self.state.borrow_mut();
            let before = state.active.replace(active);
            if let Some(before) = &before {
                state.sealed.push_back(before.segment);
            }
            // The new segment's name tells that all before it was durable.
            state.is_marked = true;
            before
        };
        match before {
            Some(before) => close_file(before.file).await.map_err(|error| self.refuse(error)),
            None => Ok(()),
        }
    }

    async fn write_snapshot(&self, packed: Vec<Packed>) -> Result<()> {
        let first = self.next_sequence();
        let count = packed.len() as u64;
        let id = SegmentId { epoch: self.take_epoch(), first };
        let used_bytes: u64 = packed.iter().map(|packed| packed.padded_len() as u64).sum();
        self.check_room(used_bytes).await?;
        let segment = Segment {
            id,
            is_snapshot: true,
            used_bytes,
            file_bytes: used_bytes,
            is_damaged: false,
            is_recyclable: false,
        };
        let temporary = self.path("snapshot.tmp");
        if let Err(error) = self.write_snapshot_file(&temporary, id, packed).await {
            let _ = self.disk.remove_file(&temporary).await;
            // Nothing depends on the file yet: the journal is as it was.
            return Err(error);
        }
        let path = self.path(&segment.name());
        let opened = async {
            self.disk.rename(&temporary, &path).await?;
            self.disk.sync_dir(&self.folder).await?;
            self.disk.open(&path, OpenMode::WriteDurable).await
        };
        let refuses = RefusesOnDrop { journal: self };
        let file = opened.await.map_err(|error| self.refuse(error))?;
        std::mem::forget(refuses);
        let active = Active { segment, file: Rc::new(file), at: used_bytes, is_abandoned: false };
        {
            let mut state = self.state.borrow_mut();
            state.next_sequence = first + count;
            let sealed: Vec<Segment> = state.sealed.drain(..).collect();
            state.superseded.extend(sealed);
            state.live_bytes = used_bytes;
        }
        self.activate(active).await?;
        let mut state = self.state.borrow_mut();
        // What `activate` sealed is replaced too.
        let sealed: Vec<Segment> = state.sealed.drain(..).collect();
        state.superseded.extend(sealed);
        Ok(())
    }

    async fn write_snapshot_file(&self, path: &str, id: SegmentId, packed: Vec<Packed>) -> Result<()> {
        let durable = id.first + packed.len() as u64 - 1;
        let file = self.disk.open(path, OpenMode::Write).await?;
        let mut at = 0;
        for (position, packed) in packed.into_iter().enumerate() {
            // The name appears when all of them are durable.
            let place = Place { sequence: id.first + position as u64, epoch: id.epoch, durable };
            let length = packed.padded_len() as u64;
            file.write_at(at, packed.seal(place)).await?;
            at += length;
        }
        file.sync().await?;
        file.close().await
    }

    // Below: inside `upkeep`.

    fn releasable(&self, below: u64) -> Option<Segment> {
        let state = self.state.borrow();
        let oldest = state.sealed.front()?;
        // The newest segment stays: its name says where sequences go on.
        let next = state.sealed.get(1).or(state.active.as_ref().map(|active| &active.segment))?;
        (next.id.first <= below).then_some(*oldest)
    }

    async fn recycle(&self, segment: &Segment) -> Result<()> {
        let spare = self.path(&spare_name(segment.id.epoch));
        self.disk.rename(&self.path(&segment.name()), &spare).await?;
        self.disk.sync_dir(&self.folder).await
    }

    async fn remove(&self, segment: &Segment) -> Result<()> {
        match segment.is_damaged {
            true => quarantine(&self.disk, &self.folder, &segment.name()).await?,
            false => self.disk.remove_file(&self.path(&segment.name())).await?,
        }
        self.disk.sync_dir(&self.folder).await
    }

    async fn remove_superseded(&self) -> Result<()> {
        loop {
            let Some(segment) = self.state.borrow().superseded.last().copied() else {
                return Ok(());
            };
            self.check_writable()?;
            self.remove(&segment).await.map_err(|error| self.refuse(error))?;
            self.state.borrow_mut().superseded.pop();
        }
    }

    // Below: no gate needed.

    fn take_epoch(&self) -> u64 {
        let mut state = self.state.borrow_mut();
        state.next_epoch += 1;
        state.next_epoch - 1
    }

    async fn check_room(&self, wanted: u64) -> Result<()> {
        let free_bytes = self.disk.free_bytes().await?;
        match free_bytes < wanted + self.options.free_bytes_min {
            true => Err(Error::DiskFull { free_bytes }),
            false => Ok(()),
        }
    }

    fn check_writable(&self) -> Result<()> {
        match &self.state.borrow().refusal {
            None => Ok(()),
            Some(refusal) => Err(refusal.clone()),
        }
    }

    /// What a failed write, sync or change of names means: read-only from now on, unless the disk was merely full.
    fn refuse(&self, error: Error) -> Error {
        if matches!(error, Error::DiskFull { .. }) {
            return error;
        }
        let reason = format!("journal {}: {error}", self.folder);
        let refusal = Error::ReadOnly { reason };
        self.state.borrow_mut().refusal.get_or_insert(refusal).clone()
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }
}

/// A write that failed, or whose future is dropped, may still reach the disk: nothing else goes to that file.
///
/// The same holds for a roll that did not end: its segment may be there, and says that the sequences from its first on
/// are not in the one before. Forgotten when all went well.
struct AbandonsOnDrop<'a, D: Disk> {
    journal: &'a Journal<D>,
}

/// A snapshot that may have its name while the journal does not know: what is appended to the segment before would
/// not be read again. Forgotten when all went well.
struct RefusesOnDrop<'a, D: Disk> {
    journal: &'a Journal<D>,
}

impl<D: Disk> Drop for RefusesOnDrop<'_, D> {
    fn drop(&mut self) {
        let reason = format!("journal {}: a snapshot was cut short", self.journal.folder);
        self.journal.state.borrow_mut().refusal.get_or_insert(Error::ReadOnly { reason });
    }
}

impl<D: Disk> Drop for AbandonsOnDrop<'_, D> {
    fn drop(&mut self) {
        if let Some(active) = &mut self.journal.state.borrow_mut().active {
            active.is_abandoned = true;
            active.segment.is_recyclable = false;
        }
    }
}

/// Closes now when no write is under way in it, else when that ends.
async fn close_file<F: DiskFile>(file: Rc<F>) -> Result<()> {
    match Rc::try_unwrap(file) {
        Ok(file) => file.close().await,
        Err(_) => Ok(()),
    }
}
