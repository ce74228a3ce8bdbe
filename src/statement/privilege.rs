//! What a statement may be executed by: pure functions from statements to privileges, and from users to refusals.

use std::fmt;

use crate::influxql::ast::{Measurement, NameOrAll, SelectStatement, ShowOn, Source, Statement};
use crate::meta::{Data, Privilege, UserInfo};

/// One thing a user must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    Admin,
    /// A privilege on a database; `None` is the request's own. [`Privilege::None`] is had by everyone.
    Database {
        name: Option<String>,
        privilege: Privilege,
    },
}

/// All that a user who is not an administrator must have.
pub fn required(statement: &Statement) -> Vec<Requirement> {
    use Statement::*;
    let on = |name: &Option<String>, privilege| vec![Requirement::Database { name: name.clone(), privilege }];
    let read = |name: &Option<String>| on(name, Privilege::Read);
    match statement {
        Select(select) => of_select(select),
        Explain(explain) => of_select(&explain.select),

        CreateDatabase(_)
        | DropDatabase { .. }
        | CreateRetentionPolicy(_)
        | AlterRetentionPolicy(_)
        | DropMeasurement { .. }
        | DropShard { .. }
        | CreateUser { .. }
        | DropUser { .. }
        | SetPassword { .. }
        | Grant { .. }
        | GrantAdmin { .. }
        | Revoke { .. }
        | RevokeAdmin { .. }
        | ShowUsers
        | ShowGrants { .. }
        | CreateSubscription(_)
        | DropSubscription { .. }
        | ShowSubscriptions
        | ShowShards
        | ShowShardGroups
        | ShowServers
        | ShowStats { .. }
        | ShowDiagnostics { .. }
        | KillQuery { .. } => vec![Requirement::Admin],

        Delete(_) | DropSeries(_) => on(&None, Privilege::Write),
        DropRetentionPolicy { database, .. } | DropContinuousQuery { database, .. } => {
            on(&Some(database.clone()), Privilege::Write)
        }
        CreateContinuousQuery(create) => {
            let mut all = read(&Some(create.database.clone()));
            all.extend(of_select(&create.select).into_iter().map(|requirement| match requirement {
                Requirement::Database { name: None, privilege } => {
                    Requirement::Database { name: Some(create.database.clone()), privilege }
                }
                named => named,
            }));
            all.dedup();
            all
        }

        ShowDatabases => on(&None, Privilege::None),
        ShowContinuousQueries | ShowQueries => read(&None),
        ShowRetentionPolicies { database } => read(database),
        ShowMeasurements(show) => match &show.on {
            // Lists those databases only that the user may read.
            Some(ShowOn { database: NameOrAll::All, .. }) => on(&None, Privilege::None),
            Some(ShowOn { database: NameOrAll::Name(name), .. }) => read(&Some(name.clone())),
            None => read(&None),
        },
        ShowSeries(show) => with_sources(read(&show.database), &show.sources),
        ShowTagKeys(show) => with_sources(read(&show.database), &show.sources),
        ShowTagValues(show) => with_sources(read(&show.database), &show.sources),
        ShowFieldKeys(show) => with_sources(read(&show.database), &show.sources),
        ShowCardinality(show) => with_sources(read(&show.database), &show.sources),
    }
}

/// A source may name another database than the statement.
fn with_sources(mut all: Vec<Requirement>, sources: &[Source]) -> Vec<Requirement> {
    for source in sources {
        if let Source::Measurement(Measurement { database: Some(name), .. }) = source {
            all.push(Requirement::Database { name: Some(name.clone()), privilege: Privilege::Read });
        }
    }
    all
}

fn of_select(select: &SelectStatement) -> Vec<Requirement> {
    let mut all = Vec::new();
    for source in &select.sources {
        match source {
            Source::Measurement(measurement) => all.push(Requirement::Database {
                name: measurement.database.clone(),
                privilege: Privilege::Read,
            }),
            Source::Subquery(inner) => all.extend(of_select(inner)),
        }
    }
    if let Some(target) = &select.target {
        let name = target.measurement.database.clone();
        all.push(Requirement::Database { name, privilege: Privilege::Write });
    }
    all
}

/// Why a query is refused. Clients see `error authorizing query: ` before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAuthorized(String);

