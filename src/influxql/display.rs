//! The canonical text of every node, which parses back to an equal node.
//!
//! It is InfluxDB's text where that is faithful. It differs where InfluxDB's loses something: numbers keep all their
//! digits (at least three after the point). Passwords are never shown.

use std::fmt::{Display, Formatter, Result, Write};

use super::ast::*;
use super::duration::{SECOND, format_duration, format_duration_go};
use super::scanner::{is_name_char, is_name_start};
use super::token::Token;

/// A name as it must be written: in double quotes if it is no plain name or a keyword.
pub fn quote_ident(name: &str) -> String {
    let plain =
        name.starts_with(is_name_start) && name.chars().all(is_name_char) && Token::keyword(name).is_none();
    if plain { name.to_string() } else { quoted(name, '"') }
}

/// Text in single quotes.
pub fn quote_string(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for char in text.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '\\' => out.push_str("\\\\"),
            char if char == quote => {
                out.push('\\');
                out.push(char);
            }
            char => out.push(char),
        }
    }
    out.push(quote);
    out
}

/// A qualified name with all parts before the last quoted.
pub(super) fn quote_segments(segments: &[String]) -> String {
    let last = segments.len().saturating_sub(1);
    let quote = |(at, segment): (usize, &String)| match segment.as_str() {
        "" if at != 0 && at != last => String::new(),
        segment if at == last => quote_ident(segment),
        segment => quoted(segment, '"'),
    };
    segments.iter().enumerate().map(quote).collect::<Vec<_>>().join(".")
}

