//! The shell's side of HTTP: one kept connection over TCP, TLS or a Unix socket, blocking.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;

/// Longest header line that is read.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Where to connect, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    pub host: String,
    pub port: u16,
    /// A Unix socket instead of host and port, when not empty.
    pub socket: String,
    pub path_prefix: String,
    pub username: String,
    pub password: String,
    pub tls: bool,
    pub unsafe_tls: bool,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 8086,
            socket: String::new(),
            path_prefix: String::new(),
            username: String::new(),
            password: String::new(),
            tls: false,
            unsafe_tls: false,
        }
    }
}

/// An answer, whole.
pub struct Answer {
    pub status: u16,
    pub version: String,
    pub body: Vec<u8>,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

pub struct Connection {
    pub target: Target,
    stream: Option<BufReader<Box<dyn Stream>>>,
}

impl Connection {
    pub fn new(target: Target) -> Self {
        Self { target, stream: None }
    }

    pub fn url(&self) -> String {
        match self.target.socket.as_str() {
            "" => {
                let scheme = if self.target.tls { "https" } else { "http" };
                format!("{scheme}://{}:{}{}", self.target.host, self.target.port, self.target.path_prefix)
            }
            socket => format!("unix://{socket}"),
        }
    }

    /// The server's version.
    pub fn ping(&mut self) -> Result<String, String> {
        let answer = self.request("GET", "/ping", &[], b"")?;
        match answer.status {
            200 | 204 => Ok(answer.version),
            status => Err(format!("{status}: {}", String::from_utf8_lossy(&answer.body).trim_end())),
        }
    }

    /// Sends statements; the answer's body as it is.
    pub fn query(&mut self, statements: &str, parameters: &[(&str, &str)]) -> Result<Answer, String> {
        let mut form = parameters.to_vec();
        form.push(("q", statements));
        let body = encode(&form);
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.request("POST", "/query", &headers, body.as_bytes())
    }

    /// Writes lines; an error is the server's text.
    pub fn write(&mut self, parameters: &[(&str, &str)], lines: &[u8]) -> Result<(), String> {
        let answer = self.request("POST", &format!("/write?{}", encode(parameters)), &[], lines)?;
        match answer.status {
            200 | 204 => Ok(()),
            _ => Err(String::from_utf8_lossy(&answer.body).into_owned()),
        }
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let kept = self.stream.is_some();
        match self.exchange(method, path, headers, body) {
            // The server may have closed the kept connection meanwhile.
            Err(_) if kept => {
                self.stream = None;
                self.exchange(method, path, headers, body)
            }
            result => result,
        }
        .map_err(|error| {
            self.stream = None;
            error.to_string()
        })
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::with_capacity(64 * 1024, self.open()?),
        };
        let target = &self.target;
        let mut head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: TidemarkShell/{}\r\nContent-Length: {}\r\n",
            target.path_prefix,
            target.host,
            target.port,
            super::VERSION,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !target.username.is_empty() {
            let credentials = base64(format!("{}:{}", target.username, target.password).as_bytes());
            head.push_str(&format!("Authorization: Basic {credentials}\r\n"));
        }
        head.push_str("\r\n");
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().write_all(body)?;
        stream.get_mut().flush()?;
        let (answer, is_kept) = read_answer(&mut stream)?;
        if is_kept {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn open(&self) -> std::io::Result<Box<dyn Stream>> {
        let target = &self.target;
        if !target.socket.is_empty() {
            return Ok(Box::new(UnixStream::connect(&target.socket)?));
        }
        let stream = TcpStream::connect((target.host.as_str(), target.port))?;
        stream.set_nodelay(true)?;
        if !target.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(target.host.clone()).map_err(std::io::Error::other)?;
        let connection = rustls::ClientConnection::new(tls::configuration(target.unsafe_tls)?, name)
            .map_err(std::io::Error::other)?;
        Ok(Box::new(rustls::StreamOwned::new(connection, stream)))
    }
}

/// The answer, and whether the connection goes on.
fn read_answer(stream: &mut BufReader<Box<dyn Stream>>) -> std::io::Result<(Answer, bool)> {
    let malformed = |what: &str| std::io::Error::other(format!("malformed answer: {what}"));
    let status_line = read_line(stream)?;
    let status: u16 = status_line
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("status"))?;
    let (mut length, mut is_chunked, mut is_kept, mut version) = (None, false, true, String::new());
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("header"))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse::<u64>().ok(),
            "transfer-encoding" => is_chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => is_kept = !value.eq_ignore_ascii_case("close"),
            "x-influxdb-version" => version = value.to_owned(),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if is_chunked {
        loop {
            let line = read_line(stream)?;
            let size = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .map_err(|_| malformed("chunk"))?;
            stream.take(size).read_to_end(&mut body)?;
            read_line(stream)?;
            if size == 0 {
                break;
            }
        }
    } else if status != 204 && status != 304 {
        match length {
            Some(length) => stream.take(length).read_to_end(&mut body)?,
            None => {
                is_kept = false;
                stream.read_to_end(&mut body)?
            }
        };
    }
    Ok((Answer { status, version, body }, is_kept))
}

fn read_line(stream: &mut BufReader<Box<dyn Stream>>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Parameters as a form.
pub fn encode(parameters: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    (byte as char).to_string()
                }
                byte => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    pairs.join("&")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            match at <= chunk.len() {
                true => out.push(DIGITS[(word >> (18 - 6 * at) & 63) as usize] as char),
                false => out.push('='),
            }
        }
    }
    out
}

mod tls {
    use super::Arc;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

    /// Where Debian keeps the authorities it trusts.
    const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

    /// A client's configuration; `is_unsafe` trusts any certificate.
    pub fn configuration(is_unsafe: bool) -> std::io::Result<Arc<ClientConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?;
        let config = if is_unsafe {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            let mut roots = RootCertStore::empty();
            let pem = std::fs::read(AUTHORITIES)?;
            for certificate in rustls_pemfile::certs(&mut pem.as_slice()) {
                // One that cannot be read is one authority less, nothing more.
                let _ = roots.add(certificate?);
            }
            builder.with_root_certificates(roots)
        };
        Ok(Arc::new(config.with_no_client_auth()))
    }

    /// Trusts whatever the server shows; the connection is still encrypted.
    #[derive(Debug)]
    struct AnyCertificate(Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded_as_the_standard_says() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("user:päss", "dXNlcjpww6Rzcw==")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn parameters_are_escaped() {
        assert_eq!(encode(&[("q", "SELECT \"a b\"&"), ("db", "d")]), "q=SELECT%20%22a%20b%22%26&db=d");
    }
}
