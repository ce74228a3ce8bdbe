//! The sources of a SELECT, each read as a leg, and the merge of their rows.
//!
//! Measurements of different names follow one another. Where the same series may come from several sources (a measurement
//! named twice, subqueries), the legs' rows are merged by InfluxDB's heap, so that equal times come in its order.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use tidemark_engine::model::{Column, ColumnData, FieldType};
use tidemark_engine::scan::filter::selected_rows;
use tidemark_engine::scan::request::{PartialCall, PartialColumn, ScanGroup, ScanOutput, ScanRequest};

use crate::influxql::ast::Fill;

use super::condition::{MAX_TIME, MIN_TIME};
use super::control::Control;
use super::edges::Edges;
use super::error::Result;
use super::exec::SelectStream;
use super::heap;
use super::lanes::Way;
use super::merge::{Merged, MergedScan};
use super::plan::{CallInput, CallNode, MeasurementScan, Plan, PlannedSource, SubqueryRead};
use super::rewrite::time_range;
use super::rows::{self, RowBatch, SeriesId};
use super::series_limit::{self, RowCap};
use super::source::DataSource;
use super::types::Type;

/// Nanoseconds, about, that a row takes in the heap.
const MERGED_NS: u64 = 100;
/// The same for an input of rows of a source.
const INPUT_NS: u64 = 200;
/// The same for a leg that is let go of in the midst of its rows.
const LET_GO_NS: u64 = 6_000;

/// All sources of one SELECT.
pub struct Legs<'a, D: DataSource> {
    plan: &'a Plan,
    source: &'a D,
    control: Control,
    legs: VecDeque<Leg<'a, D>>,
    /// Legs may give rows of the same series, so they are merged row by row.
    interleaved: bool,
    /// The legs that have rows, once they are known: a heap.
    waiting: Option<Vec<usize>>,
}

impl<'a, D: DataSource> Legs<'a, D> {
    pub fn new(plan: &'a Plan, source: &'a D, control: &Control, seed: u64, way: Way) -> Self {
        let mut legs: Vec<Leg<'a, D>> = Vec::with_capacity(plan.sources.len());
        let mut names: HashSet<&[u8]> = HashSet::new();
        let mut interleaved = false;
        let planned = if plan.is_null { &[][..] } else { &plan.sources[..] };
        for planned in planned {
            let reading = match planned {
                PlannedSource::Measurement(scan) => {
                    interleaved |= !names.insert(&scan.at.schema.measurement);
                    let cap = RowCap::of(plan, scan, source);
                    let first = FirstWindows::of(plan).filter(|_| way == Way::Together);
                    let Some(scan) = way.narrowed(plan, scan) else { continue };
                    let edges = Edges::default();
                    Reading::Scan { scan, way, merged: None, backwards: None, edges, cap, first }
                }
                PlannedSource::Subquery(read) => {
                    interleaved |= plan.sources.len() > 1;
                    let stream = SelectStream::new(&read.plan, source, control.clone(), seed);
                    Reading::Subquery { read, stream: Box::new(stream) }
                }
            };
            legs.push(Leg { reading, head: None, at: 0, ended: false });
        }
        // Series come by name.
        legs.sort_by(|a, b| match (&a.reading, &b.reading) {
            (Reading::Scan { scan: a, .. }, Reading::Scan { scan: b, .. }) => {
                let by_name = a.at.schema.measurement.cmp(&b.at.schema.measurement);
                if plan.ascending { by_name } else { by_name.reverse() }
            }
            _ => Ordering::Equal,
        });
        Self { plan, source, control: control.clone(), legs: legs.into(), interleaved, waiting: None }
    }

    /// Whether another leg may have rows of the series at hand.
    pub fn is_interleaved(&self) -> bool {
        self.interleaved
    }

    /// Gives up the leg at hand: no more of its rows are wanted.
    pub fn leave(&mut self) {
        if let Some(leg) = self.legs.pop_front() {
            leg.note_memory(&self.control);
        }
    }