fn list(f: &mut Formatter<'_>, items: impl IntoIterator<Item: Display>) -> Result {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

fn clause<T: Display>(f: &mut Formatter<'_>, words: &str, items: &[T]) -> Result {
    if items.is_empty() {
        return Ok(());
    }
    f.write_str(words)?;
    list(f, items)
}

fn condition(f: &mut Formatter<'_>, condition: Option<&Expr>) -> Result {
    match condition {
        Some(condition) => write!(f, " WHERE {condition}"),
        None => Ok(()),
    }
}

fn on(f: &mut Formatter<'_>, database: &Option<String>) -> Result {
    match database {
        Some(database) => write!(f, " ON {}", quote_ident(database)),
        None => Ok(()),
    }
}

fn counts(f: &mut Formatter<'_>, counts: &[(&str, u64)]) -> Result {
    for (word, count) in counts {
        if *count > 0 {
            write!(f, " {word} {count}")?;
        }
    }
    Ok(())
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (at, statement) in self.statements.iter().enumerate() {
            if at > 0 {
                f.write_str(";\n")?;
            }
            write!(f, "{statement}")?;
        }
        Ok(())
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Select(select) => write!(f, "{select}"),
            Self::Explain(explain) => {
                let word = match explain.kind {
                    ExplainKind::Plan => "",
                    ExplainKind::Analyze => "ANALYZE ",
                    ExplainKind::Estimate => "ESTIMATE ",
                };
                write!(f, "EXPLAIN {word}{}", explain.select)
            }
            Self::Delete(delete) => {
                f.write_str("DELETE")?;
                clause(f, " FROM ", &delete.sources)?;
                condition(f, delete.condition.as_ref())
            }
            Self::DropSeries(drop) => {
                f.write_str("DROP SERIES")?;
                clause(f, " FROM ", &drop.sources)?;
                condition(f, drop.condition.as_ref())
            }
            Self::DropMeasurement { name } => write!(f, "DROP MEASUREMENT {}", quote_ident(name)),
            Self::DropShard { id } => write!(f, "DROP SHARD {id}"),
            Self::CreateDatabase(create) => write!(f, "{create}"),
            Self::DropDatabase { name } => write!(f, "DROP DATABASE {}", quote_ident(name)),
            Self::CreateRetentionPolicy(create) => write!(f, "{create}"),
            Self::AlterRetentionPolicy(alter) => write!(f, "{alter}"),
            Self::DropRetentionPolicy { name, database } => {
                write!(f, "DROP RETENTION POLICY {} ON {}", quote_ident(name), quote_ident(database))
            }
            Self::CreateContinuousQuery(create) => write!(f, "{create}"),
            Self::DropContinuousQuery { name, database } => {
                write!(f, "DROP CONTINUOUS QUERY {} ON {}", quote_ident(name), quote_ident(database))
            }
            Self::CreateSubscription(create) => {
                write!(
                    f,
                    "CREATE SUBSCRIPTION {} ON {}.{} DESTINATIONS {} ",
                    quote_ident(&create.name),
                    quote_ident(&create.database),
                    quote_ident(&create.retention_policy),
                    create.mode.name()
                )?;
                list(f, create.destinations.iter().map(|text| quote_string(text)))
            }
            Self::DropSubscription { name, database, retention_policy } => {
                let [name, database, policy] =
                    [name, database, retention_policy].map(|name| quote_ident(name));
                write!(f, "DROP SUBSCRIPTION {name} ON {database}.{policy}")
            }
            Self::CreateUser { name, admin, .. } => {
                write!(f, "CREATE USER {} WITH PASSWORD [REDACTED]", quote_ident(name))?;
                f.write_str(if *admin { " WITH ALL PRIVILEGES" } else { "" })
            }
            Self::DropUser { name } => write!(f, "DROP USER {}", quote_ident(name)),
            Self::SetPassword { name, .. } => {
                write!(f, "SET PASSWORD FOR {} = [REDACTED]", quote_ident(name))
            }
            Self::Grant { privilege, database, user } => {
                write!(f, "GRANT {} ON {} TO {}", privilege.name(), quote_ident(database), quote_ident(user))
            }
            Self::GrantAdmin { user } => write!(f, "GRANT ALL PRIVILEGES TO {}", quote_ident(user)),
            Self::Revoke { privilege, database, user } => {
                write!(
                    f,
                    "REVOKE {} ON {} FROM {}",
                    privilege.name(),
                    quote_ident(database),
                    quote_ident(user)
                )
            }
            Self::RevokeAdmin { user } => write!(f, "REVOKE ALL PRIVILEGES FROM {}", quote_ident(user)),
            Self::ShowUsers => f.write_str("SHOW USERS"),
            Self::ShowGrants { user } => write!(f, "SHOW GRANTS FOR {}", quote_ident(user)),
            Self::ShowDatabases => f.write_str("SHOW DATABASES"),
            Self::ShowRetentionPolicies { database } => {
                f.write_str("SHOW RETENTION POLICIES")?;
                on(f, database)
            }
            Self::ShowMeasurements(show) => write!(f, "{show}"),
            Self::ShowSeries(show) => {
                f.write_str("SHOW SERIES")?;
                on(f, &show.database)?;
                clause(f, " FROM ", &show.sources)?;
                condition(f, show.condition.as_ref())?;
                clause(f, " ORDER BY ", &show.sort_fields)?;
                counts(f, &[("LIMIT", show.limit), ("OFFSET", show.offset)])
            }
            Self::ShowTagKeys(show) => {
                f.write_str("SHOW TAG KEYS")?;
                on(f, &show.database)?;
                clause(f, " FROM ", &show.sources)?;
                condition(f, show.condition.as_ref())?;
                clause(f, " ORDER BY ", &show.sort_fields)?;
                counts(f, &[("LIMIT", show.limit), ("OFFSET", show.offset)])?;
                counts(f, &[("SLIMIT", show.slimit), ("SOFFSET", show.soffset)])
            }
            Self::ShowTagValues(show) => {
                f.write_str("SHOW TAG VALUES")?;
                on(f, &show.database)?;
                clause(f, " FROM ", &show.sources)?;
                write!(f, " WITH KEY {}", show.keys)?;
                condition(f, show.condition.as_ref())?;
                clause(f, " ORDER BY ", &show.sort_fields)?;
                counts(f, &[("LIMIT", show.limit), ("OFFSET", show.offset)])
            }
            Self::ShowFieldKeys(show) => {
                f.write_str("SHOW FIELD KEYS")?;
                on(f, &show.database)?;
                clause(f, " FROM ", &show.sources)?;
                clause(f, " ORDER BY ", &show.sort_fields)?;
                counts(f, &[("LIMIT", show.limit), ("OFFSET", show.offset)])
            }
            Self::ShowCardinality(show) => write!(f, "{show}"),
            Self::ShowContinuousQueries => f.write_str("SHOW CONTINUOUS QUERIES"),
            Self::ShowSubscriptions => f.write_str("SHOW SUBSCRIPTIONS"),
            Self::ShowShards => f.write_str("SHOW SHARDS"),
            Self::ShowShardGroups => f.write_str("SHOW SHARD GROUPS"),
            Self::ShowServers => f.write_str("SHOW SERVERS"),
            Self::ShowStats { module: None } => f.write_str("SHOW STATS"),
            Self::ShowStats { module: Some(module) } => write!(f, "SHOW STATS FOR {}", quote_string(module)),
            Self::ShowDiagnostics { module: None } => f.write_str("SHOW DIAGNOSTICS"),
            Self::ShowDiagnostics { module: Some(module) } => {
                write!(f, "SHOW DIAGNOSTICS FOR {}", quote_string(module))
            }
            Self::ShowQueries => f.write_str("SHOW QUERIES"),
            Self::KillQuery { id, host } => {
                write!(f, "KILL QUERY {id}")?;
                on(f, host)
            }
        }
    }
}

