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
    incoming: Incoming,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// Seconds the server asks to wait before trying again.
    pub retry_after: Option<u64>,
}

struct Head {
    status: u16,
    retry_after: Option<u64>,
}

impl Client {
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, incoming: Incoming::default() }
    }

    pub fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.collected("GET", path, "", b"")
    }

    pub fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> Result<Answer, String> {
        self.collected("POST", path, headers, body)
    }

    /// Posts; the answer's status, and its body piece by piece as it comes: answers larger than this client's memory.
    pub fn post_streaming(
        &mut self,
        path: &str,
        headers: &str,
        body: &[u8],
        piece: &mut dyn FnMut(&[u8]),
    ) -> Result<u16, String> {
        self.request("POST", path, headers, body, piece).map(|head| head.status)
    }

    /// Sends an InfluxQL statement; the text of the answer.
    pub fn query(&mut self, database: &str, statement: &str) -> Result<String, String> {
        let path = format!("/query?db={}&q={}", encode(database), encode(statement));
        let answer = self.post(&path, "", b"")?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status == 200 { Ok(text) } else { Err(format!("{}: {text}", answer.status)) }
    }

    fn collected(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Answer, String> {
        let mut answer = Vec::new();
        let head = self.request(method, path, headers, body, &mut |piece| answer.extend_from_slice(piece))?;
        Ok(Answer { status: head.status, body: answer, retry_after: head.retry_after })
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
        piece: &mut dyn FnMut(&[u8]),
    ) -> Result<Head, String> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        );
        let fresh = self.stream.is_none();
        match self.exchange(&head, body, piece) {
            Err(_) if !fresh => {
                // A kept connection may have been closed meanwhile.
                self.stream = None;
                self.exchange(&head, body, piece)
            }
            result => result,
        }
        .map_err(|error| {
            self.stream = None;
            format!("{}: {error}", self.address)
        })
    }

    fn exchange(&mut self, head: &str, body: &[u8], piece: &mut dyn FnMut(&[u8])) -> std::io::Result<Head> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            self.stream = Some(stream);
            self.incoming.clear();
        }
        let stream = self.stream.as_mut().expect("connected above");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        read_answer(stream, &mut self.incoming, piece)
    }
}

fn read_answer(
    stream: &mut TcpStream,
    incoming: &mut Incoming,
    piece: &mut dyn FnMut(&[u8]),
) -> std::io::Result<Head> {
    let (head_bytes, status, length, chunked, retry_after) = loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(incoming.here()).map_err(std::io::Error::other)? {
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
            httparse::Status::Partial => incoming.fill(stream)?,
        }
    };
    incoming.take(head_bytes);
    if chunked {
        loop {
            let line = loop {
                match incoming.here().windows(2).position(|pair| pair == b"\r\n") {
                    Some(at) => break at,
                    None => incoming.fill(stream)?,
                }
            };
            let text = String::from_utf8_lossy(&incoming.here()[..line]).into_owned();
            let size = usize::from_str_radix(text.split(';').next().unwrap_or("").trim(), 16)
                .map_err(std::io::Error::other)?;
            incoming.take(line + 2);
            hand_on(stream, incoming, size, piece)?;
            while incoming.here().len() < 2 {
                incoming.fill(stream)?;
            }
            incoming.take(2);
            if size == 0 {
                break;
            }
        }
    } else {
        let length = if status == 204 { 0 } else { length.unwrap_or(0) };
        hand_on(stream, incoming, length, piece)?;
    }
    Ok(Head { status, retry_after })
}

/// Hands so many bytes on, as they come.
fn hand_on(
    stream: &mut TcpStream,
    incoming: &mut Incoming,
    mut left: usize,
    piece: &mut dyn FnMut(&[u8]),
) -> std::io::Result<()> {
    while left > 0 {
        if incoming.here().is_empty() {
            incoming.fill(stream)?;
        }
        let here = incoming.here().len().min(left);
        piece(&incoming.here()[..here]);
        incoming.take(here);
        left -= here;
    }
    Ok(())
}

/// What came in and is not taken yet. The memory behind it is zeroed once, not at every read.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    /// Of `bytes`: those before are taken, those from `end` on have not come.
    start: usize,
    end: usize,
}

/// Room for a read.
const READ_BYTES: usize = 256 * 1024;

impl Incoming {
    fn here(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn take(&mut self, bytes: usize) {
        self.start += bytes;
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Waits for more.
    fn fill(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() < self.end + READ_BYTES {
            self.bytes.resize(self.end + READ_BYTES, 0);
        }
        let read = loop {
            match stream.read(&mut self.bytes[self.end..]) {
                // A stopped process that goes on.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.end += read;
        if read == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
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
