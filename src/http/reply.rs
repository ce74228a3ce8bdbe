//! Answers: the headers every one of them has, errors in InfluxDB's form, ids of requests.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use tidemark_net::http1::Answer;

use super::encode::json::put_string;
use crate::error::ApiError;
use crate::runtime::Runtime;

pub use crate::INFLUXDB_VERSION;

/// Bytes of an error's text in its header.
const ERROR_HEADER_BYTES_MAX: usize = 1024;

pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

const VERSION: HeaderName = HeaderName::from_static("x-influxdb-version");
const BUILD: HeaderName = HeaderName::from_static("x-influxdb-build");
const ERROR: HeaderName = HeaderName::from_static("x-influxdb-error");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer with a whole body.
pub fn whole(status: u16, content_type: HeaderValue, body: impl Into<bytes::Bytes>) -> Response<Answer> {
    let mut reply = Response::new(Answer::whole(body));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
    reply
}

/// 204 without a body. `Content-Type` is there because InfluxDB's is.
pub fn no_content() -> Response<Answer> {
    let mut reply = Response::new(Answer::empty());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply.headers_mut().insert(header::CONTENT_TYPE, JSON);
    reply
}

/// An error in a line of text, as paths and methods nobody serves get it.
pub fn text_error(status: u16, text: &'static str) -> Response<Answer> {
    let mut reply = whole(status, TEXT, text);
    reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// An error: JSON, and its text in a header too. Only 401 has the realm instead.
pub fn error(error: &ApiError, realm: &str) -> Response<Answer> {
    let mut body = b"{\"error\":".to_vec();
    put_string(&mut body, error.text.as_bytes());
    body.extend_from_slice(b"}\n");
    let mut reply = whole(error.status, JSON, body);
    let headers = reply.headers_mut();
    if error.status == 401 {
        if let Ok(value) = HeaderValue::from_str(&format!("Basic realm=\"{realm}\"")) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
    } else {
        let mut end = error.text.len().min(ERROR_HEADER_BYTES_MAX);
        while !error.text.is_char_boundary(end) {
            end -= 1;
        }
        // Line breaks cannot stand in a header.
        let text = error.text[..end].replace(['\n', '\r'], " ");
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.insert(ERROR, value);
        }
    }
    if let Some(seconds) = error.retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    reply
}

/// The headers of every answer.
pub fn add_common(headers: &mut HeaderMap, request_id: &HeaderValue) {
    headers.insert(REQUEST_ID, request_id.clone());
    headers.insert(X_REQUEST_ID, request_id.clone());
    headers.insert(VERSION, HeaderValue::from_static(INFLUXDB_VERSION));
    headers.insert(BUILD, HeaderValue::from_static("OSS"));
}

/// What lets a browser's page of another origin read the answer.
pub fn add_cors(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("DELETE, GET, OPTIONS, POST, PUT"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Accept, Accept-Encoding, Authorization, Content-Length, Content-Type, X-CSRF-Token, \
             X-HTTP-Method-Override",
        ),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Date, X-InfluxDB-Version, X-InfluxDB-Build"),
    );
}

/// The id a client gave its request, or a new one in the form of a version 1 UUID.
pub fn request_id(headers: &HeaderMap, runtime: &Runtime) -> HeaderValue {
    let given = headers.get(X_REQUEST_ID).or_else(|| headers.get(REQUEST_ID));
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        return given.clone();
    }
    // 100-nanosecond steps since 1582-10-15.
    const GREGORIAN_OFFSET: u64 = 0x01b2_1dd2_1381_4000;
    let time = (runtime.wall_ns() as u64 / 100).wrapping_add(GREGORIAN_OFFSET);
    let random = runtime.random();
    let text = format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        time as u32,
        (time >> 32) as u16,
        ((time >> 48) as u16 & 0x0fff) | 0x1000,
        (random >> 48) as u16 & 0x3fff | 0x8000,
        random & 0xffff_ffff_ffff,
    );
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stands_in_body_and_header() {
        let reply = error(&ApiError::bad_request("partial write:\n\"x\""), "InfluxDB");
        assert_eq!(reply.status(), 400);
        assert_eq!(reply.headers()[&ERROR], "partial write: \"x\"");
        let escaped = error(&ApiError::not_found("database not found: \"<x&>\""), "InfluxDB");
        assert_eq!(escaped.headers()[&ERROR], "database not found: \"<x&>\"");
        let long = error(&ApiError::bad_request("é".repeat(1000)), "InfluxDB");
        assert_eq!(long.headers()[&ERROR].len(), 1024);
    }

    #[test]
    fn unauthorized_names_the_realm() {
        let reply = error(&ApiError::unauthorized("authorization failed"), "InfluxDB");
        assert_eq!(reply.headers()[header::WWW_AUTHENTICATE], "Basic realm=\"InfluxDB\"");
        assert!(!reply.headers().contains_key(&ERROR));
    }
}
