//! Evaluates a condition on tags over series keys, its regular expressions compiled once.
//!
//! A missing tag is the empty string, as everywhere: `host != 'a'` holds for a series without `host`. The measurement
//! stands as a tag, too: `_name`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use crate::error::{Error, Result};
use crate::model::series_key;
use crate::model::varint::{put_varint, take_varint};
use crate::pace::Pace;
use crate::scan::request::TagFilter;

/// Most bytes a compiled expression may take.
const REGEX_BYTES_MAX: usize = 10 << 20;

/// The tag that is the measurement's name.
const MEASUREMENT: &[u8] = b"_name";

/// Whether all series of a measurement pass, or none, when a comparison is one of its name.
pub fn about_measurement(filter: &TagFilter, measurement: &[u8]) -> Result<Option<bool>> {
    let (TagFilter::Equal { name, .. }
    | TagFilter::NotEqual { name, .. }
    | TagFilter::Matches { name, .. }
    | TagFilter::NotMatches { name, .. }) = filter
    else {
        return Ok(None);
    };
    if name != MEASUREMENT {
        return Ok(None);
    }
    Ok(Some(TagMatcher::new(filter)?.matches(&|_| Some(Cow::Borrowed(measurement)))))
}

/// A [`TagFilter`] ready to be asked about many keys.
#[derive(Debug, Clone)]
pub enum TagMatcher {
    Constant(bool),
    Equal {
        name: Vec<u8>,
        value: Vec<u8>,
        negated: bool,
    },
    /// Many equalities of one tag, of which one is to hold.
    OneOf {
        name: Vec<u8>,
        values: HashSet<Vec<u8>>,
    },
    Matches {
        name: Vec<u8>,
        pattern: Box<regex::bytes::Regex>,
        negated: bool,
    },
    And(Vec<TagMatcher>),
    Or(Vec<TagMatcher>),
}

/// What it takes to ask a matcher about a key or a value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    ns: u64,
    /// Of a pattern: there are values of which it takes milliseconds.
    is_guess: bool,
}

impl Work {
    /// Counts one question, and `ns` for what else was done.
    #[inline]
    pub async fn spent(self, pace: &Pace, ns: u64) {
        match self.is_guess {
            true => pace.spent_at_least(self.ns + ns).await,
            false => pace.spent(self.ns + ns).await,
        }
    }
}

impl TagMatcher {
    /// `Error::Invalid` for a pattern that does not compile.
    pub fn new(filter: &TagFilter) -> Result<Self> {
        Ok(match filter {
            TagFilter::Constant(holds) => Self::Constant(*holds),
            TagFilter::Equal { name, value } => {
                Self::Equal { name: name.clone(), value: value.clone(), negated: false }
            }
            TagFilter::NotEqual { name, value } => {
                Self::Equal { name: name.clone(), value: value.clone(), negated: true }
            }
            TagFilter::Matches { name, pattern } => Self::regex(name, pattern, false)?,
            TagFilter::NotMatches { name, pattern } => Self::regex(name, pattern, true)?,
            TagFilter::And(parts) => Self::And(parts.iter().map(Self::new).collect::<Result<_>>()?),
            TagFilter::Or(parts) => Self::any(parts)?,
        })
    }

    /// No filter: all series.
    pub fn optional(filter: Option<&TagFilter>) -> Result<Self> {
        filter.map_or(Ok(Self::Constant(true)), Self::new)
    }

    /// A long list of values of one tag becomes one look-up.
    fn any(parts: &[TagFilter]) -> Result<Self> {
        let mut lists: BTreeMap<&[u8], HashSet<Vec<u8>>> = BTreeMap::new();
        let mut any = Vec::new();
        for part in parts {
            match part {
                TagFilter::Equal { name, value } => {
                    lists.entry(name).or_default().insert(value.clone());
                }
                part => any.push(Self::new(part)?),
            }
        }
        any.extend(lists.into_iter().map(|(name, values)| Self::OneOf { name: name.to_vec(), values }));
        Ok(Self::Or(any))
    }