impl Display for SelectStatement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        clause(f, "SELECT ", &self.fields)?;
        if let Some(target) = &self.target {
            write!(f, " INTO {}", target.measurement)?;
        }
        clause(f, " FROM ", &self.sources)?;
        condition(f, self.condition.as_deref())?;
        clause(f, " GROUP BY ", &self.dimensions)?;
        match self.fill {
            Fill::Null => {}
            Fill::None => f.write_str(" fill(none)")?,
            Fill::Integer(integer) => write!(f, " fill({integer})")?,
            Fill::Number(number) => write!(f, " fill({number:?})")?,
            Fill::Previous => f.write_str(" fill(previous)")?,
            Fill::Linear => f.write_str(" fill(linear)")?,
        }
        clause(f, " ORDER BY ", &self.sort_fields)?;
        counts(f, &[("LIMIT", self.limit), ("OFFSET", self.offset)])?;
        counts(f, &[("SLIMIT", self.slimit), ("SOFFSET", self.soffset)])?;
        match &self.time_zone {
            Some(name) => write!(f, " TZ({})", quote_string(name)),
            None => Ok(()),
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.expr)?;
        match &self.alias {
            Some(alias) => write!(f, " AS {}", quote_ident(alias)),
            None => Ok(()),
        }
    }
}

impl Display for Dimension {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", self.expr)
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Measurement(measurement) => write!(f, "{measurement}"),
            Self::Subquery(select) => write!(f, "({select})"),
        }
    }
}

impl Display for Measurement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(database) = &self.database {
            write!(f, "{}.", quote_ident(database))?;
        }
        if let Some(policy) = &self.retention_policy {
            f.write_str(&quote_ident(policy))?;
        }
        if self.database.is_some() || self.retention_policy.is_some() {
            f.write_char('.')?;
        }
        match &self.name {
            MeasurementName::Name(name) => f.write_str(&quote_ident(name)),
            MeasurementName::Regex(regex) => write!(f, "{regex}"),
            MeasurementName::BackReference => f.write_str(":MEASUREMENT"),
        }
    }
}

impl Display for SortField {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(name) = &self.name {
            write!(f, "{} ", quote_ident(name))?;
        }
        f.write_str(if self.ascending { "ASC" } else { "DESC" })
    }
}

impl Display for Regex {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "/{}/", self.pattern.replace('/', "\\/"))
    }
}

impl Display for VarRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&quote_ident(&self.name))?;
        match self.data_type {
            Some(data_type) => write!(f, "::{}", data_type.name()),
            None => Ok(()),
        }
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        // `distinct` is a keyword that may begin a call.
        let name = if self.name == "distinct" { self.name.clone() } else { quote_ident(&self.name) };
        write!(f, "{name}(")?;
        list(f, &self.args)?;
        f.write_char(')')
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::VarRef(var) => write!(f, "{var}"),
            Self::Call(call) => write!(f, "{call}"),
            Self::Binary(binary) => write!(f, "{} {} {}", binary.left, binary.op.symbol(), binary.right),
            Self::Paren(inner) => write!(f, "({inner})"),
            Self::Wildcard(WildcardKind::All) => f.write_char('*'),
            Self::Wildcard(WildcardKind::Field) => f.write_str("*::field"),
            Self::Wildcard(WildcardKind::Tag) => f.write_str("*::tag"),
            Self::Regex(regex) => write!(f, "{regex}"),
            Self::Distinct(name) => write!(f, "DISTINCT {}", quote_ident(name)),
            Self::Number(number) => {
                let text = number.to_string();
                let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
                if digits < 3 { write!(f, "{number:.3}") } else { f.write_str(&text) }
            }
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Unsigned(unsigned) => write!(f, "{unsigned}"),
            Self::String(text) => f.write_str(&quote_string(text)),
            Self::Boolean(boolean) => write!(f, "{boolean}"),
            Self::Duration(duration) => f.write_str(&format_duration(*duration)),
            Self::Time(nanoseconds) => write!(f, "'{}'", rfc3339(*nanoseconds)),
        }
    }
}

/// `2006-01-02T15:04:05.999999999Z` with as many digits as needed.
pub fn rfc3339(nanoseconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp_nanos(nanoseconds);
    let whole = time.format("%Y-%m-%dT%H:%M:%S").to_string();
    let fraction = nanoseconds.rem_euclid(SECOND);
    if fraction == 0 {
        return format!("{whole}Z");
    }
    format!("{whole}.{}Z", format!("{fraction:09}").trim_end_matches('0'))
}

