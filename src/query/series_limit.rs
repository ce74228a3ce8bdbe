//! SLIMIT and SOFFSET, and the LIMIT that `top` and `bottom` read by: bounds that InfluxDB applies shard by shard.
//!
//! SLIMIT chooses among the tag sets a shard has, whether or not they have rows in range, in the order of the tags they
//! have: `dc|host…` comes before `host…`. A tag set may so be chosen in one shard group and left out in the next.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tidemark_engine::model::{TimeRange, series_key};
use tidemark_engine::pace::Pace;
use tidemark_engine::scan::filter::{Division, Program, Verdict};
use tidemark_engine::scan::request::{CatalogKind, CatalogReply, CatalogRequest, ScanRequest, TagFilter};

use super::error::{QueryError, Result};
use super::functions::reduce::Reduce;
use super::merge::merge_catalogs;
use super::plan::{CallInput, CallNode, MeasurementScan, Plan};
use super::rewrite::{Limits, time_range};
use super::rows::{RowBatch, SeriesId};
use super::source::DataSource;

/// Most tag sets that are also told to the cores, which compare every series with each.
const FILTERED_MAX: usize = 64;

/// What is read of a part of the range: one shard group's, or that of several with the same choice.
pub struct Chosen {
    time: TimeRange,
    /// Values of the outermost query's dimensions.
    pub tag_sets: Rc<BTreeSet<Vec<Vec<u8>>>>,
}

impl Chosen {
    /// The request for this part.
    pub fn narrowed(&self, request: &ScanRequest, plan: &Plan) -> ScanRequest {
        let mut narrowed = request.clone();
        narrowed.time =
            TimeRange::new(request.time.start.max(self.time.start), request.time.end.min(self.time.end));
        if self.tag_sets.len() > FILTERED_MAX {
            return narrowed;
        }
        let is = |(name, value): (&String, &Vec<u8>)| TagFilter::Equal {
            name: name.clone().into_bytes(),
            value: value.clone(),
        };
        let sets =
            self.tag_sets.iter().map(|set| TagFilter::And(plan.dimensions.iter().zip(set).map(is).collect()));
        let among = TagFilter::Or(sets.collect());
        narrowed.series = Some(match narrowed.series.take() {
            Some(filter) => TagFilter::And(vec![filter, among]),
            None => among,
        });
        narrowed
    }
}

/// Chooses the tag sets of every shard group; groups without any are left out.
pub async fn choose<D: DataSource>(
    source: &D,
    scan: &MeasurementScan,
    plan: &Plan,
    budget_bytes: u64,
) -> Result<Vec<Chosen>> {
    let program = match &scan.rows {
        None => None,
        Some(rows) => Some(Program::compile(rows, Division::Integer)?),
    };
    let mut chosen: Vec<Chosen> = Vec::new();
    for time in source.group_ranges(&scan.at.place, time_range(plan.read.0, plan.read.1)) {
        let keys = series_keys(source, scan, time, 0, budget_bytes).await?;
        let mut found: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for key in &keys {
            let verdict =
                program.as_ref().map(|program| program.verdict(&|name| series_key::tag_value(key, name)));
            if matches!(verdict, Some(Verdict::None)) {
                continue;
            }
            let values: Vec<Vec<u8>> = plan.dimensions[..plan.final_dimensions]
                .iter()
                .map(|name| series_key::tag_value(key, name.as_bytes()).unwrap_or_default().into_owned())
                .collect();
            found.entry(rank(&plan.dimensions, &values)).or_insert(values);
        }
        let skip = usize::try_from(plan.soffset).unwrap_or(usize::MAX);
        let keep = usize::try_from(plan.slimit).unwrap_or(usize::MAX);
        let tag_sets: BTreeSet<Vec<Vec<u8>>> = found.into_values().skip(skip).take(keep).collect();
        if tag_sets.is_empty() {
            continue;
        }
        match chosen.last_mut() {
            Some(last) if *last.tag_sets == tag_sets => last.time.end = time.end,
            _ => chosen.push(Chosen { time, tag_sets: Rc::new(tag_sets) }),
        }
    }
    Ok(chosen)
}

/// Keys of the series a scan reads in a shard group; `limit`: most wanted of each core, 0 is all.
pub async fn series_keys<D: DataSource>(
    source: &D,
    scan: &MeasurementScan,
    time: TimeRange,
    limit: u64,
    budget_bytes: u64,
) -> Result<Vec<Vec<u8>>> {
    let request = CatalogRequest {
        shards: Vec::new(),
        measurements: Some(vec![scan.at.schema.measurement.clone()]),
        time,
        series: scan.series.clone(),
        what: CatalogKind::Series,
        limit,
        budget_bytes,
    };
    match merge_catalogs(source.catalog(&scan.at.place, &request).await?, &Pace::new()).await {
        None => Ok(Vec::new()),
        Some(CatalogReply::Series(keys)) => Ok(keys),
        Some(_) => Err(QueryError::statement("BUG: a core answered another question")),
    }
}

