//! EXPLAIN: what a SELECT would read; ANALYZE runs it too; ESTIMATE tells what it would cost before anything runs.

use tidemark_engine::model::TimeRange;
use tidemark_engine::pace::Pace;
use tidemark_engine::scan::request::{CatalogKind, CatalogReply, CatalogRequest, ScanCost};

use crate::influxql::ast::{DataType, ExplainKind, ExplainStatement, Expr, SelectStatement, Source, VarRef};

use super::columns::text;
use super::error::Result;
use super::inputs::Input;
use super::merge::merge_catalogs;
use super::plan::{Plan, PlannedSource};
use super::result::{Cell, ResultSink, Series};
use super::rewrite::{calls_in, time_range};
use super::select::{Context, prepare};
use super::source::DataSource;
use super::types::Type;

/// Bytes of blocks a core reads and folds in a second, cautiously: what the estimate of time is made of.
const BYTES_PER_SECOND: u64 = 400 << 20;

/// Answers an EXPLAIN statement. `clock` gives ns for the times of ANALYZE.
pub async fn explain<D: DataSource, S: ResultSink>(
    source: &D,
    statement: &ExplainStatement,
    context: &Context,
    clock: &dyn Fn() -> i64,
    sink: &mut S,
) -> Result<()> {
    let began = clock();
    let (plan, _) = prepare(source, &statement.select, context).await?;
    let planned = clock();
    let mut cost = ScanCost::default();
    let mut shards = 0;
    add_cost(source, &plan, context, &mut cost, &mut shards).await?;
    let (title, lines) = match statement.kind {
        ExplainKind::Plan => ("QUERY PLAN", plan_lines(&statement.select, &plan, shards, &cost)),
        ExplainKind::Estimate => ("QUERY ESTIMATE", estimate_lines(shards, &cost)),
        ExplainKind::Analyze => {
            let (rows, pieces) = run(source, &plan, context).await?;
            let ended = clock();
            (
                "EXPLAIN ANALYZE",
                vec![
                    ".".to_string(),
                    "└── select".to_string(),
                    format!("    ├── execution_time: {}", duration(ended - planned)),
                    format!("    ├── planning_time: {}", duration(planned - began)),
                    format!("    ├── total_time: {}", duration(ended - began)),
                    format!("    ├── pushed_down: {}", plan.partials.is_some()),
                    format!("    ├── shards: {shards}"),
                    format!("    ├── series: {}", cost.series),
                    format!("    ├── blocks: {}", cost.blocks),
                    format!("    ├── block_bytes: {}", cost.block_bytes),
                    format!("    ├── points_read: {}", context.control.points()),
                    format!("    ├── peak_memory_bytes: {}", context.control.peak_bytes()),
                    format!("    ├── series_pieces: {pieces}"),
                    format!("    └── rows: {rows}"),
                ],
            )
        }
    };
    let rows = lines.into_iter().map(|line| vec![Cell::text(line)]).collect();
    sink.series(Series::from_rows(b"", &[title], rows)).await
}

async fn run<D: DataSource>(source: &D, plan: &Plan, context: &Context) -> Result<(usize, usize)> {
    let mut stream =
        super::exec::SelectStream::new(plan, source, context.control.clone(), context.now as u64);
    let (mut rows, mut pieces) = (0, 0);
    while let Some(batch) = stream.next().await? {
        rows += batch.times.len();
        pieces += 1;
    }
    Ok((rows, pieces))
}

fn duration(nanoseconds: i64) -> String {
    crate::influxql::duration::format_duration_go(nanoseconds)
}

/// Of subqueries the innermost is shown: it is what reads.
fn plan_lines(select: &SelectStatement, plan: &Plan, shards: u64, cost: &ScanCost) -> Vec<String> {
    if let [PlannedSource::Subquery(read), ..] = plan.sources.as_slice()
        && let Some(Source::Subquery(inner)) =
            select.sources.iter().find(|source| matches!(source, Source::Subquery(_)))
    {
        return plan_lines(inner, &read.plan, shards, cost);
    }
    let mut calls: Vec<&Expr> = Vec::new();
    for field in &select.fields {
        calls_in(&field.expr, &mut calls);
    }
    let mut seen = std::collections::HashSet::new();
    let mut expressions: Vec<String> =
        calls.into_iter().map(|call| typed(call, plan)).filter(|text| seen.insert(text.clone())).collect();
    if expressions.is_empty() {
        expressions.push("<nil>".to_string());
    }
    let aux: Vec<String> =
        plan.aux.iter().map(|at| &plan.inputs[*at]).map(|input| text(&reference(input))).collect();
    let mut lines = Vec::new();
    for (at, expression) in expressions.iter().enumerate() {
        if at > 0 {
            lines.push(String::new());
        }
        lines.push(format!("EXPRESSION: {expression}"));
        if !aux.is_empty() {
            lines.push(format!("AUXILIARY FIELDS: {}", aux.join(", ")));
        }
        lines.push(format!("NUMBER OF SHARDS: {shards}"));
        lines.push(format!("NUMBER OF SERIES: {}", cost.series));
        lines.push(format!("CACHED VALUES: {}", cost.cached_values));
        lines.push(format!("NUMBER OF FILES: {}", cost.files));
        lines.push(format!("NUMBER OF BLOCKS: {}", cost.blocks));
        lines.push(format!("SIZE OF BLOCKS: {}", cost.block_bytes));
    }
    lines
}

