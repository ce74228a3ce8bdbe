//! The command line: `influx`'s flags, read as Go's `flag` package reads them (one dash or two, `-x v` or `-x=v`), and a
//! few of our own.

use std::fmt::Write as _;

/// What was asked for on the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct Flags {
    pub host: String,
    pub port: u32,
    pub socket: String,
    pub path_prefix: String,
    pub username: String,
    pub password: String,
    /// `-password ''`: ask for it.
    pub password_prompt: bool,
    pub database: String,
    pub query_type: String,
    pub ssl: bool,
    pub unsafe_ssl: bool,
    /// Empty: what suits the place the answer goes to.
    pub format: String,
    /// Empty: what suits the place the answer goes to.
    pub precision: String,
    pub consistency: String,
    pub pretty: bool,
    pub node: i64,
    pub execute: String,
    pub version: bool,
    pub import: bool,
    pub pps: i64,
    pub path: String,
    pub compressed: bool,
    pub resume: bool,
    pub rejects: String,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 8086,
            socket: String::new(),
            path_prefix: String::new(),
            username: String::new(),
            password: String::new(),
            password_prompt: false,
            database: String::new(),
            query_type: "influxql".to_owned(),
            ssl: false,
            unsafe_ssl: false,
            format: String::new(),
            precision: String::new(),
            consistency: "all".to_owned(),
            pretty: false,
            node: 0,
            execute: String::new(),
            version: false,
            import: false,
            pps: 0,
            path: String::new(),
            compressed: false,
            resume: false,
            rejects: String::new(),
        }
    }
}

/// Why a command line leads nowhere.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// `-h`: the usage on standard output, and success.
    Help,
    /// A flag that is none, or whose value is none: status 2.
    Flag(String),
    /// Words that belong to no flag: status 1.
    Arguments(String),
}

pub const USAGE: &str = "\
Usage of tidemark:
  -version
       Display the version and exit.
  -path-prefix 'url path'
       Path that follows the host and port
  -host 'host name'
       Host to connect to.
  -port 'port #'
       Port to connect to.
  -socket 'unix domain socket'
       Unix socket to connect to.
  -database 'database name'
       Database to connect to the server.
  -password 'password'
      Password to connect to the server.  Leaving blank will prompt for password (--password '').
  -username 'username'
       Username to connect to the server.
  -ssl
        Use https for requests.
  -unsafeSsl
        Set this when connecting to the server using https and not use SSL verification.
  -execute 'command'
       Execute command and quit.
  -type 'influxql'
       Type specifies the query language for executing commands: influxql only.
  -format 'column|csv|json|ndjson|line|table|vertical|markdown'
       Format specifies how answers are shown. At a terminal the default is table, elsewhere column.
  -precision 'rfc3339|h|m|s|ms|u|ns'
       Precision specifies the format of the timestamp. At a terminal the default is rfc3339, elsewhere ns.
  -consistency 'any|one|quorum|all'
       Set write consistency level: any, one, quorum, or all
  -pretty
       Turns on pretty print for the json format.
  -node 'id'
       Node that data should be retrieved from.
  -import
       Import a previous database export from file
  -pps
       How many points per second the import will allow.  By default it is zero and will not throttle importing.
  -path
       Path to file to import; - is standard input
  -compressed
       Set to true if the import file is compressed
  -resume
       Go on where an earlier import of the same file with -resume stopped
  -rejects 'file'
       Write the lines the server refuses, with its reasons, to a file that can be imported again

Examples:

    # Use tidemark in a non-interactive mode to query the database \"metrics\" and pretty print json:
    $ tidemark -database 'metrics' -execute 'select * from cpu' -format 'json' -pretty

    # Connect to a specific database on startup and set database context:
    $ tidemark -database 'metrics' -host 'localhost' -port '8086'
";

