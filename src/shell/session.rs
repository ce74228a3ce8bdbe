//! One session: its settings, the words it knows, and how a statement's answer is shown.

use std::io::{BufRead, Write};

use serde_json::Value;

use super::http::Connection;
use super::options::Options;
use super::output;

const HELP: &str = "\
Usage:
        connect <host:port>   connects to another node specified by host:port
        auth                  prompts for username and password
        pretty                toggles pretty print for the json format
        chunked               turns on chunked responses from server
        chunk size <size>     sets the size of the chunked responses.  Set to 0 to reset to the default chunked size
        use <db_name>         sets current database
        format <format>       specifies the format of the server responses: json, csv, or column
        precision <format>    specifies the format of the timestamp: rfc3339, h, m, s, ms, u or ns
        consistency <level>   sets write consistency level: any, one, quorum, or all
        history               displays command history
        settings              outputs the current settings for the shell
        clear                 clears settings such as database or retention policy
        insert <point>        writes a point in line protocol
        exit/quit/ctrl+d      quits the shell

        show databases        show database names
        show series           show series information
        show measurements     show measurement information
        show tag keys         show tag key information
        show field keys       show field key information";

pub struct Session {
    connection: Connection,
    database: String,
    retention_policy: String,
    format: String,
    precision: String,
    consistency: String,
    pretty: bool,
    chunked: bool,
    chunk_size: u64,
    history: Vec<String>,
}

impl Session {
    pub fn new(connection: Connection, options: &Options) -> Self {
        Self {
            connection,
            database: options.database.clone(),
            retention_policy: String::new(),
            format: options.format.clone(),
            precision: options.precision.clone(),
            consistency: options.consistency.clone(),
            pretty: options.pretty,
            chunked: true,
            chunk_size: 0,
            history: Vec::new(),
        }
    }

    pub fn url(&self) -> String {
        self.connection.url()
    }

    /// Runs what `-execute` or a pipe gives; whether all went well. Errors go to both streams, as scripts expect.
    pub fn execute_once(&mut self, text: &str) -> bool {
        let result = match keyword(text) {
            ("insert", rest) => self.insert(rest),
            _ => self.query(text),
        };
        if let Err(error) = &result {
            println!("ERR: {error}");
            if self.database.is_empty() {
                println!("Warning: It is possible this error is due to not setting a database.");
                println!("Please set a database with the command \"use <database>\".");
            }
            eprintln!("{error}");
        }
        result.is_ok()
    }

    /// Reads lines until the end of input or `exit`.
    pub fn interact(&mut self) {
        let mut line = String::new();
        loop {
            print!("> ");
            let _ = std::io::stdout().flush();
            line.clear();
            if !matches!(std::io::stdin().lock().read_line(&mut line), Ok(bytes) if bytes > 0) {
                println!();
                return;
            }
            let command = line.trim();
            if command.is_empty() {
                continue;
            }
            if !contains_secret(command) {
                self.history.push(command.to_owned());
            }
            if matches!(keyword(command).0, "exit" | "quit") {
                return;
            }
            if let Err(error) = self.run(command) {
                println!("ERR: {error}");
            }
        }
    }

    fn run(&mut self, command: &str) -> Result<(), String> {
        let (word, rest) = keyword(command);
        match word {
            "help" => println!("{HELP}"),
            "settings" => self.show_settings(),
            "history" => self.history.iter().for_each(|line| println!("{line}")),
            "pretty" => {
                self.pretty = !self.pretty;
                println!("Pretty print {}", if self.pretty { "enabled" } else { "disabled" });
            }
            "chunked" => {
                self.chunked = !self.chunked;
                println!("chunked responses {}", if self.chunked { "enabled" } else { "disabled" });
            }
            "chunk" => {
                let size = rest.strip_prefix("size").unwrap_or(rest).trim();
                self.chunk_size =
                    size.parse().map_err(|_| format!("unable to parse chunk size from {size:?}"))?;
                println!("chunk size set to {}", self.chunk_size);
            }
            "format" => self.format = one_of("format", rest, &["json", "csv", "column"])?,
            "precision" => {
                let wanted = if rest.is_empty() { "ns" } else { rest };
                self.precision = one_of("precision", wanted, &["rfc3339", "h", "m", "s", "ms", "u", "ns"])?;
            }
            "consistency" => {
                self.consistency = one_of("consistency level", rest, &["any", "one", "quorum", "all"])?
            }
            "connect" => self.connect(rest)?,
            "auth" => self.authenticate(),
            "use" => self.use_database(rest)?,
            "clear" => self.clear(rest)?,
            "insert" => self.insert(rest)?,
            _ => self.query(command)?,
        }
        Ok(())
    }

