//! The side that decides field types: one core per shard group, durable in the journal `data/<group>/fields`.
//!
//! A record of the journal is one decision: some definitions, or a measurement forgotten. First arrival wins; what was
//! answered once is never taken back while the measurement lives.
//!
//!     u8 0 definitions: per field varint length, measurement, u8 type, varint length, field
//!     u8 1 forgotten:   measurement to the end

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::compact::tombstone::{take_byte, take_bytes};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::index::fields::{FieldDefinition, FieldTypes};
use crate::journal::{Damage, Journal, JournalOptions, Replay, ReplayReport};
use crate::model::varint::put_varint;
use crate::model::{FieldType, ShardGroupId};
use crate::wait::Gate;

/// Journals kept open; another group's is closed for the next one. Groups take new fields one after the other.
const JOURNALS_OPEN_MAX: usize = 32;

/// One per core; decides for the groups whose registrar the core is.
pub struct Registrar<D: Disk> {
    disk: D,
    types: Rc<RefCell<FieldTypes>>,
    damages: Damages,
    journals: RefCell<HashMap<ShardGroupId, Rc<Journal<D>>>>,
    /// One decision at a time.
    deciding: Gate,
}

/// Damages found in journals of types.
pub type Damages = Rc<RefCell<Vec<Damage>>>;

/// Damages kept to be told.
const DAMAGES_MAX: usize = 1024;

fn folder(group: ShardGroupId) -> String {
    format!("data/{group}/fields")
}

impl<D: Disk> Registrar<D> {
    /// `types` is the core's copy, which decisions are added to; `damages` takes what is damaged in the journals.
    pub fn new(disk: D, types: Rc<RefCell<FieldTypes>>, damages: Damages) -> Self {
        Self { disk, types, damages, journals: RefCell::new(HashMap::new()), deciding: Gate::new() }
    }

    /// Decides types and answers those that hold, in the order asked. New ones are durable when it answers.
    pub async fn register(
        &self,
        group: ShardGroupId,
        asked: &[FieldDefinition],
    ) -> Result<Vec<FieldDefinition>> {
        let _inside = self.deciding.enter().await;
        let journal = self.journal(group).await?;
        let (answer, new) = self.types.borrow().decide(group, asked);
        if !new.is_empty() {
            journal.append(&definitions_to_bytes(&new)).await?;
            self.types.borrow_mut().learn(group, &new);
        }
        Ok(answer)
    }

    /// Forgets a measurement's types, durably.
    pub async fn forget(&self, group: ShardGroupId, measurement: &[u8]) -> Result<()> {
        let _inside = self.deciding.enter().await;
        let journal = self.journal(group).await?;
        let mut record = vec![1];
        record.extend_from_slice(measurement);
        journal.append(&record).await?;
        self.types.borrow_mut().forget_measurement(group, measurement);
        Ok(())
    }

    async fn journal(&self, group: ShardGroupId) -> Result<Rc<Journal<D>>> {
        if let Some(journal) = self.journals.borrow().get(&group) {
            return Ok(journal.clone());
        }
        let crowded = {
            let mut journals = self.journals.borrow_mut();
            let other = journals.keys().next().copied().filter(|_| journals.len() >= JOURNALS_OPEN_MAX);
            other.and_then(|other| journals.remove(&other))
        };
        if let Some(journal) = crowded {
            journal.close().await?;
        }
        let folder = folder(group);
        self.disk.create_dir_all(&folder).await?;
        let mut replay = Replay::open(self.disk.clone(), &folder, JournalOptions::growing()).await?;
        while let Some(record) = replay.next().await? {
            apply(&mut self.types.borrow_mut(), group, record.body)
                .ok_or_else(|| malformed(&folder, record.sequence))?;
        }
        let (journal, report) = replay.finish(0).await?;
        note_damages(&self.damages, &report);
        let journal = Rc::new(journal);
        self.journals.borrow_mut().insert(group, journal.clone());
        Ok(journal)
    }

    /// Closes all journals.
    pub async fn close(&self) -> Result<()> {
        let _inside = self.deciding.enter().await;
        let journals: Vec<_> = self.journals.borrow_mut().drain().map(|(_, journal)| journal).collect();
        for journal in journals {
            journal.close().await?;
        }
        Ok(())
    }
}

