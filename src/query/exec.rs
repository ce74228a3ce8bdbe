//! Runs a plan: rows or partials of all sources in, rows of the answer out, one series after the other.
//!
//! A [`SelectStream`] is pulled. It holds one chunk per core, the state of the series at hand, and no more, with two
//! exceptions: a subquery grouped more finely than the query around it holds the outer series' rows to bring them to
//! the order of time, and functions hold the windows they need. Both count against the query's memory.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use futures_lite::future::or;
use tidemark_engine::model::{Column, ColumnData, FieldType, Value};

use crate::influxql::ast::Fill;

use super::calls::{CallState, Ending, join};
use super::control::Control;
use super::error::{QueryError, Result};
use super::fill;
use super::gather::{self, Gathered};
use super::lanes::Lanes;
use super::legs::InBatch;
use super::plan::{CallInput, CallNode, CallPlan, Output, Plan};
use super::rewrite::Limits;
use super::rows::{self, RowBatch, SeriesId};
use super::source::DataSource;

/// Bytes a filled window takes on its way to the answer: time, value and presence, twice while columns are joined.
const FILLED_BYTES: u64 = 32;

/// Rows of a piece of the answer at most, and its cells about: what is made, encoded and sent in one go.
const PIECE_ROWS: usize = 8192;
const PIECE_CELLS: usize = 64 << 10;
/// Nanoseconds, about, that a cell takes on its way out.
const CELL_NS: u64 = 10;
/// Nanoseconds, about, that a row takes in a call.
const CALL_NS: u64 = 20;
/// The same for what a call takes of each series, whatever its rows.
const CALL_BEGUN_NS: u64 = 200;

/// The rows of one SELECT, in order of name, outer tags and time.
pub struct SelectStream<'a, D: DataSource> {
    plan: &'a Plan,
    control: Control,
    seed: u64,
    lanes: Lanes<'a, D>,
    group: Option<Group<'a>>,
    ready: VecDeque<RowBatch>,
    gathered: Gathered,
    /// Per call, whether and when its answer ends early; see [`CallState::first_outside`] and [`CallState::finish`].
    endings: Vec<Ending>,
    ended: bool,
}

/// The state of the series at hand.
struct Group<'a> {
    series: Rc<SeriesId>,
    skipped: bool,
    calls: Vec<CallState<'a>>,
    held: i64,
    offset_left: u64,
    /// `None`: no limit.
    limit_left: Option<u64>,
    /// Last values met, for `fill(previous)` of plain fields.
    previous: Vec<Option<Value>>,
}

impl<'a, D: DataSource> SelectStream<'a, D> {
    pub fn new(plan: &'a Plan, source: &'a D, control: Control, seed: u64) -> Self {
        let lanes = Lanes::new(plan, source, &control, seed);
        Self {
            plan,
            control,
            seed,
            lanes,
            group: None,
            ready: VecDeque::new(),
            gathered: Gathered::default(),
            endings: vec![Ending::new(plan.calls.len() > 1); plan.calls.len()],
            ended: false,
        }
    }