    /// What it takes to ask about a key.
    pub fn work(&self) -> Work {
        match self {
            Self::Constant(_) => Work { ns: 1, is_guess: false },
            Self::Equal { .. } | Self::OneOf { .. } => Work { ns: 50, is_guess: false },
            Self::Matches { .. } => Work { ns: 200, is_guess: true },
            Self::And(parts) | Self::Or(parts) => {
                parts.iter().map(Self::work).fold(Work::default(), |sum, part| Work {
                    ns: sum.ns + part.ns,
                    is_guess: sum.is_guess || part.is_guess,
                })
            }
        }
    }

    fn regex(name: &[u8], pattern: &str, negated: bool) -> Result<Self> {
        let pattern = regex::bytes::RegexBuilder::new(pattern)
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|error| Error::Invalid(format!("regular expression {pattern}: {error}")))?;
        Ok(Self::Matches { name: name.to_vec(), pattern: Box::new(pattern), negated })
    }

    /// Whether a series with this canonical key passes.
    pub fn matches_key(&self, key: &[u8]) -> bool {
        self.matches(&|name| match name {
            MEASUREMENT => Some(series_key::measurement(key)),
            name => series_key::tag_value(key, name),
        })
    }

    /// Whether a series with these tags passes; `tag` gives a tag's unescaped value.
    pub fn matches<'a>(&self, tag: &impl Fn(&[u8]) -> Option<Cow<'a, [u8]>>) -> bool {
        match self {
            Self::Constant(holds) => *holds,
            Self::Equal { name, value, negated } => {
                (tag(name).unwrap_or_default().as_ref() == value.as_slice()) != *negated
            }
            Self::OneOf { name, values } => values.contains(tag(name).unwrap_or_default().as_ref()),
            Self::Matches { name, pattern, negated } => {
                pattern.is_match(&tag(name).unwrap_or_default()) != *negated
            }
            Self::And(parts) => parts.iter().all(|part| part.matches(tag)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(tag)),
        }
    }

    /// Whether a tag value passes, for conditions on this one tag: `None` when the condition is not about `name` alone.
    pub fn matches_value(&self, name: &[u8], value: &[u8]) -> Option<bool> {
        if !self.is_about(name) {
            return None;
        }
        Some(self.matches(&|_| Some(Cow::Borrowed(value))))
    }

    fn is_about(&self, tag: &[u8]) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::Equal { name, .. } | Self::OneOf { name, .. } | Self::Matches { name, .. } => name == tag,
            Self::And(parts) | Self::Or(parts) => parts.iter().all(|part| part.is_about(tag)),
        }
    }
}

/// Deepest nesting of a filter read from bytes.
const FILTER_DEPTH_MAX: usize = 256;

