//! Canonical series keys and THE hash; both are formats.
//!
//! A series key is `escaped(measurement)` followed by `,escaped(key)=escaped(value)` for each tag, tags sorted
//! bytewise by escaped key: the bytes a client sends, brought to order. In a measurement `,` and space are escaped by a
//! backslash; in tag keys and values `,`, `=` and space are. Other backslashes are literal.
//!
//! The hash decides the shard of a series for ever: XXH3-64 with seed 0 over the canonical bytes.

use std::borrow::Cow;
use std::fmt;

/// The placement hash of canonical key bytes. Frozen: shards on disk depend on it.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// The measurement part of canonical key bytes, still escaped.
pub fn measurement_escaped(key: &[u8]) -> &[u8] {
    let end = unescaped_position(key, b',').unwrap_or(key.len());
    &key[..end]
}

/// The measurement's name.
pub fn measurement(key: &[u8]) -> Cow<'_, [u8]> {
    unescape_measurement(measurement_escaped(key))
}

/// The tags of canonical key bytes in order, names and values unescaped.
pub fn tags(key: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    tags_behind(key, measurement_escaped(key).len())
}

/// As [`tags`], of a key whose measurement is known to end at `at`.
pub fn tags_behind(key: &[u8], at: usize) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    let tags = TagsEscaped::new(key, at);
    let is_plain = tags.is_plain;
    let unescaped = move |bytes| if is_plain { Cow::Borrowed(bytes) } else { unescape_tag(bytes) };
    tags.map(move |(name, value)| (unescaped(name), unescaped(value)))
}

/// The tags of canonical key bytes in order, as they stand.
pub fn tags_escaped(key: &[u8]) -> TagsEscaped<'_> {
    TagsEscaped::new(key, measurement_escaped(key).len())
}

/// The value of one tag, unescaped; `None` when the series does not have it.
pub fn tag_value<'a>(key: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    tags(key).find(|(tag, _)| tag.as_ref() == name).map(|(_, value)| value)
}

/// See [`tags_escaped`].
pub struct TagsEscaped<'a> {
    rest: &'a [u8],
    /// There is no backslash in it.
    is_plain: bool,
}

impl<'a> TagsEscaped<'a> {
    fn new(key: &'a [u8], measurement_end: usize) -> Self {
        let rest = key.get(measurement_end + 1..).unwrap_or_default();
        Self { rest, is_plain: !rest.contains(&b'\\') }
    }

    #[inline]
    fn place_of(&self, bytes: &[u8], byte: u8) -> Option<usize> {
        match self.is_plain {
            true => bytes.iter().position(|&this| this == byte),
            false => unescaped_position(bytes, byte),
        }
    }
}

impl<'a> Iterator for TagsEscaped<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.place_of(self.rest, b',').unwrap_or(self.rest.len());
        let pair = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        let equals = self.place_of(pair, b'=').unwrap_or(pair.len());
        Some((&pair[..equals], pair.get(equals + 1..).unwrap_or_default()))
    }
}

/// Where `byte` first stands without a backslash before it. Names and values are short: a plain loop beats a search
/// that first has to be set up.
#[inline]
fn unescaped_position(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut before = 0;
    bytes.iter().position(|&this| {
        let is_found = this == byte && before != b'\\';
        before = this;
        is_found
    })
}

fn unescape<'a>(bytes: &'a [u8], special: &[u8]) -> Cow<'a, [u8]> {
    if !bytes.contains(&b'\\') {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'\\' && at + 1 < bytes.len() && special.contains(&bytes[at + 1]) {
            at += 1;
        }
        out.push(bytes[at]);
        at += 1;
    }
    Cow::Owned(out)
}

/// A measurement's name from its escaped form.
pub fn unescape_measurement(bytes: &[u8]) -> Cow<'_, [u8]> {
    unescape(bytes, b", ")
}

/// A tag key, tag value or field key from its escaped form.
pub fn unescape_tag(bytes: &[u8]) -> Cow<'_, [u8]> {
    unescape(bytes, b", =")
}

fn escape_into(out: &mut Vec<u8>, bytes: &[u8], special: &[u8]) {
    for &byte in bytes {
        if special.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// Appends a measurement's escaped form.
pub fn escape_measurement_into(out: &mut Vec<u8>, name: &[u8]) {
    escape_into(out, name, b", ");
}

/// Appends the escaped form of a tag key, tag value or field key.
pub fn escape_tag_into(out: &mut Vec<u8>, bytes: &[u8]) {
    escape_into(out, bytes, b", =");
}

/// Canonical key bytes, owned.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey(pub Vec<u8>);

impl SeriesKey {
    /// Builds the canonical bytes from unescaped names; tags with an empty value are left out, as everywhere.
    pub fn build(measurement: &[u8], tags: &[(&[u8], &[u8])]) -> Self {
        let mut sorted: Vec<(Vec<u8>, &[u8])> = tags
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| {
                let mut escaped = Vec::new();
                escape_tag_into(&mut escaped, name);
                (escaped, *value)
            })
            .collect();
        sorted.sort();
        let mut bytes = Vec::new();
        escape_measurement_into(&mut bytes, measurement);
        for (name, value) in sorted {
            bytes.push(b',');
            bytes.extend_from_slice(&name);
            bytes.push(b'=');
            escape_tag_into(&mut bytes, value);
        }
        Self(bytes)
    }

    pub fn hash(&self) -> u64 {
        hash(&self.0)
    }
}

impl fmt::Debug for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_back_as_they_went_in() {
        let key = SeriesKey::build(b"c,p u", &[(b"b=", b"x y"), (b"a", b"1"), (b"empty", b"")]);
        assert_eq!(key.0, b"c\\,p\\ u,a=1,b\\==x\\ y");
        assert_eq!(measurement(&key.0).as_ref(), b"c,p u");
        let tags: Vec<_> = tags(&key.0).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
        assert_eq!(tags, vec![(b"a".to_vec(), b"1".to_vec()), (b"b=".to_vec(), b"x y".to_vec())]);
        assert_eq!(tag_value(&key.0, b"b=").as_deref(), Some(b"x y".as_slice()));
        assert_eq!(tag_value(&key.0, b"c"), None);
    }

    /// The hash is a stored format: these values may never change.
    #[test]
    fn the_hash_is_frozen() {
        assert_eq!(hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(hash(b"cpu,host=a"), hash(&SeriesKey::build(b"cpu", &[(b"host", b"a")]).0));
    }
}