    /// The next rows; their columns are the plan's outputs, their tags the outer dimensions. After an error there are none.
    pub fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<RowBatch>>> + '_>> {
        Box::pin(async move {
            let control = self.control.clone();
            let next = or(self.find_next(), async { Err(control.ended().await) }).await;
            if next.is_err() {
                // Thousands of open scans that end at once would hold the core.
                let _leaving = control.leaving();
                self.lanes.let_go().await;
            }
            next
        })
    }

    async fn find_next(&mut self) -> Result<Option<RowBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if self.ended {
                return Ok(None);
            }
            self.control.check()?;
            match self.lanes.next().await? {
                Some((calls, batch)) => self.take(&calls, batch).await?,
                None => {
                    self.finish_group().await?;
                    self.flush_gathered().await?;
                    self.ended = true;
                }
            }
        }
    }

    /// `fed`: the calls the batch is for.
    async fn take(&mut self, fed: &[usize], batch: InBatch) -> Result<()> {
        if self.group.as_ref().is_none_or(|group| group.series != *batch.series()) {
            self.finish_group().await?;
            self.begin_group(batch.series().clone())?;
            self.control.spent(CALL_BEGUN_NS * self.plan.calls.len() as u64).await?;
        }
        let Some(group) = &mut self.group else { return Ok(()) };
        if group.skipped {
            return Ok(());
        }
        let plan = self.plan;
        match batch {
            InBatch::Partials { windows, partials, .. } => {
                self.control.read(windows.len() as u64)?;
                if let Some(calls) = &plan.partials {
                    for &at in fed {
                        group.calls[at].give(calls, &windows, &partials);
                        self.control.spent(CALL_BEGUN_NS + CALL_NS * windows.len() as u64).await?;
                    }
                }
            }
            InBatch::Rows(batch) => {
                self.control.read(batch.times.len() as u64)?;
                if plan.calls.is_empty() {
                    return self.raw(batch).await;
                }
                self.control.spent(CALL_NS * (batch.times.len() * fed.len()) as u64).await?;
                for &at in fed {
                    let (call, ending) = (&mut group.calls[at], &mut self.endings[at]);
                    if ending.is_ended {
                        continue;
                    }
                    match call.first_outside(plan, &batch.times, &batch.columns) {
                        None => call.push(plan, &batch.times, &batch.columns, &plan.aux),
                        Some(row) => {
                            // A subquery's window may begin before the range. InfluxDB ends the call's answer there.
                            ending.is_ended = true;
                            let mut before = batch.clone();
                            before.slice(0..row);
                            call.push(plan, &before.times, &before.columns, &plan.aux);
                        }
                    }
                }
                let held: u64 = group.calls.iter().map(CallState::bytes).sum();
                let change = held as i64 - group.held;
                group.held = held as i64;
                self.control.hold(change)?;
                if let [call] = group.calls.as_mut_slice()
                    && let Some(points) = call.take_ready()
                {
                    return match plan.is_gathered() {
                        true => self.hand_on(points.times, vec![points.values]).await,
                        false => self.emit(points.times, vec![points.values]).await,
                    };
                }
            }
        }
        Ok(())
    }

    fn begin_group(&mut self, series: Rc<SeriesId>) -> Result<()> {
        let plan = self.plan;
        let aux_types: Vec<FieldType> = plan
            .aux
            .iter()
            .map(|at| plan.inputs[*at].kind.field_type().unwrap_or(FieldType::Float))
            .collect();
        let calls = plan.calls.iter().map(|call| CallState::new(call, plan, &aux_types, self.seed)).collect();
        self.group = Some(Group {
            series,
            skipped: false,
            calls,
            held: 0,
            offset_left: plan.offset,
            limit_left: (plan.limit > 0).then_some(plan.limit),
            previous: vec![None; plan.aux.len()],
        });
        Ok(())
    }

    /// Rows of a query without calls.
    async fn raw(&mut self, batch: RowBatch) -> Result<()> {
        let plan = self.plan;
        let RowBatch { times, columns, .. } = batch;
        let mut inputs: Vec<Option<Column>> = columns.into_iter().map(Some).collect();
        let mut carried: Vec<Column> = plan
            .aux
            .iter()
            .map(|at| inputs[*at].take().unwrap_or_else(|| rows::absent(None, times.len())))
            .collect();
        match plan.fill {
            Fill::Integer(_) | Fill::Number(_) => {
                carried = carried.into_iter().map(|column| fill::fill_absent(column, plan.fill)).collect();
            }
            Fill::Previous => {
                if let Some(group) = &mut self.group {
                    for (column, previous) in carried.iter_mut().zip(&mut group.previous).take(plan.own_aux) {
                        *column = carry_forward(column, previous);
                    }
                }
            }
            _ => {}
        }
        self.emit(times, carried).await
    }

    async fn finish_group(&mut self) -> Result<()> {
        let Some(group) = &mut self.group else { return Ok(()) };
        let calls = std::mem::take(&mut group.calls);
        let held = std::mem::take(&mut group.held);
        if calls.is_empty() {
            self.group = None;
            return Ok(());
        }
        let limits = self.control.limits();
        let windows_max = self.windows_max();
        let fills = gather::pending_fill(self.plan).is_none();
        let mut finished = Vec::with_capacity(calls.len());
        for (call, ending) in calls.into_iter().zip(&mut self.endings) {
            let made = call.finish(fills, windows_max, ending, &self.control).await;
            finished.push(made.map_err(|error| too_many_windows(error, windows_max, &limits))?);
            self.control.spent(CALL_BEGUN_NS).await?;
        }
        self.control.hold(-held)?;
        // OFFSET and LIMIT count the rows of each call, before what is not there is filled in. One that gave out rows
        // already goes on counting, and gathered series count when they are together.
        let is_streamed = matches!(
            self.plan.calls.as_slice(),
            [CallPlan { node: CallNode::Transform { from: CallInput::Column(_), .. }, .. }]
        );
        if !is_streamed && !self.plan.is_gathered() {
            for points in &mut finished {
                points.keep(gather::page(self.plan, points.times.len()));
            }
        }
        let mut aux = Vec::new();
        if finished.len() == 1 && !self.plan.aux.is_empty() {
            aux = std::mem::take(&mut finished[0].aux);
            if aux.len() < self.plan.aux.len() {
                aux = self.plan.aux.iter().map(|_| rows::absent(None, finished[0].times.len())).collect();
            }
            aux = aux.into_iter().map(|column| fill::fill_absent(column, self.plan.fill)).collect();
        }
        let (times, mut columns) =
            join(finished, &mut self.endings, self.plan.ascending, self.plan.fill, &self.control).await?;
        columns.extend(aux);
        if self.plan.fill == Fill::Previous {
            columns = columns.iter().map(|column| carry_forward(column, &mut None)).collect();
        }
        if is_streamed && !self.plan.is_gathered() {
            self.emit(times, columns).await?;
        } else {
            self.hand_on(times, columns).await?;
        }
        self.group = None;
        Ok(())
    }

    /// Most windows a fill may make: they take memory even where no limit on their number is set.
    fn windows_max(&self) -> u64 {
        let limits = self.control.limits();
        let by_memory = if limits.budget_bytes == 0 { u64::MAX } else { limits.budget_bytes / FILLED_BYTES };
        if limits.buckets_max == 0 { by_memory } else { limits.buckets_max.min(by_memory) }
    }

    /// Gives out rows of the current series within its OFFSET and LIMIT.
    async fn emit(&mut self, mut times: Vec<i64>, mut columns: Vec<Column>) -> Result<()> {
        let plan = self.plan;
        let Some(group) = &mut self.group else { return Ok(()) };
        let skip = (times.len() as u64).min(group.offset_left) as usize;
        group.offset_left -= skip as u64;
        let keep = match group.limit_left {
            None => times.len() - skip,
            Some(left) => (times.len() - skip).min(usize::try_from(left).unwrap_or(usize::MAX)),
        };
        if let Some(left) = &mut group.limit_left {
            *left -= keep as u64;
            if *left == 0 && plan.calls.is_empty() {
                group.skipped = true;
                // With one series only there is nothing more to read.
                if plan.dimensions.is_empty() && !self.lanes.is_interleaved() {
                    self.lanes.leave();
                }
            }
        }
        if keep == 0 {
            return Ok(());
        }
        if keep < times.len() {
            self.control.spent(CELL_NS * columns.len() as u64).await?;
            times = times[skip..skip + keep].to_vec();
            columns = columns.iter().map(|column| rows::slice(column, skip..skip + keep)).collect();
        }
        self.hand_on(times, columns).await
    }

    /// Rows of the current series, after OFFSET and LIMIT, in pieces.
    async fn hand_on(&mut self, times: Vec<i64>, columns: Vec<Column>) -> Result<()> {
        let Some(series) = self.group.as_ref().map(|group| group.series.clone()) else { return Ok(()) };
        if times.is_empty() {
            return Ok(());
        }
        if self.plan.is_gathered() {
            if !self.gathered.continues(self.plan, &series) {
                self.flush_gathered().await?;
            }
            let bytes = self.gathered.push(&series, times, columns);
            return self.control.hold(bytes as i64);
        }
        let piece_rows = (PIECE_CELLS / (self.plan.outputs.len() + 1)).clamp(1, PIECE_ROWS);
        if times.len() <= piece_rows {
            return self.put_out(&series, times, columns).await;
        }
        for start in (0..times.len()).step_by(piece_rows) {
            let rows = start..(start + piece_rows).min(times.len());
            let piece = columns.iter().map(|column| rows::slice(column, rows.clone())).collect();
            self.put_out(&series, times[rows].to_vec(), piece).await?;
        }
        Ok(())
    }

    /// One piece of the answer, made of the calls' results.
    async fn put_out(&mut self, series: &Rc<SeriesId>, times: Vec<i64>, columns: Vec<Column>) -> Result<()> {
        self.control.spent(CELL_NS * (times.len() * (columns.len() + 1)) as u64).await?;
        let tag = |dimension: usize, _row: usize| series.tags.get(dimension).map_or(&[][..], Vec::as_slice);
        let columns = project(self.plan, &tag, &times, columns);
        self.ready.push_back(RowBatch { series: series.clone(), times, columns });
        Ok(())
    }

    /// Gives out the outer series gathered from its inner ones.
    async fn flush_gathered(&mut self) -> Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let (held, ordering) = (gathered.bytes() as i64, gathered.ordering_bytes() as i64);
        self.control.hold(ordering)?;
        let limits = self.control.limits();
        let rows_max = self.windows_max();
        let finished = gathered.finish(self.plan, rows_max, &self.control).await;
        self.control.hold(-held - ordering)?;
        self.ready.extend(finished.map_err(|error| too_many_windows(error, rows_max, &limits))?);
        Ok(())
    }
}

