//! SHOW statements.

use super::*;

impl Parser<'_> {
    pub(super) fn parse_show(&mut self) -> Result<Statement> {
        let lexeme = self.next();
        match lexeme.token {
            Token::Continuous => {
                self.expect(Token::Queries)?;
                Ok(Statement::ShowContinuousQueries)
            }
            Token::Databases => Ok(Statement::ShowDatabases),
            Token::Diagnostics => Ok(Statement::ShowDiagnostics { module: self.parse_module()? }),
            Token::Field => {
                let next = self.next();
                match next.token {
                    Token::Key => self.parse_key_cardinality(CardinalityOf::FieldKey),
                    Token::Keys => self.parse_show_field_keys(),
                    _ => Err(ParseError::expected(&next, &["KEY", "KEYS"])),
                }
            }
            Token::Grants => {
                self.expect(Token::For)?;
                Ok(Statement::ShowGrants { user: self.parse_ident()? })
            }
            Token::Measurement => self.parse_key_cardinality(CardinalityOf::Measurement),
            Token::Measurements => self.parse_show_measurements(),
            Token::Queries => Ok(Statement::ShowQueries),
            Token::Retention => {
                self.expect(Token::Policies)?;
                Ok(Statement::ShowRetentionPolicies { database: self.parse_on()? })
            }
            Token::Series => self.parse_show_series(),
            Token::Shard => {
                self.expect(Token::Groups)?;
                Ok(Statement::ShowShardGroups)
            }
            Token::Shards => Ok(Statement::ShowShards),
            Token::Stats => Ok(Statement::ShowStats { module: self.parse_module()? }),
            Token::Subscriptions => Ok(Statement::ShowSubscriptions),
            Token::Tag => {
                let next = self.next();
                match next.token {
                    Token::Key => self.parse_key_cardinality(CardinalityOf::TagKey),
                    Token::Keys => self.parse_show_tag_keys(),
                    Token::Values => self.parse_show_tag_values(),
                    _ => Err(ParseError::expected(&next, &["KEY", "KEYS", "VALUES"])),
                }
            }
            Token::Users => Ok(Statement::ShowUsers),
            // A cluster's own; no keyword, so that names are not taken away.
            Token::Ident if lexeme.text.eq_ignore_ascii_case("servers") => Ok(Statement::ShowServers),
            _ => Err(ParseError::expected(
                &lexeme,
                &[
                    "CONTINUOUS",
                    "DATABASES",
                    "DIAGNOSTICS",
                    "FIELD",
                    "GRANTS",
                    "MEASUREMENT",
                    "MEASUREMENTS",
                    "QUERIES",
                    "RETENTION",
                    "SERIES",
                    "SHARD",
                    "SHARDS",
                    "STATS",
                    "SUBSCRIPTIONS",
                    "TAG",
                    "USERS",
                ],
            )),
        }
    }

    /// `FOR 'module'`.
    fn parse_module(&mut self) -> Result<Option<String>> {
        if self.next_is(Token::For) { Ok(Some(self.parse_string()?)) } else { Ok(None) }
    }

    /// `ON db`.
    fn parse_on(&mut self) -> Result<Option<String>> {
        if self.next_is(Token::On) { Ok(Some(self.parse_ident()?)) } else { Ok(None) }
    }

    fn parse_from(&mut self) -> Result<Vec<Source>> {
        if self.next_is(Token::From) { self.parse_sources(false) } else { Ok(Vec::new()) }
    }

    fn parse_show_measurements(&mut self) -> Result<Statement> {
        Ok(Statement::ShowMeasurements(ShowMeasurements {
            on: self.parse_show_on()?,
            source: self.parse_with_measurement()?,
            condition: self.parse_condition()?,
            sort_fields: self.parse_order_by()?,
            limit: self.parse_optional_count(Token::Limit)?,
            offset: self.parse_optional_count(Token::Offset)?,
        }))
    }

    fn parse_show_on(&mut self) -> Result<Option<ShowOn>> {
        if !self.next_is(Token::On) {
            return Ok(None);
        }
        let database = self.parse_name_or_all()?;
        let retention_policy = if self.next_raw().token == Token::Dot {
            Some(self.parse_name_or_all()?)
        } else {
            self.put_back();
            None
        };
        Ok(Some(ShowOn { database, retention_policy }))
    }

    fn parse_name_or_all(&mut self) -> Result<NameOrAll> {
        if self.next_is(Token::Multiply) {
            Ok(NameOrAll::All)
        } else {
            Ok(NameOrAll::Name(self.parse_ident()?))
        }
    }

    fn parse_with_measurement(&mut self) -> Result<Option<Measurement>> {
        if !self.next_is(Token::With) {
            return Ok(None);
        }
        self.expect(Token::Measurement)?;
        let operator = self.next();
        match operator.token {
            Token::Equal | Token::Matches => self.parse_measurement(),
            _ => Err(ParseError::expected(&operator, &["=", "=~"])),
        }
    }

    /// `EXACT` alone is read over, as InfluxDB does.
    fn parse_show_series(&mut self) -> Result<Statement> {
        let exact = self.next_is(Token::Exact);
        if self.next_is(Token::Cardinality) {
            return self.parse_cardinality(CardinalityKind::Series, exact);
        }
        Ok(Statement::ShowSeries(ShowSeries {
            database: self.parse_on()?,
            sources: self.parse_from()?,
            condition: self.parse_condition()?,
            sort_fields: self.parse_order_by()?,
            limit: self.parse_optional_count(Token::Limit)?,
            offset: self.parse_optional_count(Token::Offset)?,
        }))
    }

    fn parse_show_tag_keys(&mut self) -> Result<Statement> {
        Ok(Statement::ShowTagKeys(ShowTagKeys {
            database: self.parse_on()?,
            sources: self.parse_from()?,
            condition: self.parse_condition()?,
            sort_fields: self.parse_order_by()?,
            limit: self.parse_optional_count(Token::Limit)?,
            offset: self.parse_optional_count(Token::Offset)?,
            slimit: self.parse_optional_count(Token::Slimit)?,
            soffset: self.parse_optional_count(Token::Soffset)?,
        }))
    }

    fn parse_show_tag_values(&mut self) -> Result<Statement> {
        let exact = self.next_is(Token::Exact);
        if self.next_is(Token::Cardinality) {
            return self.parse_cardinality(CardinalityKind::TagValues, exact);
        }
        Ok(Statement::ShowTagValues(ShowTagValues {
            database: self.parse_on()?,
            sources: self.parse_from()?,
            keys: self.parse_with_key()?,
            condition: self.parse_condition()?,
            sort_fields: self.parse_order_by()?,
            limit: self.parse_optional_count(Token::Limit)?,
            offset: self.parse_optional_count(Token::Offset)?,
        }))
    }

    fn parse_with_key(&mut self) -> Result<TagKeyMatch> {
        self.expect_all(&[Token::With, Token::Key])?;
        let operator = self.next();
        match operator.token {
            Token::In => {
                self.expect(Token::OpenParen)?;
                let keys = self.parse_ident_list()?;
                self.expect(Token::CloseParen)?;
                Ok(TagKeyMatch::In(keys))
            }
            Token::Matches | Token::NotMatches => match self.parse_regex()? {
                Some(regex) if operator.token == Token::Matches => Ok(TagKeyMatch::Matches(regex)),
                Some(regex) => Ok(TagKeyMatch::NotMatches(regex)),
                None => Err(ParseError::expected(&self.next(), &["regex"])),
            },
            Token::Equal => Ok(TagKeyMatch::Equal(self.parse_ident()?)),
            Token::NotEqual => Ok(TagKeyMatch::NotEqual(self.parse_ident()?)),
            _ => Err(ParseError::expected(&operator, &["IN", "=", "=~"])),
        }
    }

    fn parse_show_field_keys(&mut self) -> Result<Statement> {
        Ok(Statement::ShowFieldKeys(ShowFieldKeys {
            database: self.parse_on()?,
            sources: self.parse_from()?,
            sort_fields: self.parse_order_by()?,
            limit: self.parse_optional_count(Token::Limit)?,
            offset: self.parse_optional_count(Token::Offset)?,
        }))
    }

    /// `[EXACT] CARDINALITY …` after a word that leads nowhere else.
    fn parse_key_cardinality(&mut self, of: CardinalityOf) -> Result<Statement> {
        let next = self.next();
        let exact = match next.token {
            Token::Exact => {
                self.expect(Token::Cardinality)?;
                true
            }
            Token::Cardinality => false,
            _ => return Err(ParseError::expected(&next, &["EXACT", "CARDINALITY"])),
        };
        self.parse_cardinality(CardinalityKind::Other(of), exact)
    }

    fn parse_cardinality(&mut self, kind: CardinalityKind, exact: bool) -> Result<Statement> {
        let database = self.parse_on()?;
        let sources = self.parse_from()?;
        let of = match kind {
            CardinalityKind::Series => CardinalityOf::Series,
            CardinalityKind::TagValues => CardinalityOf::TagValues(self.parse_with_key()?),
            CardinalityKind::Other(of) => of,
        };
        Ok(Statement::ShowCardinality(ShowCardinality {
            of,
            exact,
            database,
            sources,
            condition: self.parse_condition()?,
            dimensions: self.parse_dimensions()?,
            limit: self.parse_optional_count(Token::Limit)?,
            offset: self.parse_optional_count(Token::Offset)?,
        }))
    }
}

/// What is counted, before its `WITH KEY` clause has been read.
enum CardinalityKind {
    Series,
    TagValues,
    Other(CardinalityOf),
}
