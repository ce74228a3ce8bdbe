//! Who asks: user and password (`u` and `p`, Basic, Token) or a bearer token, against the users of the catalogue.
//!
//! Checking a password takes tens of milliseconds on purpose, so it is done on the helper thread and what was found
//! right is remembered: as a keyed digest, next to the hash it was right for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::{Head, Http, Parameters};
use crate::error::ApiError;
use crate::meta::UserInfo;
use crate::statement::password;

/// Users remembered on a core; when there are more, all are forgotten.
const REMEMBERED_MAX: usize = 1024;

/// Passwords that were right.
#[derive(Default)]
pub struct Credentials {
    keys: [RandomState; 2],
    right: RefCell<HashMap<String, Remembered>>,
}

struct Remembered {
    /// The stored hash it was right for: a new password makes it worthless.
    hash: String,
    digest: [u64; 2],
}

impl Credentials {
    fn digest(&self, password: &str) -> [u64; 2] {
        [self.keys[0].hash_one(password), self.keys[1].hash_one(password)]
    }

    fn knows(&self, user: &UserInfo, password: &str) -> bool {
        let right = self.right.borrow();
        right
            .get(&user.name)
            .is_some_and(|known| known.hash == user.hash && known.digest == self.digest(password))
    }

    fn remember(&self, user: &UserInfo, password: &str) {
        let mut right = self.right.borrow_mut();
        if right.len() >= REMEMBERED_MAX {
            right.clear();
        }
        right
            .insert(user.name.clone(), Remembered { hash: user.hash.clone(), digest: self.digest(password) });
    }
}

/// What a request carries.
#[derive(Debug, PartialEq, Eq)]
enum Given {
    Nothing,
    Password { user: String, password: String },
    Bearer(String),
}

#[derive(Deserialize)]
struct Claims {
    username: Option<serde_json::Value>,
}

impl Http {
    /// The user, or `None` while there is no administrator yet. Only meaningful while authentication is on.
    pub(crate) async fn authenticate(self: &Rc<Self>, head: &Head) -> Result<Option<UserInfo>, ApiError> {
        self.authenticate_with(head, &head.parameters).await
    }

    /// As [`authenticate`](Self::authenticate), with parameters that a form may have added to.
    pub(crate) async fn authenticate_with(
        self: &Rc<Self>,
        head: &Head,
        parameters: &Parameters,
    ) -> Result<Option<UserInfo>, ApiError> {
        let data = self.cores.view().current();
        if !self.config.http.auth_enabled || !data.has_admin() {
            return Ok(None);
        }
        match given(head, parameters) {
            Given::Nothing => Err(ApiError::unauthorized("unable to parse authentication credentials")),
            Given::Password { user, .. } if user.is_empty() => {
                Err(ApiError::unauthorized("username required"))
            }
            Given::Password { user, password } => {
                let wrong = || ApiError::unauthorized("authorization failed");
                let user = data.user(&user).ok_or_else(wrong)?;
                if self.is_right(user, password).await? { Ok(Some(user.clone())) } else { Err(wrong()) }
            }
            Given::Bearer(token) => {
                let name = self.bearer(&token).map_err(ApiError::unauthorized)?;
                let user = data.user(&name).ok_or_else(|| ApiError::unauthorized("user not found"))?;
                Ok(Some(user.clone()))
            }
        }
    }

    async fn is_right(&self, user: &UserInfo, password: String) -> Result<bool, ApiError> {
        if self.credentials.knows(user, &password) {
            return Ok(true);
        }
        let (hash, tried) = (user.hash.clone(), password.clone());
        let verified = self.cores.runtime().offload(move || password::verify(&tried, &hash)).await;
        let is_right = verified.ok_or_else(|| ApiError::overload("too many passwords are being checked"))?;
        if is_right {
            self.credentials.remember(user, &password);
        }
        Ok(is_right)
    }

    /// The user a bearer token names, its signature and expiry checked.
    fn bearer(&self, token: &str) -> Result<String, String> {
        let secret = &self.config.http.shared_secret;
        if secret.is_empty() {
            return Err("bearer auth disabled".to_owned());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        if !matches!(header.alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            return Err(format!("unexpected signing method: {:?}", header.alg));
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = 0;
        validation.validate_aud = false;
        let key = DecodingKey::from_secret(secret.as_bytes());
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(|error| {
            use jsonwebtoken::errors::ErrorKind;
            match error.kind() {
                ErrorKind::MissingRequiredClaim(_) => "token expiration required".to_owned(),
                ErrorKind::ExpiredSignature => "token is expired".to_owned(),
                ErrorKind::InvalidSignature => "signature is invalid".to_owned(),
                _ => error.to_string(),
            }
        })?;
        match claims.claims.username {
            None => Err("token must contain a username".to_owned()),
            Some(serde_json::Value::String(name)) if !name.is_empty() => Ok(name),
            Some(serde_json::Value::String(_)) => Err("token must contain a username".to_owned()),
            Some(_) => Err("username in token must be a string".to_owned()),
        }
    }
}

/// In InfluxDB's order: parameters, then the header.
fn given(head: &Head, parameters: &Parameters) -> Given {
    let (user, password) = (parameters.get("u"), parameters.get("p"));
    if !user.is_empty() && !password.is_empty() {
        return Given::Password { user: user.to_owned(), password: password.to_owned() };
    }
    from_header(&head.parts.headers)
}

fn from_header(headers: &HeaderMap) -> Given {
    let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return Given::Nothing;
    };
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    let pair = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => return Given::Bearer(rest.trim().to_owned()),
        "token" => Some(rest.to_owned()),
        "basic" => decode_base64(rest.trim()).and_then(|bytes| String::from_utf8(bytes).ok()),
        _ => None,
    };
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => Given::Password { user: user.to_owned(), password: password.to_owned() },
        None => Given::Nothing,
    }
}

/// The user a Basic header names, for the log.
pub(super) fn basic_user(headers: &HeaderMap) -> Option<String> {
    match from_header(headers) {
        Given::Password { user, .. } => Some(user),
        _ => None,
    }
}

/// Standard base64 with or without padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(header: &str, want: Given) {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
        assert_eq!(from_header(&headers), want, "{header}");
    }

    #[test]
    fn each_scheme_gives_its_credentials() {
        let password =
            |user: &str, password: &str| Given::Password { user: user.into(), password: password.into() };
        check("Basic dXNlcjpwYTpzcw==", password("user", "pa:ss"));
        check("basic dTo=", password("u", ""));
        check("Token me:secret", password("me", "secret"));
        check("Bearer abc.def.ghi", Given::Bearer("abc.def.ghi".into()));
        check("Basic ###", Given::Nothing);
        check("Digest x", Given::Nothing);
        check("Token me", Given::Nothing);
    }

    #[test]
    fn a_remembered_password_ends_with_the_hash_it_was_right_for() {
        let credentials = Credentials::default();
        let mut user =
            UserInfo { name: "u".into(), hash: "one".into(), admin: false, privileges: Vec::new() };
        credentials.remember(&user, "secret");
        assert!(credentials.knows(&user, "secret") && !credentials.knows(&user, "Secret"));
        user.hash = "two".into();
        assert!(!credentials.knows(&user, "secret"));
    }
}