/// Reads a group's types into a core's copy without deciding anything: what a replay needs before its first entry.
pub async fn read_types<D: Disk>(
    disk: &D,
    types: &RefCell<FieldTypes>,
    damages: &Damages,
    group: ShardGroupId,
) -> Result<()> {
    let folder = folder(group);
    let mut replay = Replay::open(disk.clone(), &folder, JournalOptions::growing()).await?;
    types.borrow_mut().learn(group, &[]);
    while let Some(record) = replay.next().await? {
        apply(&mut types.borrow_mut(), group, record.body)
            .ok_or_else(|| malformed(&folder, record.sequence))?;
    }
    note_damages(damages, replay.report());
    Ok(())
}

/// Types that are lost may be decided otherwise from now on; the values that have them stay as they are. What is known
/// already is not told twice.
fn note_damages(damages: &Damages, report: &ReplayReport) {
    let mut known = damages.borrow_mut();
    for damage in &report.damages {
        if known.len() < DAMAGES_MAX && !known.contains(damage) {
            known.push(damage.clone());
        }
    }
}

fn malformed(folder: &str, sequence: u64) -> Error {
    let what = format!("record {sequence} is no decision about field types");
    Error::Corrupted { file: folder.to_owned(), offset: 0, what }
}

fn definitions_to_bytes(definitions: &[FieldDefinition]) -> Vec<u8> {
    let mut bytes = vec![0];
    for definition in definitions {
        put_varint(&mut bytes, definition.measurement.len() as u64);
        bytes.extend_from_slice(&definition.measurement);
        bytes.push(definition.field_type as u8);
        put_varint(&mut bytes, definition.field.len() as u64);
        bytes.extend_from_slice(&definition.field);
    }
    bytes
}

/// Takes a record's decision over; `None` when the bytes are not one.
fn apply(types: &mut FieldTypes, group: ShardGroupId, mut record: &[u8]) -> Option<()> {
    match take_byte(&mut record)? {
        0 => {
            let mut definitions = Vec::new();
            while !record.is_empty() {
                definitions.push(FieldDefinition {
                    measurement: take_bytes(&mut record)?.to_vec(),
                    field_type: FieldType::from_byte(take_byte(&mut record)?)?,
                    field: take_bytes(&mut record)?.to_vec(),
                });
            }
            types.learn(group, &definitions);
        }
        1 => types.forget_measurement(group, record),
        _ => return None,
    }
    Some(())
}

#[cfg(all(test, feature = "sim"))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;
    use futures_lite::future::block_on;

    fn definition(measurement: &str, field: &str, field_type: FieldType) -> FieldDefinition {
        FieldDefinition { measurement: measurement.into(), field: field.into(), field_type }
    }

    #[test]
    fn decisions_survive_a_power_cut_and_forgotten_measurements_stay_forgotten() {
        block_on(async {
            let disk = SimDisk::new(7);
            let group = ShardGroupId(3);
            let open = |disk: &SimDisk| Registrar::new(disk.clone(), Rc::default(), Rc::default());
            let registrar = open(&disk);
            let float = definition("m", "v", FieldType::Float);
            let other = definition("n", "v", FieldType::Integer);
            registrar.register(group, &[float.clone(), other.clone()]).await.expect("decides");

            let disk = disk.crash();
            let registrar = open(&disk);
            let late = definition("m", "v", FieldType::String);
            assert_eq!(registrar.register(group, &[late]).await, Ok(vec![float.clone()]));
            registrar.forget(group, b"m").await.expect("forgets");

            let disk = disk.crash();
            let types = RefCell::default();
            read_types(&disk, &types, &Rc::default(), group).await.expect("reads");
            assert_eq!(types.borrow().field_type(group, b"m", b"v"), None);
            assert_eq!(types.borrow().field_type(group, b"n", b"v"), Some(FieldType::Integer));
        });
    }

    #[test]
    fn cut_or_changed_records_never_panic() {
        let bytes = definitions_to_bytes(&[definition("m", "field", FieldType::Boolean)]);
        for at in 0..bytes.len() {
            apply(&mut FieldTypes::new(), ShardGroupId(1), &bytes[..at]);
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                apply(&mut FieldTypes::new(), ShardGroupId(1), &changed);
            }
        }
    }
}