    /// Lets go of all legs, in steps; there is nothing any more.
    pub async fn let_go(&mut self) {
        self.waiting = Some(Vec::new());
        while let Some(leg) = self.legs.pop_front() {
            drop(leg);
            // The query may have been ended, and fail because of that.
            let _ = self.control.spent(LET_GO_NS).await;
        }
    }

    /// What comes next.
    pub async fn next(&mut self) -> Result<Option<InBatch>> {
        if self.interleaved {
            return self.next_merged().await;
        }
        while let Some(leg) = self.legs.front_mut() {
            leg.fill(self.plan, self.source, &self.control).await?;
            if let Some(batch) = leg.head.take() {
                return Ok(Some(batch));
            }
            self.legs.pop_front();
        }
        Ok(None)
    }

    /// The rows one leg gives before it is another's turn.
    async fn next_merged(&mut self) -> Result<Option<InBatch>> {
        let Self { plan, source, control, legs, waiting, .. } = self;
        let texts: &[usize] = if plan.calls.is_empty() { &plan.aux[..plan.own_aux] } else { &[] };
        let waiting = match waiting {
            Some(waiting) => waiting,
            None => {
                let mut found = Vec::new();
                for (at, leg) in legs.iter_mut().enumerate() {
                    leg.fill(plan, *source, control).await?;
                    if leg.head.is_some() {
                        found.push(at);
                    }
                }
                heap::init(&mut found, &|a, b| precedes(&legs[*a], &legs[*b], plan.ascending, texts));
                waiting.insert(found)
            }
        };
        let pop = |waiting: &mut Vec<usize>, legs: &VecDeque<Leg<'a, D>>| {
            heap::pop(waiting, &|a, b| precedes(&legs[*a], &legs[*b], plan.ascending, texts))
        };
        let Some(turn) = pop(waiting, legs) else { return Ok(None) };
        let first = legs[turn].at;
        loop {
            let leg = &mut legs[turn];
            leg.at += 1;
            let rows = leg.rows();
            if leg.at >= rows {
                control.spent(MERGED_NS * (rows - first) as u64).await?;
                let mut head = leg.head.take();
                leg.at = 0;
                if let Some(InBatch::Rows(batch)) = &mut head
                    && first > 0
                {
                    batch.slice(first..rows);
                }
                // The heap takes a leg's next row before anything else happens.
                leg.fill(plan, *source, control).await?;
                if leg.head.is_some() {
                    heap::push(waiting, turn, &|a, b| precedes(&legs[*a], &legs[*b], plan.ascending, texts));
                }
                return Ok(head);
            }
            heap::push(waiting, turn, &|a, b| precedes(&legs[*a], &legs[*b], plan.ascending, texts));
            if waiting[0] != turn {
                let (leg, end) = (&legs[turn], legs[turn].at);
                control.spent(MERGED_NS * (end - first) as u64).await?;
                let Some(InBatch::Rows(batch)) = &leg.head else { return Ok(None) };
                return Ok(Some(InBatch::Rows(RowBatch {
                    series: batch.series.clone(),
                    times: batch.times[first..end].to_vec(),
                    columns: batch.columns.iter().map(|column| rows::slice(column, first..end)).collect(),
                })));
            }
            pop(waiting, legs);
        }
    }
}

/// Whether a leg's next row comes before another's: by series and time, then by the texts that come along, column by
/// column, up to the first that holds none.
fn precedes<D: DataSource>(a: &Leg<'_, D>, b: &Leg<'_, D>, ascending: bool, texts: &[usize]) -> bool {
    let (Some(a_head), Some(b_head)) = (&a.head, &b.head) else { return false };
    let directed = |ordering: Ordering| if ascending { ordering } else { ordering.reverse() };
    let by_series = directed(a_head.series().cmp(b_head.series()));
    let by_time = || directed(a_head.time(a.at).cmp(&b_head.time(b.at)));
    match by_series.then_with(by_time) {
        Ordering::Less => return true,
        Ordering::Greater => return false,
        Ordering::Equal => {}
    }
    for &column in texts {
        let (Some(a), Some(b)) = (a_head.text(column, a.at), b_head.text(column, b.at)) else { return false };
        match directed(a.cmp(b)) {
            Ordering::Less => return true,
            Ordering::Greater => return false,
            Ordering::Equal => {}
        }
    }
    false
}

