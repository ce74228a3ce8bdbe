//! The shell's process: arguments → shell::run; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    tidemark::shell::run(&arguments)
}