/// Refuses to read more series of a shard group than is allowed: each core sees only its own.
pub async fn check_series<D: DataSource>(
    source: &D,
    scan: &MeasurementScan,
    plan: &Plan,
    limits: &Limits,
) -> Result<()> {
    let max = limits.series_max;
    if max == 0 {
        return Ok(());
    }
    for time in source.group_ranges(&scan.at.place, time_range(plan.read.0, plan.read.1)) {
        let keys = series_keys(source, scan, time, max.saturating_add(1), limits.budget_bytes).await?;
        if keys.len() as u64 > max {
            return Err(QueryError::SeriesMax { wanted: max.saturating_add(1), max });
        }
    }
    Ok(())
}

/// By what tag sets are ordered: the names of the tags there are, then their values, joined.
pub fn rank(dimensions: &[String], values: &[Vec<u8>]) -> Vec<u8> {
    let there = || dimensions.iter().zip(values).filter(|(_, value)| !value.is_empty());
    let names: Vec<&[u8]> = there().map(|(name, _)| name.as_bytes()).collect();
    let values: Vec<&[u8]> = there().map(|(_, value)| value.as_slice()).collect();
    [names, values].concat().join(&b'|')
}

/// `top(f, n)` and `bottom(f, n)` see only the first rows of a tag set in each shard group when the query has a LIMIT:
/// LIMIT + OFFSET + 1 of them. That is how InfluxDB has it.
pub struct RowCap {
    /// Position of the column whose values are counted.
    column: usize,
    rows_max: u64,
    /// Shard groups' ranges.
    ranges: Vec<TimeRange>,
    series: Option<Rc<SeriesId>>,
    /// The range at hand, and the values met in it.
    range: Option<TimeRange>,
    met: u64,
}

impl RowCap {
    /// `None` where nothing is cut.
    pub fn of<D: DataSource>(plan: &Plan, scan: &MeasurementScan, source: &D) -> Option<Self> {
        let [call] = plan.calls.as_slice() else { return None };
        let CallNode::Reduce { function, from: CallInput::Column(column), per, .. } = &call.node else {
            return None;
        };
        let is_cut = matches!(function, Reduce::Top(_) | Reduce::Bottom(_)) && per.is_empty();
        if !is_cut || (plan.limit == 0 && plan.offset == 0) {
            return None;
        }
        Some(Self {
            column: *column,
            rows_max: plan.limit.saturating_add(plan.offset).saturating_add(1),
            ranges: source.group_ranges(&scan.at.place, time_range(plan.read.0, plan.read.1)),
            series: None,
            range: None,
            met: 0,
        })
    }

    /// Takes rows beyond the cap out.
    pub fn cut(&mut self, batch: &mut RowBatch) {
        if self.series.as_ref() != Some(&batch.series) {
            self.series = Some(batch.series.clone());
            (self.range, self.met) = (None, 0);
        }
        let mut kept = Vec::with_capacity(batch.times.len());
        for (row, &time) in batch.times.iter().enumerate() {
            if self.range.is_none_or(|range| !range.contains(time)) {
                let at = self.ranges.partition_point(|range| range.end <= time);
                self.range = self.ranges.get(at).copied();
                self.met = 0;
            }
            if batch.columns[self.column].is_present(row) {
                self.met += 1;
                if self.met <= self.rows_max {
                    kept.push(row);
                }
            }
        }
        if kept.len() < batch.times.len() {
            batch.times = kept.iter().map(|row| batch.times[*row]).collect();
            batch.columns = batch.columns.iter().map(|column| super::rows::take(column, &kept)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tag_sets_that_have_more_of_the_first_tags_come_first() {
        let dimensions = ["dc".to_owned(), "host".to_owned()];
        let rank = |dc: &str, host: &str| super::rank(&dimensions, &[dc.into(), host.into()]);
        assert_eq!(rank("x", "a"), b"dc|host|x|a");
        assert_eq!(rank("", "a"), b"host|a");
        assert_eq!(rank("", ""), b"");
        let mut ranks = [rank("", "a"), rank("x", ""), rank("x", "b"), rank("", "")];
        ranks.sort();
        assert_eq!(ranks, [rank("", ""), rank("x", "b"), rank("x", ""), rank("", "a")]);
    }
}
