//! Types of fields: per (shard group, measurement), the same for all shards of the group.
//!
//! [`FieldTypes`] is a core's copy. It only ever learns what the group's registrar answered, so a type in it is final
//! while the group lives (or until its measurement is dropped). [`Registrar`](super::registrar::Registrar) is the side
//! that decides: first arrival wins.

use hashbrown::{HashMap, HashSet};

use crate::limits::FIELDS_PER_MEASUREMENT_MAX;
use crate::model::{Batch, FieldType, ShardGroupId};

/// One field of one measurement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldDefinition {
    pub measurement: Vec<u8>,
    pub field: Vec<u8>,
    pub field_type: FieldType,
}

/// A field given with another type than it has; the facts of InfluxDB's error text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTypeConflict {
    pub measurement: Vec<u8>,
    pub field: Vec<u8>,
    /// The type in the refused point.
    pub given: FieldType,
    /// The type the field has.
    pub existing: FieldType,
}

/// Names of a measurement's fields and their types.
pub type MeasurementFields = HashMap<Vec<u8>, FieldType>;

/// A core's copy of the field types of the groups it has met.
#[derive(Debug, Default)]
pub struct FieldTypes {
    groups: HashMap<ShardGroupId, HashMap<Vec<u8>, MeasurementFields>>,
    bytes: u64,
}

/// Per shape of a batch: the conflict that refuses its rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// By shape position; empty when nothing is refused.
    pub refused: Vec<bool>,
    /// The conflict of the first refused row.
    pub conflict: Option<FieldTypeConflict>,
    /// Position of the first refused row, and how many are refused.
    pub first_row: u32,
    pub rows: u32,
}

impl FieldTypes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Memory in use, roughly, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn knows_group(&self, group: ShardGroupId) -> bool {
        self.groups.contains_key(&group)
    }

    pub fn field_type(&self, group: ShardGroupId, measurement: &[u8], field: &[u8]) -> Option<FieldType> {
        self.groups.get(&group)?.get(measurement)?.get(field).copied()
    }

    /// Fields of a measurement with their types, unsorted.
    pub fn fields(&self, group: ShardGroupId, measurement: &[u8]) -> Option<&MeasurementFields> {
        self.groups.get(&group)?.get(measurement)
    }

    /// The fields of a batch that this copy does not know: what to ask the registrar, in the order of the batch.
    pub fn unknown(&self, group: ShardGroupId, batch: &Batch) -> Vec<FieldDefinition> {
        let group = self.groups.get(&group);
        let mut unknown: Vec<FieldDefinition> = Vec::new();
        let mut asked: HashSet<(&[u8], &[u8])> = HashSet::new();
        for at in 0..batch.shape_count() as u32 {
            let shape = batch.shape(at);
            let known = group.and_then(|group| group.get(shape.measurement()));
            for (field_type, name) in shape.fields() {
                if known.is_some_and(|known| known.contains_key(name)) {
                    continue;
                }
                if asked.insert((shape.measurement(), name)) {
                    unknown.push(FieldDefinition {
                        measurement: shape.measurement().to_vec(),
                        field: name.to_vec(),
                        field_type,
                    });
                }
            }
        }
        unknown
    }

    /// Takes over what the registrar answered.
    pub fn learn(&mut self, group: ShardGroupId, definitions: &[FieldDefinition]) {
        let measurements = self.groups.entry(group).or_default();
        for definition in definitions {
            let fields = match measurements.get_mut(&definition.measurement) {
                Some(fields) => fields,
                None => {
                    self.bytes += 96 + definition.measurement.len() as u64;
                    measurements.entry(definition.measurement.clone()).or_default()
                }
            };
            if fields.insert(definition.field.clone(), definition.field_type).is_none() {
                self.bytes += 48 + definition.field.len() as u64;
            }
        }
    }

    /// First arrival wins: the types that hold for `asked` (a field beyond the limit is left out), and those of them that
    /// are new and to be made durable before they are learned.
    pub fn decide(
        &self,
        group: ShardGroupId,
        asked: &[FieldDefinition],
    ) -> (Vec<FieldDefinition>, Vec<FieldDefinition>) {
        let mut answer = Vec::with_capacity(asked.len());
        let mut new: Vec<FieldDefinition> = Vec::new();
        let mut decided: HashMap<&[u8], HashMap<&[u8], FieldType>> = HashMap::new();
        for definition in asked {
            let fields = self.fields(group, &definition.measurement);
            let new_here = decided.entry(&definition.measurement).or_default();
            let existing = fields
                .and_then(|fields| fields.get(&definition.field))
                .or_else(|| new_here.get(definition.field.as_slice()))
                .copied();
            if existing.is_none() {
                if fields.map_or(0, HashMap::len) + new_here.len() >= FIELDS_PER_MEASUREMENT_MAX {
                    continue;
                }
                new_here.insert(&definition.field, definition.field_type);
                new.push(definition.clone());
            }
            let field_type = existing.unwrap_or(definition.field_type);
            answer.push(FieldDefinition { field_type, ..definition.clone() });
        }
        (answer, new)
    }

    /// Which rows of a batch are refused, and why the first of them is.
    pub fn check(&self, group: ShardGroupId, batch: &Batch) -> Verdict {
        let group = self.groups.get(&group);
        let mut verdict = Verdict::default();
        let mut conflicts: Vec<Option<FieldTypeConflict>> = Vec::new();
        for at in 0..batch.shape_count() as u32 {
            let shape = batch.shape(at);
            let known = group.and_then(|group| group.get(shape.measurement()));
            let Some(known) = known else { continue };
            for (given, name) in shape.fields() {
                let Some(&existing) = known.get(name) else { continue };
                if existing == given {
                    continue;
                }
                conflicts.resize(batch.shape_count(), None);
                conflicts[at as usize] = Some(FieldTypeConflict {
                    measurement: shape.measurement().to_vec(),
                    field: name.to_vec(),
                    given,
                    existing,
                });
                break;
            }
        }
        if conflicts.is_empty() {
            return verdict;
        }
        verdict.refused = conflicts.iter().map(Option::is_some).collect();
        for (row_at, row) in batch.rows().enumerate() {
            if let Some(conflict) = &conflicts[row.shape as usize] {
                if verdict.rows == 0 {
                    verdict.first_row = row_at as u32;
                    verdict.conflict = Some(conflict.clone());
                }
                verdict.rows += 1;
            }
        }
        verdict
    }

    pub fn forget_measurement(&mut self, group: ShardGroupId, measurement: &[u8]) {
        if let Some(fields) = self.groups.get_mut(&group).and_then(|group| group.remove(measurement)) {
            self.bytes -= bytes_of(measurement, &fields).min(self.bytes);
        }
    }

    pub fn forget_group(&mut self, group: ShardGroupId) {
        for (measurement, fields) in self.groups.remove(&group).into_iter().flatten() {
            self.bytes -= bytes_of(&measurement, &fields).min(self.bytes);
        }
    }
}

