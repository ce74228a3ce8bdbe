//! Password hashes: argon2id in PHC text form.
//!
//! Both functions take tens of milliseconds and 19 MiB on purpose: they run on the control thread, never on a core.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

/// The scheme's recommended parameters: 19 MiB, 2 passes, 1 lane.
fn scheme() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// Hashes a password. `salt` is random.
pub fn hash(password: &str, salt: [u8; 16]) -> Result<String, String> {
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    let hash = scheme().hash_password(password.as_bytes(), &salt).map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}

/// Whether `hash` was made of this password. A hash that is none fits no password.
pub fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| scheme().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_password_only() {
        let hash = hash("secret", [7; 16]).expect("hashes");
        assert!(hash.starts_with("$argon2id$"));
        assert!(verify("secret", &hash));
        assert!(!verify("Secret", &hash));
        assert!(!verify("secret", "no hash"));
    }
}
