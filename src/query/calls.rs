//! The calls of a SELECT at work in one series: rows or partials in, points per call out.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use tidemark_engine::model::{Column, ColumnData, FieldType, Value};
use tidemark_engine::scan::request::{PartialColumn, PartialKind};

use crate::influxql::ast::Fill;

use super::condition::MIN_TIME;
use super::control::Control;
use super::error::Result;
use super::fill;
use super::functions::holt_winters::{HoltWinters, forecast};
use super::functions::reduce::{Reduce, Reducer, spread};
use super::functions::transform::Transformer;
use super::functions::{Points, float_at};
use super::partials::Partials;
use super::plan::{CallInput, CallNode, CallPlan, Plan};
use super::rows;
use super::window::Windows;

/// One call in one series.
pub struct CallState<'a> {
    plan: &'a CallPlan,
    ascending: bool,
    stage: Stage<'a>,
}

enum Stage<'a> {
    Reduce {
        column: Option<usize>,
        /// One per combination of tags for `top` and `bottom` with tags; otherwise one.
        reducers: BTreeMap<Vec<Vec<u8>>, Reducer>,
        aux_types: Vec<FieldType>,
        seed: u64,
    },
    Transform {
        column: Option<usize>,
        transformer: Transformer,
    },
    HoltWinters {
        wanted: HoltWinters,
    },
    Nested(Box<CallState<'a>>, Box<Stage<'a>>),
    /// Computed by the cores.
    Given(Points),
}

impl<'a> CallState<'a> {
    pub fn new(call: &'a CallPlan, plan: &Plan, aux_types: &[FieldType], seed: u64) -> Self {
        let (stage, from) = match &call.node {
            CallNode::Reduce { from, .. } => (
                Stage::Reduce {
                    column: column_of(from),
                    reducers: BTreeMap::new(),
                    aux_types: if column_of(from).is_some() { aux_types.to_vec() } else { Vec::new() },
                    seed,
                },
                from,
            ),
            CallNode::Transform { transform, from, windows } => {
                let input = input_type(from, plan);
                let transformer = Transformer::new(transform.clone(), *windows, plan.ascending, input);
                (Stage::Transform { column: column_of(from), transformer }, from)
            }
            CallNode::HoltWinters { wanted, from } => (Stage::HoltWinters { wanted: *wanted }, from),
        };
        let stage = match from {
            CallInput::Column(_) => stage,
            CallInput::Call(inner) => {
                Stage::Nested(Box::new(CallState::new(inner, plan, aux_types, seed)), Box::new(stage))
            }
        };
        Self { plan: call, ascending: plan.ascending, stage }
    }

    /// Takes rows of the series, in order. `aux`: positions of the inputs carried along.
    pub fn push(&mut self, plan: &Plan, times: &[i64], columns: &[Column], aux: &[usize]) {
        match &mut self.stage {
            Stage::Nested(inner, _) => inner.push(plan, times, columns, aux),
            stage => {
                let windows = node_windows(&self.plan.node);
                // Only scans that look before the range for another call's sake give rows outside it.
                let rows = match windows {
                    Some(windows) if (windows.start, windows.end) != plan.read => {
                        within(times, windows, self.ascending)
                    }
                    _ => 0..times.len(),
                };
                push_stage(stage, self.plan, plan, times, columns, aux, rows);
            }
        }
    }

    /// The first row with a value whose time no window of the call holds. Only a subquery gives such rows: where the
    /// range is one window, and the subquery's first one begins before it.
    pub fn first_outside(&self, plan: &Plan, times: &[i64], columns: &[Column]) -> Option<usize> {
        if let Stage::Nested(inner, _) = &self.stage {
            return inner.first_outside(plan, times, columns);
        }
        let CallNode::Reduce { from: CallInput::Column(column), windows, .. } = &self.plan.node else {
            return None;
        };
        if windows.interval.is_some() || !plan.reads_subquery() {
            return None;
        }
        (0..times.len()).find(|row| {
            (times[*row] < windows.start || times[*row] > windows.end) && columns[*column].is_present(*row)
        })
    }

    /// Points that are ready before the series ends: those of transformations of plain fields.
    pub fn take_ready(&mut self) -> Option<Points> {
        match &mut self.stage {
            Stage::Transform { column: Some(_), transformer } if !transformer.out.times.is_empty() => {
                Some(transformer.out.drain())
            }
            _ => None,
        }
    }