/// A call with the types of what it reads.
fn typed(call: &Expr, plan: &Plan) -> String {
    let mut call = call.clone();
    call.walk_mut(&mut |part| {
        if let Expr::VarRef(var) = part
            && let Some(input) = plan.inputs.iter().find(|input| input.name == var.name)
        {
            *part = reference(input);
        }
    });
    text(&call)
}

fn reference(input: &Input) -> Expr {
    let data_type = match input.kind {
        Type::Unknown => None,
        Type::Float => Some(DataType::Float),
        Type::Integer => Some(DataType::Integer),
        Type::Unsigned => Some(DataType::Unsigned),
        Type::String => Some(DataType::String),
        Type::Boolean => Some(DataType::Boolean),
        Type::Tag => Some(DataType::Tag),
    };
    Expr::VarRef(VarRef { name: input.name.clone(), data_type })
}

fn estimate_lines(shards: u64, cost: &ScanCost) -> Vec<String> {
    let cached_bytes = cost.cached_values * 16;
    let nanoseconds =
        (cost.block_bytes + cached_bytes) as u128 * 1_000_000_000 / u128::from(BYTES_PER_SECOND);
    vec![
        format!("shards: {shards}"),
        format!("series: {}", cost.series),
        format!("files: {}", cost.files),
        format!("blocks: {}", cost.blocks),
        format!("block_bytes: {}", cost.block_bytes),
        format!("cached_values: {}", cost.cached_values),
        format!("expected_time: {}", duration(i64::try_from(nanoseconds).unwrap_or(i64::MAX))),
    ]
}

