//! Runs a plan: rows or partials of all sources in, rows of the answer out, one series after the other.
//!
//! A [`SelectStream`] is pulled. It holds one chunk per core, the state of the series at hand, and no more, with two
//! exceptions: a subquery grouped more finely than the query around it holds the outer series' rows to bring them to
//! the order of time, and functions hold the windows they need. Both count against the query's memory.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use tidemark_engine::model::{Column, ColumnData, FieldType, Value};
use tidemark_engine::scan::filter::selected_rows;
use tidemark_engine::scan::request::{PartialColumn, ScanGroup, ScanOutput, ScanRequest};

use crate::influxql::ast::Fill;

use super::calls::{CallState, join};
use super::condition::{MAX_TIME, MIN_TIME};
use super::control::Control;
use super::error::{QueryError, Result};
use super::fill;
use super::gather::{self, Gathered};
use super::merge::{Merged, MergedScan};
use super::plan::{
    CallInput, CallNode, CallPlan, MeasurementScan, Output, Plan, PlannedSource, SubqueryRead,
};
use super::rewrite::{Limits, time_range};
use super::rows::{self, RowBatch, SeriesId};
use super::series_limit::{self, RowCap};
use super::source::DataSource;
use super::types::Type;

/// Bytes a filled window takes on its way to the answer: time, value and presence, twice while columns are joined.
const FILLED_BYTES: u64 = 32;

/// Rows of a piece of the answer at most, and its cells about: what is made, encoded and sent in one go.
const PIECE_ROWS: usize = 8192;
const PIECE_CELLS: usize = 64 << 10;
/// Nanoseconds, about, that a cell takes on its way out.
const CELL_NS: u64 = 10;
/// Nanoseconds, about, that one of many sources takes to be compared with the others.
const LEG_NS: u64 = 30;
/// Nanoseconds, about, that a row takes in a call.
const CALL_NS: u64 = 20;

/// The rows of one SELECT, in order of name, outer tags and time.
pub struct SelectStream<'a, D: DataSource> {
    plan: &'a Plan,
    source: &'a D,
    control: Control,
    seed: u64,
    legs: VecDeque<Leg<'a, D>>,
    /// Legs may give rows of the same series, so they are merged row by row.
    interleaved: bool,
    group: Option<Group<'a>>,
    ready: VecDeque<RowBatch>,
    gathered: Gathered,
    /// Calls that get no more rows; see [`CallState::first_outside`] and [`CallState::finish`].
    stopped: Vec<bool>,
    ended: bool,
}

/// One source, being read.
struct Leg<'a, D: DataSource> {
    reading: Reading<'a, D>,
    head: Option<InBatch>,
    ended: bool,
}

