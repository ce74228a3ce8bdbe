//! Semantic checks of a SELECT, in InfluxDB's order and words, without looking at data.
//!
//! What comes out knows its time range, interval, fill and direction, and those of its subqueries; its fields hold no
//! `time` and no `DISTINCT f` any more. The order of the checks decides which of several mistakes is reported.

use std::sync::Arc;

use chrono_tz::Tz;

use crate::influxql::ast::{BinaryOp, Call, Expr, Field, Fill, Measurement, SelectStatement, Source};

use super::columns::text;
use super::condition::{self, Bounds, Clock, MAX_TIME, MIN_TIME, go_type, reduce};
use super::error::{QueryError, Result};
use super::types::{is_math_function, math_argument_count};
use super::window::Interval;

/// A checked SELECT.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The statement: fields without time; dimensions reduced; the condition is below, in `condition`.
    pub statement: SelectStatement,
    /// The name of the time column.
    pub time_name: String,
    pub condition: Option<Arc<Expr>>,
    /// Inclusive.
    pub start: i64,
    /// Inclusive.
    pub end: i64,
    /// Whether a lower bound was given, here or by a query around.
    pub interval: Option<Interval>,
    pub zone: Option<Tz>,
    pub fill: Fill,
    pub ascending: bool,
    pub is_raw: bool,
    pub sources: Vec<CompiledSource>,
}

#[derive(Debug, Clone)]
pub enum CompiledSource {
    Measurement(Measurement),
    Subquery(Box<Compiled>),
}

/// Checks a statement; `now` in ns.
pub fn compile(statement: &SelectStatement, now: i64) -> Result<Compiled> {
    Compiler::preprocess(statement, now)?.compile(statement)
}

fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(QueryError::Statement(text.into()))
}

struct Compiler {
    now: i64,
    zone: Option<Tz>,
    condition: Option<Arc<Expr>>,
    start: i64,
    end: i64,
    interval: Option<Interval>,
    inherited_interval: bool,
    dimensions: Vec<crate::influxql::ast::Dimension>,
    fill: Fill,
    ascending: bool,
    limit: u64,
    has_target: bool,
    // What the fields turned out to be.
    fields: usize,
    calls: Vec<Call>,
    only_selectors: bool,
    has_distinct: bool,
    has_auxiliary: bool,
    top_bottom: Option<String>,
}

impl Compiler {
    fn preprocess(statement: &SelectStatement, now: i64) -> Result<Self> {
        let zone = match &statement.time_zone {
            None => None,
            Some(name) => match name.parse::<Tz>() {
                Ok(zone) => Some(zone),
                Err(_) => return fail(format!("unable to find time zone {name}")),
            },
        };
        let clock = Clock { now, zone };
        let (condition, bounds) = match &statement.condition {
            // A long list of alternatives is not copied.
            Some(all) if condition::is_plain(all) => (Some(Arc::clone(all)), Bounds::default()),
            all => {
                let (condition, bounds) = condition::split(all.as_deref(), clock)?;
                condition.iter().try_for_each(condition::validate)?;
                (condition.map(Arc::new), bounds)
            }
        };
        let (dimensions, interval) = dimensions(statement, clock)?;
        // Aggregates over windows end now, or there would be empty windows for ever.
        let end_default = if interval.is_some() { now } else { MAX_TIME };
        Ok(Self {
            now,
            zone,
            condition,
            start: bounds.min.unwrap_or(MIN_TIME),
            end: bounds.max.unwrap_or(end_default),
            interval,
            inherited_interval: false,
            dimensions,
            fill: statement.fill,
            ascending: statement.ascending(),
            limit: statement.limit,
            has_target: statement.target.is_some(),
            fields: 0,
            calls: Vec::new(),
            only_selectors: true,
            has_distinct: false,
            has_auxiliary: false,
            top_bottom: None,
        })
    }

