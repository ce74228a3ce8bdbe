//! The lines a server refused, each under its reason, in a file that can be imported again.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::shell::connection::WriteTo;

pub struct Rejects {
    file: BufWriter<File>,
    /// Database and policy of the last line.
    context: Option<(String, String)>,
}

impl Rejects {
    /// A file that is there is continued when an import is, else begun anew.
    pub fn open(path: &Path, is_continued: bool) -> io::Result<Self> {
        let file = match is_continued {
            true => File::options().create(true).append(true).open(path)?,
            false => File::create(path)?,
        };
        Ok(Self { file: BufWriter::new(file), context: None })
    }

    pub fn add(&mut self, to: &WriteTo, line: &[u8], reason: &str) -> io::Result<()> {
        let context = (to.database.clone(), to.retention_policy.clone());
        if self.context.as_ref() != Some(&context) {
            writeln!(
                self.file,
                "# DML\n# CONTEXT-DATABASE:{}\n# CONTEXT-RETENTION-POLICY:{}",
                context.0, context.1
            )?;
            self.context = Some(context);
        }
        for reason in reason.lines() {
            writeln!(self.file, "# {reason}")?;
        }
        self.file.write_all(line)?;
        if !line.ends_with(b"\n") {
            self.file.write_all(b"\n")?;
        }
        // Few and precious.
        self.file.flush()
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_can_be_imported_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rejects");
        let mut rejects = Rejects::open(&path, false).unwrap();
        let to = WriteTo { database: "d".into(), ..WriteTo::default() };
        rejects.add(&to, b"m v=\n", "bad\nvery").unwrap();
        rejects.add(&to, b"m v=,", "bad").unwrap();
        drop(rejects);
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            "# DML\n# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:\n# bad\n# very\nm v=\n# bad\nm v=,\n"
        );
    }
}