/// One source, being read.
struct Leg<'a, D: DataSource> {
    reading: Reading<'a, D>,
    head: Option<InBatch>,
    /// The row of the head that comes next, where legs are merged.
    at: usize,
    ended: bool,
}

enum Reading<'a, D: DataSource> {
    Scan {
        scan: Cow<'a, MeasurementScan>,
        way: Way,
        merged: Option<MergedScan<D::Stream>>,
        /// What edges were found, where they came against the direction of the query.
        backwards: Option<std::vec::IntoIter<Merged>>,
        edges: Edges,
        cap: Option<RowCap>,
        /// The part of the range read first, while it may be all that is needed.
        first: Option<FirstWindows>,
    },
    Subquery {
        read: &'a SubqueryRead,
        stream: Box<SelectStream<'a, D>>,
    },
}

/// What a source gives: rows with the plan's inputs as columns, or partials.
pub enum InBatch {
    Rows(RowBatch),
    Partials { series: Rc<SeriesId>, windows: Vec<i64>, partials: Vec<PartialColumn> },
}

impl InBatch {
    pub fn series(&self) -> &Rc<SeriesId> {
        match self {
            Self::Rows(batch) => &batch.series,
            Self::Partials { series, .. } => series,
        }
    }

    fn time(&self, row: usize) -> i64 {
        let times = match self {
            Self::Rows(batch) => &batch.times,
            Self::Partials { windows, .. } => windows,
        };
        times.get(row).copied().unwrap_or(0)
    }

    fn text(&self, column: usize, row: usize) -> Option<&[u8]> {
        let Self::Rows(batch) = self else { return None };
        rows::text(batch.columns.get(column)?, row)
    }
}

impl<D: DataSource> Leg<'_, D> {
    /// Rows of the head; partials go as one.
    fn rows(&self) -> usize {
        match &self.head {
            Some(InBatch::Rows(batch)) => batch.times.len(),
            _ => 0,
        }
    }

    /// Tells what a scan that is given up held.
    fn note_memory(&self, control: &Control) {
        if let Reading::Scan { merged: Some(open), .. } = &self.reading {
            control.scanned(open.peak_bytes());
        }
    }

    /// Makes sure that there is a head, unless the leg has ended.
    async fn fill(&mut self, plan: &Plan, source: &D, control: &Control) -> Result<()> {
        while self.head.is_none() && !self.ended {
            self.head = match &mut self.reading {
                Reading::Scan { scan, way, merged, backwards, edges, cap, first } => {
                    if merged.is_none() {
                        let read = first.as_ref().map_or(plan.read, |first| first.read);
                        *merged = Some(open(scan, plan, source, control, read, *way).await?);
                    }
                    let Some(open) = merged else { return Ok(()) };
                    if backwards.is_none() && way.is_descending(plan) == plan.ascending {
                        let mut found = Vec::new();
                        while let Some(edge) = open.next().await? {
                            found.push(edge);
                        }
                        found.reverse();
                        *backwards = Some(found.into_iter());
                    }
                    let mut found = match backwards {
                        Some(backwards) => backwards.next(),
                        None => open.next().await?,
                    };
                    if let Some(found) = &mut found {
                        edges.settle(scan, plan, source, control, found).await?;
                    }
                    if let Some(tried) = first.take()
                        && !tried.is_enough(found.as_ref())
                    {
                        // Now the whole range.
                        control.scanned(open.peak_bytes());
                        *merged = None;
                        continue;
                    }
                    match found {
                        None => {
                            control.scanned(open.peak_bytes());
                            self.ended = true;
                            *merged = None;
                            None
                        }
                        Some(found) => {
                            control.spent(INPUT_NS * plan.inputs.len() as u64).await?;
                            let mut found = input_of_scan(scan, plan, found);
                            if let (Some(cap), InBatch::Rows(batch)) = (cap, &mut found) {
                                cap.cut(batch);
                            }
                            Some(found)
                        }
                    }
                }
                Reading::Subquery { read, stream } => match stream.next().await? {
                    None => {
                        self.ended = true;
                        None
                    }
                    Some(batch) => input_of_subquery(read, plan, batch).map(InBatch::Rows),
                },
            };
        }
        Ok(())
    }
}

