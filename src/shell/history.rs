//! What was typed, kept in a file: passwords are taken out before anything is remembered.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reedline::{
    FileBackedHistory, History, HistoryItem, HistoryItemId, HistorySessionId, Result, SearchDirection,
    SearchQuery,
};

use crate::influxql::redact_passwords;

/// Lines kept.
const LINES_MAX: usize = 10_000;

/// `TIDEMARK_HISTORY`, or a file in the home folder; `None`: nothing is kept.
pub fn path() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("TIDEMARK_HISTORY") {
        return (!named.is_empty()).then(|| PathBuf::from(named));
    }
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(|home| Path::new(&home).join(".tidemark_history"))
}

/// A history in this file, or in memory.
pub fn open(path: Option<&Path>) -> Box<dyn History> {
    let inner = path.and_then(|path| {
        // Nobody else's business. A file that is there keeps its rights.
        let _ = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        FileBackedHistory::with_file(LINES_MAX, path.to_owned()).ok()
    });
    Box::new(Discreet(inner.unwrap_or_default()))
}

/// All lines, oldest first.
pub fn lines(history: &dyn History) -> Vec<String> {
    let all = history.search(SearchQuery::everything(SearchDirection::Forward, None)).unwrap_or_default();
    all.into_iter().map(|item| item.command_line).collect()
}

/// The line as it may be remembered; `None`: not at all.
fn memorable(line: &str) -> Option<String> {
    let first = line.split_whitespace().next().unwrap_or_default();
    let is_secret = first.eq_ignore_ascii_case("auth");
    (!is_secret && !first.is_empty()).then(|| redact_passwords(line))
}

struct Discreet(FileBackedHistory);

impl History for Discreet {
    fn save(&mut self, mut item: HistoryItem) -> Result<HistoryItem> {
        match memorable(&item.command_line) {
            Some(line) => {
                item.command_line = line;
                let saved = self.0.save(item)?;
                // A shell that is killed keeps its lines.
                let _ = self.0.sync();
                Ok(saved)
            }
            None => Ok(item),
        }
    }

    fn load(&self, id: HistoryItemId) -> Result<HistoryItem> {
        self.0.load(id)
    }

    fn count(&self, query: SearchQuery) -> Result<i64> {
        self.0.count(query)
    }

    fn search(&self, query: SearchQuery) -> Result<Vec<HistoryItem>> {
        self.0.search(query)
    }

    fn update(&mut self, id: HistoryItemId, updater: &dyn Fn(HistoryItem) -> HistoryItem) -> Result<()> {
        self.0.update(id, updater)
    }

    fn clear(&mut self) -> Result<()> {
        self.0.clear()
    }

    fn delete(&mut self, id: HistoryItemId) -> Result<()> {
        self.0.delete(id)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.0.sync()
    }

    fn session(&self) -> Option<HistorySessionId> {
        self.0.session()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history");
        let mut history = open(Some(&file));
        for line in [
            "SHOW DATABASES",
            "auth me secret",
            "CREATE USER a WITH PASSWORD 'secret'",
            "set password for a = 'secret'",
        ] {
            history.save(HistoryItem::from_command_line(line)).unwrap();
        }
        let want =
            ["SHOW DATABASES", "CREATE USER a WITH PASSWORD [REDACTED]", "set password for a = [REDACTED]"];
        assert_eq!(lines(history.as_ref()), want);
        drop(history);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("SHOW DATABASES") && !text.contains("secret"), "{text}");
        assert_eq!(lines(open(Some(&file)).as_ref()), want);
    }
}
