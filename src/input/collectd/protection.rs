//! Signed and encrypted parts of collectd's network protocol, and who may send them.
//!
//! The format is of collectd's wiki page "Binary protocol"; users and passwords are those of its `AuthFile`. After kind and
//! length, a signature and an encrypted part are:
//!
//!     0x0200  HMAC-SHA256 (32), user    the key is the password; signed are the user and all that follows the part
//!     0x0210  n (u16), user (n), IV (16), AES-256 in OFB under SHA-256 of the password: SHA-1 (20) of the parts, parts
//!
//! Neither has a number or a time: what was sent once is good for ever. The sum inside an encrypted part is no signature; who
//! knows its text can change it. Both are the protocol's.

use std::collections::HashMap;

use aes::Aes256;
use ofb::Ofb;
use ofb::cipher::{KeyIvInit, StreamCipher};
use ring::{digest, hmac};

/// How much data is protected, or must be; a greater one protects more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    None,
    Sign,
    Encrypt,
}

impl Level {
    /// As `security-level` names it.
    pub fn from_token(token: &str) -> Option<Self> {
        match token {
            "none" => Some(Self::None),
            "sign" => Some(Self::Sign),
            "encrypt" => Some(Self::Encrypt),
            _ => None,
        }
    }
}

/// What a listener asks of its senders.
#[derive(Clone, Default)]
pub struct Protection {
    /// Data that is protected less is not taken.
    pub level: Level,
    pub users: Users,
}

/// The users of an `AuthFile`, with the keys that their passwords make. Not printable: they are secrets.
#[derive(Clone, Default)]
pub struct Users(HashMap<Vec<u8>, Keys>);

#[derive(Clone)]
struct Keys {
    signing: hmac::Key,
    encryption: [u8; 32],
}

impl Users {
    /// Reads an `AuthFile`: `user: password` on each line, blank lines and those that begin with `#` aside. Of a user who is
    /// named twice, the last password is good.
    ///
    /// # Errors
    ///
    /// The first line that is neither, by its number, and a file without users: nobody could send. The text of a line is not
    /// told, it may be a password.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut users = HashMap::new();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':');
            let parts = colon.map(|colon| (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii()));
            match parts {
                Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                    users.insert(user.to_vec(), Keys::of(password));
                }
                _ => return Err(format!("line {} is not `user: password`", at + 1)),
            }
        }
        if users.is_empty() {
            return Err("it names no users".to_owned());
        }
        Ok(Self(users))
    }

    /// Whether a signature, less its kind and length, is that of a user for what follows it.
    pub fn is_signed(&self, signature: &[u8], rest: &[u8]) -> bool {
        let Some((code, user)) = signature.split_first_chunk::<32>() else { return false };
        let Some(keys) = self.0.get(user) else { return false };
        // Compares in constant time.
        hmac::verify(&keys.signing, &[user, rest].concat(), code).is_ok()
    }

    /// The parts inside an encrypted one, itself less its kind and length. `None` when it is cut, of an unknown user, or not
    /// encrypted with the user's password.
    pub fn decrypt(&self, body: &[u8]) -> Option<Vec<u8>> {
        let (length, rest) = body.split_first_chunk::<2>()?;
        let (user, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (iv, encrypted) = rest.split_first_chunk::<16>()?;
        let keys = self.0.get(user)?;
        let mut plain = encrypted.to_vec();
        Ofb::<Aes256>::new(&keys.encryption.into(), &(*iv).into()).apply_keystream(&mut plain);
        let (sum, parts) = plain.split_first_chunk::<20>()?;
        // Nothing is answered, so that nobody can tell by the time how far the sums agree.
        let is_whole = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts).as_ref() == sum;
        is_whole.then(|| plain.split_off(20))
    }
}

impl Keys {
    fn of(password: &[u8]) -> Self {
        let mut encryption = [0; 32];
        encryption.copy_from_slice(digest::digest(&digest::SHA256, password).as_ref());
        Self { signing: hmac::Key::new(hmac::HMAC_SHA256, password), encryption }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Users::parse(text.as_bytes()).err().unwrap_or_default()
    }

    #[test]
    fn an_auth_file_is_users_with_their_passwords() {
        let text = b"# who may send\n\n  alice: w0nderl4nd\r\nbob:\tbu1:der#\n\xff : \xfe\nbob: last";
        let users = Users::parse(text).unwrap();
        let same = |user: &[u8], password| users.0[user].encryption == Keys::of(password).encryption;
        assert_eq!(users.0.len(), 3);
        assert!(same(b"alice", b"w0nderl4nd") && same(b"bob", b"last") && same(b"\xff", b"\xfe"));
        let users = Users::parse(b"bob:\tbu1:der#").unwrap();
        assert_eq!(
            users.0[&b"bob"[..]].encryption,
            Keys::of(b"bu1:der#").encryption,
            "the first colon ends the user"
        );
    }

    #[test]
    fn a_line_of_an_auth_file_that_names_no_user_is_told_by_its_number() {
        for line in ["secret", "alice:", ": secret", ":"] {
            assert_eq!(error(&format!("# c\nbob: b\n{line}\n")), "line 3 is not `user: password`");
        }
        assert_eq!(error("# alice: w0nderl4nd\n\n"), "it names no users");
        assert_eq!(error(""), "it names no users");
    }

    #[test]
    fn levels_are_in_order_of_protection() {
        let levels = ["none", "sign", "encrypt"].map(|token| Level::from_token(token).unwrap());
        assert!(levels.is_sorted() && levels == [Level::None, Level::Sign, Level::Encrypt]);
        assert_eq!((Level::from_token("Sign"), Level::from_token("")), (None, None));
    }
}
