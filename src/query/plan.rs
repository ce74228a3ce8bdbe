//! From a resolved SELECT to a plan: which columns are read, what is pushed down to the cores, which calls run over
//! which points, and how output columns are made of them.

use std::borrow::Cow;

use hashbrown::HashMap;
use tidemark_engine::model::{FieldType, Value};
use tidemark_engine::scan::filter::Division;
use tidemark_engine::scan::request::{Expr as ScanExpr, ScanColumn, TagFilter};

use crate::influxql::ast::{Call, DataType, Expr, Field, Fill, VarRef};

use super::columns::{column_names, field_name, output_fields, text};
use super::control::Control;
use super::error::{QueryError, Result};
use super::eval::ColumnExpr;
use super::fill::fill_value;
use super::functions::holt_winters::HoltWinters;
use super::functions::reduce::Reduce;
use super::functions::technical::{Technical, Warmup};
use super::functions::transform::Transform;
use super::inputs::{Input, Inputs};
use super::partials::Partials;
use super::rewrite::{MeasurementAt, Resolved, ResolvedSource, calls_in, refs_in, type_at, type_in};
use super::stand_ins::with_stand_ins;
use super::types::{Type, is_selector, type_of};
use super::where_clause::{split_condition, typed};
use super::window::Windows;

/// The plan of one SELECT.
#[derive(Debug)]
pub struct Plan {
    /// Columns read from the sources, in order.
    pub inputs: Vec<Input>,
    /// GROUP BY tags: those the query around groups by come first.
    pub dimensions: Vec<String>,
    /// How many of them the rows given out are grouped by.
    pub outer_dimensions: usize,
    /// How many of them the outermost query groups by: SLIMIT counts those tag sets.
    pub final_dimensions: usize,
    pub sources: Vec<PlannedSource>,
    pub calls: Vec<CallPlan>,
    /// Positions in `inputs` of what is carried along with selected points, or given out as it is.
    pub aux: Vec<usize>,
    /// How many of them the statement itself names; the others are tags for the query around.
    pub own_aux: usize,
    /// Columns given out.
    pub outputs: Vec<Output>,
    pub names: Vec<String>,
    /// `None` when a time condition can never be true of a window's rows.
    pub windows: Windows,
    pub fill: Fill,
    pub ascending: bool,
    pub limit: u64,
    pub offset: u64,
    pub slimit: u64,
    pub soffset: u64,
    /// Least and greatest time to read, inclusive: some calls look before the range.
    pub read: (i64, i64),
    /// The calls the cores compute, when they can compute all.
    pub partials: Option<Partials>,
    /// No field has a type: nothing can come out.
    pub is_null: bool,
}

#[derive(Debug)]
pub enum PlannedSource {
    Measurement(Box<MeasurementScan>),
    Subquery(Box<SubqueryRead>),
}

/// What is asked of one measurement.
#[derive(Debug, Clone)]
pub struct MeasurementScan {
    pub at: MeasurementAt,
    pub series: Option<TagFilter>,
    pub rows: Option<ScanExpr>,
    pub columns: Vec<ScanColumn>,
    /// Per input: its position in `columns`.
    pub positions: Vec<Option<usize>>,
}

/// How the rows of a subquery become inputs.
#[derive(Debug)]
pub struct SubqueryRead {
    pub plan: Plan,
    /// Over the subquery's output columns.
    pub filter: Option<ColumnExpr>,
    /// Per input: the output column of the subquery.
    pub positions: Vec<Option<usize>>,
}

/// One call of the select list.
#[derive(Debug)]
pub struct CallPlan {
    pub node: CallNode,
    /// Its result type.
    pub output: FieldType,
}

#[derive(Debug)]
pub enum CallNode {
    Reduce {
        function: Reduce,
        from: CallInput,
        windows: Windows,
        /// Result times are window starts.
        at_window: bool,
        /// `None`: windows without points are left out.
        fill: Option<Fill>,
        /// `top` and `bottom` with tags: best point per combination of these inputs first.
        per: Vec<usize>,
    },
    Transform {
        transform: Transform,
        from: CallInput,
        windows: Windows,
    },
    HoltWinters {
        wanted: HoltWinters,
        from: CallInput,
    },
}

#[derive(Debug)]
pub enum CallInput {
    /// A position in [`Plan::inputs`].
    Column(usize),
    Call(Box<CallPlan>),
}