    pub fn bytes(&self) -> u64 {
        match &self.stage {
            Stage::Reduce { reducers, .. } => reducers.values().map(Reducer::bytes).sum(),
            Stage::Transform { transformer, .. } => transformer.out.bytes(),
            Stage::Nested(inner, _) => inner.bytes(),
            Stage::HoltWinters { .. } => 0,
            Stage::Given(points) => points.bytes(),
        }
    }

    /// Takes the cores' partials of the series in place of rows.
    pub fn give(&mut self, calls: &Partials, windows: &[i64], partials: &[PartialColumn]) {
        match &mut self.stage {
            Stage::Nested(inner, _) => inner.give(calls, windows, partials),
            stage => {
                if let CallNode::Reduce {
                    function,
                    from: CallInput::Column(column),
                    windows: range,
                    at_window,
                    ..
                } = &self.plan.node
                {
                    *stage = Stage::Given(from_partials(
                        function,
                        self.plan.output,
                        *column,
                        *at_window || range.interval.is_some(),
                        calls,
                        windows,
                        partials,
                    ));
                }
            }
        }
    }

    /// Ends the series. `fills`: windows without points are made here, if at all. `ending` tells when the call has no
    /// results for series after this one. Boxed, because calls nest.
    pub fn finish<'c>(
        self,
        fills: bool,
        buckets_max: u64,
        ending: &'c mut Ending,
        control: &'c Control,
    ) -> Pin<Box<dyn Future<Output = Result<Points>> + 'c>>
    where
        'a: 'c,
    {
        Box::pin(async move {
            let Self { plan, ascending, stage } = self;
            let (mut points, holes) =
                finish_stage(stage, plan, ascending, buckets_max, ending, control).await?;
            if let CallNode::Reduce { fill, windows, .. } = &plan.node {
                let windows = (fills && fill.is_some()).then_some(windows);
                if ending.has_company && !ending.is_inner {
                    ending.put_off(&points.times, &holes, windows, ascending);
                } else if let Some(row) = ending.row(&points.times, &holes, windows, ascending) {
                    points.keep(0..row);
                }
            }
            if let CallNode::Reduce { fill: Some(wanted), windows, .. } = &plan.node
                && fills
            {
                points = fill::fill(points, *wanted, windows, ascending, buckets_max, control).await?;
            }
            Ok(points)
        })
    }
}

/// When a call's answer ends before its series do: InfluxDB takes a window whose points give no result for the end of all.
/// But whoever asked may ask again and never notice: a fill does, for every window it makes, and so does the answer, which
/// looks one row ahead. So many such windows in a row are passed over after a result.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ending {
    pub is_ended: bool,
    /// Windows without a result that are passed over before the next one is the end.
    left: u64,
    /// The call stands in another, which asks but once.
    is_inner: bool,
    /// There are other calls beside: they keep the answer going.
    has_company: bool,
    /// Beside other calls: questions that bring nothing before the next point does.
    late: u64,
}

impl Ending {
    pub fn new(has_company: bool) -> Self {
        Self { has_company, ..Self::default() }
    }

    /// Beside other calls a window without a result uses up a question, of which each row of the answer asks two: one for
    /// the next time, one for its value. Windows that a fill makes use up such ones unseen.
    fn put_off(&mut self, times: &[i64], holes: &[usize], windows: Option<&Windows>, ascending: bool) {
        let leading = holes.iter().take_while(|at| **at == 0).count() as u64;
        let unseen = leading.min(self.left);
        self.late += leading - unseen;
        self.left -= unseen;
        if let Some(last) = times.last() {
            let trailing = holes.iter().rev().take_while(|at| **at == times.len()).count() as u64;
            self.left = windows
                .map_or(0, |windows| windows_after(windows, *last, ascending))
                .saturating_sub(trailing);
        }
    }

    /// Asks once; whether there is an answer. `has_more`: of points in the series; without, the question goes to the next
    /// series, whose first windows may be without a result, too.
    fn asked(&mut self, has_more: bool) -> bool {
        if self.late > 0 {
            self.late -= 1;
            return false;
        }
        self.left += u64::from(!has_more);
        has_more
    }

    /// The row before which the series' points end, if they do. `holes`: rows before which a window gave no result.
    /// `windows`: those that are filled.
    fn row(
        &mut self,
        times: &[i64],
        holes: &[usize],
        windows: Option<&Windows>,
        ascending: bool,
    ) -> Option<usize> {
        let ahead = u64::from(!self.is_inner);
        let left_after =
            |row: usize| ahead + windows.map_or(0, |windows| windows_after(windows, times[row], ascending));
        let mut met = 0;
        for &hole in holes {
            if hole > met {
                (self.left, met) = (left_after(hole - 1), hole);
            }
            let Some(left) = self.left.checked_sub(1) else {
                self.is_ended = true;
                return Some(hole);
            };
            self.left = left;
        }
        if times.len() > met {
            self.left = left_after(times.len() - 1);
        }
        None
    }
}

