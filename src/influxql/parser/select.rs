//! SELECT, EXPLAIN, and the clauses other statements share with them.

use std::sync::Arc;

use super::*;

impl Parser<'_> {
    /// After the word SELECT.
    pub(super) fn parse_select(&mut self, target_is_required: bool) -> Result<SelectStatement> {
        let fields = self.parse_fields()?;
        let target = self.parse_target(target_is_required)?;
        self.expect(Token::From)?;
        let sources = self.parse_sources(true)?;
        let condition = self.parse_condition()?;
        let dimensions = self.parse_dimensions()?;
        let fill = self.parse_fill()?;
        let sort_fields = self.parse_order_by()?;
        Ok(SelectStatement {
            fields,
            target,
            sources,
            condition: condition.map(Arc::new),
            dimensions,
            fill,
            sort_fields,
            limit: self.parse_optional_count(Token::Limit)?,
            offset: self.parse_optional_count(Token::Offset)?,
            slimit: self.parse_optional_count(Token::Slimit)?,
            soffset: self.parse_optional_count(Token::Soffset)?,
            time_zone: self.parse_time_zone()?,
        })
    }

    pub(super) fn parse_explain(&mut self) -> Result<Statement> {
        let lexeme = self.next();
        let kind = match lexeme.token {
            Token::Analyze => ExplainKind::Analyze,
            Token::Ident if lexeme.text.eq_ignore_ascii_case("estimate") => ExplainKind::Estimate,
            _ => {
                self.put_back();
                ExplainKind::Plan
            }
        };
        self.expect(Token::Select)?;
        Ok(Statement::Explain(ExplainStatement { kind, select: Box::new(self.parse_select(false)?) }))
    }

    fn parse_fields(&mut self) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        loop {
            fields.push(self.parse_field()?);
            if !self.next_is(Token::Comma) {
                return Ok(fields);
            }
        }
    }

    fn parse_field(&mut self) -> Result<Field> {
        let expr = match self.parse_regex()? {
            Some(regex) => Expr::Regex(regex),
            None => {
                let position = self.next().position;
                self.put_back();
                let expr = self.parse_expr()?;
                refuse_conditions(&expr, position)?;
                expr
            }
        };
        let alias = if self.next_is(Token::As) { Some(self.parse_ident()?) } else { None };
        self.skip_space();
        Ok(Field { expr, alias: alias.and_then(non_empty) })
    }

    fn parse_target(&mut self, required: bool) -> Result<Option<Target>> {
        let lexeme = self.next();
        if lexeme.token != Token::Into {
            if required {
                return Err(ParseError::expected(&lexeme, &["INTO"]));
            }
            self.put_back();
            return Ok(None);
        }
        let mut segments = self.parse_segments()?;
        let name = if segments.len() < 3 && self.peek_char() == Some(':') {
            self.expect_all(&[Token::Colon, Token::Measurement])?;
            MeasurementName::BackReference
        } else {
            MeasurementName::Name(segments.pop().unwrap_or_default())
        };
        Ok(Some(Target { measurement: qualified(segments, name) }))
    }

    pub(super) fn parse_sources(&mut self, subqueries: bool) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        loop {
            sources.push(self.parse_source(subqueries)?);
            if !self.next_is(Token::Comma) {
                return Ok(sources);
            }
        }
    }

    fn parse_source(&mut self, subqueries: bool) -> Result<Source> {
        self.count_node()?;
        if let Some(regex) = self.parse_regex()? {
            return Ok(Source::Measurement(qualified(Vec::new(), MeasurementName::Regex(regex))));
        }
        if subqueries && self.next_is(Token::OpenParen) {
            self.expect(Token::Select)?;
            let select = self.descend(|parser| parser.parse_select(false))?;
            self.expect(Token::CloseParen)?;
            return Ok(Source::Subquery(Box::new(select)));
        }
        let mut segments = self.parse_segments()?;
        if segments.len() < 3
            && let Some(regex) = self.parse_regex()?
        {
            return Ok(Source::Measurement(qualified(segments, MeasurementName::Regex(regex))));
        }
        let name = MeasurementName::Name(segments.pop().unwrap_or_default());
        Ok(Source::Measurement(qualified(segments, name)))
    }

    /// A measurement or regex, for `WITH MEASUREMENT`.
    pub(super) fn parse_measurement(&mut self) -> Result<Option<Measurement>> {
        match self.parse_source(false)? {
            Source::Measurement(measurement) => Ok(Some(measurement)),
            Source::Subquery(_) => Ok(None),
        }
    }

    pub(super) fn parse_condition(&mut self) -> Result<Option<Expr>> {
        if self.next_is(Token::Where) { Ok(Some(self.parse_expr()?)) } else { Ok(None) }
    }

    pub(super) fn parse_dimensions(&mut self) -> Result<Vec<Dimension>> {
        let mut dimensions = Vec::new();
        if !self.next_is(Token::Group) {
            return Ok(dimensions);
        }
        self.expect(Token::By)?;
        loop {
            let expr = match self.parse_regex()? {
                Some(regex) => Expr::Regex(regex),
                None => self.parse_expr()?,
            };
            self.skip_space();
            dimensions.push(Dimension { expr });
            if !self.next_is(Token::Comma) {
                return Ok(dimensions);
            }
        }
    }

    /// The clauses `fill(…)` and `tz(…)` are calls whose names are no keywords.
    fn next_is_word(&mut self, word: &str) -> bool {
        let lexeme = self.next();
        self.put_back();
        lexeme.token == Token::Ident && lexeme.text.eq_ignore_ascii_case(word)
    }

    fn parse_fill(&mut self) -> Result<Fill> {
        if !self.next_is_word("fill") {
            return Ok(Fill::Null);
        }
        let Expr::Call(call) = self.parse_expr()? else {
            return Err(ParseError::new("fill must be a function call"));
        };
        let [argument] = call.args.as_slice() else {
            return Err(ParseError::new("fill requires an argument, e.g.: 0, null, none, previous, linear"));
        };
        match argument {
            Expr::VarRef(var) if var.name == "null" => Ok(Fill::Null),
            Expr::VarRef(var) if var.name == "none" => Ok(Fill::None),
            Expr::VarRef(var) if var.name == "previous" => Ok(Fill::Previous),
            Expr::VarRef(var) if var.name == "linear" => Ok(Fill::Linear),
            Expr::Integer(integer) => Ok(Fill::Integer(*integer)),
            Expr::Number(number) => Ok(Fill::Number(*number)),
            _ => Err(ParseError::new("expected number argument in fill()")),
        }
    }

    fn parse_time_zone(&mut self) -> Result<Option<String>> {
        if !self.next_is_word("tz") {
            return Ok(None);
        }
        let Expr::Call(call) = self.parse_expr()? else {
            return Err(ParseError::new("tz must be a function call"));
        };
        let [argument] = call.args.as_slice() else {
            return Err(ParseError::new("tz requires exactly one argument"));
        };
        let Expr::String(name) = argument else {
            return Err(ParseError::new("expected string argument in tz()"));
        };
        match name.as_str() {
            // Servers run in UTC.
            "" | "Local" => Ok(Some("UTC".into())),
            name if name.parse::<chrono_tz::Tz>().is_ok() => Ok(Some(name.into())),
            name => Err(ParseError::new(format!("unable to find time zone {name}"))),
        }
    }

    pub(super) fn parse_order_by(&mut self) -> Result<Vec<SortField>> {
        if !self.next_is(Token::Order) {
            return Ok(Vec::new());
        }
        self.expect(Token::By)?;
        let only_time = || ParseError::new("only ORDER BY time supported at this time");
        let first = self.next();
        let field = match first.token {
            Token::Asc | Token::Desc => SortField { name: None, ascending: first.token == Token::Asc },
            Token::Ident => {
                self.put_back();
                let field = self.parse_sort_field()?;
                if first.text != "time" {
                    return Err(only_time());
                }
                field
            }
            _ => return Err(ParseError::expected(&first, &["identifier", "ASC", "DESC"])),
        };
        if self.next_is(Token::Comma) {
            self.parse_sort_field()?;
            return Err(only_time());
        }
        Ok(vec![field])
    }

    fn parse_sort_field(&mut self) -> Result<SortField> {
        let name = Some(self.parse_ident()?);
        let ascending = !self.next_is(Token::Desc);
        if ascending {
            self.next_is(Token::Asc);
        }
        Ok(SortField { name, ascending })
    }
}

fn qualified(mut qualifiers: Vec<String>, name: MeasurementName) -> Measurement {
    let retention_policy = qualifiers.pop().and_then(non_empty);
    let database = qualifiers.pop().and_then(non_empty);
    Measurement { database, retention_policy, name }
}

/// Comparisons and logic do not belong into the list of fields.
fn refuse_conditions(expr: &Expr, position: Position) -> Result<()> {
    let mut found = None;
    expr.walk(&mut |expr| {
        if let Expr::Binary(binary) = expr
            && binary.op.precedence() <= 3
            && found.is_none()
        {
            found = Some(binary.op);
        }
    });
    let Some(op) = found else { return Ok(()) };
    Err(ParseError::new(format!(
        "invalid operator {} in SELECT clause at line {}, char {}; operator is intended for WHERE clause",
        op.symbol(),
        position.line + 1,
        position.char + 1
    )))
}
