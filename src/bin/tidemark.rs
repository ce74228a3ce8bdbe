//! The client: the shell.

fn main() {
    std::process::exit(tidemark::shell::run(std::env::args().skip(1)));
}
