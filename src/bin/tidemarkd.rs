//! The server's process: flags → configuration → server::run; nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use tidemark::config::Effective;
use tidemark::http::INFLUXDB_VERSION;
use tidemark::runtime::allocator::keep_freed_memory;
use tidemark::server::{self, RunOptions};

/// Freed on another core than it was made on: heaps of their own per thread keep that cheap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELP: &str = "\
Runs and manages a Tidemark server.

Usage: tidemarkd [[command] [arguments]]

The commands are:

    config               display the effective configuration
    help                 display this help message
    run                  run node with existing configuration
    version              displays the Tidemark version

\"run\" is the default command.

Use \"tidemarkd [command] -help\" for more information about a command.
";

const RUN_HELP: &str = "\
Runs the Tidemark server.

Usage: tidemarkd run [flags]

    -config <path>
            Set the path to the configuration file.
            This defaults to the environment variable TIDEMARK_CONFIG_PATH or
            INFLUXDB_CONFIG_PATH, ~/.tidemark/tidemark.conf, or /etc/tidemark/tidemark.conf if a file
            is present at any of these locations.
            Disable the automatic loading of a configuration file using
            the null device (such as /dev/null).
    -pidfile <path>
            Write process ID to a file.
    -cpuprofile <path>, -memprofile <path>
            Accepted for compatibility; without effect.
";

const CONFIG_HELP: &str = "\
Displays the effective configuration.

Usage: tidemarkd config [flags]

    -config <path>
            Set the path to the initial configuration file.
";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = match arguments.first() {
        Some(first) if matches!(first.as_str(), "-h" | "-help" | "--help") => "help".to_owned(),
        Some(first) if !first.starts_with('-') => arguments.remove(0),
        _ => "run".to_owned(),
    };
    // `help X` is `X -h`.
    let command = if command == "help" && arguments.first().is_some_and(|next| !next.starts_with('-')) {
        let asked = arguments.remove(0);
        arguments = vec!["-h".to_owned()];
        asked
    } else {
        command
    };
    let done = match command.as_str() {
        "run" => run(&arguments),
        "config" => config(&arguments),
        "version" => {
            println!("Tidemark v{} (git: unknown unknown)", env!("CARGO_PKG_VERSION"));
            println!("serves the interface of InfluxDB v{INFLUXDB_VERSION}");
            Ok(())
        }
        "help" => {
            print!("{HELP}");
            Ok(())
        }
        unknown => {
            eprintln!("unknown command \"{unknown}\"\nRun 'tidemarkd help' for usage");
            return ExitCode::FAILURE;
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{command}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let Some(flags) = Flags::parse(arguments)? else {
        print!("{RUN_HELP}");
        return Ok(());
    };
    keep_freed_memory();
    server::run(&RunOptions { config: flags.config.or_else(found_config), pidfile: flags.pidfile })
}

fn config(arguments: &[String]) -> Result<(), String> {
    let Some(flags) = Flags::parse(arguments)? else {
        print!("{CONFIG_HELP}");
        return Ok(());
    };
    let file = flags.config.or_else(found_config);
    let effective = Effective::load(file.as_deref(), |name| std::env::var(name).ok());
    print!("{}", effective.map_err(|error| error.to_string())?.to_text());
    Ok(())
}

/// Where a configuration is looked for when none is named.
fn found_config() -> Option<PathBuf> {
    let named = ["TIDEMARK_CONFIG_PATH", "INFLUXDB_CONFIG_PATH"].into_iter().find_map(std::env::var_os);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".tidemark/tidemark.conf"));
    let usual = home.into_iter().chain([PathBuf::from("/etc/tidemark/tidemark.conf")]);
    named.map(PathBuf::from).or_else(|| usual.into_iter().find(|path| path.exists()))
}

#[derive(Default)]
struct Flags {
    config: Option<PathBuf>,
    pidfile: Option<PathBuf>,
}

impl Flags {
    /// `-name value` and `-name=value`, with one dash or two. `None`: help was asked for.
    fn parse(arguments: &[String]) -> Result<Option<Self>, String> {
        let mut flags = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                return Err(format!("unexpected argument: {argument}"));
            };
            let (name, given) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if matches!(name, "h" | "help") {
                return Ok(None);
            }
            let slot = match name {
                "config" => Some(&mut flags.config),
                "pidfile" => Some(&mut flags.pidfile),
                "cpuprofile" | "memprofile" | "hostname" => None,
                _ => return Err(format!("flag provided but not defined: -{name}")),
            };
            let value = given.or_else(|| arguments.next().cloned());
            let value = value.ok_or_else(|| format!("flag needs an argument: -{name}"))?;
            if let Some(slot) = slot {
                *slot = Some(PathBuf::from(value));
            }
        }
        Ok(Some(flags))
    }
}
