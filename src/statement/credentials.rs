//! Users and their passwords, as every listener checks them.
//!
//! Checking a password takes tens of milliseconds on purpose, so it is done on the helper thread, a bounded number at a
//! time, and what came out is remembered: as a keyed digest, next to the hash it was checked against. What was found wrong
//! is remembered too, so that an agent with an old password costs nothing. One per core; ends with it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::password;
use crate::cores::Cores;
use crate::meta::UserInfo;

/// Users remembered on a core; when there are more, all are forgotten.
const REMEMBERED_MAX: usize = 1024;

/// Passwords a core has checked at a time: beyond some seconds of work nobody waits any more.
const CHECKS_MAX: u32 = 64;

/// Why somebody is not let in. The texts are InfluxDB's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    NoUser,
    /// No such user, or another password: which, is nobody's business.
    Wrong,
    /// Too many passwords are being checked.
    Busy,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoUser => "username required",
            Self::Wrong => "authorization failed",
            Self::Busy => "too many passwords are being checked",
        })
    }
}

/// Checked passwords of one core.
#[derive(Default)]
pub struct Credentials {
    keys: [RandomState; 2],
    right: RefCell<HashMap<String, Remembered>>,
    /// The last wrong password of each user.
    wrong: RefCell<HashMap<String, Remembered>>,
    checks: Cell<u32>,
}

#[derive(PartialEq, Eq)]
struct Remembered {
    /// The stored hash it was checked against: a new password makes it worthless.
    hash: String,
    digest: [u64; 2],
}

struct Check<'a>(&'a Cell<u32>);

impl Drop for Check<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Credentials {
    /// The user, if this is the password.
    pub async fn check(&self, cores: &Cores, name: &str, password: String) -> Result<UserInfo, Denied> {
        if name.is_empty() {
            return Err(Denied::NoUser);
        }
        let data = cores.view().current();
        let user = data.user(name).ok_or(Denied::Wrong)?;
        if let Some(is_right) = self.known(user, &password) {
            return if is_right { Ok(user.clone()) } else { Err(Denied::Wrong) };
        }
        if self.checks.get() >= CHECKS_MAX {
            return Err(Denied::Busy);
        }
        self.checks.set(self.checks.get() + 1);
        let _check = Check(&self.checks);
        let (hash, tried) = (user.hash.clone(), password.clone());
        let verified = cores.runtime().offload(move || password::verify(&tried, &hash)).await;
        let is_right = verified.ok_or(Denied::Busy)?;
        self.remember(user, &password, is_right);
        if is_right { Ok(user.clone()) } else { Err(Denied::Wrong) }
    }

    fn remembered(&self, user: &UserInfo, password: &str) -> Remembered {
        let digest = [self.keys[0].hash_one(password), self.keys[1].hash_one(password)];
        Remembered { hash: user.hash.clone(), digest }
    }

    /// Whether the password is right, if that is known.
    fn known(&self, user: &UserInfo, password: &str) -> Option<bool> {
        let given = self.remembered(user, password);
        let is_in = |map: &RefCell<HashMap<String, Remembered>>| map.borrow().get(&user.name) == Some(&given);
        if is_in(&self.right) {
            return Some(true);
        }
        is_in(&self.wrong).then_some(false)
    }

    fn remember(&self, user: &UserInfo, password: &str, is_right: bool) {
        let mut known = if is_right { self.right.borrow_mut() } else { self.wrong.borrow_mut() };
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(user.name.clone(), self.remembered(user, password));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_ends_with_the_hash_it_was_checked_against() {
        let credentials = Credentials::default();
        let mut user =
            UserInfo { name: "u".into(), hash: "one".into(), admin: false, privileges: Vec::new() };
        credentials.remember(&user, "secret", true);
        credentials.remember(&user, "Secret", false);
        assert_eq!(credentials.known(&user, "secret"), Some(true));
        assert_eq!(credentials.known(&user, "Secret"), Some(false));
        assert_eq!(credentials.known(&user, "other"), None);
        user.hash = "two".into();
        assert_eq!(credentials.known(&user, "secret"), None);
    }

    #[test]
    fn users_beyond_the_bound_are_forgotten() {
        let credentials = Credentials::default();
        for at in 0..REMEMBERED_MAX + 1 {
            let user =
                UserInfo { name: format!("u{at}"), hash: "h".into(), admin: false, privileges: vec![] };
            credentials.remember(&user, "p", true);
        }
        assert_eq!(credentials.right.borrow().len(), 1);
    }
}
