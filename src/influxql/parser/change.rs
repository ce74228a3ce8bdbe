//! CREATE, ALTER, DROP, DELETE, GRANT, REVOKE, SET PASSWORD.

use super::*;
use crate::influxql::duration::format_duration;

impl Parser<'_> {
    pub(super) fn parse_create(&mut self) -> Result<Statement> {
        let lexeme = self.next();
        match lexeme.token {
            Token::Continuous => {
                self.expect(Token::Query)?;
                self.parse_create_continuous_query()
            }
            Token::Database => self.parse_create_database(),
            Token::User => self.parse_create_user(),
            Token::Retention => {
                self.expect(Token::Policy)?;
                self.parse_create_retention_policy()
            }
            Token::Subscription => self.parse_create_subscription(),
            _ => Err(ParseError::expected(
                &lexeme,
                &["CONTINUOUS", "DATABASE", "USER", "RETENTION", "SUBSCRIPTION"],
            )),
        }
    }

    pub(super) fn parse_drop(&mut self) -> Result<Statement> {
        let lexeme = self.next();
        match lexeme.token {
            Token::Continuous => {
                self.expect(Token::Query)?;
                let (name, database) = self.parse_name_on_database()?;
                Ok(Statement::DropContinuousQuery { name, database })
            }
            Token::Database => Ok(Statement::DropDatabase { name: self.parse_ident()? }),
            Token::Measurement => Ok(Statement::DropMeasurement { name: self.parse_ident()? }),
            Token::Retention => {
                self.expect(Token::Policy)?;
                let (name, database) = self.parse_name_on_database()?;
                Ok(Statement::DropRetentionPolicy { name, database })
            }
            Token::Series => {
                let (sources, condition) = self.parse_what_to_delete()?;
                Ok(Statement::DropSeries(DropSeriesStatement { sources, condition }))
            }
            Token::Shard => Ok(Statement::DropShard { id: self.parse_id()? }),
            Token::Subscription => {
                let (name, database, retention_policy) = self.parse_subscription_name()?;
                Ok(Statement::DropSubscription { name, database, retention_policy })
            }
            Token::User => Ok(Statement::DropUser { name: self.parse_ident()? }),
            _ => Err(ParseError::expected(
                &lexeme,
                &[
                    "CONTINUOUS",
                    "DATABASE",
                    "MEASUREMENT",
                    "RETENTION",
                    "SERIES",
                    "SHARD",
                    "SUBSCRIPTION",
                    "USER",
                ],
            )),
        }
    }

    fn parse_name_on_database(&mut self) -> Result<(String, String)> {
        let name = self.parse_ident()?;
        self.expect(Token::On)?;
        Ok((name, self.parse_ident()?))
    }

    // ------------------------------------------------------------------------------------------------ data

    pub(super) fn parse_delete(&mut self) -> Result<Statement> {
        let (sources, condition) = self.parse_what_to_delete()?;
        Ok(Statement::Delete(DeleteStatement { sources, condition }))
    }

    /// `[FROM m] [WHERE c]`, at least one of them.
    fn parse_what_to_delete(&mut self) -> Result<(Vec<Source>, Option<Expr>)> {
        let first = self.next();
        let mut sources = Vec::new();
        if first.token == Token::From {
            sources = self.parse_sources(false)?;
            for source in &sources {
                let Source::Measurement(measurement) = source else { continue };
                let unsupported = match measurement {
                    Measurement { retention_policy: Some(_), .. } => "retention policy not supported",
                    Measurement { database: Some(_), .. } => "database not supported",
                    _ => continue,
                };
                return Err(ParseError::at(Position::default(), unsupported));
            }
        } else {
            self.put_back();
        }
        let condition = self.parse_condition()?;
        if sources.is_empty() && condition.is_none() {
            return Err(ParseError::expected(&first, &["FROM", "WHERE"]));
        }
        Ok((sources, condition))
    }

    // ------------------------------------------------------------------------------------------------ databases

    fn parse_create_database(&mut self) -> Result<Statement> {
        let name = self.parse_ident()?;
        if !self.next_is(Token::With) {
            return Ok(Statement::CreateDatabase(CreateDatabase { name, retention_policy: None }));
        }
        let first = self.next();
        if !matches!(first.token, Token::DurationWord | Token::Name | Token::Replication | Token::Shard) {
            return Err(ParseError::expected(&first, &["DURATION", "NAME", "REPLICATION", "SHARD"]));
        }
        self.put_back();
        let mut policy = DatabaseRetentionPolicy::default();
        if self.next_is(Token::DurationWord) {
            policy.duration = Some(self.parse_duration()?);
        }
        if self.next_is(Token::Replication) {
            policy.replication = Some(self.parse_replication()?);
        }
        if self.next_is(Token::Shard) {
            self.expect(Token::DurationWord)?;
            policy.shard_duration = self.parse_duration()?;
        }
        if self.next_is(Token::Name) {
            policy.name = Some(self.parse_ident()?);
        }
        Ok(Statement::CreateDatabase(CreateDatabase { name, retention_policy: Some(policy) }))
    }

    fn parse_create_retention_policy(&mut self) -> Result<Statement> {
        let (name, database) = self.parse_name_on_database()?;
        self.expect(Token::DurationWord)?;
        let duration = self.parse_duration()?;
        self.expect(Token::Replication)?;
        let replication = self.parse_replication()?;
        let shard_duration = if self.next_is(Token::Shard) { self.parse_shard_duration()? } else { 0 };
        let default = self.next_is(Token::Default);
        Ok(Statement::CreateRetentionPolicy(CreateRetentionPolicy {
            name,
            database,
            duration,
            replication,
            shard_duration,
            default,
        }))
    }

    /// `DURATION d`, where infinity makes no sense.
    fn parse_shard_duration(&mut self) -> Result<i64> {
        self.expect(Token::DurationWord)?;
        let next = self.next();
        if next.token == Token::Inf {
            return Err(ParseError::at(next.position, "invalid duration INF for shard duration"));
        }
        self.put_back();
        self.parse_duration()
    }

    pub(super) fn parse_alter_retention_policy(&mut self) -> Result<Statement> {
        let name = if self.next_is(Token::Default) { "default".into() } else { self.parse_ident()? };
        self.expect(Token::On)?;
        let database = self.parse_ident()?;
        let mut alter = AlterRetentionPolicy {
            name,
            database,
            duration: None,
            replication: None,
            shard_duration: None,
            default: false,
        };
        let mut found = Vec::new();
        loop {
            let lexeme = self.next();
            if found.contains(&lexeme.token) {
                let message = format!("found duplicate {} option", lexeme.token.name());
                return Err(ParseError::at(lexeme.position, &message));
            }
            match lexeme.token {
                Token::DurationWord => alter.duration = Some(self.parse_duration()?),
                Token::Replication => alter.replication = Some(self.parse_replication()?),
                Token::Shard => alter.shard_duration = Some(self.parse_shard_duration()?),
                Token::Default => alter.default = true,
                _ if found.is_empty() => {
                    return Err(ParseError::expected(
                        &lexeme,
                        &["DURATION", "REPLICATION", "SHARD", "DEFAULT"],
                    ));
                }
                _ => {
                    self.put_back();
                    return Ok(Statement::AlterRetentionPolicy(alter));
                }
            }
            found.push(lexeme.token);
        }
    }

    // ------------------------------------------------------------------------------------------------ continuous queries

    fn parse_create_continuous_query(&mut self) -> Result<Statement> {
        let (name, database) = self.parse_name_on_database()?;
        let (mut resample_every, mut resample_for) = (0, 0);
        if self.next_is(Token::Resample) {
            if self.next_is(Token::Every) {
                resample_every = self.parse_finite_duration()?;
            }
            if self.next_is(Token::For) {
                resample_for = self.parse_finite_duration()?;
            }
            if resample_every == 0 && resample_for == 0 {
                return Err(ParseError::expected(&self.next(), &["EVERY", "FOR"]));
            }
        }
        self.expect_all(&[Token::Begin, Token::Select])?;
        let select = self.parse_select(true)?;
        let interval = match select.group_by_interval() {
            Ok(None) if !select.is_raw() => return Err(self.interval_wanted(None)),
            Err(reason) if !select.is_raw() => return Err(self.interval_wanted(Some(reason))),
            interval => interval,
        };
        self.expect(Token::EndWord)?;
        let interval = interval.map_err(ParseError::new)?.unwrap_or(0);
        let least = if resample_every > interval { resample_every } else { interval };
        if resample_for != 0 && least > resample_for {
            return Err(ParseError::new(format!(
                "FOR duration must be >= GROUP BY time duration: must be a minimum of {}, got {}",
                format_duration(least),
                format_duration(resample_for)
            )));
        }
        Ok(Statement::CreateContinuousQuery(CreateContinuousQuery {
            name,
            database,
            resample_every,
            resample_for,
            select: Box::new(select),
        }))
    }

    /// Names the last token of the SELECT, which ended too early.
    fn interval_wanted(&mut self, reason: Option<&'static str>) -> ParseError {
        self.put_back();
        self.put_back();
        let last = self.next();
        match reason {
            Some(reason) => ParseError::expected(&last, &["GROUP BY time(...)", reason]),
            None => ParseError::expected(&last, &["GROUP BY time(...)"]),
        }
    }

    // ------------------------------------------------------------------------------------------------ subscriptions

    fn parse_create_subscription(&mut self) -> Result<Statement> {
        let (name, database, retention_policy) = self.parse_subscription_name()?;
        self.expect(Token::Destinations)?;
        let lexeme = self.next();
        let mode = match lexeme.token {
            Token::All => SubscriptionMode::All,
            Token::Any => SubscriptionMode::Any,
            _ => return Err(ParseError::expected(&lexeme, &["ALL", "ANY"])),
        };
        let destinations = self.parse_string_list()?;
        Ok(Statement::CreateSubscription(CreateSubscription {
            name,
            database,
            retention_policy,
            mode,
            destinations,
        }))
    }

    /// `name ON db.rp`.
    fn parse_subscription_name(&mut self) -> Result<(String, String, String)> {
        let (name, database) = self.parse_name_on_database()?;
        let dot = self.next_raw();
        if dot.token != Token::Dot {
            return Err(ParseError::expected(&dot, &["."]));
        }
        Ok((name, database, self.parse_ident()?))
    }

    // ------------------------------------------------------------------------------------------------ users

    fn parse_create_user(&mut self) -> Result<Statement> {
        let name = self.parse_ident()?;
        self.expect_all(&[Token::With, Token::Password])?;
        let password = self.parse_string()?;
        let admin = self.next_is(Token::With);
        if admin {
            self.expect_all(&[Token::All, Token::Privileges])?;
        }
        Ok(Statement::CreateUser { name, password, admin })
    }

    pub(super) fn parse_set_password(&mut self) -> Result<Statement> {
        let name = self.parse_ident()?;
        self.expect(Token::Equal)?;
        Ok(Statement::SetPassword { name, password: self.parse_string()? })
    }

    fn parse_privilege(&mut self) -> Result<Privilege> {
        let lexeme = self.next();
        match lexeme.token {
            Token::Read => Ok(Privilege::Read),
            Token::Write => Ok(Privilege::Write),
            Token::All => {
                self.next_is(Token::Privileges);
                Ok(Privilege::All)
            }
            _ => Err(ParseError::expected(&lexeme, &["READ", "WRITE", "ALL [PRIVILEGES]"])),
        }
    }

    pub(super) fn parse_grant(&mut self) -> Result<Statement> {
        let privilege = self.parse_privilege()?;
        let next = self.next();
        match next.token {
            Token::On => {
                let database = self.parse_ident()?;
                self.expect(Token::To)?;
                Ok(Statement::Grant { privilege, database, user: self.parse_ident()? })
            }
            Token::To if privilege == Privilege::All => {
                Ok(Statement::GrantAdmin { user: self.parse_ident()? })
            }
            _ if privilege == Privilege::All => Err(ParseError::expected(&next, &["ON", "TO"])),
            _ => Err(ParseError::expected(&next, &["ON"])),
        }
    }

    pub(super) fn parse_revoke(&mut self) -> Result<Statement> {
        let privilege = self.parse_privilege()?;
        let next = self.next();
        match next.token {
            Token::On => {
                let database = self.parse_ident()?;
                self.expect(Token::From)?;
                Ok(Statement::Revoke { privilege, database, user: self.parse_ident()? })
            }
            Token::From if privilege == Privilege::All => {
                Ok(Statement::RevokeAdmin { user: self.parse_ident()? })
            }
            _ if privilege == Privilege::All => Err(ParseError::expected(&next, &["ON", "FROM"])),
            _ => Err(ParseError::expected(&next, &["ON"])),
        }
    }
}
