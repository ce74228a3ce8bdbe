//! How far an import is, in a file beside the one that is imported. It is replaced as a whole, so that whatever is found
//! is a state that was true.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What makes a file the same one: an import goes on in it only if nobody changed it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    pub identity: Identity,
    /// Bytes of text that are acknowledged.
    pub offset: u64,
    /// Lines within them.
    pub acknowledged_lines: u64,
    /// Lines that have been read; those not acknowledged are read again.
    #[serde(skip)]
    pub lines: u64,
    /// Behind `# DML`.
    pub is_dml: bool,
    pub database: String,
    pub retention_policy: String,
    pub commands: u64,
    pub inserted: u64,
    pub failed: u64,
}

pub fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = std::fs::metadata(path)?;
    Ok(Identity { bytes: metadata.len(), modified_s: metadata.mtime(), modified_ns: metadata.mtime_nsec() })
}

/// `FILE.resume`.
pub fn path_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".resume");
    PathBuf::from(name)
}

/// The position to go on from; the beginning if there is none.
pub fn load(path: &Path, identity: &Identity) -> Result<Position, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Position::default()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let mut position: Position =
        serde_json::from_str(&text).map_err(|error| format!("{} is damaged: {error}", path.display()))?;
    if position.identity != *identity {
        return Err(format!(
            "the file has changed since {} was written; remove that to import all of it",
            path.display()
        ));
    }
    position.lines = position.acknowledged_lines;
    Ok(position)
}

pub fn save(path: &Path, position: &Position) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    std::fs::write(&new, serde_json::to_vec(position)?)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_for_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data");
        std::fs::write(&file, "x").unwrap();
        let path = path_beside(&file);
        let known = identity(&file).unwrap();
        assert_eq!(load(&path, &known), Ok(Position::default()));
        let position = Position {
            identity: known.clone(),
            offset: 7,
            lines: 3,
            acknowledged_lines: 3,
            is_dml: true,
            ..Position::default()
        };
        save(&path, &position).unwrap();
        assert_eq!(load(&path, &known), Ok(position));
        std::fs::write(&file, "xy").unwrap();
        assert!(load(&path, &identity(&file).unwrap()).unwrap_err().starts_with("the file has changed"));
        std::fs::write(&path, "{").unwrap();
        assert!(load(&path, &known).unwrap_err().contains("is damaged"));
    }
}