/// Windows of the range that follow the one that starts at `time`.
fn windows_after(windows: &Windows, time: i64, ascending: bool) -> u64 {
    let every = windows.interval.map_or(0, |interval| interval.every);
    let length = match ascending {
        true => windows.start_of(windows.end).saturating_sub(time),
        false if windows.start == MIN_TIME => 0,
        false => time.saturating_sub(windows.start_of(windows.start)),
    };
    if every > 0 { (length / every).max(0) as u64 } else { 0 }
}

/// Points of an inner call that are handed to the outer one between two looks at whether to give way.
const STEP_POINTS: usize = 1024;
/// Nanoseconds, about, that a point takes in a function.
const POINT_NS: u64 = 50;

/// Hands points on in steps.
async fn in_steps(points: &Points, control: &Control, mut push: impl FnMut(&[i64], &Column)) -> Result<()> {
    for start in (0..points.times.len()).step_by(STEP_POINTS) {
        let end = (start + STEP_POINTS).min(points.times.len());
        push(&points.times[start..end], &points.values.slice(start, end));
        control.spent((end - start) as u64 * POINT_NS).await?;
    }
    Ok(())
}

fn column_of(from: &CallInput) -> Option<usize> {
    match from {
        CallInput::Column(column) => Some(*column),
        CallInput::Call(_) => None,
    }
}

fn input_type(from: &CallInput, plan: &Plan) -> FieldType {
    match from {
        CallInput::Column(column) => plan.inputs[*column].kind.field_type().unwrap_or(FieldType::Float),
        CallInput::Call(inner) => inner.output,
    }
}

fn node_windows(node: &CallNode) -> Option<&Windows> {
    match node {
        CallNode::Reduce { windows, .. } | CallNode::Transform { windows, .. } => Some(windows),
        CallNode::HoltWinters { .. } => None,
    }
}

fn within(times: &[i64], windows: &Windows, ascending: bool) -> Range<usize> {
    if ascending {
        times.partition_point(|time| *time < windows.start)
            ..times.partition_point(|time| *time <= windows.end)
    } else {
        times.partition_point(|time| *time > windows.end)
            ..times.partition_point(|time| *time >= windows.start)
    }
}

fn push_stage(
    stage: &mut Stage<'_>,
    call: &CallPlan,
    plan: &Plan,
    times: &[i64],
    columns: &[Column],
    aux: &[usize],
    rows: Range<usize>,
) {
    match stage {
        Stage::Reduce { column: Some(column), reducers, aux_types, seed } => {
            let whole = rows == (0..times.len());
            let carried: Vec<&Column> = aux.iter().map(|at| &columns[*at]).collect();
            let CallNode::Reduce { function, windows, at_window, per, .. } = &call.node else { return };
            let input = plan.inputs[*column].kind.field_type().unwrap_or(FieldType::Float);
            let make = || Reducer::new(function.clone(), *windows, *at_window, input, aux_types, *seed);
            if per.is_empty() {
                let reducer = reducers.entry(Vec::new()).or_insert_with(make);
                if whole {
                    reducer.push(times, &columns[*column], &carried);
                } else {
                    let values = rows::slice(&columns[*column], rows.clone());
                    let carried: Vec<Column> =
                        carried.iter().map(|column| rows::slice(column, rows.clone())).collect();
                    reducer.push(&times[rows], &values, &carried.iter().collect::<Vec<_>>());
                }
                return;
            }
            // The best of each combination of tags per window; the best of those when the series ends.
            let best = if matches!(function, Reduce::Top(_)) { Reduce::Max } else { Reduce::Min };
            for row in rows {
                let key: Vec<Vec<u8>> = per
                    .iter()
                    .map(|at| match columns[*at].get(row) {
                        Some(Value::String(text)) => text,
                        _ => Vec::new(),
                    })
                    .collect();
                let reducer = reducers
                    .entry(key)
                    .or_insert_with(|| Reducer::new(best.clone(), *windows, false, input, aux_types, *seed));
                let values = rows::slice(&columns[*column], row..row + 1);
                if !values.is_present(0) {
                    continue;
                }
                let carried: Vec<Column> =
                    carried.iter().map(|column| rows::slice(column, row..row + 1)).collect();
                reducer.push(&times[row..row + 1], &values, &carried.iter().collect::<Vec<_>>());
            }
        }
        Stage::Transform { column: Some(column), transformer } => {
            if rows == (0..times.len()) {
                transformer.push(times, &columns[*column]);
            } else {
                transformer.push(&times[rows.clone()], &rows::slice(&columns[*column], rows));
            }
        }
        _ => {}
    }
}

