//! `first` and `last` of a whole range that the cores folded, where series share the time.
//!
//! Cores prefer the larger value. InfluxDB knows two rows only, those on top of its heap of the series' first rows (see
//! [`super::lanes`]), and of these it prefers the larger value. The cores tell when times were equal; then, and only then,
//! the series' first rows are read.

use hashbrown::HashMap;
use tidemark_engine::model::Column;
use tidemark_engine::scan::request::{PartialCall, PartialKind, ScanGroup};

use super::control::Control;
use super::error::Result;
use super::lanes::{Meeting, Way, meeting};
use super::legs::open;
use super::merge::Merged;
use super::plan::{MeasurementScan, Plan};
use super::rows;
use super::source::DataSource;

/// One per scan of partials.
#[derive(Default)]
pub struct Edges {
    /// Of too many series to order them, once that is known.
    are_too_many: Option<bool>,
    /// Per call the results by tag set.
    found: HashMap<PartialCall, HashMap<ScanGroup, (i64, Column)>>,
}

impl Edges {
    /// Puts InfluxDB's choice in the place of the cores' where times were equal.
    pub async fn settle<D: DataSource>(
        &mut self,
        scan: &MeasurementScan,
        plan: &Plan,
        source: &D,
        control: &Control,
        merged: &mut Merged,
    ) -> Result<()> {
        let Merged::Partials { group, partials, .. } = merged else { return Ok(()) };
        let Some(folded) = plan.partials.as_ref().filter(|_| plan.windows.interval.is_none()) else {
            return Ok(());
        };
        for (call, partial) in folded.calls.iter().zip(partials) {
            if !partial.tied || !matches!(call.kind, PartialKind::First | PartialKind::Last) {
                continue;
            }
            if self.are_too_many.is_none() {
                let meeting = meeting(source, scan, plan, control.limits().budget_bytes).await?;
                self.are_too_many = Some(meeting == Meeting::TooMany);
            }
            if self.are_too_many == Some(true) {
                return Ok(());
            }
            if !self.found.contains_key(call) {
                let found = read(scan, plan, source, control, call).await?;
                self.found.insert(*call, found);
            }
            if let Some((time, value)) = self.found.get(call).and_then(|found| found.get(group)) {
                partial.times = vec![*time];
                partial.values = value.clone();
            }
        }
        Ok(())
    }
}

/// The results of a call in all tag sets.
async fn read<D: DataSource>(
    scan: &MeasurementScan,
    plan: &Plan,
    source: &D,
    control: &Control,
    call: &PartialCall,
) -> Result<HashMap<ScanGroup, (i64, Column)>> {
    let mut found = HashMap::new();
    let way = Way::Edge { column: call.column, descending: call.kind == PartialKind::Last };
    let Some(scan) = way.narrowed(plan, scan) else { return Ok(found) };
    let mut edges = open(&scan, plan, source, control, plan.read, way).await?;
    while let Some(edge) = edges.next().await? {
        let Merged::Rows { group, times, columns } = edge else { continue };
        let ([first, ..], [column, ..]) = (times.as_slice(), columns.as_slice()) else { continue };
        let is_second = times.get(1) == Some(first) && rows::compare(column, 1, column, 0).is_gt();
        let at = usize::from(is_second);
        found.insert(group, (*first, rows::slice(column, at..at + 1)));
    }
    control.scanned(edges.peak_bytes());
    Ok(found)
}