fn bytes_of(measurement: &[u8], fields: &MeasurementFields) -> u64 {
    96 + measurement.len() as u64 + fields.keys().map(|name| 48 + name.len() as u64).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::put_value;
    use crate::model::{BatchBuilder, SeriesKey, Value};

    const GROUP: ShardGroupId = ShardGroupId(1);

    /// A batch of one row per entry: (field, value).
    fn batch(rows: &[(&str, Value)]) -> Batch {
        let mut builder = BatchBuilder::new();
        let key = SeriesKey::build(b"m", &[]);
        let series = builder.add_series(key.hash(), &key.0);
        for (time, (field, value)) in rows.iter().enumerate() {
            let shape = builder.add_shape(b"m", [(value.field_type(), field.as_bytes())].into_iter());
            let mut values = Vec::new();
            put_value(&mut values, value);
            builder.add_row(series, shape, time as i64, &values);
        }
        builder.finish(1, 1)
    }

    #[test]
    fn the_first_type_to_arrive_wins_and_other_types_are_refused_with_the_facts() {
        let mut registrar = FieldTypes::new();
        let mut copy = FieldTypes::new();
        let batch = batch(&[("v", Value::Float(1.0)), ("w", Value::Boolean(true)), ("v", Value::Integer(1))]);
        let unknown = copy.unknown(GROUP, &batch);
        assert_eq!(unknown.len(), 2, "each field is asked once, by its first type");
        let (answer, new) = registrar.decide(GROUP, &unknown);
        assert_eq!((answer.len(), new.len()), (2, 2));
        registrar.learn(GROUP, &new);
        copy.learn(GROUP, &answer);
        assert!(copy.unknown(GROUP, &batch).is_empty());
        let verdict = copy.check(GROUP, &batch);
        assert_eq!(verdict.refused, [false, false, true]);
        assert_eq!((verdict.first_row, verdict.rows), (2, 1));
        assert_eq!(
            verdict.conflict,
            Some(FieldTypeConflict {
                measurement: b"m".to_vec(),
                field: b"v".to_vec(),
                given: FieldType::Integer,
                existing: FieldType::Float,
            })
        );
        // A late asker gets the type that stands.
        let late = FieldDefinition {
            measurement: b"m".to_vec(),
            field: b"v".to_vec(),
            field_type: FieldType::Integer,
        };
        let (answer, new) = registrar.decide(GROUP, &[late]);
        assert_eq!((answer[0].field_type, new.len()), (FieldType::Float, 0));
    }

    #[test]
    fn fields_of_one_name_are_told_apart_by_their_measurement_and_asked_twice_are_decided_once() {
        let registrar = FieldTypes::new();
        let ask = |measurement: &str, field: &str, field_type| FieldDefinition {
            measurement: measurement.into(),
            field: field.into(),
            field_type,
        };
        let asked = [
            ask("m", "v", FieldType::Float),
            ask("n", "v", FieldType::Integer),
            ask("m", "v", FieldType::String),
            ask("n", "w", FieldType::Boolean),
        ];
        let (answer, new) = registrar.decide(GROUP, &asked);
        let types: Vec<FieldType> = answer.iter().map(|definition| definition.field_type).collect();
        assert_eq!(types, [FieldType::Float, FieldType::Integer, FieldType::Float, FieldType::Boolean]);
        assert_eq!(new, [asked[0].clone(), asked[1].clone(), asked[3].clone()]);
    }

    #[test]
    fn a_dropped_measurement_may_come_back_with_other_types() {
        let mut types = FieldTypes::new();
        let float = batch(&[("v", Value::Float(1.0))]);
        types.learn(GROUP, &types.unknown(GROUP, &float));
        let integer = batch(&[("v", Value::Integer(1))]);
        assert_eq!(types.check(GROUP, &integer).rows, 1);
        types.forget_measurement(GROUP, b"m");
        assert_eq!(types.bytes(), 0);
        assert_eq!(types.check(GROUP, &integer).rows, 0);
        types.learn(GROUP, &types.unknown(GROUP, &integer));
        assert_eq!(types.field_type(GROUP, b"m", b"v"), Some(FieldType::Integer));
        types.forget_group(GROUP);
        assert!(!types.knows_group(GROUP) && types.bytes() == 0);
    }
}
