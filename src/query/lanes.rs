//! The ways a SELECT reads its sources, where rows of equal times may meet in a tag set.
//!
//! InfluxDB reads the sources once per call, and only rows with a value of that call's field. Which row of equal times
//! comes first depends on all of them, so that it may be another one for every call. Calls whose results hang on it are
//! therefore given lanes of their own, one per field; all others share one, as all do where times cannot meet.
//!
//! What the cores fold is one lane, too: see [`super::edges`] for `first` and `last` in it.
//!
//! `first` and `last` of a whole range look at one row of each series only, those of the first (last) shard group that
//! has any: of the two rows on top of InfluxDB's heap of them the better one is the result, whatever the others hold.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::rc::Rc;

use tidemark_engine::model::series_key;
use tidemark_engine::scan::request::{BinaryOp, Expr as ScanExpr, ScanColumn};

use super::control::Control;
use super::error::Result;
use super::functions::reduce::Reduce;
use super::legs::{InBatch, Legs};
use super::plan::{CallInput, CallNode, MeasurementScan, Plan, PlannedSource};
use super::rewrite::time_range;
use super::rows::SeriesId;
use super::series_limit::series_keys;
use super::source::DataSource;
use super::ties::{TIED_SERIES_MAX, TieOrder};
use super::types::Type;

/// How the rows of a lane are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// All inputs at once, or what the cores fold. Equal times are ordered only in rows that are given out as they are.
    Together,
    /// The rows that have a value of the input, in InfluxDB's order.
    Ordered(usize),
    /// Of those, each tag set's first two in the direction.
    Edge { column: usize, descending: bool },
}

impl Way {
    /// How InfluxDB reads for a call.
    fn of(plan: &Plan, node: &CallNode) -> Self {
        match node {
            CallNode::Transform { from: CallInput::Call(inner), .. }
            | CallNode::HoltWinters { from: CallInput::Call(inner), .. } => Self::of(plan, &inner.node),
            CallNode::Transform { from: CallInput::Column(column), .. } => Self::ordered(plan, *column),
            CallNode::Reduce {
                function, from: CallInput::Column(column), windows, at_window, per, ..
            } => match function {
                Reduce::First | Reduce::Last if windows.interval.is_none() => {
                    match Self::ordered(plan, *column) {
                        Self::Ordered(column) => Self::Edge { column, descending: *function == Reduce::Last },
                        other => other,
                    }
                }
                Reduce::Mode => Self::ordered(plan, *column),
                Reduce::Top(_) | Reduce::Bottom(_) if per.is_empty() => Self::ordered(plan, *column),
                Reduce::Percentile(_) if !at_window || !plan.aux.is_empty() => Self::ordered(plan, *column),
                _ => Self::Together,
            },
            _ => Self::Together,
        }
    }

    fn ordered(plan: &Plan, column: usize) -> Self {
        if plan.inputs[column].kind == Type::Tag { Self::Together } else { Self::Ordered(column) }
    }

    /// Whether the rows are read backwards.
    pub fn is_descending(self, plan: &Plan) -> bool {
        match self {
            Self::Edge { descending, .. } => descending,
            _ => !plan.ascending,
        }
    }

