//! The names completion offers: databases, retention policies, measurements, tags, fields, tag values. Asked from the
//! server when they are first wanted, remembered for a while, never more of them than a person would look through.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::answer::plain;
use super::connection::{Ask, Connection};
use crate::influxql::{quote_ident, quote_string};

/// A list older than this is asked for again.
const AGE_MAX: Duration = Duration::from_secs(30);
/// After a failure, this long nothing is asked: a server that does not answer must not make every key slow.
const FAILURE_AGE_MAX: Duration = Duration::from_secs(5);
/// Longest a key press may wait for names.
const WAIT_MAX: Duration = Duration::from_millis(400);
/// Names of one list.
const NAMES_MAX: usize = 1_000;
/// Lists remembered at once.
const LISTS_MAX: usize = 200;

/// Which names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum List {
    Databases,
    Policies {
        database: String,
    },
    Measurements {
        database: String,
    },
    /// With an empty measurement: of all.
    Tags {
        database: String,
        measurement: String,
    },
    Fields {
        database: String,
        measurement: String,
    },
    TagValues {
        database: String,
        measurement: String,
        tag: String,
    },
}

/// A name, and what is worth saying about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub text: String,
    /// A field's type; empty for everything else.
    pub field_type: String,
}

/// One per session, shared with the line editor's completer.
#[derive(Clone)]
pub struct Catalog(Arc<Mutex<State>>);

struct State {
    /// `None`: nothing is asked, only what is known is answered.
    connection: Option<Connection>,
    database: String,
    lists: HashMap<List, (Instant, Duration, Arc<[Name]>)>,
}

impl Catalog {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State { connection: None, database: String::new(), lists: HashMap::new() })))
    }

    /// Another server or user.
    pub fn connect(&self, connection: Connection) {
        if let Ok(mut state) = self.0.lock() {
            state.connection = Some(connection);
            state.lists.clear();
        }
    }

    pub fn set_database(&self, database: &str) {
        if let Ok(mut state) = self.0.lock() {
            state.database = database.to_owned();
        }
    }

    pub fn database(&self) -> String {
        self.0.lock().map(|state| state.database.clone()).unwrap_or_default()
    }

    /// Everything is asked anew from here on.
    pub fn forget(&self) {
        if let Ok(mut state) = self.0.lock() {
            state.lists.clear();
        }
    }

    /// The names; none if the server does not tell them in time.
    pub fn names(&self, list: List) -> Arc<[Name]> {
        let Ok(mut state) = self.0.lock() else { return Arc::new([]) };
        if let Some((since, age_max, names)) = state.lists.get(&list)
            && since.elapsed() < *age_max
        {
            return names.clone();
        }
        let Some(connection) = state.connection.clone() else { return Arc::new([]) };
        let asked = ask(&connection, &list);
        let age_max = if asked.is_some() { AGE_MAX } else { FAILURE_AGE_MAX };
        let names: Arc<[Name]> = asked.unwrap_or_default().into();
        if state.lists.len() >= LISTS_MAX {
            state.lists.clear();
        }
        state.lists.insert(list, (Instant::now(), age_max, names.clone()));
        names
    }

    #[cfg(test)]
    pub fn know(&self, list: List, names: &[(&str, &str)]) {
        let names: Vec<Name> = names
            .iter()
            .map(|(text, field_type)| Name { text: (*text).into(), field_type: (*field_type).into() })
            .collect();
        self.0.lock().unwrap().lists.insert(list, (Instant::now(), AGE_MAX, names.into()));
    }
}

/// The statement that tells a list, its database, and the column the names are in.
fn statement(list: &List) -> (String, &str, usize) {
    let from = |measurement: &str| match measurement {
        "" => String::new(),
        measurement => format!(" FROM {}", quote_ident(measurement)),
    };
    match list {
        List::Databases => ("SHOW DATABASES".to_owned(), "", 0),
        List::Policies { database } => {
            (format!("SHOW RETENTION POLICIES ON {}", quote_ident(database)), database, 0)
        }
        List::Measurements { database } => (format!("SHOW MEASUREMENTS LIMIT {NAMES_MAX}"), database, 0),
        List::Tags { database, measurement } => {
            (format!("SHOW TAG KEYS{} LIMIT {NAMES_MAX}", from(measurement)), database, 0)
        }
        List::Fields { database, measurement } => {
            (format!("SHOW FIELD KEYS{} LIMIT {NAMES_MAX}", from(measurement)), database, 0)
        }
        List::TagValues { database, measurement, tag } => (
            format!("SHOW TAG VALUES{} WITH KEY = {} LIMIT {NAMES_MAX}", from(measurement), quote_ident(tag)),
            database,
            1,
        ),
    }
}

fn ask(connection: &Connection, list: &List) -> Option<Vec<Name>> {
    let is_without_database = *list != List::Databases && statement(list).1.is_empty();
    if is_without_database {
        return Some(Vec::new());
    }
    let (text, database, column) = statement(list);
    let ask = Ask { text, database: database.to_owned(), limit: Some(WAIT_MAX), ..Ask::default() };
    let answer = connection.query_whole(&ask).ok()?;
    if answer.first_error().is_some() {
        return None;
    }
    let rows = answer.results.iter().flat_map(|result| &result.series).flat_map(|series| &series.values);
    let is_field = matches!(list, List::Fields { .. });
    let mut names: Vec<Name> = Vec::new();
    for row in rows.take(NAMES_MAX) {
        let text = row.get(column).map(plain).unwrap_or_default();
        let field_type = row.get(1).filter(|_| is_field).map(plain).unwrap_or_default();
        names.push(Name { text, field_type });
    }
    names.sort_by(|a, b| a.text.cmp(&b.text));
    names.dedup_by(|a, b| a.text == b.text);
    Some(names)
}

/// A tag's value as it stands in a condition.
pub fn quoted_value(value: &str) -> String {
    quote_string(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_in_what_is_asked() {
        let list = List::TagValues { database: "d".into(), measurement: "a b".into(), tag: "x\"y".into() };
        assert_eq!(
            statement(&list),
            ("SHOW TAG VALUES FROM \"a b\" WITH KEY = \"x\\\"y\" LIMIT 1000".to_owned(), "d", 1)
        );
        let list = List::Tags { database: "d".into(), measurement: String::new() };
        assert_eq!(statement(&list).0, "SHOW TAG KEYS LIMIT 1000");
    }

    #[test]
    fn without_a_server_only_what_is_known_is_told() {
        let catalog = Catalog::new();
        assert!(catalog.names(List::Databases).is_empty());
        catalog.know(List::Databases, &[("d", "")]);
        assert_eq!(catalog.names(List::Databases)[0].text, "d");
        catalog.forget();
        assert!(catalog.names(List::Databases).is_empty());
    }
}