/// How an output column is made.
#[derive(Debug)]
pub enum Output {
    /// The result of a call, as it is.
    Call(usize),
    /// A carried input, by position in [`Plan::aux`].
    Aux(usize),
    /// Over the calls' results, then the carried inputs.
    Computed(Box<ColumnExpr>),
    /// A dimension, for a query around.
    Dimension(usize),
    /// A tag of a row for a query around, by position in [`Plan::aux`].
    Tag(usize),
    Absent,
}

impl Plan {
    /// Whether series are brought together to those of the query around.
    pub fn is_gathered(&self) -> bool {
        self.outer_dimensions < self.dimensions.len()
    }

    pub fn reads_subquery(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, PlannedSource::Subquery(_)))
    }
}

/// Makes the plan of a whole statement.
pub async fn plan(resolved: &Resolved, control: &Control) -> Result<Plan> {
    let mut dimensions = resolved.dimensions.clone();
    dimensions.sort();
    dimensions.dedup();
    let count = dimensions.len();
    Planner { resolved, final_dimensions: count, control }.plan(dimensions, count, &[]).await
}

/// Nanoseconds, about, that a step takes for a field: a wildcard may stand for thousands of them.
const FIELD_NS: u64 = 300;

struct Planner<'a> {
    resolved: &'a Resolved,
    final_dimensions: usize,
    control: &'a Control,
}