    /// What is read of a measurement this way; `None`: nothing.
    pub fn narrowed<'a>(self, plan: &Plan, scan: &'a MeasurementScan) -> Option<Cow<'a, MeasurementScan>> {
        let (Self::Ordered(driver) | Self::Edge { column: driver, .. }) = self else {
            return Some(Cow::Borrowed(scan));
        };
        let ScanColumn::Field { name, .. } = &scan.columns[scan.positions[driver]?] else { return None };
        let mut narrowed = scan.clone();
        narrowed.columns.clear();
        let is_read = |input: usize| input == driver || plan.aux.contains(&input);
        for (input, position) in narrowed.positions.iter_mut().enumerate() {
            *position = position.filter(|_| is_read(input)).map(|at| {
                narrowed.columns.push(scan.columns[at].clone());
                narrowed.columns.len() - 1
            });
        }
        if !plan.aux.is_empty() {
            // A field equals itself wherever it is.
            let field = || Box::new(ScanExpr::Field(name.clone()));
            let is_there = ScanExpr::Binary { op: BinaryOp::Equal, left: field(), right: field() };
            narrowed.rows = Some(match narrowed.rows.take() {
                None => is_there,
                Some(rows) => {
                    ScanExpr::Binary { op: BinaryOp::And, left: Box::new(rows), right: Box::new(is_there) }
                }
            });
        }
        Some(Cow::Owned(narrowed))
    }

    /// How rows of equal times are to be ordered, where it shows.
    pub async fn tie_order<D: DataSource>(
        self,
        source: &D,
        scan: &MeasurementScan,
        plan: &Plan,
        budget_bytes: u64,
    ) -> Result<Option<TieOrder>> {
        if self == Self::Together
            && (!plan.calls.is_empty() || meeting(source, scan, plan, budget_bytes).await? != Meeting::Some)
        {
            return Ok(None);
        }
        let time = time_range(plan.read.0, plan.read.1);
        Ok(Some(TieOrder {
            texts: plan.aux[..plan.own_aux].iter().map_while(|at| scan.positions[*at]).collect(),
            ranges: source.group_ranges(&scan.at.place, time),
            descending: self.is_descending(plan),
            is_edge: matches!(self, Self::Edge { .. }),
        }))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Meeting {
    /// No two series are of one tag set.
    None,
    Some,
    /// Of too many series to order them.
    TooMany,
}

/// Whether rows of equal times may meet in a tag set of the measurement.
pub async fn meeting<D: DataSource>(
    source: &D,
    scan: &MeasurementScan,
    plan: &Plan,
    budget_bytes: u64,
) -> Result<Meeting> {
    let grouped =
        |tag: &Vec<u8>| plan.dimensions.iter().any(|dimension| dimension.as_bytes() == tag.as_slice());
    if scan.at.schema.tag_keys.iter().all(grouped) {
        return Ok(Meeting::None);
    }
    let time = time_range(plan.read.0, plan.read.1);
    let keys = series_keys(source, scan, time, TIED_SERIES_MAX + 1, budget_bytes).await?;
    Ok(if keys.len() as u64 > TIED_SERIES_MAX {
        Meeting::TooMany
    } else if shares_a_tag_set(&keys, &plan.dimensions) {
        Meeting::Some
    } else {
        Meeting::None
    })
}

/// Whether any two series are of one tag set.
fn shares_a_tag_set(keys: &[Vec<u8>], dimensions: &[String]) -> bool {
    let mut met = HashSet::with_capacity(keys.len());
    let set = |key: &Vec<u8>| -> Vec<Vec<u8>> {
        let value = |name: &String| series_key::tag_value(key, name.as_bytes());
        dimensions.iter().map(|name| value(name).unwrap_or_default().into_owned()).collect()
    };
    !keys.iter().all(|key| met.insert(set(key)))
}

/// The lanes of one SELECT, series after series.
pub struct Lanes<'a, D: DataSource> {
    plan: &'a Plan,
    source: &'a D,
    control: Control,
    seed: u64,
    /// Empty until they are known.
    lanes: Vec<Lane<'a, D>>,
}

struct Lane<'a, D: DataSource> {
    /// The calls it feeds.
    calls: Rc<[usize]>,
    legs: Legs<'a, D>,
    head: Option<InBatch>,
    ended: bool,
}

impl<'a, D: DataSource> Lanes<'a, D> {
    pub fn new(plan: &'a Plan, source: &'a D, control: &Control, seed: u64) -> Self {
        Self { plan, source, control: control.clone(), seed, lanes: Vec::new() }
    }

