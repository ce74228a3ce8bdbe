//! A small blocking HTTP/1.1 client: keep-alive, Content-Length and chunked answers.
//!
//! Its own code so that the client's cost is known and small; it speaks only what the measured servers answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(300);

pub struct Client {
    address: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// Seconds the server asks to wait before trying again.
    pub retry_after: Option<u64>,
}

impl Client {
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, buffer: Vec::new() }
    }

    pub fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.request("GET", path, "", b"")
    }

    pub fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> Result<Answer, String> {
        self.request("POST", path, headers, body)
    }

    /// Sends an InfluxQL statement; the text of the answer.
    pub fn query(&mut self, database: &str, statement: &str) -> Result<String, String> {
        let path = format!("/query?db={}&q={}", encode(database), encode(statement));
        let answer = self.post(&path, "", b"")?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status == 200 { Ok(text) } else { Err(format!("{}: {text}", answer.status)) }
    }

    fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Answer, String> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        );
        let fresh = self.stream.is_none();
        match self.exchange(&head, body) {
            Err(_) if !fresh => {
                // A kept connection may have been closed meanwhile.
                self.stream = None;
                self.exchange(&head, body)
            }
            result => result,
        }
        .map_err(|error| {
            self.stream = None;
            format!("{}: {error}", self.address)
        })
    }

    fn exchange(&mut self, head: &str, body: &[u8]) -> std::io::Result<Answer> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            self.stream = Some(stream);
            self.buffer.clear();
        }
        let stream = self.stream.as_mut().expect("connected above");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        read_answer(stream, &mut self.buffer)
    }
}

fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Answer> {
    let (head_bytes, status, length, chunked, retry_after) = loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(buffer).map_err(std::io::Error::other)? {
            httparse::Status::Complete(head) => {
                let find = |name: &str| {
                    response
                        .headers
                        .iter()
                        .find(|header| header.name.eq_ignore_ascii_case(name))
                        .map(|header| String::from_utf8_lossy(header.value).into_owned())
                };
                let length = find("content-length").and_then(|text| text.parse::<usize>().ok());
                let chunked = find("transfer-encoding").is_some_and(|text| text.contains("chunked"));
                let retry = find("retry-after").and_then(|text| text.parse().ok());
                break (head, response.code.unwrap_or(0), length, chunked, retry);
            }
            httparse::Status::Partial => fill(stream, buffer)?,
        }
    };
    buffer.drain(..head_bytes);
    let mut body = Vec::new();
    if chunked {
        loop {
            let line = loop {
                match buffer.windows(2).position(|pair| pair == b"\r\n") {
                    Some(at) => break at,
                    None => fill(stream, buffer)?,
                }
            };
            let text = String::from_utf8_lossy(&buffer[..line]).into_owned();
            let size = usize::from_str_radix(text.split(';').next().unwrap_or("").trim(), 16)
                .map_err(std::io::Error::other)?;
            while buffer.len() < line + 2 + size + 2 {
                fill(stream, buffer)?;
            }
            body.extend_from_slice(&buffer[line + 2..line + 2 + size]);
            buffer.drain(..line + 2 + size + 2);
            if size == 0 {
                break;
            }
        }
    } else {
        let length = if status == 204 { 0 } else { length.unwrap_or(0) };
        while buffer.len() < length {
            fill(stream, buffer)?;
        }
        body.extend_from_slice(&buffer[..length]);
        buffer.drain(..length);
    }
    Ok(Answer { status, body, retry_after })
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    let start = buffer.len();
    buffer.resize(start + 256 * 1024, 0);
    let read = loop {
        match stream.read(&mut buffer[start..]) {
            // A stopped process that goes on.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    buffer.truncate(start + read);
    if read == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Percent-encodes a query parameter.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (byte as char).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
