//! The interactive client: the flags, words, texts and exit statuses of InfluxDB's shell, so that scripts move over
//! unchanged.
//!
//! It is a program of its own, not a core: it blocks, and speaks HTTP like any other client.

mod http;
mod import;
mod options;
mod output;
mod session;

use std::io::{IsTerminal, Read, Write};

use http::Connection;
use options::{Action, Options};
use session::Session;

/// Version the shell shows.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the shell with the program's arguments; the exit status.
pub fn run(arguments: impl Iterator<Item = String>) -> i32 {
    let options = match options::parse(arguments) {
        Ok(options) => options,
        Err(refusal) => {
            println!("{refusal}");
            return 1;
        }
    };
    match options.action {
        Action::Version => {
            println!("Tidemark shell version: {VERSION}");
            0
        }
        Action::Help => {
            println!("{}", options::USAGE);
            0
        }
        Action::Run => connect(options),
    }
}

fn connect(mut options: Options) -> i32 {
    if options.asks_password {
        options.target.password = read_password();
    }
    let mut connection = Connection::new(options.target.clone());
    let server = match connection.ping() {
        Ok(version) => version,
        Err(error) => {
            eprintln!("Failed to connect to {}: {error}", connection.url());
            eprintln!("Please check your connection settings and ensure 'tidemarkd' is running.");
            return 1;
        }
    };
    if options.import {
        return import::run(&mut connection, &options);
    }
    let mut session = Session::new(connection, &options);
    if let Some(statements) = &options.execute {
        return i32::from(!session.execute_once(statements));
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        let mut text = String::new();
        if let Err(error) = input.lock().read_to_string(&mut text) {
            eprintln!("ERR: {error}");
            return 1;
        }
        return i32::from(!session.execute_once(&text));
    }
    println!("Connected to {} version {server}", session.url());
    println!("Tidemark shell version: {VERSION}");
    session.interact();
    0
}

/// Reads a line without showing it.
fn read_password() -> String {
    print!("password: ");
    let _ = std::io::stdout().flush();
    let shown = echo(false);
    let mut text = String::new();
    let _ = std::io::stdin().read_line(&mut text);
    if shown {
        echo(true);
        println!();
    }
    text.trim_end_matches(['\r', '\n']).to_owned()
}

/// Switches the terminal's echo; whether there is a terminal.
fn echo(on: bool) -> bool {
    // SAFETY: termios is plain data filled in by tcgetattr, and both calls only touch it.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(0, &mut settings) != 0 {
            return false;
        }
        match on {
            true => settings.c_lflag |= libc::ECHO,
            false => settings.c_lflag &= !libc::ECHO,
        }
        libc::tcsetattr(0, libc::TCSANOW, &settings) == 0
    }
}