    fn compile(mut self, statement: &SelectStatement) -> Result<Compiled> {
        let mut time_name = "time".to_string();
        let mut fields = Vec::with_capacity(statement.fields.len());
        for field in &statement.fields {
            if let Expr::VarRef(var) = &field.expr
                && var.name == "time"
            {
                if let Some(alias) = &field.alias {
                    time_name.clone_from(alias);
                }
                continue;
            }
            let expr = reduce(&field.expr, None)?;
            self.fields += 1;
            let mut wildcard_allowed = true;
            self.expr(&expr, &mut wildcard_allowed)?;
            let mut expr = expr;
            expr.walk_mut(&mut |expr| {
                if let Expr::Distinct(name) = expr {
                    *expr = Expr::call("distinct", vec![Expr::var(name.clone())]);
                }
            });
            fields.push(Field { expr, alias: field.alias.clone() });
        }
        self.validate_fields()?;
        let mut sources = Vec::with_capacity(statement.sources.len());
        for source in &statement.sources {
            sources.push(match source {
                Source::Measurement(measurement) => CompiledSource::Measurement(measurement.clone()),
                Source::Subquery(inner) => CompiledSource::Subquery(Box::new(self.subquery(inner)?)),
            });
        }
        let is_raw = self.calls.is_empty();
        // Windows without a value are not written.
        if self.has_target && self.fill == Fill::Null && !is_raw {
            self.fill = Fill::None;
        }
        Ok(Compiled {
            // Field by field: what the statement has beyond these may be long.
            statement: SelectStatement {
                fields,
                target: statement.target.clone(),
                sources: Vec::new(),
                condition: None,
                dimensions: self.dimensions,
                fill: statement.fill,
                sort_fields: statement.sort_fields.clone(),
                limit: statement.limit,
                offset: statement.offset,
                slimit: statement.slimit,
                soffset: statement.soffset,
                time_zone: statement.time_zone.clone(),
            },
            time_name,
            condition: self.condition,
            start: self.start,
            end: self.end,
            interval: self.interval,
            zone: self.zone,
            fill: self.fill,
            ascending: self.ascending,
            is_raw,
            sources,
        })
    }

    fn subquery(&self, statement: &SelectStatement) -> Result<Compiled> {
        let mut inner = Self::preprocess(statement, self.now)?;
        if !statement.sort_fields.is_empty() && inner.ascending != self.ascending {
            return fail("subqueries must be ordered in the same direction as the query itself");
        }
        inner.ascending = self.ascending;
        inner.start = inner.start.max(self.start);
        inner.end = inner.end.min(self.end);
        if inner.interval.is_some() && inner.fill == Fill::Null {
            inner.fill = Fill::None;
        }
        if inner.interval.is_none() && self.interval.is_some() {
            inner.interval = self.interval;
            inner.inherited_interval = true;
        }
        let mut compiled = inner.compile(statement)?;
        // The query around passes over empty windows anyway.
        if !compiled.is_raw && compiled.fill == Fill::Null {
            compiled.fill = Fill::None;
        }
        Ok(compiled)
    }

    fn validate_fields(&self) -> Result<()> {
        if self.fields == 0 {
            return fail("at least 1 non-time field must be queried");
        }
        if let Some(name) = &self.top_bottom
            && self.calls.len() > 1
        {
            return fail(format!("selector function {name}() cannot be combined with other functions"));
        }
        if self.calls.is_empty() {
            match self.fill {
                Fill::None => return fail("fill(none) must be used with a function"),
                Fill::Linear => return fail("fill(linear) must be used with a function"),
                _ => {}
            }
            if self.interval.is_some() && !self.inherited_interval {
                return fail("GROUP BY requires at least one aggregate function");
            }
        }
        if self.has_distinct && (self.calls.len() != 1 || self.has_auxiliary) {
            return fail("aggregate function distinct() cannot be combined with other functions or fields");
        }
        if self.has_auxiliary {
            if !self.only_selectors {
                return fail("mixing aggregate and non-aggregate queries is not supported");
            }
            if self.calls.len() > 1 {
                return fail("mixing multiple selector functions with tags or fields is not supported");
            }
        }
        Ok(())
    }

    fn expr(&mut self, expr: &Expr, wildcard: &mut bool) -> Result<()> {
        match expr {
            Expr::VarRef(_) => {
                self.has_auxiliary = true;
                Ok(())
            }
            Expr::Wildcard(_) => {
                self.has_auxiliary = true;
                if *wildcard { Ok(()) } else { fail("unable to use wildcard in a binary expression") }
            }
            Expr::Regex(_) => {
                if !*wildcard {
                    return fail("unable to use regex in a binary expression");
                }
                self.has_auxiliary = true;
                Ok(())
            }
            Expr::Call(call) if is_math_function(&call.name) => {
                let (expected, got) = (math_argument_count(&call.name), call.args.len());
                if expected != got {
                    return fail(format!(
                        "invalid number of arguments for {}, expected {expected}, got {got}",
                        call.name
                    ));
                }
                for argument in call.args.iter().filter(|argument| !is_literal(argument)) {
                    self.expr(argument, wildcard)?;
                }
                Ok(())
            }
            Expr::Call(call) => {
                self.calls.push(call.clone());
                self.call(call, *wildcard)
            }
            Expr::Distinct(name) => {
                let call = Call { name: "distinct".to_string(), args: vec![Expr::var(name.clone())] };
                self.calls.push(call.clone());
                self.distinct(&call.args, false)
            }
            Expr::Binary(binary) => {
                *wildcard = false;
                debug_assert!(binary.op != BinaryOp::And || !binary.op.is_comparison());
                match (is_literal(&binary.left), is_literal(&binary.right)) {
                    (true, true) => fail("cannot perform a binary expression on two literals"),
                    (true, false) => self.expr(&binary.right, wildcard),
                    (false, true) => self.expr(&binary.left, wildcard),
                    (false, false) => {
                        self.expr(&binary.left, wildcard)?;
                        self.expr(&binary.right, wildcard)
                    }
                }
            }
            Expr::Paren(inner) => self.expr(inner, wildcard),
            _ => fail("field must contain at least one variable"),
        }
    }