impl Display for ShowMeasurements {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("SHOW MEASUREMENTS")?;
        if let Some(on) = &self.on {
            write!(f, " ON {}", on.database)?;
            if let Some(policy) = &on.retention_policy {
                write!(f, ".{policy}")?;
            }
        }
        if let Some(source) = &self.source {
            let operator = if matches!(source.name, MeasurementName::Regex(_)) { "=~" } else { "=" };
            write!(f, " WITH MEASUREMENT {operator} {source}")?;
        }
        condition(f, self.condition.as_ref())?;
        clause(f, " ORDER BY ", &self.sort_fields)?;
        counts(f, &[("LIMIT", self.limit), ("OFFSET", self.offset)])
    }
}

impl Display for NameOrAll {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Name(name) => f.write_str(&quote_ident(name)),
            Self::All => f.write_char('*'),
        }
    }
}

impl Display for TagKeyMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Equal(key) => write!(f, "= {}", quote_ident(key)),
            Self::NotEqual(key) => write!(f, "!= {}", quote_ident(key)),
            Self::Matches(regex) => write!(f, "=~ {regex}"),
            Self::NotMatches(regex) => write!(f, "!~ {regex}"),
            Self::In(keys) => {
                f.write_str("IN (")?;
                list(f, keys.iter().map(|key| quote_ident(key)))?;
                f.write_char(')')
            }
        }
    }
}

impl Display for ShowCardinality {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let what = match &self.of {
            CardinalityOf::Series => "SERIES",
            CardinalityOf::Measurement => "MEASUREMENT",
            CardinalityOf::TagKey => "TAG KEY",
            CardinalityOf::TagValues(_) => "TAG VALUES",
            CardinalityOf::FieldKey => "FIELD KEY",
        };
        write!(f, "SHOW {what}{} CARDINALITY", if self.exact { " EXACT" } else { "" })?;
        on(f, &self.database)?;
        clause(f, " FROM ", &self.sources)?;
        if let CardinalityOf::TagValues(keys) = &self.of {
            write!(f, " WITH KEY {keys}")?;
        }
        condition(f, self.condition.as_ref())?;
        clause(f, " GROUP BY ", &self.dimensions)?;
        counts(f, &[("LIMIT", self.limit), ("OFFSET", self.offset)])
    }
}

/// Durations of databases are printed as Go does, as long as that can be read back.
fn database_duration(nanoseconds: i64) -> String {
    if nanoseconds % SECOND == 0 { format_duration_go(nanoseconds) } else { format_duration(nanoseconds) }
}

impl Display for CreateDatabase {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "CREATE DATABASE {}", quote_ident(&self.name))?;
        let Some(policy) = &self.retention_policy else { return Ok(()) };
        f.write_str(" WITH")?;
        if let Some(duration) = policy.duration {
            write!(f, " DURATION {}", database_duration(duration))?;
        }
        if let Some(replication) = policy.replication {
            write!(f, " REPLICATION {replication}")?;
        }
        // A WITH must be followed by something, if only by what was a zero.
        let alone = policy.duration.is_none() && policy.replication.is_none() && policy.name.is_none();
        if policy.shard_duration > 0 || alone {
            write!(f, " SHARD DURATION {}", database_duration(policy.shard_duration))?;
        }
        match &policy.name {
            Some(name) => write!(f, " NAME {}", quote_ident(name)),
            None => Ok(()),
        }
    }
}

impl Display for CreateRetentionPolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let duration = format_duration(self.duration);
        let (name, database) = (quote_ident(&self.name), quote_ident(&self.database));
        write!(f, "CREATE RETENTION POLICY {name} ON {database} DURATION {duration}")?;
        write!(f, " REPLICATION {}", self.replication)?;
        if self.shard_duration > 0 {
            write!(f, " SHARD DURATION {}", format_duration(self.shard_duration))?;
        }
        f.write_str(if self.default { " DEFAULT" } else { "" })
    }
}

impl Display for AlterRetentionPolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "ALTER RETENTION POLICY {} ON {}", quote_ident(&self.name), quote_ident(&self.database))?;
        if let Some(duration) = self.duration {
            write!(f, " DURATION {}", format_duration(duration))?;
        }
        if let Some(replication) = self.replication {
            write!(f, " REPLICATION {replication}")?;
        }
        if let Some(duration) = self.shard_duration {
            write!(f, " SHARD DURATION {}", format_duration(duration))?;
        }
        f.write_str(if self.default { " DEFAULT" } else { "" })
    }
}

impl Display for CreateContinuousQuery {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "CREATE CONTINUOUS QUERY {} ON {}", quote_ident(&self.name), quote_ident(&self.database))?;
        if self.resample_every > 0 || self.resample_for > 0 {
            f.write_str(" RESAMPLE")?;
        }
        if self.resample_every > 0 {
            write!(f, " EVERY {}", format_duration(self.resample_every))?;
        }
        if self.resample_for > 0 {
            write!(f, " FOR {}", format_duration(self.resample_for))?;
        }
        write!(f, " BEGIN {} END", self.select)
    }
}