async fn finish_stage(
    stage: Stage<'_>,
    plan: &CallPlan,
    ascending: bool,
    buckets_max: u64,
    ending: &mut Ending,
    control: &Control,
) -> Result<(Points, Vec<usize>)> {
    let points = match stage {
        Stage::Given(points) => points,
        Stage::Reduce { reducers, aux_types, .. } => {
            let CallNode::Reduce { function, windows, at_window, per, .. } = &plan.node else {
                return Ok((Points::empty(plan.output, &[]), Vec::new()));
            };
            if per.is_empty() {
                let mut reducers = reducers;
                return Ok(match reducers.pop_first() {
                    None => (Points::empty(plan.output, &aux_types), Vec::new()),
                    Some((_, mut reducer)) => {
                        reducer.finish();
                        (reducer.out, reducer.holes)
                    }
                });
            }
            // All combinations' best points, in order of time, through the function itself.
            let mut gathered = Points::empty(plan.output, &aux_types);
            for mut reducer in reducers.into_values() {
                reducer.finish();
                let rows = 0..reducer.out.times.len();
                gathered.times.extend_from_slice(&reducer.out.times);
                rows::append(&mut gathered.values, &reducer.out.values, rows.clone());
                for (to, from) in gathered.aux.iter_mut().zip(&reducer.out.aux) {
                    rows::append(to, from, rows.clone());
                }
            }
            let mut order: Vec<usize> = (0..gathered.times.len()).collect();
            order.sort_by(|a, b| {
                let by_time = gathered.times[*a].cmp(&gathered.times[*b]);
                if ascending { by_time } else { by_time.reverse() }
            });
            let times: Vec<i64> = order.iter().map(|row| gathered.times[*row]).collect();
            let values = rows::take(&gathered.values, &order);
            let aux: Vec<Column> = gathered.aux.iter().map(|column| rows::take(column, &order)).collect();
            let mut reducer =
                Reducer::new(function.clone(), *windows, *at_window, plan.output, &aux_types, 1);
            reducer.push(&times, &values, &aux.iter().collect::<Vec<_>>());
            reducer.finish();
            reducer.out
        }
        Stage::Transform { mut transformer, .. } => {
            transformer.finish();
            transformer.out
        }
        Stage::HoltWinters { .. } => Points::empty(FieldType::Float, &[]),
        Stage::Nested(inner, outer) => {
            ending.is_inner = true;
            let points = inner.finish(true, buckets_max, ending, control).await?;
            match *outer {
                Stage::Transform { mut transformer, .. } => {
                    in_steps(&points, control, |times, values| transformer.push(times, values)).await?;
                    transformer.finish();
                    transformer.out
                }
                Stage::HoltWinters { wanted } => {
                    let mut times = Vec::new();
                    let mut values = Vec::new();
                    for (row, time) in points.times.iter().enumerate() {
                        if let Some(value) = float_at(&points.values, row) {
                            times.push(*time);
                            values.push(value);
                        }
                    }
                    let mut out = Points::empty(FieldType::Float, &[]);
                    for (time, value) in forecast(wanted, &times, &values, control).await? {
                        out.push(time, Some(Value::Float(value)));
                    }
                    out
                }
                Stage::Reduce { .. } => {
                    let CallNode::Reduce { function, windows, at_window, .. } = &plan.node else {
                        return Ok((points, Vec::new()));
                    };
                    let input = points.values.field_type();
                    let mut reducer = Reducer::new(function.clone(), *windows, *at_window, input, &[], 1);
                    in_steps(&points, control, |times, values| reducer.push(times, values, &[])).await?;
                    reducer.finish();
                    reducer.out
                }
                other => {
                    Box::pin(finish_stage(other, plan, ascending, buckets_max, ending, control)).await?.0
                }
            }
        }
    };
    Ok((points, Vec::new()))
}

