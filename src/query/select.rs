//! SELECT from statement to pieces of the answer.

use std::rc::Rc;

use tidemark_engine::model::{Column, FieldType};

use crate::influxql::ast::{Fill, SelectStatement};

use super::compile::compile;
use super::control::Control;
use super::error::{QueryError, Result};
use super::exec::SelectStream;
use super::plan::{Output, Plan, plan};
use super::result::{Cell, Cells, Cut, ResultSink, Series};
use super::rewrite::{Defaults, Limits, resolve};
use super::rows::RowBatch;
use super::source::DataSource;

/// Nanoseconds, about, that a sink takes for a cell.
const ENCODED_CELL_NS: u64 = 15;

/// What a statement runs with.
#[derive(Debug, Clone)]
pub struct Context {
    pub defaults: Defaults,
    /// ns since 1970; the same for all of a statement.
    pub now: i64,
    pub control: Control,
}

/// Checks, resolves and plans; the name of the time column comes along.
pub async fn prepare<D: DataSource>(
    source: &D,
    statement: &SelectStatement,
    context: &Context,
) -> Result<(Plan, String)> {
    context.control.between_steps().await?;
    let compiled = compile(statement, context.now)?;
    context.control.between_steps().await?;
    let time_name = compiled.time_name.clone();
    let limits = context.control.limits();
    let (start, end, is_raw, interval) = (compiled.start, compiled.end, compiled.is_raw, compiled.interval);
    let resolved = resolve(source, &context.defaults, &limits, compiled).await?;
    context.control.between_steps().await?;
    let plan = plan(&resolved, &context.control).await?;
    context.control.between_steps().await?;
    if let Some(interval) = interval
        && !is_raw
        && start > super::condition::MIN_TIME
    {
        check_buckets(&plan, start, end, interval.every, &limits)?;
    }
    Ok((plan, time_name))
}

fn check_buckets(plan: &Plan, start: i64, end: i64, every: i64, limits: &Limits) -> Result<()> {
    if limits.buckets_max == 0 {
        return Ok(());
    }
    let first = plan.windows.start_of(start) as i128;
    let last = plan.windows.start_of(end.saturating_sub(1)) as i128;
    let buckets = (last - first + every as i128) / every as i128;
    if buckets > limits.buckets_max as i128 {
        return Err(QueryError::BucketsMax {
            wanted: u64::try_from(buckets).unwrap_or(u64::MAX),
            max: limits.buckets_max,
        });
    }
    Ok(())
}

/// Runs a SELECT without INTO.
pub async fn select<D: DataSource, S: ResultSink>(
    source: &D,
    statement: &SelectStatement,
    context: &Context,
    sink: &mut S,
) -> Result<()> {
    let (plan, time_name) = prepare(source, statement, context).await?;
    let mut stream = SelectStream::new(&plan, source, context.control.clone(), context.now as u64);
    let columns = header(&plan, &time_name);
    while let Some(batch) = stream.next().await? {
        let cells = batch.times.len() * columns.len();
        sink.series(piece(&plan, &columns, batch)).await?;
        context.control.spent(ENCODED_CELL_NS * cells as u64).await?;
    }
    Ok(())
}

fn header(plan: &Plan, time_name: &str) -> Rc<[Vec<u8>]> {
    let names = plan.names.iter().map(String::as_str);
    std::iter::once(time_name).chain(names).map(|name| name.as_bytes().to_vec()).collect()
}

fn piece(plan: &Plan, columns: &Rc<[Vec<u8>]>, batch: RowBatch) -> Series {
    let mut values = Vec::with_capacity(columns.len());
    values.push(Cells::Times(batch.times));
    let columns_out = batch.columns.into_iter().zip(&plan.outputs);
    values.extend(columns_out.map(|(column, output)| shown(column, output, plan.fill)));
    Series {
        name: batch.series.name.clone(),
        tags: plan
            .dimensions
            .iter()
            .zip(&batch.series.tags)
            .map(|(name, value)| (name.clone().into_bytes(), value.clone()))
            .collect(),
        columns: columns.clone(),
        values,
        zone: plan.windows.zone,
        cut: Cut::Rows,
    }
}

/// A fill with a number stands in every cell without a value: also in one of a text column, where it is no text.
fn shown(column: Column, output: &Output, fill: Fill) -> Cells {
    let number = match fill {
        Fill::Integer(number) => Cell::Integer(number),
        Fill::Number(number) => Cell::Float(number),
        _ => return Cells::Typed(column),
    };
    let is_plain = matches!(output, Output::Call(_) | Output::Aux(_));
    let is_text = matches!(column.field_type(), FieldType::String | FieldType::Boolean);
    if !is_plain || !is_text || column.present.is_none() {
        return Cells::Typed(column);
    }
    let column = Cells::Typed(column);
    let cell = |row| match column.get(row) {
        Cell::Null => number.clone(),
        cell => cell,
    };
    Cells::Mixed((0..column.len()).map(cell).collect())
}