/// Sums the costs of all measurements read, subqueries' included.
async fn add_cost<D: DataSource>(
    source: &D,
    plan: &Plan,
    context: &Context,
    cost: &mut ScanCost,
    shards: &mut u64,
) -> Result<()> {
    let mut plans = vec![plan];
    while let Some(plan) = plans.pop() {
        for planned in &plan.sources {
            match planned {
                PlannedSource::Subquery(read) => plans.push(&read.plan),
                PlannedSource::Measurement(scan) => {
                    let time: TimeRange = time_range(plan.read.0, plan.read.1);
                    let request = CatalogRequest {
                        shards: Vec::new(),
                        measurements: Some(vec![scan.at.schema.measurement.clone()]),
                        time,
                        series: scan.series.clone(),
                        what: CatalogKind::Cost,
                        limit: 0,
                        budget_bytes: context.control.limits().budget_bytes,
                    };
                    let replies = source.catalog(&scan.at.place, &request).await?;
                    if let Some(CatalogReply::Cost(found)) = merge_catalogs(replies, &Pace::new()).await {
                        cost.series += found.series;
                        cost.cached_values += found.cached_values;
                        cost.files += found.files;
                        cost.blocks += found.blocks;
                        cost.block_bytes += found.block_bytes;
                    }
                    *shards += source.shard_count(&scan.at.place, time);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Counter;

    use futures_lite::future::block_on;

    use super::*;
    use crate::influxql::ast::Statement;
    use crate::influxql::parse_statement;
    use crate::query::conformance_tests::write;
    use crate::query::control::Control;
    use crate::query::result::{Cells, Collected};
    use crate::query::rewrite::{Defaults, Limits};
    use crate::query::source::memory::MemorySource;

    const LINES: &str = "m,h=a v=1,s=\"x\" 10\nm,h=a v=2 20\nm,h=b v=3,i=7i 30\nn,h=b v=4 10";

    /// The title of the answer and its lines. Every look at the clock finds it a microsecond later than twice as late.
    fn told(statement: &str) -> (String, Vec<String>) {
        let mut source = MemorySource::default();
        source.create_database("db");
        write(&mut source, "db", "", 1, LINES);
        source.files = ScanCost { files: 2, blocks: 30, block_bytes: 400 << 20, ..ScanCost::default() };
        let Ok(Statement::Explain(explained)) = parse_statement(statement) else { panic!("{statement}") };
        let context = Context {
            defaults: Defaults { database: "db".to_owned(), retention_policy: String::new() },
            now: 1_000,
            control: Control::new(Limits::default()),
        };
        let (time, mut sink) = (Counter::new(0), Collected::default());
        let clock = || time.replace(2 * time.get() + 1_000);
        block_on(explain(&source, &explained, &context, &clock, &mut sink)).expect("an answer");
        let [series] = sink.series.as_slice() else { panic!("one series") };
        let [Cells::Mixed(cells)] = series.values.as_slice() else { panic!("one column") };
        let line = |cell: &Cell| match cell {
            Cell::String(text) => String::from_utf8(text.clone()).expect("text"),
            other => panic!("{other:?}"),
        };
        (String::from_utf8(series.columns[0].clone()).expect("text"), cells.iter().map(line).collect())
    }

    #[test]
    fn a_plan_tells_of_every_call_what_it_reads() {
        let (title, lines) = told("EXPLAIN SELECT mean(v), max(i) + 1, mean(v) FROM m WHERE time >= 15");
        assert_eq!(title, "QUERY PLAN");
        let read = [
            "NUMBER OF SHARDS: 1",
            "NUMBER OF SERIES: 2",
            "CACHED VALUES: 3",
            "NUMBER OF FILES: 2",
            "NUMBER OF BLOCKS: 30",
            "SIZE OF BLOCKS: 419430400",
        ];
        let first: Vec<&str> = [&["EXPRESSION: mean(v::float)"], &read[..]].concat();
        let second: Vec<&str> = [&["", "EXPRESSION: max(i::integer)"], &read[..]].concat();
        assert_eq!(lines, [first, second].concat(), "each call once");
    }

    #[test]
    fn a_plan_names_the_fields_and_tags_that_come_along() {
        let (_, lines) = told("EXPLAIN SELECT v, s, h FROM m WHERE h = 'a'");
        assert_eq!(lines[..2], ["EXPRESSION: <nil>", "AUXILIARY FIELDS: h::tag, s::string, v::float"]);
        assert_eq!(lines[3..5], ["NUMBER OF SERIES: 1", "CACHED VALUES: 3"]);
        let (_, lines) = told("EXPLAIN SELECT max(v), h FROM m");
        assert_eq!(lines[..2], ["EXPRESSION: max(v::float)", "AUXILIARY FIELDS: h::tag"]);
    }

    #[test]
    fn a_plan_shows_the_innermost_of_subqueries() {
        let (_, lines) =
            told("EXPLAIN SELECT mean(x) FROM (SELECT max(v) AS x FROM (SELECT v FROM m) GROUP BY h)");
        assert_eq!(lines[0], "EXPRESSION: <nil>");
        assert_eq!(lines[1], "AUXILIARY FIELDS: v::float");
        assert_eq!(lines[3..5], ["NUMBER OF SERIES: 2", "CACHED VALUES: 5"]);
    }

    #[test]
    fn an_estimate_adds_up_all_that_would_be_read() {
        let (title, lines) = told("EXPLAIN ESTIMATE SELECT mean(v) FROM m, n");
        assert_eq!(title, "QUERY ESTIMATE");
        assert_eq!(
            lines,
            [
                "shards: 2",
                "series: 3",
                "files: 4",
                "blocks: 60",
                "block_bytes: 838860800",
                "cached_values: 6",
                "expected_time: 2.000000228s",
            ]
        );
        let (_, of_both) = told("EXPLAIN ESTIMATE SELECT mean(v) FROM (SELECT v FROM m), (SELECT v FROM n)");
        assert_eq!(of_both, lines);
    }

    #[test]
    fn an_analysis_tells_what_a_query_took() {
        let (title, lines) = told("EXPLAIN ANALYZE SELECT v FROM m GROUP BY h");
        assert_eq!(title, "EXPLAIN ANALYZE");
        let told_peak = lines.iter().position(|line| line.contains("peak_memory_bytes")).expect("a line");
        let mut others = lines.clone();
        others.remove(told_peak);
        assert_eq!(
            others,
            [
                ".",
                "└── select",
                "    ├── execution_time: 2µs",
                "    ├── planning_time: 1µs",
                "    ├── total_time: 3µs",
                "    ├── pushed_down: false",
                "    ├── shards: 1",
                "    ├── series: 2",
                "    ├── blocks: 30",
                "    ├── block_bytes: 419430400",
                "    ├── points_read: 3",
                "    ├── series_pieces: 2",
                "    └── rows: 3",
            ]
        );
        let (_, lines) = told("EXPLAIN ANALYZE SELECT mean(v) FROM m");
        assert!(lines.contains(&"    ├── pushed_down: true".to_owned()));
        assert!(lines.contains(&"    └── rows: 1".to_owned()));
    }
}