/// The windows that `LIMIT` asks for, when the answer can be made of them alone: of one series, folded by the cores,
/// whose windows stand where they stand whatever comes after them.
struct FirstWindows {
    /// Inclusive bounds.
    read: (i64, i64),
    /// Windows that must have values of each call: all, where empty ones are left out; else one shows that there are any.
    windows_min: usize,
}

impl FirstWindows {
    fn of(plan: &Plan) -> Option<Self> {
        let (start, end) = plan.read;
        let every = plan.windows.plain()?.every;
        let has_reach = plan.windows.start == start && plan.windows.end == end;
        // A call on a call leaves windows out, so that those that follow count too.
        let is_plain = plan
            .calls
            .iter()
            .all(|call| matches!(call.node, CallNode::Reduce { from: CallInput::Column(_), .. }));
        if plan.partials.is_none()
            || plan.limit == 0
            || !plan.dimensions.is_empty()
            || !has_reach
            || !is_plain
        {
            return None;
        }
        let windows = plan.limit.checked_add(plan.offset)?;
        let length = i64::try_from(windows).ok()?.checked_mul(every)?;
        let read = if plan.ascending {
            let next = plan.windows.start_of(start).checked_add(length)?;
            (start > MIN_TIME && next <= end).then_some((start, next - 1))
        } else {
            let last = plan.windows.start_of(end).checked_add(every)?.checked_sub(length)?;
            (end < MAX_TIME && start < last).then_some((last, end))
        };
        let windows_min = match plan.fill {
            // The line to the next window with a value may start in the last one.
            Fill::Linear => return None,
            Fill::None => usize::try_from(windows).ok()?,
            _ => 1,
        };
        Some(Self { read: read?, windows_min })
    }

    fn is_enough(&self, found: Option<&Merged>) -> bool {
        let Some(Merged::Partials { windows, partials, .. }) = found else { return false };
        // Each call has to be known to have values, or to have all that are wanted.
        partials.iter().all(|partial| {
            let values = partial.values.present.as_ref().map_or(windows.len(), |present| present.count());
            values >= self.windows_min
        })
    }
}

/// Starts the scan of a measurement.
pub async fn open<D: DataSource>(
    scan: &MeasurementScan,
    plan: &Plan,
    source: &D,
    control: &Control,
    read: (i64, i64),
    way: Way,
) -> Result<MergedScan<D::Stream>> {
    let limits = control.limits();
    let tie_order = way.tie_order(source, scan, plan, limits.budget_bytes).await?;
    let descending = way.is_descending(plan);
    let output = match plan.partials.as_ref().filter(|_| way == Way::Together) {
        Some(calls) => ScanOutput::Partials {
            window: plan.windows.plain(),
            // Calls name inputs; here every input is a column.
            calls: calls
                .calls
                .iter()
                .map(|call| PartialCall {
                    column: scan.positions[call.column].unwrap_or(call.column),
                    kind: call.kind,
                })
                .collect(),
        },
        None => ScanOutput::Rows {
            ahead: tie_order.is_some(),
            limit: match way {
                Way::Edge { .. } => 1,
                _ if plan.calls.is_empty() && plan.limit > 0 => plan.limit.saturating_add(plan.offset),
                _ => 0,
            },
        },
    };
    let request = ScanRequest {
        shards: Vec::new(),
        measurement: scan.at.schema.measurement.clone(),
        time: time_range(read.0, read.1),
        series: scan.series.clone(),
        rows: scan.rows.clone(),
        columns: scan.columns.clone(),
        dimensions: plan.dimensions.iter().map(|name| name.clone().into_bytes()).collect(),
        descending,
        output,
        budget_bytes: limits.budget_bytes,
        series_max: limits.series_max,
    };
    series_limit::check_series(source, scan, plan, &limits).await?;
    let kinds = plan.partials.iter().flat_map(|partials| &partials.calls).map(|call| call.kind).collect();
    let in_order = |merged: MergedScan<D::Stream>| match tie_order {
        Some(order) => merged.with_ties(order),
        None => merged,
    };
    if plan.slimit == 0 && plan.soffset == 0 {
        let streams = source.scan(&scan.at.place, &request).await?;
        return Ok(in_order(MergedScan::new(streams, descending, kinds)));
    }
    let mut streams = Vec::new();
    for chosen in series_limit::choose(source, scan, plan, limits.budget_bytes).await? {
        let request = chosen.narrowed(&request, plan);
        for stream in source.scan(&scan.at.place, &request).await? {
            streams.push((stream, chosen.tag_sets.clone()));
        }
    }
    let whole = plan.windows.interval.is_none().then_some(plan.read.0);
    Ok(in_order(MergedScan::limited(streams, descending, kinds, whole)))
}

