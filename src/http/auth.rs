//! Who asks: user and password (`u` and `p`, Basic, Token) or a bearer token, against the users of the catalogue.
//!
//! What the server tells about itself is for administrators, and for whoever is on its machine already.

use std::rc::Rc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::{Head, Http, Parameters};
use crate::error::ApiError;
use crate::meta::UserInfo;
use crate::statement::credentials::Denied;

/// Bytes a secret for bearer tokens must have, as HS256 asks for: shorter ones are guessed.
const SECRET_BYTES_MIN: usize = 32;

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
            Given::Password { user, password } => {
                let checked = self.credentials.check(&self.cores, &user, password).await;
                checked.map(Some).map_err(|denied| match denied {
                    Denied::Busy => ApiError::overload(denied.to_string()),
                    Denied::NoUser | Denied::Wrong => ApiError::unauthorized(denied.to_string()),
                })
            }
            Given::Bearer(token) => {
                let name = self.bearer(&token).map_err(ApiError::unauthorized)?;
                let user = data.user(&name).ok_or_else(|| ApiError::unauthorized("user not found"))?;
                Ok(Some(user.clone()))
            }
        }
    }

    /// Lets administrators see what the server tells about itself, and whoever is on this machine already.
    pub(crate) async fn authorize_debug(self: &Rc<Self>, head: &Head) -> Result<(), ApiError> {
        if !self.config.http.auth_enabled || (!self.config.http.pprof_auth_enabled && head.peer.is_local()) {
            return Ok(());
        }
        self.authorize_admin(head).await
    }

    /// For what only administrators may do, while authentication is on.
    pub(crate) async fn authorize_admin(self: &Rc<Self>, head: &Head) -> Result<(), ApiError> {
        if !self.config.http.auth_enabled {
            return Ok(());
        }
        match self.authenticate(head).await? {
            Some(user) if user.admin => Ok(()),
            _ => Err(ApiError::forbidden("error authorizing admin access")),
        }
    }

    /// The user a bearer token names, its signature and expiry checked.
    fn bearer(&self, token: &str) -> Result<String, String> {
        let secret = &self.config.http.shared_secret;
        if secret.len() < SECRET_BYTES_MIN {
            return Err("bearer auth disabled".to_owned());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        if header.alg != Algorithm::HS256 {
            return Err(format!("unexpected signing method: {:?}", header.alg));
        }
        let mut validation = Validation::new(Algorithm::HS256);
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
}