/// What a flag sets.
enum Slot<'a> {
    Text(&'a mut String),
    Switch(&'a mut bool),
    Port(&'a mut u32),
    Integer(&'a mut i64),
}

impl Flags {
    /// Reads the arguments after the program's name.
    pub fn parse(arguments: &[String]) -> Result<Self, Refusal> {
        let mut flags = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument.len() < 2 || !argument.starts_with('-') {
                let mut unknown = argument.clone();
                rest.for_each(|next| _ = write!(unknown, " {next}"));
                return Err(Refusal::Arguments(unknown));
            }
            if argument == "--" {
                let unknown: Vec<&str> = rest.map(String::as_str).collect();
                if unknown.is_empty() {
                    break;
                }
                return Err(Refusal::Arguments(unknown.join(" ")));
            }
            let body = argument.strip_prefix("--").unwrap_or(&argument[1..]);
            if body.is_empty() || body.starts_with(['-', '=']) {
                return Err(Refusal::Flag(format!("bad flag syntax: {argument}")));
            }
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            flags.set(name, value, || rest.next().cloned())?;
        }
        flags.check()?;
        // As `influx` does it: any spelling of the flag with nothing in it asks.
        flags.password_prompt = flags.password.is_empty()
            && arguments.iter().any(|argument| {
                let argument = argument.to_lowercase();
                argument.starts_with("-password") || argument.starts_with("--password")
            });
        Ok(flags)
    }

    fn set(
        &mut self,
        name: &str,
        value: Option<String>,
        next: impl FnOnce() -> Option<String>,
    ) -> Result<(), Refusal> {
        let Some(slot) = self.slot(name) else {
            return Err(match name {
                "h" | "help" => Refusal::Help,
                _ => Refusal::Flag(format!("flag provided but not defined: -{name}")),
            });
        };
        if let Slot::Switch(switch) = slot {
            *switch = match value.as_deref() {
                None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
                Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
                Some(value) => {
                    return Err(Refusal::Flag(format!(
                        "invalid boolean value \"{value}\" for -{name}: parse error"
                    )));
                }
            };
            return Ok(());
        }
        let Some(value) = value.or_else(next) else {
            return Err(Refusal::Flag(format!("flag needs an argument: -{name}")));
        };
        let invalid = || Refusal::Flag(format!("invalid value \"{value}\" for flag -{name}: parse error"));
        match slot {
            Slot::Text(text) => *text = value,
            Slot::Port(port) => *port = value.parse().map_err(|_| invalid())?,
            Slot::Integer(integer) => *integer = value.parse().map_err(|_| invalid())?,
            Slot::Switch(_) => {}
        }
        Ok(())
    }

    fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match name {
            "host" => Slot::Text(&mut self.host),
            "port" => Slot::Port(&mut self.port),
            "socket" => Slot::Text(&mut self.socket),
            "path-prefix" => Slot::Text(&mut self.path_prefix),
            "username" => Slot::Text(&mut self.username),
            "password" => Slot::Text(&mut self.password),
            "database" => Slot::Text(&mut self.database),
            "type" => Slot::Text(&mut self.query_type),
            "ssl" => Slot::Switch(&mut self.ssl),
            "unsafeSsl" => Slot::Switch(&mut self.unsafe_ssl),
            "format" => Slot::Text(&mut self.format),
            "precision" => Slot::Text(&mut self.precision),
            "consistency" => Slot::Text(&mut self.consistency),
            "pretty" => Slot::Switch(&mut self.pretty),
            "node" => Slot::Integer(&mut self.node),
            "execute" => Slot::Text(&mut self.execute),
            "version" => Slot::Switch(&mut self.version),
            "import" => Slot::Switch(&mut self.import),
            "pps" => Slot::Integer(&mut self.pps),
            "path" => Slot::Text(&mut self.path),
            "compressed" => Slot::Switch(&mut self.compressed),
            "resume" => Slot::Switch(&mut self.resume),
            "rejects" => Slot::Text(&mut self.rejects),
            _ => return None,
        })
    }

    fn check(&self) -> Result<(), Refusal> {
        match self.query_type.as_str() {
            "influxql" => Ok(()),
            "flux" => {
                Err(Refusal::Flag("invalid value \"flux\" for flag -type: Flux is not served".to_owned()))
            }
            other => Err(Refusal::Flag(format!(
                "invalid value \"{other}\" for flag -type: unknown query language \"{other}\""
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, Refusal> {
        let arguments: Vec<String> =
            line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Flags::parse(&arguments)
    }

    #[test]
    fn one_dash_and_two_with_and_without_an_equals_sign() {
        let flags = parse("-host h --port=99 -ssl --pretty=false -execute=a=b -unsafeSsl").unwrap();
        assert_eq!((flags.host.as_str(), flags.port, flags.execute.as_str()), ("h", 99, "a=b"));
        assert!(flags.ssl && flags.unsafe_ssl && !flags.pretty);
        assert_eq!(parse("").unwrap(), Flags::default());
    }

    #[test]
    fn an_empty_password_is_asked_for() {
        assert!(Flags::parse(&["-password".into(), String::new()]).unwrap().password_prompt);
        assert!(parse("--password=").unwrap().password_prompt);
        assert!(!parse("-password x").unwrap().password_prompt);
        assert!(!parse("").unwrap().password_prompt);
    }

    #[test]
    fn wrong_lines_are_refused_in_the_words_of_go() {
        let flag = |text: &str| Err(Refusal::Flag(text.to_owned()));
        assert_eq!(parse("-nope"), flag("flag provided but not defined: -nope"));
        assert_eq!(parse("-host"), flag("flag needs an argument: -host"));
        assert_eq!(parse("-port x"), flag("invalid value \"x\" for flag -port: parse error"));
        assert_eq!(parse("-ssl=x"), flag("invalid boolean value \"x\" for -ssl: parse error"));
        assert_eq!(parse("---x"), flag("bad flag syntax: ---x"));
        assert_eq!(parse("-type flux"), flag("invalid value \"flux\" for flag -type: Flux is not served"));
        assert_eq!(parse("-ssl stray words"), Err(Refusal::Arguments("stray words".to_owned())));
        assert_eq!(parse("-help"), Err(Refusal::Help));
    }
}