enum Reading<'a, D: DataSource> {
    Scan {
        scan: &'a MeasurementScan,
        merged: Option<MergedScan<D::Stream>>,
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
enum InBatch {
    Rows(RowBatch),
    Partials { series: Rc<SeriesId>, windows: Vec<i64>, partials: Vec<PartialColumn> },
}

impl InBatch {
    fn series(&self) -> &Rc<SeriesId> {
        match self {
            Self::Rows(batch) => &batch.series,
            Self::Partials { series, .. } => series,
        }
    }
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
        let mut legs: Vec<Leg<'a, D>> = Vec::new();
        let mut names: HashSet<&[u8]> = HashSet::new();
        let mut interleaved = false;
        if !plan.is_null {
            for planned in &plan.sources {
                let reading = match planned {
                    PlannedSource::Measurement(scan) => {
                        interleaved |= !names.insert(&scan.at.schema.measurement);
                        Reading::Scan {
                            scan,
                            merged: None,
                            cap: RowCap::of(plan, scan, source),
                            first: FirstWindows::of(plan),
                        }
                    }
                    PlannedSource::Subquery(read) => {
                        interleaved |= plan.sources.len() > 1;
                        let stream = SelectStream::new(&read.plan, source, control.clone(), seed);
                        Reading::Subquery { read, stream: Box::new(stream) }
                    }
                };
                legs.push(Leg { reading, head: None, ended: false });
            }
        }
        // Series come by name.
        legs.sort_by(|a, b| match (&a.reading, &b.reading) {
            (Reading::Scan { scan: a, .. }, Reading::Scan { scan: b, .. }) => {
                let by_name = a.at.schema.measurement.cmp(&b.at.schema.measurement);
                if plan.ascending { by_name } else { by_name.reverse() }
            }
            _ => Ordering::Equal,
        });
        Self {
            plan,
            source,
            control,
            seed,
            legs: legs.into(),
            interleaved,
            group: None,
            ready: VecDeque::new(),
            gathered: Gathered::default(),
            stopped: vec![false; plan.calls.len()],
            ended: false,
        }
    }

    /// The next rows; their columns are the plan's outputs, their tags the outer dimensions.
    pub fn next(&mut self) -> Pin<Box<dyn Future<Output = Result<Option<RowBatch>>> + '_>> {
        Box::pin(async move {
            loop {
                if let Some(batch) = self.ready.pop_front() {
                    return Ok(Some(batch));
                }
                if self.ended {
                    return Ok(None);
                }
                self.control.check()?;
                match self.next_input().await? {
                    Some(batch) => self.take(batch).await?,
                    None => {
                        self.finish_group().await?;
                        self.flush_gathered().await?;
                        self.ended = true;
                    }
                }
            }
        })
    }

    async fn next_input(&mut self) -> Result<Option<InBatch>> {
        if !self.interleaved {
            while let Some(leg) = self.legs.front_mut() {
                leg.fill(self.plan, self.source, &self.control).await?;
                if let Some(batch) = leg.head.take() {
                    return Ok(Some(batch));
                }
                self.legs.pop_front();
            }
            return Ok(None);
        }
        for leg in &mut self.legs {
            leg.fill(self.plan, self.source, &self.control).await?;
        }
        // Every leg is looked at, for a few rows.
        self.control.spent(LEG_NS * self.legs.len() as u64).await?;
        Ok(self.least_rows())
    }

    /// The rows that come next among all legs' heads.
    fn least_rows(&mut self) -> Option<InBatch> {
        let ascending = self.plan.ascending;
        let directed = |ordering: Ordering| if ascending { ordering } else { ordering.reverse() };
        let mut first: Option<usize> = None;
        for (at, leg) in self.legs.iter().enumerate() {
            let Some(head) = &leg.head else { continue };
            let better = first.is_none_or(|held| {
                let Some(held) = self.legs[held].head.as_ref() else { return true };
                directed(head.series().cmp(held.series()))
                    .then_with(|| directed(first_time(head).cmp(&first_time(held))))
                    .is_lt()
            });
            if better {
                first = Some(at);
            }
        }
        let first = first?;
        let head = self.legs[first].head.take()?;
        let InBatch::Rows(mut batch) = head else { return Some(head) };
        // It may run on up to the first row of another leg's head of the same series.
        let mut limit: Option<i64> = None;
        for leg in &self.legs {
            if let Some(other) = &leg.head
                && other.series() == &batch.series
            {
                let time = first_time(other);
                limit = Some(
                    limit.map_or(time, |limit| if ascending { limit.min(time) } else { limit.max(time) }),
                );
            }
        }
        if let Some(limit) = limit {
            let mut end = 1;
            while end < batch.times.len() && directed(batch.times[end].cmp(&limit)).is_le() {
                end += 1;
            }
            if end < batch.times.len() {
                let mut rest = batch.clone();
                rest.slice(end..batch.times.len());
                self.legs[first].head = Some(InBatch::Rows(rest));
                batch.slice(0..end);
            }
        }
        Some(InBatch::Rows(batch))
    }

    async fn take(&mut self, batch: InBatch) -> Result<()> {
        if self.group.as_ref().is_none_or(|group| group.series != *batch.series()) {
            self.finish_group().await?;
            self.begin_group(batch.series().clone())?;
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
                    for call in &mut group.calls {
                        call.give(calls, &windows, &partials);
                    }
                }
            }
            InBatch::Rows(batch) => {
                self.control.read(batch.times.len() as u64)?;
                if plan.calls.is_empty() {
                    return self.raw(batch).await;
                }
                self.control.spent(CALL_NS * (batch.times.len() * group.calls.len()) as u64).await?;
                for (call, stopped) in group.calls.iter_mut().zip(&mut self.stopped) {
                    if *stopped {
                        continue;
                    }
                    match call.first_outside(plan, &batch.times, &batch.columns) {
                        None => call.push(plan, &batch.times, &batch.columns, &plan.aux),
                        Some(row) => {
                            // A subquery's window may begin before the range. InfluxDB ends the call's answer there.
                            *stopped = true;
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
                    for (column, previous) in carried.iter_mut().zip(&mut group.previous) {
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
        for (call, stopped) in calls.into_iter().zip(&mut self.stopped) {
            let made = call.finish(fills, windows_max, &self.control).await;
            let (points, is_ended) = made.map_err(|error| too_many_windows(error, windows_max, &limits))?;
            *stopped |= is_ended;
            finished.push(points);
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
        let (times, mut columns) = join(finished, self.plan.ascending, self.plan.fill, &self.control).await?;
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
                if plan.dimensions.is_empty() && !self.interleaved {
                    self.legs.pop_front().inspect(|leg| leg.note_memory(&self.control));
                }
            }
        }
        if keep == 0 {
            return Ok(());
        }
        if keep < times.len() {
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

fn first_time(batch: &InBatch) -> i64 {
    match batch {
        InBatch::Rows(batch) => batch.times.first().copied().unwrap_or(0),
        InBatch::Partials { windows, .. } => windows.first().copied().unwrap_or(0),
    }
}

impl<D: DataSource> Leg<'_, D> {
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
                Reading::Scan { scan, merged, cap, first } => {
                    if merged.is_none() {
                        let read = first.as_ref().map_or(plan.read, |first| first.read);
                        *merged = Some(open(scan, plan, source, control, read).await?);
                    }
                    let Some(open) = merged else { return Ok(()) };
                    let found = open.next().await?;
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
    /// Windows that must have values: all, where empty ones are left out; else one shows that the series has any.
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
        matches!(found, Some(Merged::Partials { windows, .. }) if windows.len() >= self.windows_min)
    }
}

async fn open<D: DataSource>(
    scan: &MeasurementScan,
    plan: &Plan,
    source: &D,
    control: &Control,
    read: (i64, i64),
) -> Result<MergedScan<D::Stream>> {
    let limits = control.limits();
    let tie_order = series_limit::tie_order(source, scan, plan, limits.budget_bytes).await?;
    let output = match &plan.partials {
        Some(calls) => ScanOutput::Partials {
            window: plan.windows.plain(),
            // Calls name inputs; here every input is a column.
            calls: calls
                .calls
                .iter()
                .map(|call| tidemark_engine::scan::request::PartialCall {
                    column: scan.positions[call.column].unwrap_or(call.column),
                    kind: call.kind,
                })
                .collect(),
        },
        None => ScanOutput::Rows {
            ahead: tie_order.is_some(),
            limit: if plan.calls.is_empty() && plan.limit > 0 {
                plan.limit.saturating_add(plan.offset)
            } else {
                0
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
        descending: !plan.ascending,
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
        return Ok(in_order(MergedScan::new(streams, !plan.ascending, kinds)));
    }
    let mut streams = Vec::new();
    for chosen in series_limit::choose(source, scan, plan, limits.budget_bytes).await? {
        let request = chosen.narrowed(&request, plan);
        for stream in source.scan(&scan.at.place, &request).await? {
            streams.push((stream, chosen.tag_sets.clone()));
        }
    }
    let whole = plan.windows.interval.is_none().then_some(plan.read.0);
    Ok(in_order(MergedScan::limited(streams, !plan.ascending, kinds, whole)))
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