    /// A call inside another: `distinct` may stand there.
    fn nested(&mut self, expr: &Expr, wildcard: bool) -> Result<()> {
        match expr {
            Expr::Call(call) if call.name == "distinct" => self.distinct(&call.args, true),
            Expr::Distinct(name) => self.distinct(&[Expr::var(name.clone())], true),
            other => self.expr(other, &mut wildcard.clone()),
        }
    }

    fn symbol(&mut self, name: &str, field: &Expr, wildcard: bool) -> Result<()> {
        match field {
            Expr::VarRef(_) => Ok(()),
            Expr::Wildcard(_) => {
                if !wildcard {
                    return fail(format!("unsupported expression with wildcard: {name}()"));
                }
                self.only_selectors = false;
                Ok(())
            }
            Expr::Regex(_) => {
                if !wildcard {
                    return fail(format!("unsupported expression with regex field: {name}()"));
                }
                self.only_selectors = false;
                Ok(())
            }
            _ => fail(format!("expected field argument in {name}()")),
        }
    }

    fn call(&mut self, call: &Call, wildcard: bool) -> Result<()> {
        let (name, args) = (call.name.as_str(), call.args.as_slice());
        match name {
            "percentile" => {
                exactly(name, args, 2)?;
                if !matches!(args[1], Expr::Integer(_) | Expr::Number(_)) {
                    return fail("expected float argument in percentile()");
                }
                self.symbol(name, &args[0], wildcard)
            }
            "sample" => {
                exactly(name, args, 2)?;
                match args[1] {
                    Expr::Integer(size) if size <= 0 => {
                        return fail(format!("sample window must be greater than 1, got {size}"));
                    }
                    Expr::Integer(_) => {}
                    _ => return fail("expected integer argument in sample()"),
                }
                self.symbol(name, &args[0], wildcard)
            }
            "distinct" => self.distinct(args, false),
            "top" | "bottom" => self.top_bottom(call),
            "derivative" | "non_negative_derivative" | "elapsed" => {
                between(name, args, 1, 2)?;
                if let Some(unit) = args.get(1) {
                    positive_duration(
                        unit,
                        &format!("second argument to {name} must be a duration, got {}", go_type(unit)),
                    )?;
                }
                self.transformed(name, args, wildcard)
            }
            "difference" | "non_negative_difference" | "cumulative_sum" => {
                exactly(name, args, 1)?;
                self.transformed(name, args, wildcard)
            }
            "moving_average" => {
                exactly(name, args, 2)?;
                match &args[1] {
                    Expr::Integer(size) if *size <= 1 => {
                        return fail(format!("moving_average window must be greater than 1, got {size}"));
                    }
                    Expr::Integer(_) => {}
                    other => {
                        return fail(format!(
                            "second argument for moving_average must be an integer, got {}",
                            go_type(other)
                        ));
                    }
                }
                self.transformed(name, args, wildcard)
            }
            "exponential_moving_average"
            | "double_exponential_moving_average"
            | "triple_exponential_moving_average"
            | "relative_strength_index"
            | "triple_exponential_derivative" => {
                between(name, args, 2, 4)?;
                let hold_min = if name == "triple_exponential_derivative" { 1 } else { 0 };
                technical(name, args, hold_min, &["exponential", "simple"])?;
                self.transformed(name, args, wildcard)
            }
            "kaufmans_efficiency_ratio" | "kaufmans_adaptive_moving_average" => {
                between(name, args, 2, 3)?;
                technical(name, args, 0, &[])?;
                self.transformed(name, args, wildcard)
            }
            "chande_momentum_oscillator" => {
                between(name, args, 2, 4)?;
                technical(name, args, 0, &["none", "exponential", "simple"])?;
                self.transformed(name, args, wildcard)
            }
            "integral" => {
                between(name, args, 1, 2)?;
                if let Some(unit) = args.get(1) {
                    positive_duration(unit, "second argument must be a duration")?;
                }
                self.only_selectors = false;
                self.symbol(name, &args[0], wildcard)
            }
            "holt_winters" | "holt_winters_with_fit" => {
                exactly(name, args, 3)?;
                match args[1] {
                    Expr::Integer(n) if n <= 0 => {
                        return fail(format!("second arg to {name} must be greater than 0, got {n}"));
                    }
                    Expr::Integer(_) => {}
                    _ => return fail(format!("expected integer argument as second arg in {name}")),
                }
                match args[2] {
                    Expr::Integer(s) if s < 0 => {
                        return fail(format!("third arg to {name} cannot be negative, got {s}"));
                    }
                    Expr::Integer(_) => {}
                    _ => return fail(format!("expected integer argument as third arg in {name}")),
                }
                self.only_selectors = false;
                if !matches!(args[0], Expr::Call(_)) {
                    return fail(format!("must use aggregate function with {name}"));
                }
                if self.interval.is_none() {
                    return fail(format!("{name} aggregate requires a GROUP BY interval"));
                }
                self.nested(&args[0], wildcard)
            }
            "max" | "min" | "first" | "last" | "count" | "sum" | "mean" | "median" | "mode" | "stddev"
            | "spread" => {
                if !matches!(name, "max" | "min" | "first" | "last") {
                    self.only_selectors = false;
                }
                exactly(name, args, 1)?;
                if name == "count" {
                    match &args[0] {
                        Expr::Call(inner) if inner.name == "distinct" => {
                            return self.distinct(&inner.args, true);
                        }
                        Expr::Distinct(inner) => return self.distinct(&[Expr::var(inner.clone())], true),
                        _ => {}
                    }
                }
                self.symbol(name, &args[0], wildcard)
            }
            _ => fail(format!("undefined function {name}()")),
        }
    }

