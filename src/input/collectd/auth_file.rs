//! The `auth-file` of a listener while it runs: read again when it has changed, as collectd's own servers do.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime};

use super::protection::Users;
use crate::runtime::Runtime;

/// Between two looks at the file.
const LOOKS_NS: u64 = 1_000_000_000;

/// That thread may have passwords to check: datagrams do not wait for all of them, the next look finds the change.
const WAIT: Duration = Duration::from_millis(100);

/// When a file was changed, and its length; `None`: it cannot be looked at.
type Stamp = Option<(SystemTime, u64)>;

/// See the head of this file. One per listener and core; a core looks only when datagrams come.
pub struct AuthFile {
    path: String,
    /// Of what was read last; the first look reads it in any case.
    seen: RefCell<Option<Stamp>>,
    next_look_ns: Cell<u64>,
}

impl AuthFile {
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), seen: RefCell::default(), next_look_ns: Cell::default() }
    }

    /// The users that may send from now on, when the file has changed: none, and a line in the log, when it cannot be read
    /// or names none. Asks the file once a second at most, by the thread that may wait for it.
    pub async fn changed(&self, runtime: &Runtime) -> Option<Users> {
        let now = runtime.monotonic_ns();
        if now < self.next_look_ns.get() {
            return None;
        }
        self.next_look_ns.set(now + LOOKS_NS);
        let (path, seen) = (self.path.clone(), *self.seen.borrow());
        let looking = runtime.offload(move || look(&path, seen));
        let waiting = async {
            runtime.sleep(WAIT).await;
            None
        };
        let (stamp, users) = futures_lite::future::or(looking, waiting).await??;
        *self.seen.borrow_mut() = Some(stamp);
        Some(users.unwrap_or_else(|error| {
            // Where there never was a file, nobody expected one.
            if stamp.is_some() || seen.is_some() {
                tracing::warn!(file = self.path, error, "signed and encrypted collectd data is not taken");
            }
            Users::default()
        }))
    }
}

/// What the file says, unless it is the one that was seen.
fn look(path: &str, seen: Option<Stamp>) -> Option<(Stamp, Result<Users, String>)> {
    let stamp_of = |meta: std::fs::Metadata| Some((meta.modified().ok()?, meta.len()));
    let stamp = std::fs::metadata(path).ok().and_then(stamp_of);
    if seen == Some(stamp) {
        return None;
    }
    let text = std::fs::read(path).map_err(|error| error.to_string());
    Some((stamp, text.and_then(|text| Users::parse(&text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_is_another_one_than_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users").display().to_string();
        let (missing, users) = look(&path, None).unwrap();
        assert!(missing.is_none() && users.is_err());
        assert!(look(&path, Some(missing)).is_none(), "still none");
        std::fs::write(&path, "alice: w0nderl4nd\n").unwrap();
        let (first, users) = look(&path, Some(missing)).unwrap();
        assert!(users.is_ok() && look(&path, Some(first)).is_none());
        std::fs::write(&path, "alice: w0nderl4nd\nbob\n").unwrap();
        let (second, users) = look(&path, Some(first)).unwrap();
        assert_eq!(users.err().as_deref(), Some("line 2 is not `user: password`"));
        std::fs::remove_file(&path).unwrap();
        assert!(look(&path, Some(second)).is_some_and(|(stamp, users)| stamp.is_none() && users.is_err()));
    }
}