/// In the words of the limit that was met: that of windows, or that of memory.
fn too_many_windows(error: QueryError, windows_max: u64, limits: &Limits) -> QueryError {
    match error {
        QueryError::BucketsMax { wanted, max } if max == windows_max && max != limits.buckets_max => {
            QueryError::Memory { wanted: wanted.saturating_mul(FILLED_BYTES), max: limits.budget_bytes }
        }
        other => other,
    }
}

fn carry_forward(column: &Column, previous: &mut Option<Value>) -> Column {
    let mut out = Column::empty(column.field_type());
    for row in 0..column.len() {
        if let Some(value) = column.get(row) {
            *previous = Some(value);
        }
        out.push(previous.as_ref());
    }
    out
}

/// A text column with the empty text where there is none.
fn present_text(column: &Column) -> Column {
    let mut out = Column::empty(FieldType::String);
    if let ColumnData::String(values) = &mut out.data {
        (0..column.len()).for_each(|row| values.push(rows::text(column, row).unwrap_or_default()));
    }
    out
}

/// The output columns from the calls' results and carried inputs.
/// `tag` gives the value of a dimension in a row.
pub fn project<'a>(
    plan: &Plan,
    tag: &dyn Fn(usize, usize) -> &'a [u8],
    times: &[i64],
    columns: Vec<Column>,
) -> Vec<Column> {
    let calls = plan.calls.len();
    let mut outputs: Vec<Option<Column>> = plan.outputs.iter().map(|_| None).collect();
    for (output, made) in plan.outputs.iter().zip(&mut outputs) {
        *made = match output {
            Output::Computed(expr) => Some(expr.evaluate(times, &columns)),
            Output::Dimension(at) => {
                let mut column = Column::empty(FieldType::String);
                if let ColumnData::String(values) = &mut column.data {
                    (0..times.len()).for_each(|row| values.push(tag(*at, row)));
                }
                Some(column)
            }
            Output::Tag(at) => Some(present_text(&columns[calls + *at])),
            Output::Absent => Some(rows::absent(None, times.len())),
            Output::Call(_) | Output::Aux(_) => None,
        };
    }
    // Plain columns move; one wanted twice is copied.
    let mut columns: Vec<Option<Column>> = columns.into_iter().map(Some).collect();
    let position = |output: &Output| match output {
        Output::Call(at) => Some(*at),
        Output::Aux(at) => Some(calls + *at),
        _ => None,
    };
    let mut uses = vec![0u32; columns.len()];
    for from in plan.outputs.iter().filter_map(position) {
        uses.get_mut(from).into_iter().for_each(|uses| *uses += 1);
    }
    for at in 0..plan.outputs.len() {
        let Some(from) = position(&plan.outputs[at]) else { continue };
        let left = uses.get_mut(from).map_or(0, |uses| {
            *uses -= 1;
            *uses
        });
        let column = if left > 0 {
            columns.get(from).cloned().flatten()
        } else {
            columns.get_mut(from).and_then(Option::take)
        };
        outputs[at] = Some(column.unwrap_or_else(|| rows::absent(None, times.len())));
    }
    outputs.into_iter().flatten().collect()
}