/// Appends a filter: u8 kind, then varint-length names and values; And and Or count their parts.
pub fn put_filter(out: &mut Vec<u8>, filter: &TagFilter) {
    let put_pair = |out: &mut Vec<u8>, kind: u8, name: &[u8], value: &[u8]| {
        out.push(kind);
        for bytes in [name, value] {
            put_varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    };
    match filter {
        TagFilter::Constant(holds) => out.extend_from_slice(&[0, u8::from(*holds)]),
        TagFilter::Equal { name, value } => put_pair(out, 1, name, value),
        TagFilter::NotEqual { name, value } => put_pair(out, 2, name, value),
        TagFilter::Matches { name, pattern } => put_pair(out, 3, name, pattern.as_bytes()),
        TagFilter::NotMatches { name, pattern } => put_pair(out, 4, name, pattern.as_bytes()),
        TagFilter::And(parts) | TagFilter::Or(parts) => {
            out.push(if matches!(filter, TagFilter::And(_)) { 5 } else { 6 });
            put_varint(out, parts.len() as u64);
            for part in parts {
                put_filter(out, part);
            }
        }
    }
}

/// Takes a filter off the front; `None` when the bytes are not one.
pub fn take_filter(bytes: &mut &[u8]) -> Option<TagFilter> {
    take_filter_below(bytes, FILTER_DEPTH_MAX)
}

fn take_filter_below(bytes: &mut &[u8], depth: usize) -> Option<TagFilter> {
    let depth = depth.checked_sub(1)?;
    let (&kind, rest) = bytes.split_first()?;
    *bytes = rest;
    let take_name = |bytes: &mut &[u8]| {
        let length = usize::try_from(take_varint(bytes)?).ok()?;
        let (head, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(head.to_vec())
    };
    Some(match kind {
        0 => {
            let (&holds, rest) = bytes.split_first()?;
            *bytes = rest;
            TagFilter::Constant(holds != 0)
        }
        1 => TagFilter::Equal { name: take_name(bytes)?, value: take_name(bytes)? },
        2 => TagFilter::NotEqual { name: take_name(bytes)?, value: take_name(bytes)? },
        3 | 4 => {
            let name = take_name(bytes)?;
            let pattern = String::from_utf8(take_name(bytes)?).ok()?;
            if kind == 3 {
                TagFilter::Matches { name, pattern }
            } else {
                TagFilter::NotMatches { name, pattern }
            }
        }
        5 | 6 => {
            let count = take_varint(bytes)?;
            let mut parts = Vec::new();
            for _ in 0..count {
                parts.push(take_filter_below(bytes, depth)?);
            }
            if kind == 5 { TagFilter::And(parts) } else { TagFilter::Or(parts) }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SeriesKey;

    #[test]
    fn a_missing_tag_is_the_empty_string() {
        let key = SeriesKey::build(b"cpu", &[(b"host", b"a b"), (b"rack", b"7")]).0;
        let equal = |name: &str, value: &str| TagFilter::Equal { name: name.into(), value: value.into() };
        let unequal =
            |name: &str, value: &str| TagFilter::NotEqual { name: name.into(), value: value.into() };
        let like =
            |name: &str, pattern: &str| TagFilter::Matches { name: name.into(), pattern: pattern.into() };
        let unlike =
            |name: &str, pattern: &str| TagFilter::NotMatches { name: name.into(), pattern: pattern.into() };
        let cases = [
            (equal("host", "a b"), true),
            (equal("host", "a"), false),
            (equal("zone", ""), true),
            (unequal("zone", "x"), true),
            (unequal("zone", ""), false),
            (like("host", "^a"), true),
            (like("zone", "^$"), true),
            (unlike("zone", "x"), true),
            (unlike("rack", "[0-9]"), false),
            (TagFilter::And(vec![equal("rack", "7"), unequal("host", "b")]), true),
            (TagFilter::And(vec![]), true),
            (TagFilter::Or(vec![]), false),
            (TagFilter::Or(vec![equal("rack", "8"), like("host", "b$")]), true),
            (TagFilter::Or(vec![equal("rack", "8"), equal("rack", "7"), equal("host", "x")]), true),
            (TagFilter::Or(vec![equal("rack", "8"), equal("zone", "")]), true),
            (TagFilter::Or(vec![equal("rack", "8"), equal("rack", "9")]), false),
            (TagFilter::Constant(false), false),
            (equal("_name", "cpu"), true),
            (unlike("_name", "^c"), false),
        ];
        for (filter, want) in cases {
            assert_eq!(TagMatcher::new(&filter).expect("compiles").matches_key(&key), want, "{filter:?}");
        }
        assert!(TagMatcher::new(&like("host", "(")).is_err());
    }

    #[test]
    fn a_condition_on_one_tag_is_answered_from_its_value() {
        let filter = TagFilter::Equal { name: b"host".to_vec(), value: b"a".to_vec() };
        let matcher = TagMatcher::new(&filter).expect("compiles");
        assert_eq!(matcher.matches_value(b"host", b"a"), Some(true));
        assert_eq!(matcher.matches_value(b"rack", b"a"), None);
    }
}
