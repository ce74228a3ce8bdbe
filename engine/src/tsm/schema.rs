//! The measurements of a file, their tag keys and fields, and the directory of the tag pages. Read when first asked for.
//!
//! ```text
//! varint measurements · each: varint length, name · varint tag keys · each: varint length, name
//! varint fields       · each: varint measurement · u8 type · varint length, name
//! tag pages           · varint pages · each: varint shared · varint suffix length · suffix (first key) · u64 offset
//!                       · u32 length · u32 crc32c
//! ```
//! A field's number is its place in this list, in order of first use: names stand here once.

use super::FieldId;
use super::index::{put_key, take_key};
use super::tags::TagKey;
use crate::codec::DecodeError;
use crate::codec::varint::{put_varint, take_byte, take_bytes, take_count, take_length, take_u32, take_u64};
use crate::model::FieldType;
use hashbrown::HashMap;

/// One measurement of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MeasurementEntry {
    pub name: Vec<u8>,
    /// In order of first use; the number of a key in the tag pages is its place plus 1.
    pub tag_keys: Vec<Vec<u8>>,
}

/// One field of one measurement of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldEntry {
    /// Place in [`Schema::measurements`].
    pub measurement: u32,
    pub name: Vec<u8>,
    pub field_type: FieldType,
}

/// A page of tag values: see tags.rs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPageEntry {
    pub first_key: Vec<u8>,
    pub offset: u64,
    pub length: u32,
    pub crc: u32,
}

#[derive(Debug, Default, PartialEq)]
pub struct Schema {
    pub measurements: Vec<MeasurementEntry>,
    pub fields: Vec<FieldEntry>,
    pub tag_pages: Vec<TagPageEntry>,
    by_name: HashMap<Vec<u8>, u32>,
}

impl Schema {
    /// The measurements of another file under their numbers there, tag keys too; no fields and no pages.
    pub fn with_measurements_of(other: &Self) -> Self {
        let (measurements, by_name) = (other.measurements.clone(), other.by_name.clone());
        Self { measurements, by_name, ..Self::default() }
    }

    /// The number of a measurement, taken when it is new.
    pub fn add_measurement(&mut self, name: &[u8]) -> u32 {
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        let number = self.measurements.len() as u32;
        self.measurements.push(MeasurementEntry { name: name.to_vec(), tag_keys: Vec::new() });
        self.by_name.insert(name.to_vec(), number);
        number
    }

    pub fn measurement(&self, name: &[u8]) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// Whether a key of a tag page is of a measurement and a tag key that are here.
    pub fn has(&self, key: &TagKey<'_>) -> bool {
        let entry = self.measurements.get(key.measurement as usize);
        entry.is_some_and(|entry| key.tag_key.is_none_or(|at| usize::from(at) < entry.tag_keys.len()))
    }

    /// Sorted names.
    pub fn measurement_names(&self) -> Vec<&[u8]> {
        let mut names: Vec<&[u8]> = self.measurements.iter().map(|entry| entry.name.as_slice()).collect();
        names.sort_unstable();
        names
    }

    /// Fields of a measurement with their numbers, sorted by name then type.
    pub fn fields_of(&self, measurement: &[u8]) -> Vec<(FieldId, &[u8], FieldType)> {
        let Some(number) = self.measurement(measurement) else { return Vec::new() };
        let mut fields: Vec<_> = (0u32..)
            .zip(&self.fields)
            .filter(|(_, field)| field.measurement == number)
            .map(|(at, field)| (FieldId(at), field.name.as_slice(), field.field_type))
            .collect();
        fields.sort_unstable_by(|a, b| (a.1, a.2).cmp(&(b.1, b.2)));
        fields
    }

    /// Sorted tag keys of a measurement.
    pub fn tag_keys_of(&self, measurement: &[u8]) -> Vec<&[u8]> {
        let Some(number) = self.measurement(measurement) else { return Vec::new() };
        let mut keys: Vec<&[u8]> =
            self.measurements[number as usize].tag_keys.iter().map(Vec::as_slice).collect();
        keys.sort_unstable();
        keys
    }

    pub fn field(&self, field: FieldId) -> Option<&FieldEntry> {
        self.fields.get(field.0 as usize)
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        let put_name = |name: &[u8], out: &mut Vec<u8>| {
            put_varint(out, name.len() as u64);
            out.extend_from_slice(name);
        };
        put_varint(out, self.measurements.len() as u64);
        for measurement in &self.measurements {
            put_name(&measurement.name, out);
            put_varint(out, measurement.tag_keys.len() as u64);
            measurement.tag_keys.iter().for_each(|key| put_name(key, out));
        }
        put_varint(out, self.fields.len() as u64);
        for field in &self.fields {
            put_varint(out, u64::from(field.measurement));
            out.push(field.field_type as u8);
            put_name(&field.name, out);
        }
        put_varint(out, self.tag_pages.len() as u64);
        let mut before: &[u8] = &[];
        for page in &self.tag_pages {
            put_key(out, before, &page.first_key);
            out.extend_from_slice(&page.offset.to_le_bytes());
            out.extend_from_slice(&page.length.to_le_bytes());
            out.extend_from_slice(&page.crc.to_le_bytes());
            before = &page.first_key;
        }
    }

    /// Reads the section; pages lie before `limit` in the file.
    pub fn take(mut bytes: &[u8], limit: u64) -> Result<Self, DecodeError> {
        const BAD: DecodeError = DecodeError("schema");
        let bytes = &mut bytes;
        let take_name = |bytes: &mut &[u8]| -> Result<Vec<u8>, DecodeError> {
            let length = take_length(bytes)?;
            Ok(take_bytes(bytes, length)?.to_vec())
        };
        let mut schema = Self::default();
        for number in 0..take_length(bytes)? {
            let name = take_name(bytes)?;
            let mut tag_keys = Vec::new();
            for _ in 0..take_length(bytes)? {
                tag_keys.push(take_name(bytes)?);
            }
            schema.by_name.insert(name.clone(), number as u32);
            schema.measurements.push(MeasurementEntry { name, tag_keys });
        }
        for _ in 0..take_length(bytes)? {
            let measurement = take_count(bytes, schema.measurements.len().saturating_sub(1))? as u32;
            let field_type = FieldType::from_byte(take_byte(bytes)?).ok_or(BAD)?;
            schema.fields.push(FieldEntry { measurement, field_type, name: take_name(bytes)? });
        }
        let mut key = Vec::new();
        for _ in 0..take_length(bytes)? {
            take_key(bytes, &mut key)?;
            let (offset, length, crc) = (take_u64(bytes)?, take_u32(bytes)?, take_u32(bytes)?);
            if offset.checked_add(u64::from(length)).is_none_or(|end| end > limit) {
                return Err(BAD);
            }
            schema.tag_pages.push(TagPageEntry { first_key: key.clone(), offset, length, crc });
        }
        if bytes.is_empty() { Ok(schema) } else { Err(BAD) }
    }
}