    fn connect(&mut self, address: &str) -> Result<(), String> {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "8086"));
        let port = port.parse().map_err(|_| format!("invalid port number {port:?}"))?;
        let mut target = self.connection.target.clone();
        (target.host, target.port) = (host.to_owned(), port);
        let mut connection = Connection::new(target);
        let version = connection.ping()?;
        self.connection = connection;
        println!("Connected to {} version {version}", self.url());
        Ok(())
    }

    fn authenticate(&mut self) {
        print!("username: ");
        let _ = std::io::stdout().flush();
        let mut name = String::new();
        let _ = std::io::stdin().lock().read_line(&mut name);
        let mut target = self.connection.target.clone();
        target.username = name.trim().to_owned();
        target.password = super::read_password();
        self.connection = Connection::new(target);
    }

    fn use_database(&mut self, text: &str) -> Result<(), String> {
        let names = identifiers(text)?;
        let (database, policy) = match names.as_slice() {
            [database] => (database, None),
            [database, policy] => (database, Some(policy)),
            _ => return Err(format!("Could not parse database name from {text:?}.")),
        };
        // Without the right to list databases the check is left to the server.
        if let Some(known) = self.names("SHOW DATABASES", 0)
            && !known.contains(database)
        {
            return Err(format!(
                "Database {database} doesn't exist. Run SHOW DATABASES for a list of existing databases."
            ));
        }
        if let Some(policy) = policy {
            let statement = format!("SHOW RETENTION POLICIES ON \"{}\"", database.replace('"', "\\\""));
            if let Some(known) = self.names(&statement, 0)
                && !known.contains(policy)
            {
                return Err(format!(
                    "RETENTION POLICY {policy} doesn't exist. Run SHOW RETENTION POLICIES ON {database:?} for a list of \
                     existing retention polices."
                ));
            }
        }
        self.database.clone_from(database);
        println!("Using database {database}");
        self.retention_policy = policy.cloned().unwrap_or_default();
        if !self.retention_policy.is_empty() {
            println!("Using retention policy {}", self.retention_policy);
        }
        Ok(())
    }

    /// One column of a statement's answer; `None` when it is refused.
    fn names(&mut self, statement: &str, column: usize) -> Option<Vec<String>> {
        let answer = self.connection.query(statement, &[]).ok()?;
        let json: Value = serde_json::from_slice(&answer.body).ok()?;
        if !output::errors(&json).is_empty() {
            return None;
        }
        let rows = json["results"][0]["series"][0]["values"].as_array()?;
        Some(rows.iter().filter_map(|row| row[column].as_str().map(str::to_owned)).collect())
    }

    fn clear(&mut self, what: &str) -> Result<(), String> {
        match what.to_ascii_lowercase().as_str() {
            "database" | "db" => {
                self.database.clear();
                self.retention_policy.clear();
                println!("database context cleared");
            }
            "retention policy" | "rp" => {
                self.retention_policy.clear();
                println!("retention policy context cleared");
            }
            _ => return Err("clear takes \"database\", \"db\", \"retention policy\" or \"rp\"".to_owned()),
        }
        Ok(())
    }

    /// `insert [into [<db>.]<rp>] <line>`.
    fn insert(&mut self, text: &str) -> Result<(), String> {
        let (mut database, mut policy) = (self.database.clone(), self.retention_policy.clone());
        let mut line = text.trim_start();
        if let ("into", rest) = keyword(line) {
            let end = end_of_identifiers(rest);
            match identifiers(&rest[..end])?.as_slice() {
                [name] => policy.clone_from(name),
                [first, second] => (database, policy) = (first.clone(), second.clone()),
                _ => return Err(format!("invalid INSERT INTO target {:?}", &rest[..end])),
            }
            line = rest[end..].trim_start();
        }
        let parameters = [
            ("db", database.as_str()),
            ("rp", policy.as_str()),
            ("precision", if self.precision == "rfc3339" { "ns" } else { self.precision.as_str() }),
            ("consistency", self.consistency.as_str()),
        ];
        self.connection.write(&parameters, line.as_bytes())
    }

    fn query(&mut self, statements: &str) -> Result<(), String> {
        let chunk_size = self.chunk_size.to_string();
        let mut parameters = vec![("db", self.database.as_str())];
        if !self.retention_policy.is_empty() {
            parameters.push(("rp", self.retention_policy.as_str()));
        }
        if self.precision != "rfc3339" {
            parameters.push(("epoch", self.precision.as_str()));
        }
        if self.chunked && self.format != "json" {
            parameters.push(("chunked", "true"));
            if self.chunk_size > 0 {
                parameters.push(("chunk_size", chunk_size.as_str()));
            }
        }
        if self.pretty && self.format == "json" {
            parameters.push(("pretty", "true"));
        }
        let answer = self.connection.query(statements, &parameters)?;
        self.show(&answer.body)
    }

    /// Shows an answer of one or more JSON documents; its first error.
    fn show(&self, body: &[u8]) -> Result<(), String> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let written = |result: std::io::Result<()>| result.map_err(|error| error.to_string());
        let mut refusals = Vec::new();
        let mut is_fresh = true;
        for document in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
            let document = document.map_err(|error| format!("unable to read the answer: {error}"))?;
            refusals.extend(output::errors(&document));
            match self.format.as_str() {
                "csv" => written(output::write_csv(&mut out, &document))?,
                "json" => {}
                _ => written(output::write_columns(&mut out, &document, &mut is_fresh))?,
            }
            for message in output::messages(&document) {
                written(writeln!(out, "{message}"))?;
            }
        }
        if self.format == "json" {
            written(out.write_all(body))?;
        }
        written(out.flush())?;
        refusals.into_iter().next().map_or(Ok(()), Err)
    }

    fn show_settings(&self) {
        let rows = [
            ("URL", self.url()),
            ("Username", self.connection.target.username.clone()),
            ("Database", self.database.clone()),
            ("RetentionPolicy", self.retention_policy.clone()),
            ("Pretty", self.pretty.to_string()),
            ("Format", self.format.clone()),
            ("Write Consistency", self.consistency.clone()),
            ("Chunked", self.chunked.to_string()),
            ("Chunk Size", self.chunk_size.to_string()),
        ];
        println!("{:<20}Value\n{:<20}--------", "Setting", "--------");
        for (name, value) in rows {
            println!("{name:<20}{value}");
        }
    }
}

