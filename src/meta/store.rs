//! The durable catalogue of the node that decides: a journal of commands, now and then a snapshot.
//! Drawn in docs/formats/meta.md.
//!
//! One per process, on the deciding core; ends with it. A command is tried on a copy of the state first: one that is
//! refused is not written. One command at a time; its answer comes when it is durable.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tidemark_engine::Error;
use tidemark_engine::disk::Disk;
use tidemark_engine::journal::{Journal, JournalOptions, ReplayReport};

use super::apply::apply;
use super::codec;
use super::command::{Command, Outcome};
use super::data::Data;
use super::error::MetaError;

const KIND_COMMAND: u8 = 1;
const KIND_SNAPSHOT: u8 = 2;

/// Commands between snapshots. A replay of this many takes some milliseconds.
const COMMANDS_MAX: u64 = 1024;

/// A snapshot is made earlier when the journal outgrows the state this many times.
const GROWTH_MAX: u64 = 8;

/// Below this the journal's size is no reason for a snapshot.
const JOURNAL_BYTES_MIN: u64 = 1024 * 1024;

/// Cheap to clone within its core.
pub struct MetaStore<D: Disk> {
    inner: Rc<Inner<D>>,
}

struct Inner<D: Disk> {
    journal: Journal<D>,
    data: RefCell<Arc<Data>>,
    commands_since_snapshot: Cell<u64>,
    state_bytes: Cell<u64>,
    /// Holds one token; who has it may propose.
    turn: (flume::Sender<()>, flume::Receiver<()>),
}

impl<D: Disk> Clone for MetaStore<D> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

/// Gives the token back, also when the proposal is dropped half-way.
struct TurnGuard<'a>(&'a flume::Sender<()>);

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

impl<D: Disk> MetaStore<D> {
    /// Replays the journal in `folder`. Damage in it is an error: a catalogue with a hole decides nothing. A last record
    /// that is not whole is left out, and stands in the report: nobody can tell it from a command that was under way.
    pub async fn open(disk: D, folder: &str) -> Result<(Self, ReplayReport), Error> {
        let mut data = Data::default();
        let mut commands = 0;
        let (journal, report) = Journal::open(disk, folder, JournalOptions::growing(), |sequence, body| {
            replay_record(&mut data, &mut commands, body).map_err(|what| Error::Corrupted {
                file: folder.to_owned(),
                offset: sequence,
                what,
            })
        })
        .await?;
        if let Some(damage) = report.damages.first() {
            return Err(Error::Corrupted {
                file: damage.file.clone(),
                offset: damage.offset,
                what: damage.what.clone(),
            });
        }
        let turn = flume::bounded(1);
        let _ = turn.0.try_send(());
        let state_bytes = codec::encode_data(&data).len() as u64;
        let inner = Inner {
            journal,
            data: RefCell::new(Arc::new(data)),
            commands_since_snapshot: Cell::new(commands),
            state_bytes: Cell::new(state_bytes),
            turn,
        };
        Ok((Self { inner: Rc::new(inner) }, report))
    }

    /// The state now.
    pub fn current(&self) -> Arc<Data> {
        self.inner.data.borrow().clone()
    }

    /// Makes a command durable and applies it; its outcome and the state it led to.
    pub async fn propose(&self, command: &Command) -> Result<(Outcome, Arc<Data>), MetaError> {
        let inner = &*self.inner;
        let taken = inner.turn.1.recv_async().await;
        taken.map_err(|_| MetaError::Unavailable("closed".to_owned()))?;
        let _guard = TurnGuard(&inner.turn.0);

        let mut next = Data::clone(&inner.data.borrow());
        let outcome = apply(&mut next, command)?;
        let mut record = vec![KIND_COMMAND];
        record.extend_from_slice(&codec::encode_command(command));
        let unavailable = |error: Error| MetaError::Unavailable(error.to_string());
        inner.journal.append(&record).await.map_err(unavailable)?;
        let next = Arc::new(next);
        *inner.data.borrow_mut() = next.clone();
        inner.commands_since_snapshot.set(inner.commands_since_snapshot.get() + 1);
        if self.wants_snapshot() {
            // The command is durable already: a snapshot that fails costs room and a longer replay, nothing else.
            let _ = self.write_snapshot(&next).await;
        }
        Ok((outcome, next))
    }

    fn wants_snapshot(&self) -> bool {
        let inner = &*self.inner;
        let outgrown = inner.state_bytes.get().saturating_mul(GROWTH_MAX).max(JOURNAL_BYTES_MIN);
        inner.commands_since_snapshot.get() >= COMMANDS_MAX || inner.journal.live_bytes() > outgrown
    }

    async fn write_snapshot(&self, data: &Data) -> Result<(), Error> {
        let mut record = vec![KIND_SNAPSHOT];
        record.extend_from_slice(&codec::encode_data(data));
        self.inner.journal.rewrite(&[&record]).await?;
        self.inner.commands_since_snapshot.set(0);
        self.inner.state_bytes.set(record.len() as u64);
        Ok(())
    }

    /// Why no command is taken any more, if so.
    pub fn refusal(&self) -> Option<Error> {
        self.inner.journal.refusal()
    }

    pub async fn close(&self) -> Result<(), Error> {
        self.inner.journal.close().await
    }
}

fn replay_record(data: &mut Data, commands: &mut u64, body: &[u8]) -> Result<(), String> {
    let (kind, rest) = body.split_first().ok_or("an empty record")?;
    match *kind {
        KIND_COMMAND => {
            let command = codec::decode_command(rest).map_err(|malformed| malformed.0.to_owned())?;
            apply(data, &command).map_err(|refused| format!("a command that is refused: {refused}"))?;
            *commands += 1;
        }
        KIND_SNAPSHOT => {
            *data = codec::decode_data(rest).map_err(|malformed| malformed.0.to_owned())?;
            *commands = 0;
        }
        kind => return Err(format!("a record of unknown kind {kind}")),
    }
    Ok(())
}

#[cfg(all(test, feature = "sim"))]
mod tests;