impl Planner<'_> {
    /// Counts one step for so many fields.
    async fn spent(&self, fields: usize) -> Result<()> {
        self.control.spent(FIELD_NS * fields as u64).await
    }

    /// `wanted_tags`: dimensions the query around reads as columns, after the fields.
    async fn plan(
        &self,
        dimensions: Vec<String>,
        outer_dimensions: usize,
        wanted_tags: &[String],
    ) -> Result<Plan> {
        let resolved = self.resolved;
        let compiled = &resolved.compiled;
        for field in &resolved.fields {
            // In the select list the types must fit, even if nothing is found.
            resolved.type_of(&field.expr)?;
            self.spent(1).await?;
        }
        let mut statement = compiled.statement.clone();
        statement.fields.clone_from(&resolved.fields);
        let fields = output_fields(&statement);
        self.spent(2 * fields.len()).await?;
        let names = column_names(&fields, None);
        self.spent(fields.len()).await?;
        let windows = Windows {
            interval: compiled.interval,
            zone: compiled.zone,
            start: compiled.start,
            end: compiled.end,
        };

        let mut found_calls: Vec<&Expr> = Vec::new();
        let mut refs: Vec<&VarRef> = Vec::new();
        for field in &fields {
            calls_in(&field.expr, &mut found_calls);
            refs_in(&field.expr, &mut refs);
        }
        let mut call_exprs: Vec<&Expr> = Vec::new();
        let mut calls_at: HashMap<String, Vec<usize>> = HashMap::new();
        for expr in found_calls {
            let same_text = calls_at.entry(text(expr)).or_default();
            if !same_text.iter().any(|at| call_exprs[*at] == expr) {
                same_text.push(call_exprs.len());
                call_exprs.push(expr);
            }
            self.spent(1).await?;
        }
        refs.sort();
        refs.dedup();
        self.spent(refs.len()).await?;
        let mut inputs = Inputs::default();
        // At first the inputs are those carried along, in the same order.
        for var in &refs {
            inputs.position(&var.name, self.kind(var));
            self.spent(1).await?;
        }
        let mut aux: Vec<usize> = (0..inputs.list.len()).collect();
        let own_aux = aux.len();
        let selector =
            call_exprs.len() == 1 && matches!(call_exprs[0], Expr::Call(call) if is_selector(&call.name));
        let mut calls = Vec::new();
        let mut call_positions: Vec<Option<usize>> = Vec::new();
        for expr in &call_exprs {
            let Expr::Call(call) = expr else { continue };
            self.spent(1).await?;
            if resolved.type_of(expr)? == Type::Unknown {
                call_positions.push(None);
                continue;
            }
            let planned = self.call(call, windows, selector, &mut inputs)?;
            call_positions.push(planned.is_some().then_some(calls.len()));
            calls.extend(planned);
        }
        let is_null = if call_exprs.is_empty() {
            !refs.iter().any(|var| self.kind(var) != Type::Unknown)
        } else {
            calls.is_empty()
        };

        // What is nowhere has no type, but a fill with a number puts it in there, too.
        let is_filled = matches!(compiled.fill, Fill::Integer(_) | Fill::Number(_));
        let slot = |expr: &Expr| -> Option<Option<usize>> {
            if let Expr::Call(_) = expr
                && let Some(at) = calls_at.get(&text(expr))
                && let Some(at) = at.iter().find(|at| call_exprs[**at] == expr)
            {
                return Some(call_positions[*at]);
            }
            if let Expr::VarRef(var) = expr {
                let kind = self.kind(var);
                let at = inputs.known(&var.name, kind).filter(|at| *at < own_aux)?;
                return Some((kind != Type::Unknown || is_filled).then_some(calls.len() + at));
            }
            None
        };
        let stand_ins = self.stand_ins(&call_exprs, &call_positions)?;
        let shown: Cow<'_, [Field]> = match stand_ins.is_empty() {
            true => Cow::Borrowed(&fields),
            false => Cow::Owned(fields.iter().map(|field| with_stand_ins(field, &stand_ins)).collect()),
        };
        let mut outputs = Vec::with_capacity(fields.len() + wanted_tags.len());
        for field in shown.iter() {
            outputs.push(match slot(field.expr.unparenthesized()) {
                Some(Some(at)) if at < calls.len() => Output::Call(at),
                Some(Some(at)) => Output::Aux(at - calls.len()),
                Some(None) => Output::Absent,
                None => Output::Computed(Box::new(ColumnExpr::compile(&field.expr, Division::Float, &slot)?)),
            });
            self.spent(1).await?;
        }
        for tag in wanted_tags {
            outputs.push(match dimensions.iter().position(|dimension| dimension == tag) {
                Some(at) => Output::Dimension(at),
                None if call_exprs.is_empty() => {
                    let input = inputs.position(tag, Type::Tag);
                    Output::Tag(aux.iter().position(|at| *at == input).unwrap_or_else(|| {
                        aux.push(input);
                        aux.len() - 1
                    }))
                }
                None => Output::Absent,
            });
        }

        let mut read = (compiled.start, compiled.end);
        for call in &calls {
            widen(&call.node, &mut read);
        }
        let mut sources = Vec::with_capacity(resolved.sources.len());
        for source in &resolved.sources {
            match source {
                ResolvedSource::Measurement(at) => {
                    if let Some(scan) = self.measurement(at, &inputs.list).await? {
                        sources.push(PlannedSource::Measurement(Box::new(scan)));
                    }
                }
                ResolvedSource::Subquery(inner) => {
                    // Boxed, because subqueries nest.
                    let planned = Box::pin(self.subquery(inner, &inputs.list, &dimensions, read));
                    if let Some(read) = planned.await? {
                        sources.push(PlannedSource::Subquery(Box::new(read)));
                    }
                }
            }
        }
        self.spent(inputs.list.len() + calls.len()).await?;
        Ok(Plan {
            partials: Partials::of(&calls, &aux, &inputs.list, &sources, read, windows),
            inputs: inputs.list,
            dimensions,
            outer_dimensions,
            final_dimensions: self.final_dimensions,
            sources,
            calls,
            aux,
            own_aux,
            outputs,
            names,
            windows,
            fill: compiled.fill,
            ascending: compiled.ascending,
            limit: statement.limit,
            offset: statement.offset,
            slimit: statement.slimit,
            soffset: statement.soffset,
            read,
            is_null,
        })
    }

    fn kind(&self, var: &VarRef) -> Type {
        let kind = type_in(&self.resolved.sources, var);
        // `::field` never means a tag.
        if kind == Type::Tag && var.data_type == Some(DataType::AnyField) { Type::Unknown } else { kind }
    }

    /// Calls that have nothing to read, with what `fill(number)` puts in their place: one whose type is certain, whatever
    /// it reads (`mean(nothing)`), is filled like any other.
    fn stand_ins<'e>(
        &self,
        calls: &[&'e Expr],
        positions: &[Option<usize>],
    ) -> Result<Vec<(&'e Expr, Expr)>> {
        let mut found = Vec::new();
        for (expr, _) in calls.iter().zip(positions).filter(|(_, position)| position.is_none()) {
            let Some(field_type) = self.resolved.type_of(expr)?.field_type() else { continue };
            let literal = match fill_value(self.resolved.compiled.fill, field_type) {
                Some(Value::Float(value)) => Expr::Number(value),
                Some(Value::Integer(value)) => Expr::Integer(value),
                Some(Value::Unsigned(value)) => Expr::Unsigned(value),
                _ => continue,
            };
            found.push((*expr, literal));
        }
        Ok(found)
    }

    fn call(
        &self,
        call: &Call,
        windows: Windows,
        selector: bool,
        inputs: &mut Inputs,
    ) -> Result<Option<CallPlan>> {
        let integer = |at: usize| match call.args.get(at) {
            Some(Expr::Integer(value)) => *value,
            _ => 0,
        };
        let unit = |default: i64| match call.args.get(1) {
            Some(Expr::Duration(unit)) => *unit,
            _ => default,
        };
        let every = windows.interval.map(|interval| interval.every);
        let Some(argument) = call.args.first() else { return Ok(None) };
        let name = call.name.as_str();

        let transform = match name {
            "derivative" | "non_negative_derivative" => Some(Transform::Derivative {
                unit: unit(every.unwrap_or(1_000_000_000)),
                non_negative: name != "derivative",
            }),
            "difference" | "non_negative_difference" => {
                Some(Transform::Difference { non_negative: name != "difference" })
            }
            "moving_average" => Some(Transform::MovingAverage { size: integer(1).max(1) as usize }),
            "cumulative_sum" => Some(Transform::CumulativeSum),
            "elapsed" => Some(Transform::Elapsed { unit: unit(1) }),
            "integral" => Some(Transform::Integral { unit: unit(1_000_000_000) }),
            _ => {
                let hold = call.args.get(2).map(|_| integer(2)).filter(|hold| *hold >= 0);
                let warmup = match call.args.get(3) {
                    Some(Expr::String(text)) if text == "simple" => Some(Warmup::Simple),
                    Some(Expr::String(text)) if text == "exponential" => Some(Warmup::Exponential),
                    Some(Expr::String(_)) => Some(Warmup::None),
                    _ => None,
                };
                Technical::by_name(name, integer(1).max(1) as usize, hold.map(|hold| hold as usize), warmup)
                    .map(Transform::Technical)
            }
        };
        if let Some(transform) = transform {
            let mut wide = windows;
            if let Some(every) = every
                && !matches!(transform, Transform::CumulativeSum | Transform::Integral { .. })
            {
                // The first window's result needs the window before it. InfluxDB reads one window more, however many
                // a moving average is over.
                if self.resolved.compiled.ascending {
                    if wide.start > super::condition::MIN_TIME {
                        wide.start = wide.start.saturating_sub(every).max(super::condition::MIN_TIME);
                    }
                } else if wide.end < super::condition::MAX_TIME {
                    wide.end = wide.end.saturating_add(every).min(super::condition::MAX_TIME);
                }
            }
            let Some((from, input)) = self.from(argument, wide, inputs)? else { return Ok(None) };
            if !transform.accepts(input) {
                return Err(unsupported(name, input));
            }
            let output = transform.output(input);
            return Ok(Some(CallPlan {
                node: CallNode::Transform { transform, from, windows: wide },
                output,
            }));
        }
        if name.starts_with("holt_winters") {
            let Some((from, input)) = self.from(argument, windows, inputs)? else { return Ok(None) };
            if !matches!(input, FieldType::Float | FieldType::Integer | FieldType::Unsigned) {
                return Err(unsupported(name, input));
            }
            let wanted = HoltWinters {
                horizon: integer(1).clamp(0, 1 << 20) as usize,
                season: integer(2).clamp(0, 1 << 20) as usize,
                with_fit: name == "holt_winters_with_fit",
                interval: every.unwrap_or(1),
            };
            return Ok(Some(CallPlan {
                node: CallNode::HoltWinters { wanted, from },
                output: FieldType::Float,
            }));
        }

        let function = match name {
            "count" => Reduce::Count,
            "sum" => Reduce::Sum,
            "mean" => Reduce::Mean,
            "spread" => Reduce::Spread,
            "min" => Reduce::Min,
            "max" => Reduce::Max,
            "first" => Reduce::First,
            "last" => Reduce::Last,
            "median" => Reduce::Median,
            "mode" => Reduce::Mode,
            "stddev" => Reduce::Stddev,
            "distinct" => Reduce::Distinct,
            "percentile" => Reduce::Percentile(match call.args.get(1) {
                Some(Expr::Number(percentile)) => *percentile,
                _ => integer(1) as f64,
            }),
            "sample" => Reduce::Sample(integer(1).clamp(1, 1 << 24) as usize),
            "top" => Reduce::Top(integer(call.args.len() - 1).clamp(1, 1 << 24) as usize),
            "bottom" => Reduce::Bottom(integer(call.args.len() - 1).clamp(1, 1 << 24) as usize),
            _ => return Err(QueryError::statement(format!("undefined function {name}()"))),
        };
        let Some((from, input)) = self.from(argument, windows, inputs)? else { return Ok(None) };
        if !function.accepts(input) {
            return Err(unsupported(name, input));
        }
        let own_times = matches!(function, Reduce::Sample(_) | Reduce::Top(_) | Reduce::Bottom(_));
        let unfilled = own_times || matches!(function, Reduce::Distinct);
        let mut per = Vec::new();
        if matches!(function, Reduce::Top(_) | Reduce::Bottom(_)) && call.args.len() > 2 {
            for argument in &call.args[1..call.args.len() - 1] {
                if let Expr::VarRef(var) = argument {
                    per.push(inputs.position(&var.name, self.kind(var)));
                }
            }
        }
        let at_window =
            !own_times && (matches!(function, Reduce::Distinct) || !selector || windows.interval.is_some());
        let fill = match self.resolved.compiled.fill {
            Fill::None => None,
            _ if unfilled || windows.interval.is_none() => None,
            Fill::Null if matches!(function, Reduce::Count) => Some(Fill::Integer(0)),
            fill => Some(fill),
        };
        let output = function.output(input);
        Ok(Some(CallPlan {
            node: CallNode::Reduce { function, from, windows, at_window, fill, per },
            output,
        }))
    }

    fn from(
        &self,
        argument: &Expr,
        windows: Windows,
        inputs: &mut Inputs,
    ) -> Result<Option<(CallInput, FieldType)>> {
        match argument {
            Expr::VarRef(var) => {
                let kind = self.kind(var);
                let Some(field_type) = kind.field_type() else { return Ok(None) };
                Ok(Some((CallInput::Column(inputs.position(&var.name, kind)), field_type)))
            }
            Expr::Call(call) => {
                if type_of(argument, &|var| self.kind(var))? == Type::Unknown {
                    return Ok(None);
                }
                let Some(inner) = self.call(call, windows, false, inputs)? else { return Ok(None) };
                let output = inner.output;
                Ok(Some((CallInput::Call(Box::new(inner)), output)))
            }
            _ => Ok(None),
        }
    }

    /// The scan of a measurement; `None` when none of the fields wanted is there.
    async fn measurement(&self, at: &MeasurementAt, inputs: &[Input]) -> Result<Option<MeasurementScan>> {
        let mut columns = Vec::new();
        let mut positions = Vec::with_capacity(inputs.len());
        let mut has_field = false;
        for input in inputs {
            let there = type_at(&at.schema, &input.name);
            let is_field = at
                .schema
                .fields
                .binary_search_by(|(name, _)| name.as_slice().cmp(input.name.as_bytes()))
                .is_ok();
            let column = match (input.kind, there) {
                (Type::Unknown, _) => None,
                (Type::Tag, _) => Some(ScanColumn::Tag { name: input.name.clone().into_bytes() }),
                (kind, _) if is_field => kind.field_type().map(|as_type| ScanColumn::Field {
                    name: input.name.clone().into_bytes(),
                    as_type,
                    cast: true,
                }),
                // A tag here, a field elsewhere: no value.
                _ => None,
            };
            has_field |= matches!(column, Some(ScanColumn::Field { .. }));
            positions.push(column.map(|column| {
                columns.push(column);
                columns.len() - 1
            }));
            self.spent(1).await?;
        }
        if !has_field {
            return Ok(None);
        }
        let (series, rows) = match &self.resolved.compiled.condition {
            None => (None, None),
            Some(condition) => {
                let typed = typed(condition, &self.resolved.sources);
                self.control.between_steps().await?;
                split_condition(&typed, at)?
            }
        };
        if series == Some(TagFilter::Constant(false)) {
            return Ok(None);
        }
        Ok(Some(MeasurementScan { at: at.clone(), series, rows, columns, positions }))
    }

    async fn subquery(
        &self,
        inner: &Resolved,
        inputs: &[Input],
        dimensions: &[String],
        read: (i64, i64),
    ) -> Result<Option<SubqueryRead>> {
        // The inner query groups by what is grouped by here, then by its own tags. Rows that are neither folded nor
        // counted come the same without the latter: all series of an outer tag set in the order of time.
        let statement = &inner.compiled.statement;
        let is_ungrouped = inner.compiled.is_raw
            && (statement.limit, statement.offset) == (0, 0)
            && inner.sources.iter().all(|source| matches!(source, ResolvedSource::Measurement(_)));
        let mut inner_dimensions = dimensions.to_vec();
        let mut own: Vec<String> = inner
            .dimensions
            .iter()
            .filter(|own| !is_ungrouped && !dimensions.contains(own))
            .cloned()
            .collect();
        own.sort();
        own.dedup();
        inner_dimensions.extend(own);
        let mut widened = inner.clone();
        // A call here that looks before the range makes the inner query, if it inherited the range, do so too.
        if widened.compiled.start == self.resolved.compiled.start {
            widened.compiled.start = read.0;
        }
        if widened.compiled.end == self.resolved.compiled.end {
            widened.compiled.end = read.1;
        }
        let fields = {
            let mut statement = inner.compiled.statement.clone();
            statement.fields.clone_from(&inner.fields);
            output_fields(&statement)
        };
        let mut wanted_tags: Vec<String> = Vec::new();
        let mut locate = |name: &str| -> Option<usize> {
            if let Some(at) = fields.iter().position(|field| field_name(field) == name) {
                return Some(at);
            }
            if inner.dimensions.iter().any(|dimension| dimension == name) {
                let at = wanted_tags.iter().position(|tag| tag == name).unwrap_or_else(|| {
                    wanted_tags.push(name.to_string());
                    wanted_tags.len() - 1
                });
                return Some(fields.len() + at);
            }
            None
        };
        let positions: Vec<Option<usize>> = inputs
            .iter()
            .map(|input| if input.kind == Type::Unknown { None } else { locate(&input.name) })
            .collect();
        if positions.iter().all(Option::is_none) {
            return Ok(None);
        }
        let filter = match &self.resolved.compiled.condition {
            None => None,
            Some(condition) => {
                let mut refs = Vec::new();
                refs_in(condition, &mut refs);
                let located: Vec<(VarRef, Option<usize>)> =
                    refs.into_iter().map(|var| (var.clone(), locate(&var.name))).collect();
                Some(ColumnExpr::compile(condition, Division::Integer, &|expr| match expr {
                    Expr::VarRef(var) => located.iter().find(|(held, _)| held == var).map(|(_, at)| *at),
                    _ => None,
                })?)
            }
        };
        // SLIMIT and SOFFSET are applied where series are read, those of all queries around added up.
        let outer = &self.resolved.compiled.statement;
        let statement = &mut widened.compiled.statement;
        statement.slimit = statement.slimit.saturating_add(outer.slimit);
        statement.soffset = statement.soffset.saturating_add(outer.soffset);
        let planner = Planner { resolved: &widened, ..*self };
        let plan = planner.plan(inner_dimensions, dimensions.len(), &wanted_tags).await?;
        Ok(Some(SubqueryRead { plan, filter, positions }))
    }
}

fn widen(node: &CallNode, read: &mut (i64, i64)) {
    let (windows, from) = match node {
        CallNode::Reduce { windows, from, .. } | CallNode::Transform { windows, from, .. } => {
            (Some(windows), from)
        }
        CallNode::HoltWinters { from, .. } => (None, from),
    };
    if let Some(windows) = windows {
        read.0 = read.0.min(windows.start);
        read.1 = read.1.max(windows.end);
    }
    if let CallInput::Call(inner) = from {
        widen(&inner.node, read);
    }
}

fn unsupported(name: &str, input: FieldType) -> QueryError {
    let of = match input {
        FieldType::Float => "float",
        FieldType::Integer => "integer",
        FieldType::Unsigned => "unsigned",
        FieldType::Boolean => "boolean",
        FieldType::String => "string",
    };
    QueryError::statement(format!("unsupported {name} iterator type: *query.{of}InterruptIterator"))
}