/// The first word in lower case, and what follows it.
fn keyword(text: &str) -> (&'static str, &str) {
    const WORDS: [&str; 19] = [
        "help",
        "settings",
        "history",
        "pretty",
        "chunked",
        "chunk",
        "format",
        "precision",
        "consistency",
        "connect",
        "auth",
        "use",
        "clear",
        "insert",
        "into",
        "exit",
        "quit",
        "gopher",
        "node",
    ];
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let known = WORDS.iter().find(|known| word.eq_ignore_ascii_case(known));
    known.map_or(("", text), |known| (known, rest.trim()))
}

fn one_of(what: &str, value: &str, allowed: &[&str]) -> Result<String, String> {
    let value = value.to_ascii_lowercase();
    match allowed.contains(&value.as_str()) {
        true => Ok(value),
        false => Err(format!("Unknown {what} {value:?}. Please use {}.", allowed.join(", "))),
    }
}

/// Names joined by dots, each bare or in double quotes with `\"` and `\\`.
fn identifiers(text: &str) -> Result<Vec<String>, String> {
    let mut names = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = text.trim().trim_end_matches(';').chars();
    while let Some(character) = characters.next() {
        let name = names.last_mut().expect("there is always a last name");
        match character {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => name.extend(characters.next()),
            '.' if !is_quoted => names.push(String::new()),
            other => name.push(other),
        }
    }
    match is_quoted || names.iter().any(String::is_empty) {
        true => Err(format!("Could not parse a name from {text:?}.")),
        false => Ok(names),
    }
}

/// Where the names end that stand at the start of `text`: at the first space outside quotes.
fn end_of_identifiers(text: &str) -> usize {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            character if character.is_whitespace() && !is_quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// Statements with passwords are not remembered.
fn contains_secret(command: &str) -> bool {
    let lower = command.to_ascii_lowercase();
    lower.starts_with("auth") || lower.contains("password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_quoted_and_joined_by_dots() {
        assert_eq!(identifiers("db").expect("a name"), ["db"]);
        assert_eq!(identifiers("\"a.b\".\"r \\\"p\";").expect("names"), ["a.b", "r \"p"]);
        assert!(identifiers("\"open").is_err());
        assert!(identifiers("a..b").is_err());
        assert_eq!(end_of_identifiers("\"a b\".rp cpu v=1"), 8);
    }

    #[test]
    fn words_are_known_in_any_case_and_statements_are_left_whole() {
        assert_eq!(keyword("USE  db"), ("use", "db"));
        assert_eq!(keyword("select v from m"), ("", "select v from m"));
    }

    #[test]
    fn passwords_are_not_remembered() {
        assert!(contains_secret("CREATE USER u WITH PASSWORD 'p'"));
        assert!(!contains_secret("SELECT v FROM m"));
    }
}
