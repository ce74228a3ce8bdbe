//! Where a subscription sends to: `http://`, `https://` and `udp://` with a host and a port.
//!
//! A name is asked for anew with every connection, and the connection goes to the address that was looked at: addresses
//! that only this machine's network may answer for (link-local ones, where clouds keep their secrets) are refused, and
//! redirects are not followed.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use tidemark_net::http1::client::Client;
use tidemark_net::socket::tls::Tls;
use tidemark_net::socket::uring::{SocketStream, UdpSocket, bind_udp};
use tidemark_net::socket::{BoxStream, Stream};

use crate::runtime::Runtime;

/// Bytes of a datagram: what passes every network whole. A line that is longer goes alone.
const DATAGRAM_BYTES: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Udp,
}

/// A destination's address and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    scheme: Scheme,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Before `/write`.
    path: String,
    /// The value of the `Authorization` header.
    authorization: Option<String>,
}

/// What a send came to.
#[derive(Debug)]
pub enum Sent {
    Done,
    /// The same may succeed later.
    Failed(String),
    /// The receiver will not have it.
    Refused(String),
}

/// An open way to a destination.
pub enum Link {
    Http(Client),
    Udp(UdpSocket, SocketAddr),
}

impl Destination {
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("invalid URL {url}"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "udp" => Scheme::Udp,
            other => return Err(format!("unknown destination scheme {other}")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let bad = || format!("invalid URL {url}");
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        Ok(Self {
            scheme,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port.parse().map_err(|_| bad())?,
            path: path.to_owned(),
            authorization: login.map(basic),
        })
    }

    /// Opens a way to it. The caller bounds the time.
    pub async fn connect(
        &self,
        runtime: &Runtime,
        tls: &Option<Arc<rustls::ClientConfig>>,
    ) -> io::Result<Link> {
        let address = self.resolve(runtime).await?;
        if self.scheme == Scheme::Udp {
            let any = match address {
                SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
                SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
            };
            return Ok(Link::Udp(UdpSocket::new(bind_udp(any, 0)?), address));
        }
        let mut stream: BoxStream = Box::new(SocketStream::connect(address).await?);
        if self.scheme == Scheme::Https {
            let config = tls.clone().ok_or_else(|| io::Error::other("no TLS"))?;
            stream = Box::new(Tls::connect(stream, config, &self.host).await?) as Box<dyn Stream>;
        }
        Ok(Link::Http(Client::new(stream).await?))
    }

    async fn resolve(&self, runtime: &Runtime) -> io::Result<SocketAddr> {
        let name = (self.host.clone(), self.port);
        let resolved = runtime.offload(move || name.to_socket_addrs().map(Iterator::collect::<Vec<_>>)).await;
        let addresses = resolved.ok_or_else(|| io::Error::other("names are not resolved now"))??;
        let found = addresses.iter().find(|address| is_allowed(address.ip()));
        found.copied().ok_or_else(|| match addresses.first() {
            Some(address) => io::Error::other(format!("points are not sent to {}", address.ip())),
            None => io::Error::other(format!("{} has no address", self.host)),
        })
    }

    /// Sends lines with timestamps in ns. After anything but `Done` the link is of no use any more.
    pub async fn send(&self, link: &mut Link, database: &str, policy: &str, lines: &Bytes) -> Sent {
        match link {
            Link::Http(client) => self.post(client, database, policy, lines).await,
            Link::Udp(socket, address) => {
                for datagram in datagrams(lines) {
                    if let Err(error) = socket.send(datagram, *address).await {
                        return Sent::Failed(error.to_string());
                    }
                }
                Sent::Done
            }
        }
    }

    async fn post(&self, client: &mut Client, database: &str, policy: &str, lines: &Bytes) -> Sent {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let uri = format!(
            "{}/write?consistency=&db={}&precision=ns&rp={}",
            self.path,
            encode(database),
            encode(policy)
        );
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(header::HOST, format!("{host}:{}", self.port))
            .header(header::USER_AGENT, "Tidemark");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = match request.body(Full::new(lines.clone())) {
            Ok(request) => request,
            Err(error) => return Sent::Refused(error.to_string()),
        };
        match client.ask(request).await {
            Ok((status, _)) if status.is_success() => Sent::Done,
            Ok((status, text)) => {
                let text = String::from_utf8_lossy(&text[..text.len().min(200)]).trim().to_owned();
                let what = format!("{status}: {text}");
                if status.is_server_error() { Sent::Failed(what) } else { Sent::Refused(what) }
            }
            Err(error) => Sent::Failed(error.to_string()),
        }
    }
}

/// `user:password` of a URL, percent-decoded, as Basic has it.
fn basic(login: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let plain = format!("{}:{}", decode(user), decode(password));
    let mut out = String::from("Basic ");
    for chunk in plain.as_bytes().chunks(3) {
        let bits =
            chunk.iter().enumerate().fold(0u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            out.push(if at <= chunk.len() {
                DIGITS[(bits >> (18 - 6 * at) & 63) as usize] as char
            } else {
                '='
            });
        }
    }
    out
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match (*first, after) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Whole lines, as many as fit a datagram.
fn datagrams(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let mut end = 0;
        while let Some(newline) = memchr::memchr(b'\n', &rest[end..]) {
            let next = end + newline + 1;
            if next > DATAGRAM_BYTES && end > 0 {
                break;
            }
            end = next;
        }
        if end == 0 {
            end = rest.len();
        }
        let (datagram, after) = rest.split_at(end);
        rest = after;
        (!datagram.is_empty()).then_some(datagram)
    })
}

/// Whether points may be sent there.
fn is_allowed(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            !(address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_unspecified())
        }
        IpAddr::V6(address) => {
            // fd00:ec2::254 answers for secrets of its machine, as 169.254.169.254 does.
            let is_metadata = address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254];
            !(is_metadata
                || address.is_unicast_link_local()
                || address.is_multicast()
                || address.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_scheme_address_path_and_login() {
        let http = Destination::parse("http://me:p%40ss@h:9092/base/").expect("a URL");
        assert_eq!(
            (http.scheme, http.host.as_str(), http.port, http.path.as_str()),
            (Scheme::Http, "h", 9092, "/base")
        );
        assert_eq!(http.authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        let udp = Destination::parse("udp://[::1]:9093").expect("a URL");
        assert_eq!((udp.scheme, udp.host.as_str(), udp.authorization), (Scheme::Udp, "::1", None));
        assert_eq!(Destination::parse("ftp://h:1"), Err("unknown destination scheme ftp".to_owned()));
        assert!(Destination::parse("http://h").is_err());
    }

    #[test]
    fn addresses_that_keep_secrets_are_refused() {
        for (address, want) in [
            ("127.0.0.1", true),
            ("10.0.0.1", true),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("::1", true),
        ] {
            assert_eq!(is_allowed(address.parse().expect("an address")), want, "{address}");
        }
    }

    #[test]
    fn datagrams_hold_whole_lines() {
        let line = |bytes: usize| "x".repeat(bytes - 1) + "\n";
        let lines = [line(300), line(200), line(100), line(900), line(5)].concat();
        let lengths: Vec<_> = datagrams(lines.as_bytes()).map(<[u8]>::len).collect();
        assert_eq!(lengths, [500, 100, 900, 5]);
    }
}
