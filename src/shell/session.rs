//! A person's or a script's conversation with a server: the connection, the settings in force, and where answers go.

use std::io::{self, Write};

use super::catalog::Catalog;
use super::connection::{Address, Connection, Failure, Target};
use super::flags::Flags;
use super::format::Format;
use super::interrupt::Interrupt;
use super::output::Output;
use super::socket::Waiting;

/// Why a line did not do what it says.
#[derive(Debug)]
pub enum Stop {
    /// Standard output is gone.
    Output(io::Error),
    /// Told already; a script ends here.
    Statement(String),
    /// Leave the shell.
    Quit,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

pub type Result<T = ()> = std::result::Result<T, Stop>;

/// What `settings` shows, and a little more.
#[derive(Debug, Clone)]
pub struct Settings {
    pub database: String,
    pub retention_policy: String,
    pub format: Format,
    /// `ns` and so on; empty for RFC 3339.
    pub precision: String,
    pub pretty: bool,
    pub consistency: String,
    pub chunked: bool,
    /// 0: the server's.
    pub chunk_size: u64,
    /// 0: all.
    pub node: i64,
    pub timing: bool,
    pub chart: bool,
    /// Before `\x` made answers vertical.
    pub format_before: Option<Format>,
}

/// One per process.
pub struct Session {
    pub connection: Connection,
    pub settings: Settings,
    pub output: Output,
    pub interrupt: Interrupt,
    pub catalog: Catalog,
    /// A person types the lines.
    pub is_interactive: bool,
    /// For `\watch`.
    pub last_query: String,
    /// For `history`.
    pub history: Vec<String>,
    pub server_version: Option<String>,
    ssl: bool,
    /// Scripts within scripts.
    pub script_depth: usize,
}

/// Times are shown and written with these precisions.
pub const PRECISIONS: [&str; 7] = ["rfc3339", "h", "m", "s", "ms", "u", "ns"];

impl Session {
    /// Connects. The error is what standard error says before the shell ends.
    pub fn start(flags: &Flags, is_interactive: bool) -> std::result::Result<Self, String> {
        let interrupt = Interrupt::default();
        let output = Output::new();
        let address = Address {
            ssl: flags.ssl,
            host: flags.host.clone(),
            port: flags.port,
            path_prefix: flags.path_prefix.trim_matches('/').to_owned(),
        };
        let target = Target {
            address,
            unix: (!flags.socket.is_empty()).then(|| flags.socket.clone().into()),
            unsafe_ssl: flags.unsafe_ssl,
            username: flags.username.clone(),
            password: flags.password.clone(),
        };
        let connection = Connection::new(target, Waiting::new(interrupt.clone()));
        let server_version = connection.ping().map_err(|failure| unreachable(&connection, &failure))?;
        let is_at_terminal = is_interactive && output.is_terminal;
        let mut session = Self {
            settings: Settings {
                database: flags.database.clone(),
                retention_policy: String::new(),
                format: if is_at_terminal { Format::Table } else { Format::Column },
                precision: if is_at_terminal { String::new() } else { "ns".to_owned() },
                pretty: flags.pretty,
                consistency: flags.consistency.clone(),
                chunked: true,
                chunk_size: 0,
                node: flags.node,
                timing: false,
                chart: false,
                format_before: None,
            },
            connection,
            output,
            interrupt,
            catalog: Catalog::new(),
            is_interactive,
            last_query: String::new(),
            history: Vec::new(),
            server_version,
            ssl: flags.ssl,
            script_depth: 0,
        };
        session.reconnect_catalog();
        Ok(session)
    }

    /// The names of another server or user are others.
    pub fn reconnect_catalog(&mut self) {
        // Completion has an interrupt of its own: Ctrl-C at a query must not spoil it.
        let connection = Connection::new(self.connection.target().clone(), Waiting::default());
        self.catalog.connect(connection);
        self.catalog.set_database(&self.settings.database);
    }

    pub fn connect(&mut self, address: &str) -> Result {
        let target = self.connection.target().clone();
        let address = match address {
            "" => target.address.clone(),
            address => match Address::parse(address, self.ssl) {
                Ok(address) => address,
                Err(error) => return self.refuse(&error),
            },
        };
        let target = Target { address, unix: None, ..target };
        let connection = Connection::new(target, self.connection.waiting.clone());
        match connection.ping() {
            Ok(version) => {
                self.server_version = version;
                self.connection = connection;
                self.reconnect_catalog();
                Ok(())
            }
            Err(failure) => self.refuse(&format!("{}: {failure}", connection.target().address.url())),
        }
    }

    /// What stands before the cursor.
    pub fn prompt(&self) -> String {
        match (self.settings.database.as_str(), self.settings.retention_policy.as_str()) {
            ("", _) => "> ".to_owned(),
            (database, "") => format!("{database}> "),
            (database, policy) => format!("{database}.{policy}> "),
        }
    }

    /// A line on standard output.
    pub fn say(&self, text: &str) -> Result {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    /// An error that ends a script, and that a person must be told.
    pub fn refuse(&self, error: &str) -> Result {
        if self.is_interactive {
            self.say(&format!("ERR: {error}"))?;
        }
        Err(Stop::Statement(error.to_owned()))
    }
}

fn unreachable(connection: &Connection, failure: &Failure) -> String {
    let target = connection.target();
    let place = match &target.unix {
        Some(path) => path.display().to_string(),
        None => target.address.url(),
    };
    let mut hint = "Please check your connection settings and ensure the server is running.";
    let attempt = |ssl: bool, unsafe_ssl: bool| {
        let address = Address { ssl, ..target.address.clone() };
        Connection::new(Target { address, unsafe_ssl, ..target.clone() }, Waiting::default()).ping().is_ok()
    };
    if target.unix.is_none() {
        if !target.address.ssl && attempt(true, true) {
            hint = "Please use the -ssl flag to connect using SSL.";
        } else if target.address.ssl && !target.unsafe_ssl && attempt(true, true) {
            hint = "You may use -unsafeSsl to connect anyway, but the SSL connection will not be secure.";
        }
    }
    format!("Failed to connect to {place}: {failure}\n{hint}")
}