    /// The argument of a transformation: a call with windows, a field without.
    fn transformed(&mut self, name: &str, args: &[Expr], wildcard: bool) -> Result<()> {
        self.only_selectors = false;
        match &args[0] {
            call @ Expr::Call(_) => {
                if self.interval.is_none() {
                    return fail(format!("{name} aggregate requires a GROUP BY interval"));
                }
                self.nested(call, wildcard)
            }
            field => {
                if self.interval.is_some() && !self.inherited_interval {
                    return fail(format!("aggregate function required inside the call to {name}"));
                }
                self.symbol(name, field, wildcard)
            }
        }
    }

    fn distinct(&mut self, args: &[Expr], nested: bool) -> Result<()> {
        match args {
            [] => return fail("distinct function requires at least one argument"),
            [Expr::VarRef(_)] => {}
            [_] => return fail("expected field argument in distinct()"),
            _ => return fail("distinct function can only have one argument"),
        }
        self.has_distinct |= !nested;
        self.only_selectors = false;
        Ok(())
    }

    fn top_bottom(&mut self, call: &Call) -> Result<()> {
        let (name, args) = (call.name.as_str(), call.args.as_slice());
        if let Some(other) = &self.top_bottom {
            return fail(format!("selector function {other}() cannot be combined with other functions"));
        }
        if args.len() < 2 {
            return fail(format!(
                "invalid number of arguments for {name}, expected at least 2, got {}",
                args.len()
            ));
        }
        let last = &args[args.len() - 1];
        match last {
            Expr::Integer(limit) if *limit <= 0 => {
                return fail(format!("limit ({limit}) in {name} function must be at least 1"));
            }
            Expr::Integer(limit) if self.limit > 0 && *limit as u64 > self.limit => {
                return fail(format!(
                    "limit ({limit}) in {name} function can not be larger than the LIMIT ({}) in the select statement",
                    self.limit
                ));
            }
            Expr::Integer(_) => {}
            other => {
                return fail(format!("expected integer as last argument in {name}(), found {}", text(other)));
            }
        }
        if !matches!(args[0], Expr::VarRef(_)) {
            return fail(format!(
                "expected first argument to be a field in {name}(), found {}",
                text(&args[0])
            ));
        }
        for argument in &args[1..args.len() - 1] {
            if !matches!(argument, Expr::VarRef(_)) {
                return fail(format!(
                    "only fields or tags are allowed in {name}(), found {}",
                    text(argument)
                ));
            }
            if !self.has_target {
                self.fields += 1;
                self.has_auxiliary = true;
            }
        }
        self.top_bottom = Some(name.to_string());
        Ok(())
    }
}

