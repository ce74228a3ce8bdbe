//! Which series of a file pass a tag filter, from the file's tag postings.
//!
//! A missing tag is the empty string: what a condition says about the empty string, it says about the series that have
//! no value of the tag.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;

use super::request::TagFilter;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::index::tag_filter::{TagMatcher, Work, about_measurement};
use crate::pace::Pace;
use crate::postings::{Positions, intersect, subtract, union};
use crate::tsm::TsmReader;

/// The filter is asked about each key instead of the postings when more than one in this many series pass: walking the
/// keys costs less than looking most of them up.
const DENSE: usize = 8;

/// Ascending positions of the series that pass; `None` when the keys are to be walked and asked one by one, because
/// there is no filter or most series pass.
pub async fn matching_positions<D: Disk>(
    reader: &TsmReader<D>,
    measurement: &[u8],
    filter: Option<&TagFilter>,
    pace: &Pace,
) -> Result<Option<Positions>> {
    let Some(filter) = filter else { return Ok(None) };
    let choice = Choice { reader, measurement, all: OnceCell::new(), pace };
    let chosen = choice.passing(filter).await?;
    let is_sparse = chosen.len() < 64 || chosen.len() <= choice.all().await?.len() / DENSE;
    Ok(is_sparse.then_some(chosen))
}

/// Nanoseconds, about, that a pattern takes to be compiled.
const COMPILED_NS: u64 = 20_000;

/// Positions of alternatives that are gathered before they are sorted.
const UNSORTED_MAX: usize = 16 << 10;

struct Choice<'a, D: Disk> {
    reader: &'a TsmReader<D>,
    measurement: &'a [u8],
    /// All series of the measurement, once they are needed: of a million, one found by its tag does not need them.
    all: OnceCell<Positions>,
    pace: &'a Pace,
}

impl<D: Disk> Choice<'_, D> {
    async fn all(&self) -> Result<&[u32]> {
        if self.all.get().is_none() {
            // Nobody else asks meanwhile: a choice is made step by step.
            let all = self.reader.measurement_positions(self.measurement).await?;
            let _ = self.all.set(all);
        }
        Ok(self.all.get().map_or(&[], Vec::as_slice))
    }

    /// Boxed, because conditions nest.
    fn passing<'f>(&'f self, filter: &'f TagFilter) -> Pin<Box<dyn Future<Output = Result<Positions>> + 'f>> {
        Box::pin(async move {
            if let Some(holds) = about_measurement(filter, self.measurement)? {
                return Ok(if holds { self.all().await?.to_vec() } else { Vec::new() });
            }
            Ok(match filter {
                TagFilter::Constant(true) => self.all().await?.to_vec(),
                TagFilter::Constant(false) => Vec::new(),
                TagFilter::Equal { name, value } => self.equal(name, value).await?,
                TagFilter::NotEqual { name, value } => {
                    subtract(self.all().await?, &self.equal(name, value).await?)
                }
                TagFilter::Matches { name, .. } => self.matching(name, filter).await?,
                TagFilter::NotMatches { name, pattern } => {
                    let positive = TagFilter::Matches { name: name.clone(), pattern: pattern.clone() };
                    subtract(self.all().await?, &self.matching(name, &positive).await?)
                }
                TagFilter::And(parts) => {
                    // Equalities first: they are one look-up each, and an empty set ends it.
                    let mut parts: Vec<&TagFilter> = parts.iter().collect();
                    parts.sort_by_key(|part| !matches!(part, TagFilter::Equal { .. }));
                    let mut passing: Option<Positions> = None;
                    for part in parts {
                        if passing.as_ref().is_some_and(Vec::is_empty) {
                            break;
                        }
                        let these = self.passing(part).await?;
                        passing = Some(match passing {
                            None => these,
                            Some(before) => intersect(&before, &these),
                        });
                    }
                    match passing {
                        Some(passing) => passing,
                        None => self.all().await?.to_vec(),
                    }
                }
                TagFilter::Or(parts) => {
                    let mut passing = Vec::new();
                    // Sorted now and then, so that parts that overlap do not pile up, and not for every one of thousands.
                    let mut sort_at = UNSORTED_MAX;
                    for part in parts {
                        let these = self.passing(part).await?;
                        self.pace.spent(1_000 + 10 * these.len() as u64).await;
                        passing.extend(these);
                        if passing.len() >= sort_at {
                            passing.sort_unstable();
                            passing.dedup();
                            sort_at = UNSORTED_MAX + 2 * passing.len();
                        }
                    }
                    passing.sort_unstable();
                    passing.dedup();
                    passing
                }
            })
        })
    }

    async fn equal(&self, name: &[u8], value: &[u8]) -> Result<Positions> {
        if value.is_empty() {
            return self.without_tag(name).await;
        }
        self.reader.tag_positions(self.measurement, name, value).await
    }

    /// Series that have no value of the tag.
    async fn without_tag(&self, name: &[u8]) -> Result<Positions> {
        let with = self.values_where(name, Work::default(), |_| true).await?;
        Ok(subtract(self.all().await?, &with))
    }

    async fn matching(&self, name: &[u8], filter: &TagFilter) -> Result<Positions> {
        let matcher = TagMatcher::new(filter)?;
        // To compile a pattern takes long enough, and there may be no value.
        matcher.work().spent(self.pace, COMPILED_NS).await;
        let holds = |value: &[u8]| matcher.matches_value(name, value).unwrap_or(false);
        let matching = self.values_where(name, matcher.work(), holds).await?;
        if !holds(b"") {
            return Ok(matching);
        }
        Ok(union(&matching, &self.without_tag(name).await?))
    }

    /// Series whose value of the tag passes; `work` is what it takes to ask.
    async fn values_where(
        &self,
        name: &[u8],
        work: Work,
        passes: impl Fn(&[u8]) -> bool,
    ) -> Result<Positions> {
        let mut positions = Vec::new();
        let mut values = self.reader.tag_values(self.measurement, name).await?;
        while let Some(value) = values.next().await? {
            let before = positions.len();
            if passes(value) {
                values.positions(&mut positions)?;
            }
            work.spent(self.pace, 100 + 10 * (positions.len() - before) as u64).await;
        }
        // A series has one value of a tag, so that no position came twice.
        positions.sort_unstable();
        if positions.len() > self.all().await?.len() {
            return Err(Error::Invalid(format!(
                "BUG: more series with a tag than series in {}",
                self.reader.path()
            )));
        }
        Ok(positions)
    }
}