impl fmt::Display for NotAuthorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `user` may execute all of these statements on the request's `database`. `None`: the request named nobody.
pub fn authorize(
    statements: &[Statement],
    database: &str,
    user: Option<&UserInfo>,
    meta: &Data,
) -> Result<(), NotAuthorized> {
    if !meta.has_admin() {
        return match statements.first() {
            Some(Statement::CreateUser { admin: true, .. }) => Ok(()),
            _ => Err(NotAuthorized("create admin user first or disable authentication".into())),
        };
    }
    let Some(user) = user else {
        return Err(NotAuthorized("no user provided".into()));
    };
    if user.admin {
        return Ok(());
    }
    for statement in statements {
        for requirement in required(statement) {
            let missing = match requirement {
                Requirement::Admin => "admin privilege".to_owned(),
                Requirement::Database { name, privilege } => {
                    let name = name.as_deref().filter(|name| !name.is_empty()).unwrap_or(database);
                    if privilege == Privilege::None || user.may(privilege, name) {
                        continue;
                    }
                    format!("{} on {name}", privilege.name())
                }
            };
            return Err(NotAuthorized(format!(
                "{} not authorized to execute statement '{statement}', requires {missing}",
                user.name
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::influxql::{Parameters, parse_query};

    fn user(privileges: &[(&str, Privilege)]) -> UserInfo {
        let privileges = privileges.iter().map(|(name, privilege)| (name.to_string(), *privilege)).collect();
        UserInfo { name: "u".into(), hash: String::new(), admin: false, privileges }
    }

    fn check(text: &str, database: &str, user: Option<&UserInfo>, admin_exists: bool) -> String {
        let mut meta = Data::default();
        if admin_exists {
            meta.users.push(UserInfo {
                name: "root".into(),
                hash: String::new(),
                admin: true,
                privileges: vec![],
            });
        }
        let query = parse_query(text, &Parameters::new()).expect("parses");
        match authorize(&query.statements, database, user, &meta) {
            Ok(()) => "ok".into(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn every_statement_names_what_is_missing() {
        let reader = user(&[("db", Privilege::Read)]);
        let writer = user(&[("db", Privilege::Write)]);
        let all = user(&[("db", Privilege::All)]);
        let refused = |rest: &str| format!("u not authorized to execute statement {rest}");
        let cases = [
            ("SELECT a FROM m", &reader, "ok".into()),
            ("SELECT a FROM m", &all, "ok".into()),
            ("SELECT a FROM m", &writer, refused("'SELECT a FROM m', requires READ on db")),
            ("SELECT a FROM x.y.m", &reader, refused("'SELECT a FROM x.y.m', requires READ on x")),
            (
                "SELECT a FROM (SELECT a FROM x..m)",
                &all,
                refused("'SELECT a FROM (SELECT a FROM x..m)', requires READ on x"),
            ),
            ("SELECT a INTO n FROM m", &reader, refused("'SELECT a INTO n FROM m', requires WRITE on db")),
            ("SELECT a INTO n FROM m", &all, "ok".into()),
            ("SHOW DATABASES", &user(&[]), "ok".into()),
            ("SHOW SERIES FROM x..m", &reader, refused("'SHOW SERIES FROM x..m', requires READ on x")),
            ("SHOW SERIES ON x", &reader, refused("'SHOW SERIES ON x', requires READ on x")),
            ("DELETE FROM m", &reader, refused("'DELETE FROM m', requires WRITE on db")),
            ("DELETE FROM m", &writer, "ok".into()),
            ("DROP RETENTION POLICY p ON db", &writer, "ok".into()),
            ("DROP DATABASE db", &all, refused("'DROP DATABASE db', requires admin privilege")),
            (
                "CREATE USER a WITH PASSWORD 'x'",
                &all,
                refused("'CREATE USER a WITH PASSWORD [REDACTED]', requires admin privilege"),
            ),
            ("SHOW SERIES; DROP SHARD 1", &all, refused("'DROP SHARD 1', requires admin privilege")),
        ];
        for (text, user, want) in cases {
            assert_eq!(check(text, "db", Some(user), true), want, "{text}");
        }
    }

    #[test]
    fn without_an_administrator_only_one_may_be_made() {
        let create = "CREATE USER a WITH PASSWORD 'x' WITH ALL PRIVILEGES";
        assert_eq!(check(create, "", None, false), "ok");
        let refusal = "create admin user first or disable authentication";
        assert_eq!(check("CREATE USER a WITH PASSWORD 'x'", "", None, false), refusal);
        assert_eq!(check("SHOW DATABASES", "", None, false), refusal);
        assert_eq!(check("SHOW DATABASES", "", None, true), "no user provided");
    }
}