fn is_literal(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Number(_)
            | Expr::Integer(_)
            | Expr::Unsigned(_)
            | Expr::String(_)
            | Expr::Boolean(_)
            | Expr::Duration(_)
            | Expr::Time(_)
            | Expr::Regex(_)
    )
}

fn exactly(name: &str, args: &[Expr], expected: usize) -> Result<()> {
    if args.len() == expected {
        return Ok(());
    }
    fail(format!("invalid number of arguments for {name}, expected {expected}, got {}", args.len()))
}

fn between(name: &str, args: &[Expr], min: usize, max: usize) -> Result<()> {
    if (min..=max).contains(&args.len()) {
        return Ok(());
    }
    fail(format!(
        "invalid number of arguments for {name}, expected at least {min} but no more than {max}, got {}",
        args.len()
    ))
}

fn positive_duration(unit: &Expr, otherwise: &str) -> Result<()> {
    match unit {
        Expr::Duration(unit) if *unit <= 0 => {
            fail(format!("duration argument must be positive, got {}", text(&Expr::Duration(*unit))))
        }
        Expr::Duration(_) => Ok(()),
        _ => fail(otherwise),
    }
}

/// Period, hold period and warm-up of the functions of technical analysis.
fn technical(name: &str, args: &[Expr], hold_min: i64, warmups: &[&str]) -> Result<()> {
    match args[1] {
        Expr::Integer(period) if period < 1 => {
            return fail(format!("{name} period must be greater than or equal to 1"));
        }
        Expr::Integer(_) => {}
        _ => return fail(format!("{name} period must be an integer")),
    }
    match args.get(2) {
        None => {}
        Some(Expr::Integer(hold)) if *hold < hold_min && *hold != -1 => {
            return fail(format!("{name} hold period must be greater than or equal to {hold_min}"));
        }
        Some(Expr::Integer(_)) => {}
        Some(_) => return fail(format!("{name} hold period must be an integer")),
    }
    match args.get(3) {
        None => Ok(()),
        Some(Expr::String(warmup)) if warmups.contains(&warmup.as_str()) => Ok(()),
        Some(Expr::String(_)) => {
            let known: Vec<String> = warmups.iter().map(|warmup| format!("'{warmup}'")).collect();
            fail(format!("{name} warmup type must be one of: {}", known.join(" ")))
        }
        Some(_) => fail(format!("{name} warmup type must be a string")),
    }
}

/// GROUP BY: its tags, and its interval if it has one.
fn dimensions(
    statement: &SelectStatement,
    clock: Clock,
) -> Result<(Vec<crate::influxql::ast::Dimension>, Option<Interval>)> {
    let mut interval = None;
    let mut dimensions = Vec::with_capacity(statement.dimensions.len());
    for dimension in &statement.dimensions {
        let expr = reduce_dimension(&dimension.expr)?;
        match &expr {
            Expr::VarRef(var) if var.is_time() => {
                return fail("time() is a function and expects at least one argument");
            }
            Expr::VarRef(_) | Expr::Wildcard(_) | Expr::Regex(_) => {}
            Expr::Call(call) => {
                if call.name != "time" {
                    return fail("only time() calls allowed in dimensions");
                }
                if !(1..=2).contains(&call.args.len()) {
                    return fail("time dimension expected 1 or 2 arguments");
                }
                let Expr::Duration(every) = call.args[0] else {
                    return fail("time dimension must have duration argument");
                };
                if interval.is_some() {
                    return fail("multiple time dimensions not allowed");
                }
                let offset = match call.args.get(1) {
                    None => 0,
                    Some(offset) => window_offset(offset, every, clock)?,
                };
                // A window of no length is no window.
                interval = (every > 0).then_some(Interval { every, offset });
                continue;
            }
            _ => return fail("only time and tag dimensions allowed"),
        }
        dimensions.push(crate::influxql::ast::Dimension { expr });
    }
    Ok((dimensions, interval))
}

fn reduce_dimension(expr: &Expr) -> Result<Expr> {
    reduce(expr, None)
}

fn window_offset(offset: &Expr, every: i64, clock: Clock) -> Result<i64> {
    let every = every.max(1);
    Ok(match offset {
        Expr::Duration(offset) => offset % every,
        Expr::Time(time) => time.rem_euclid(every),
        Expr::Call(call) => {
            if call.name != "now" {
                return fail("time dimension offset function must be now()");
            }
            if !call.args.is_empty() {
                return fail("time dimension offset now() function requires no arguments");
            }
            clock.now.rem_euclid(every)
        }
        Expr::String(text) if condition::is_time_literal(text) => {
            condition::time_literal(text, clock.zone)?.rem_euclid(every)
        }
        _ => return fail("time dimension offset must be duration or now()"),
    })
}