/// The points of a function from the cores' partials.
fn from_partials(
    function: &Reduce,
    output: FieldType,
    column: usize,
    at_window: bool,
    calls: &Partials,
    windows: &[i64],
    partials: &[PartialColumn],
) -> Points {
    let find = |kind: PartialKind| calls.position(column, kind).and_then(|at| partials.get(at));
    let at = |start: i64| if start <= MIN_TIME { 0 } else { start };
    let mut out = Points::empty(output, &[]);
    match function {
        Reduce::Mean => {
            let (Some(sums), Some(counts)) = (find(PartialKind::Sum), find(PartialKind::Count)) else {
                return out;
            };
            let mut means = Vec::with_capacity(windows.len());
            out.times.reserve(windows.len());
            for (row, start) in windows.iter().enumerate() {
                if let (Some(sum), Some(count)) = (float_at(&sums.values, row), float_at(&counts.values, row))
                    && count > 0.0
                {
                    out.times.push(at(*start));
                    means.push(sum / count);
                }
            }
            out.values = Column { data: ColumnData::Float(means), present: None };
        }
        Reduce::Spread => {
            let (Some(least), Some(most)) = (find(PartialKind::Min), find(PartialKind::Max)) else {
                return out;
            };
            for (row, start) in windows.iter().enumerate() {
                if let (Some(min), Some(max)) = (least.values.get(row), most.values.get(row)) {
                    out.push(at(*start), spread(&min, &max));
                }
            }
        }
        _ => {
            let kind = match function {
                Reduce::Count => PartialKind::Count,
                Reduce::Sum => PartialKind::Sum,
                Reduce::Min => PartialKind::Min,
                Reduce::Max => PartialKind::Max,
                Reduce::First => PartialKind::First,
                _ => PartialKind::Last,
            };
            let Some(partial) = find(kind) else { return out };
            let is_none = |row: usize| match &partial.values.data {
                ColumnData::Integer(counts) => kind == PartialKind::Count && counts[row] == 0,
                _ => false,
            };
            let rows: Vec<usize> =
                (0..windows.len()).filter(|row| partial.values.is_present(*row) && !is_none(*row)).collect();
            out.times = rows
                .iter()
                .map(|row| match partial.times.get(*row) {
                    Some(time) if !at_window => *time,
                    _ => at(windows[*row]),
                })
                .collect();
            rows::append(&mut out.values, &rows::take(&partial.values, &rows), 0..rows.len());
        }
    }
    out
}

/// Points of several calls side by side: one row per time any of them has.
pub async fn join(
    calls: Vec<Points>,
    endings: &mut [Ending],
    ascending: bool,
    fill_with: Fill,
    control: &Control,
) -> Result<(Vec<i64>, Vec<Column>)> {
    let mut calls = calls;
    let same =
        calls.split_first().is_none_or(|(first, rest)| rest.iter().all(|other| other.times == first.times));
    let repeats = calls.first().is_some_and(|first| first.times.windows(2).any(|pair| pair[0] == pair[1]));
    let is_late = endings.iter().any(|ending| ending.late > 0);
    if calls.len() == 1 || (same && !repeats && !is_late) {
        let times = calls.first_mut().map(|first| std::mem::take(&mut first.times)).unwrap_or_default();
        let mut columns = Vec::with_capacity(calls.len());
        for call in calls {
            columns.push(fill::fill_absent(call.values, fill_with));
        }
        return Ok((times, columns));
    }
    let mut at = vec![0usize; calls.len()];
    let mut times = Vec::new();
    let mut columns: Vec<Column> = calls.iter().map(|call| Column::empty(call.values.field_type())).collect();
    while calls.iter().zip(&at).any(|(call, at)| *at < call.times.len()) {
        let mut next: Option<i64> = None;
        for ((call, at), ending) in calls.iter().zip(&at).zip(endings.iter_mut()) {
            if ending.asked(*at < call.times.len())
                && let Some(time) = call.times.get(*at)
            {
                next = Some(
                    next.map_or(*time, |next| if ascending { next.min(*time) } else { next.max(*time) }),
                );
            }
        }
        let Some(time) = next else {
            // InfluxDB would end here when no other series follows, and lose what is late.
            endings.iter_mut().for_each(|ending| ending.late = 0);
            continue;
        };
        times.push(time);
        if times.len().is_multiple_of(STEP_POINTS) {
            control.spent((STEP_POINTS * calls.len()) as u64 * POINT_NS).await?;
        }
        for (((call, at), column), ending) in
            calls.iter().zip(&mut at).zip(&mut columns).zip(endings.iter_mut())
        {
            if ending.asked(*at < call.times.len()) && call.times.get(*at) == Some(&time) {
                rows::append(column, &call.values, *at..*at + 1);
                *at += 1;
            } else {
                column.push(None);
            }
        }
    }
    let columns = columns.into_iter().map(|column| fill::fill_absent(column, fill_with)).collect();
    Ok((times, columns))
}