fn series_of(scan: &MeasurementScan, group: ScanGroup) -> Rc<SeriesId> {
    Rc::new(SeriesId { name: scan.at.schema.measurement.clone(), tags: group.values })
}

fn input_of_scan(scan: &MeasurementScan, plan: &Plan, found: Merged) -> InBatch {
    match found {
        Merged::Partials { group, windows, partials } => {
            InBatch::Partials { series: series_of(scan, group), windows, partials }
        }
        Merged::Rows { group, times, columns } => {
            let mut columns: Vec<Option<Column>> = columns.into_iter().map(Some).collect();
            let columns = scan
                .positions
                .iter()
                .zip(&plan.inputs)
                .map(|(position, input)| {
                    position
                        .and_then(|at| columns.get_mut(at).and_then(Option::take))
                        .unwrap_or_else(|| rows::absent(input.kind.field_type(), times.len()))
                })
                .collect();
            InBatch::Rows(RowBatch { series: series_of(scan, group), times, columns })
        }
    }
}

/// A subquery's rows as inputs; `None` when none of them passes the condition.
fn input_of_subquery(read: &SubqueryRead, plan: &Plan, mut batch: RowBatch) -> Option<RowBatch> {
    if let Some(filter) = &read.filter {
        let selected = filter.select(&batch.times, &batch.columns);
        if selected.count() < batch.times.len() {
            let order = selected_rows(&selected);
            batch.times = order.iter().map(|row| batch.times[*row]).collect();
            batch.columns = batch.columns.iter().map(|column| rows::take(column, &order)).collect();
        }
    }
    if batch.times.is_empty() {
        return None;
    }
    let columns = read
        .positions
        .iter()
        .zip(&plan.inputs)
        .map(|(position, input)| match position.and_then(|at| batch.columns.get(at)) {
            Some(column) => cast(column, input.kind),
            None => rows::absent(input.kind.field_type(), batch.times.len()),
        })
        .collect();
    Some(RowBatch { series: batch.series, times: batch.times, columns })
}

/// Numbers convert to one another; anything else of another type is absent.
fn cast(column: &Column, kind: Type) -> Column {
    let Some(wanted) = kind.field_type() else { return column.clone() };
    if column.field_type() == wanted {
        return column.clone();
    }
    let data = match (&column.data, wanted) {
        (ColumnData::Integer(values), FieldType::Float) => {
            ColumnData::Float(values.iter().map(|value| *value as f64).collect())
        }
        (ColumnData::Unsigned(values), FieldType::Float) => {
            ColumnData::Float(values.iter().map(|value| *value as f64).collect())
        }
        (ColumnData::Float(values), FieldType::Integer) => {
            ColumnData::Integer(values.iter().map(|value| *value as i64).collect())
        }
        (ColumnData::Unsigned(values), FieldType::Integer) => {
            ColumnData::Integer(values.iter().map(|value| *value as i64).collect())
        }
        (ColumnData::Float(values), FieldType::Unsigned) => {
            ColumnData::Unsigned(values.iter().map(|value| *value as u64).collect())
        }
        (ColumnData::Integer(values), FieldType::Unsigned) => {
            ColumnData::Unsigned(values.iter().map(|value| *value as u64).collect())
        }
        _ => return rows::absent(Some(wanted), column.len()),
    };
    Column { data, present: column.present.clone() }
}
