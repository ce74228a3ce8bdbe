//! Where answers go: standard output, a file (`\o`), or a pager when they are longer than the screen.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::{Child, Command, Stdio};

/// What standard output is. One per process.
pub struct Output {
    file: Option<BufWriter<File>>,
    pub is_terminal: bool,
    /// Long answers go through a pager; only at a terminal.
    pub pager: bool,
}

impl Output {
    pub fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self { file: None, is_terminal, pager: is_terminal }
    }

    /// Answers go to this file from here on; `None`: to standard output again.
    pub fn redirect(&mut self, path: Option<&str>) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.flush()?;
        }
        self.file = match path {
            Some(path) => Some(BufWriter::new(File::create(path)?)),
            None => None,
        };
        Ok(())
    }

    /// Answers are read by a person right now.
    pub fn is_watched(&self) -> bool {
        self.is_terminal && self.file.is_none()
    }

    /// Columns and lines of the terminal.
    pub fn size(&self) -> Option<(usize, usize)> {
        let (columns, lines) = crossterm::terminal::size().ok().filter(|_| self.is_watched())?;
        Some((usize::from(columns.max(20)), usize::from(lines.max(5))))
    }

    /// Begins an answer.
    pub fn begin(&mut self, may_page: bool) -> Sheet<'_> {
        let lines = self.size().filter(|_| may_page && self.pager).map(|(_, lines)| lines);
        match &mut self.file {
            Some(file) => Sheet::Plain(Box::new(file)),
            None => match lines {
                Some(lines) => Sheet::Held { text: Vec::new(), lines_left: lines.saturating_sub(2) },
                None => Sheet::Plain(Box::new(BufWriter::with_capacity(64 << 10, io::stdout().lock()))),
            },
        }
    }
}

/// An answer being written.
pub enum Sheet<'a> {
    Plain(Box<dyn Write + 'a>),
    /// Not yet known to be longer than the screen.
    Held {
        text: Vec<u8>,
        lines_left: usize,
    },
    Paged(Child),
}

impl Sheet<'_> {
    /// Writes what is held and waits for the pager, if there is one.
    pub fn end(mut self) -> io::Result<()> {
        self.flush()?;
        if let Self::Held { text, .. } = &mut self {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text)?;
            stdout.flush()?;
        }
        if let Self::Paged(child) = &mut self {
            drop(child.stdin.take());
            child.wait()?;
        }
        Ok(())
    }
}

impl Write for Sheet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => return out.write(bytes),
            Self::Paged(child) => {
                return match &mut child.stdin {
                    Some(stdin) => stdin.write(bytes),
                    None => Err(io::ErrorKind::BrokenPipe.into()),
                };
            }
            Self::Held { text, lines_left } => {
                text.extend_from_slice(bytes);
                let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
                if lines <= *lines_left {
                    *lines_left -= lines;
                    return Ok(bytes.len());
                }
                let text = std::mem::take(text);
                *self = match start_pager() {
                    Some(child) => Self::Paged(child),
                    None => Self::Plain(Box::new(io::stdout())),
                };
                self.write_all(&text)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Held { .. } | Self::Paged(_) => Ok(()),
        }
    }
}

/// `$PAGER`, or `less` with long lines cut rather than folded; `None` if it does not start.
fn start_pager() -> Option<Child> {
    let pager = std::env::var("PAGER").ok().filter(|pager| !pager.trim().is_empty());
    let command = pager.unwrap_or_else(|| "less".to_owned());
    Command::new("sh")
        .args(["-c", &format!("exec {command}")])
        .env("LESS", std::env::var("LESS").unwrap_or_else(|_| "-RS".to_owned()))
        .stdin(Stdio::piped())
        .spawn()
        .ok()
}

/// A pipe nobody reads any more is no failure: `tidemark … | head`.
pub fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