    /// Whether another source may have rows of the series at hand.
    pub fn is_interleaved(&self) -> bool {
        self.lanes.iter().any(|lane| lane.legs.is_interleaved())
    }

    /// Gives up the sources at hand: no more of their rows are wanted.
    pub fn leave(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.legs.leave());
    }

    /// Lets go of all sources, in steps; there is nothing any more.
    pub async fn let_go(&mut self) {
        for lane in &mut self.lanes {
            lane.legs.let_go().await;
        }
    }

    /// What comes next, and which calls it is for; all of a series comes before the next series.
    pub async fn next(&mut self) -> Result<Option<(Rc<[usize]>, InBatch)>> {
        if self.lanes.is_empty() {
            self.open().await?;
        }
        if let [lane] = self.lanes.as_mut_slice() {
            let batch = lane.legs.next().await?;
            return Ok(batch.map(|batch| (lane.calls.clone(), batch)));
        }
        for lane in &mut self.lanes {
            if lane.head.is_none() && !lane.ended {
                lane.head = lane.legs.next().await?;
                lane.ended = lane.head.is_none();
            }
        }
        let mut least: Option<(usize, &SeriesId)> = None;
        for (at, lane) in self.lanes.iter().enumerate() {
            let Some(series) = lane.head.as_ref().map(|head| &**head.series()) else { continue };
            let wanted = if self.plan.ascending { Ordering::Less } else { Ordering::Greater };
            if least.is_none_or(|(_, least)| series.cmp(least) == wanted) {
                least = Some((at, series));
            }
        }
        let Some((at, _)) = least else { return Ok(None) };
        let lane = &mut self.lanes[at];
        Ok(lane.head.take().map(|batch| (lane.calls.clone(), batch)))
    }

    async fn open(&mut self) -> Result<()> {
        let mut ways: Vec<(Way, Vec<usize>)> = Vec::new();
        for (at, call) in self.plan.calls.iter().enumerate() {
            let way = Way::of(self.plan, &call.node);
            match ways.iter_mut().find(|(known, _)| *known == way) {
                Some((_, calls)) => calls.push(at),
                None => ways.push((way, vec![at])),
            }
        }
        let is_plain = self.plan.partials.is_some() || ways.iter().all(|(way, _)| *way == Way::Together);
        if is_plain || !self.meets().await? {
            ways = vec![(Way::Together, (0..self.plan.calls.len()).collect())];
        }
        let Self { plan, source, control, seed, .. } = self;
        self.lanes = ways
            .into_iter()
            .map(|(way, calls)| Lane {
                calls: calls.into(),
                legs: Legs::new(plan, *source, control, *seed, way),
                head: None,
                ended: false,
            })
            .collect();
        Ok(())
    }

    /// Whether equal times may meet in any measurement, in none of them of too many series.
    async fn meets(&self) -> Result<bool> {
        let budget_bytes = self.control.limits().budget_bytes;
        let mut meets = false;
        for planned in &self.plan.sources {
            let PlannedSource::Measurement(scan) = planned else { continue };
            match meeting(self.source, scan, self.plan, budget_bytes).await? {
                Meeting::None => {}
                Meeting::Some => meets = true,
                Meeting::TooMany => return Ok(false),
            }
        }
        Ok(meets)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_series_of_one_tag_set_are_found() {
        let keys = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        let by_host = ["host".to_owned()];
        assert!(!super::shares_a_tag_set(&keys(&["m,dc=x,host=a", "m,dc=x,host=b", "m,dc=x"]), &by_host));
        assert!(super::shares_a_tag_set(&keys(&["m,dc=x,host=a", "m,dc=y,host=a"]), &by_host));
        assert!(super::shares_a_tag_set(&keys(&["m,dc=x", "m,dc=y"]), &by_host));
        assert!(!super::shares_a_tag_set(&keys(&["m,host=a"]), &[]));
        assert!(super::shares_a_tag_set(&keys(&["m,host=a", "m,host=b"]), &[]));
    }
}
