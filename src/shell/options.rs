//! Flags, in the form InfluxDB's shell takes them: one or two dashes, value behind a space or `=`.

use super::http::Target;

pub const USAGE: &str = "\
Usage of tidemark:
  -version                     Display the version and exit.
  -host 'host name'            Host to connect to (localhost).
  -port 'port #'               Port to connect to (8086).
  -socket 'path'               Unix socket to connect to.
  -path-prefix 'prefix'        Prefix of the paths on the server.
  -database 'name'             Database to use.
  -username 'name'             User to connect as; also INFLUX_USERNAME.
  -password 'password'         Password; also INFLUX_PASSWORD. An empty one is asked for.
  -ssl                         Use https for requests.
  -unsafeSsl                   Do not verify the server's certificate.
  -execute 'statements'        Execute statements and quit.
  -format 'json|csv|column'    How answers are shown.
  -precision 'rfc3339|h|m|s|ms|u|ns'
                               How timestamps are shown.
  -consistency 'any|one|quorum|all'
                               Write consistency level.
  -pretty                      Indent JSON.
  -import                      Import an export file.
  -path 'file'                 The file to import.
  -compressed                  The file is gzip-compressed.
  -pps 'points'                Points a second to import at most; 0 is as fast as possible.";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub enum Action {
    Run,
    Version,
    Help,
}

#[derive(Debug)]
pub struct Options {
    pub action: Action,
    pub target: Target,
    /// A password flag without a value.
    pub asks_password: bool,
    pub database: String,
    pub execute: Option<String>,
    pub format: String,
    pub precision: String,
    pub consistency: String,
    pub pretty: bool,
    pub import: bool,
    pub path: String,
    pub compressed: bool,
    pub points_per_second: u64,
}

/// Reads the flags; a refusal is the text to show.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        action: Action::Run,
        target: Target {
            username: std::env::var("INFLUX_USERNAME").unwrap_or_default(),
            password: std::env::var("INFLUX_PASSWORD").unwrap_or_default(),
            ..Target::default()
        },
        asks_password: false,
        database: String::new(),
        execute: None,
        format: "column".to_owned(),
        precision: "ns".to_owned(),
        consistency: "all".to_owned(),
        pretty: false,
        import: false,
        path: String::new(),
        compressed: false,
        points_per_second: 0,
    };
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            let rest: Vec<String> = std::iter::once(argument).chain(arguments).collect();
            return Err(format!("unknown arguments: {}\n{USAGE}", rest.join(" ")));
        };
        let (name, given) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let is_on = given.as_deref().is_none_or(|value| matches!(value, "true" | "1" | "t"));
        match name {
            "version" => options.action = Action::Version,
            "h" | "help" => options.action = Action::Help,
            "ssl" => options.target.tls = is_on,
            "unsafeSsl" => options.target.unsafe_tls = is_on,
            "pretty" => options.pretty = is_on,
            "import" => options.import = is_on,
            "compressed" => options.compressed = is_on,
            _ => {
                let value = given.or_else(|| arguments.next());
                let value = value.ok_or_else(|| format!("flag needs an argument: -{name}\n{USAGE}"))?;
                set(&mut options, name, value)?;
            }
        }
    }
    Ok(options)
}

fn set(options: &mut Options, name: &str, value: String) -> Result<(), String> {
    let number = |value: &str| {
        value.parse().map_err(|_| format!("invalid value \"{value}\" for flag -{name}\n{USAGE}"))
    };
    match name {
        "host" => options.target.host = value,
        "port" => options.target.port = number(&value)? as u16,
        "socket" => options.target.socket = value,
        "path-prefix" => options.target.path_prefix = value.trim_end_matches('/').to_owned(),
        "username" => options.target.username = value,
        "password" => {
            options.asks_password = value.is_empty();
            options.target.password = value;
        }
        "database" => options.database = value,
        "execute" => options.execute = Some(value),
        "format" => options.format = value,
        "precision" => options.precision = value,
        "consistency" => options.consistency = value,
        "path" => options.path = value,
        "pps" => options.points_per_second = number(&value)?,
        "type" if value == "influxql" => {}
        "type" => return Err(format!("type {value} is not served; only influxql is")),
        _ => return Err(format!("flag provided but not defined: -{name}\n{USAGE}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Options, String> {
        parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_take_one_or_two_dashes_and_a_space_or_an_equals_sign() {
        for words in ["-host h -port 9 -pretty", "--host=h --port 9 --pretty=true", "-host=h -port=9 -pretty"]
        {
            let options = parse_words(words).expect(words);
            assert_eq!((options.target.host.as_str(), options.target.port, options.pretty), ("h", 9, true));
        }
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        assert!(parse_words("foo").expect_err("refused").starts_with("unknown arguments: foo"));
        assert!(
            parse_words("-nope x").expect_err("refused").starts_with("flag provided but not defined: -nope")
        );
        assert!(parse_words("-host").expect_err("refused").starts_with("flag needs an argument: -host"));
        assert!(
            parse_words("-port x").expect_err("refused").starts_with("invalid value \"x\" for flag -port")
        );
    }
}
