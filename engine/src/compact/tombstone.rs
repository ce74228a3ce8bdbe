//! A delete as it is remembered: which series, which time, in which files.
//!
//! A tombstone names its rows by predicate, so that deleting a million series is one small record; it is asked per
//! series key by readers and merges. It masks the files that existed when it was made; a file leaves its list when a merge
//! has applied it, and a tombstone without files is gone.
//!
//!     predicate   u8 has measurement, [varint length, name]; u8 has filter, [filter]; zigzag start, zigzag end

use crate::error::{Error, Result};
use crate::index::tag_filter::{TagMatcher, put_filter, take_filter};
use crate::model::varint::{put_varint, take_varint, unzigzag, zigzag};
use crate::model::{TimeRange, series_key};
use crate::scan::request::TagFilter;

/// Which rows a delete is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    /// `None`: every measurement.
    pub measurement: Option<Vec<u8>>,
    /// `None`: every series.
    pub series: Option<TagFilter>,
    pub time: TimeRange,
}

/// A predicate ready to be asked about many keys.
#[derive(Debug)]
pub struct Tombstone {
    pub predicate: Predicate,
    /// Ids of the files it masks, ascending.
    pub files: Vec<u64>,
    matcher: TagMatcher,
    /// The escaped measurement, as keys begin.
    escaped: Option<Vec<u8>>,
}

impl Predicate {
    pub fn put(&self, out: &mut Vec<u8>) {
        match &self.measurement {
            None => out.push(0),
            Some(name) => {
                out.push(1);
                put_varint(out, name.len() as u64);
                out.extend_from_slice(name);
            }
        }
        match &self.series {
            None => out.push(0),
            Some(filter) => {
                out.push(1);
                put_filter(out, filter);
            }
        }
        put_varint(out, zigzag(self.time.start));
        put_varint(out, zigzag(self.time.end));
    }

    /// Takes a predicate off the front; `None` when the bytes are not one.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let measurement = match take_byte(bytes)? {
            0 => None,
            1 => Some(take_bytes(bytes)?.to_vec()),
            _ => return None,
        };
        let series = match take_byte(bytes)? {
            0 => None,
            1 => Some(take_filter(bytes)?),
            _ => return None,
        };
        let time = TimeRange::new(unzigzag(take_varint(bytes)?), unzigzag(take_varint(bytes)?));
        Some(Self { measurement, series, time })
    }
}

pub(crate) fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(first)
}

pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(bytes)?).ok()?;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

impl Tombstone {
    /// `Error::Invalid` for a filter that does not compile.
    pub fn new(predicate: Predicate, files: Vec<u64>) -> Result<Self> {
        let matcher = TagMatcher::optional(predicate.series.as_ref())?;
        let escaped = predicate.measurement.as_ref().map(|name| {
            let mut escaped = Vec::new();
            series_key::escape_measurement_into(&mut escaped, name);
            escaped
        });
        Ok(Self { predicate, files, matcher, escaped })
    }

    /// The same delete for fewer files; `None` when none is left.
    pub fn without_files(&self, gone: &[u64]) -> Result<Option<Self>> {
        let files: Vec<u64> = self.files.iter().copied().filter(|file| !gone.contains(file)).collect();
        if files.is_empty() {
            return Ok(None);
        }
        Self::new(self.predicate.clone(), files).map(Some)
    }

    pub fn masks_file(&self, file: u64) -> bool {
        self.files.binary_search(&file).is_ok()
    }

    /// Whether rows of the series with this canonical key are deleted within `predicate.time`.
    pub fn masks_key(&self, key: &[u8]) -> bool {
        self.escaped.as_ref().is_none_or(|name| series_key::measurement_escaped(key) == name.as_slice())
            && self.matcher.matches_key(key)
    }
}

/// The spans of time in which rows of this series in this file are deleted.
pub fn masks<'a>(
    tombstones: &'a [std::rc::Rc<Tombstone>],
    file: u64,
    key: &'a [u8],
) -> impl Iterator<Item = TimeRange> + use<'a> {
    tombstones
        .iter()
        .filter(move |tombstone| tombstone.masks_file(file) && tombstone.masks_key(key))
        .map(|tombstone| tombstone.predicate.time)
}

/// The predicate of a WAL entry's body; the error names nothing but the fact, the WAL knows the place.
pub fn predicate_from_bytes(mut bytes: &[u8]) -> Result<Predicate> {
    let predicate = Predicate::take(&mut bytes).filter(|_| bytes.is_empty());
    predicate.ok_or_else(|| Error::Invalid("malformed delete predicate".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SeriesKey;
    use std::rc::Rc;

    fn predicate() -> Predicate {
        Predicate {
            measurement: Some(b"c pu".to_vec()),
            series: Some(TagFilter::Or(vec![
                TagFilter::And(vec![
                    TagFilter::Equal { name: b"host".to_vec(), value: b"a".to_vec() },
                    TagFilter::NotEqual { name: b"rack".to_vec(), value: b"".to_vec() },
                ]),
                TagFilter::Matches { name: b"host".to_vec(), pattern: "^z".to_owned() },
                TagFilter::Constant(false),
            ])),
            time: TimeRange::new(-5, i64::MAX),
        }
    }

    #[test]
    fn a_predicate_reads_back_and_cut_or_changed_bytes_never_panic() {
        let mut bytes = Vec::new();
        predicate().put(&mut bytes);
        assert_eq!(predicate_from_bytes(&bytes).expect("valid"), predicate());
        for length in 0..bytes.len() {
            assert!(predicate_from_bytes(&bytes[..length]).is_err());
            let mut changed = bytes.clone();
            for bit in 0..8 {
                changed[length] ^= 1 << bit;
                let _ = predicate_from_bytes(&changed);
            }
        }
    }

    #[test]
    fn a_tombstone_masks_its_series_in_its_files() {
        let tombstones = [Rc::new(Tombstone::new(predicate(), vec![3, 7]).expect("compiles"))];
        let hit = SeriesKey::build(b"c pu", &[(b"host", b"zz")]).0;
        let other = SeriesKey::build(b"c", &[(b"host", b"zz")]).0;
        assert_eq!(masks(&tombstones, 7, &hit).collect::<Vec<_>>(), [TimeRange::new(-5, i64::MAX)]);
        assert_eq!(masks(&tombstones, 6, &hit).count() + masks(&tombstones, 7, &other).count(), 0);
        assert_eq!(tombstones[0].without_files(&[3]).expect("compiles").expect("one left").files, [7]);
        assert!(tombstones[0].without_files(&[3, 7]).expect("compiles").is_none());
    }
}
