//! A blocking HTTP client that shows answers as they are.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// One request a connection: slow, and without surprises.
#[derive(Clone)]
pub struct Client {
    pub address: String,
}

impl Client {
    /// Sends a request; `None` when the server did not answer (it may be dead).
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Reply> {
        self.try_request_bytes(method, path, headers, body).map(|(reply, _)| reply)
    }

    fn try_request_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<(Reply, Vec<u8>)> {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        stream.write_all(head.as_bytes()).ok()?;
        // A server that refuses early may close before it has read the body.
        let _ = stream.write_all(body);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        parse(&bytes)
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.request_bytes(method, path, headers, body).0
    }

    /// The answer, and its body as it came.
    pub fn request_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (Reply, Vec<u8>) {
        self.try_request_bytes(method, path, headers, body)
            .unwrap_or_else(|| panic!("no answer to {method} {path} from {}", self.address))
    }

    pub fn write(&self, parameters: &str, lines: &str) -> Reply {
        self.request("POST", &format!("/write?{parameters}"), &[], lines.as_bytes())
    }

    /// The answer to a statement; `None` as in [`try_request`](Self::try_request).
    pub fn try_query(&self, database: &str, statement: &str) -> Option<Reply> {
        let path = format!("/query?db={database}&epoch=ns&q={}", encode(statement));
        self.try_request("POST", &path, &[], b"")
    }

    /// The answer to a statement, as text.
    pub fn query(&self, database: &str, statement: &str) -> String {
        let reply = self.try_query(database, statement);
        let reply = reply.unwrap_or_else(|| panic!("no answer to {statement} from {}", self.address));
        reply.body.trim_end().to_owned()
    }
}

/// Percent-encodes a parameter.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => (byte as char).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn parse(bytes: &[u8]) -> Option<(Reply, Vec<u8>)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let body = &bytes[end + 4..];
    if status == 100 {
        return parse(body);
    }
    let reply = Reply { status, headers, body: String::new() };
    let body = match reply.header("transfer-encoding") {
        Some("chunked") => join_chunks(body)?,
        _ => {
            let length: usize =
                reply.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(body.len());
            // The answer to HEAD has a length and no body.
            body.get(..length).unwrap_or(body).to_vec()
        }
    };
    Some((Reply { body: String::from_utf8_lossy(&body).into_owned(), ..reply }, body))
}

fn join_chunks(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(line + 2..line + 2 + size)?);
        bytes = bytes.get(line + 2 + size + 2..)?;
    }
}
