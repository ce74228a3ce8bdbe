//! SELECT … INTO: rows become points of the target. The write itself is the caller's, through [`PointWriter`].

use tidemark_engine::model::Column;

use crate::influxql::ast::{MeasurementName, SelectStatement};

use super::error::{QueryError, Result};
use super::exec::SelectStream;
use super::result::{Cell, ResultSink, Series};
use super::rewrite::place_of;
use super::select::{Context, prepare};
use super::source::{DataSource, Place};

/// Rows of one series to be written: a point per row, of the columns that have a value in it.
#[derive(Debug)]
pub struct PointRows<'a> {
    pub place: &'a Place,
    pub measurement: &'a [u8],
    pub tags: &'a [(Vec<u8>, Vec<u8>)],
    pub times: &'a [i64],
    /// One per column.
    pub fields: &'a [Vec<u8>],
    pub columns: &'a [Column],
}

/// Writes points; durable when it answers.
pub trait PointWriter {
    async fn write(&mut self, rows: PointRows<'_>) -> Result<()>;
}

/// Runs a SELECT with INTO; the answer is the number of points written.
pub async fn select_into<D: DataSource, W: PointWriter, S: ResultSink>(
    source: &D,
    statement: &SelectStatement,
    context: &Context,
    writer: &mut W,
    sink: &mut S,
) -> Result<()> {
    let Some(target) = &statement.target else {
        return Err(QueryError::statement("invalid measurement"));
    };
    let place = place_of(source, &context.defaults, &target.measurement)?;
    let (plan, _) = prepare(source, statement, context).await?;
    let mut stream = SelectStream::new(&plan, source, context.control.clone(), context.now as u64);
    let fields: Vec<Vec<u8>> = plan.names.iter().map(|name| name.clone().into_bytes()).collect();
    let mut written = 0i64;
    while let Some(batch) = stream.next().await? {
        let measurement = match &target.measurement.name {
            MeasurementName::Name(name) => name.clone().into_bytes(),
            _ => batch.series.name.clone(),
        };
        let tags: Vec<(Vec<u8>, Vec<u8>)> = plan
            .dimensions
            .iter()
            .zip(&batch.series.tags)
            .map(|(name, value)| (name.clone().into_bytes(), value.clone()))
            .collect();
        // Rows without any value are no points.
        written += (0..batch.times.len())
            .filter(|row| batch.columns.iter().any(|column| column.is_present(*row)))
            .count() as i64;
        writer
            .write(PointRows {
                place: &place,
                measurement: &measurement,
                tags: &tags,
                times: &batch.times,
                fields: &fields,
                columns: &batch.columns,
            })
            .await?;
    }
    let row = vec![Cell::Time(0), Cell::Integer(written)];
    sink.series(Series::from_rows(b"result", &["time", "written"], vec![row])).await
}
