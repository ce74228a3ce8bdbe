//! Who sends lines over TCP, where clients have to say who they are.
//!
//! The first line of a connection is `# auth user:password`. It is a comment of line protocol, so that a sender may say it
//! to any server. Nothing is answered when all is well; else the error, and the connection ends.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use tidemark_net::socket::BoxStream;

use crate::runtime::{LocalFuture, Runtime};

/// Whether this user with this password may write here; the error is for the client.
pub type Check = Rc<dyn Fn(String, String) -> LocalFuture<Result<(), String>>>;

/// The first line may not be longer.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Who has not said who they are by then is not heard.
const LOGIN_MAX: Duration = Duration::from_secs(10);

/// Reads the first line and checks it; the bytes that came behind it.
pub async fn login(stream: &mut BoxStream, check: &Check, runtime: &Runtime) -> io::Result<Vec<u8>> {
    let said = runtime.timeout(LOGIN_MAX, first_line(stream)).await;
    let (line, rest) = said.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    let checked = match credentials(&line) {
        Some((user, password)) => check(user, password).await,
        None => Err("unable to parse authentication credentials".to_owned()),
    };
    let Err(error) = checked else { return Ok(rest) };
    stream.write_all(format!("{error}\n").as_bytes()).await?;
    stream.close().await?;
    Err(io::Error::new(io::ErrorKind::PermissionDenied, error))
}

async fn first_line(stream: &mut BoxStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 512];
    loop {
        if let Some(end) = memchr::memchr(b'\n', &bytes) {
            let rest = bytes.split_off(end + 1);
            return Ok((bytes, rest));
        }
        if bytes.len() > LINE_BYTES_MAX {
            // Whatever it is, it is no login.
            return Ok((Vec::new(), Vec::new()));
        }
        match stream.read(&mut chunk).await? {
            0 => return Ok((std::mem::take(&mut bytes), Vec::new())),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// `# auth user:password`.
fn credentials(line: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(line).ok()?.trim_end_matches(['\r', '\n']);
    let text = text.strip_prefix('#')?.trim_start().strip_prefix("auth ")?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_user_and_password() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(credentials(b"# auth me:se:cret \r\n"), pair("me", "se:cret "));
        assert_eq!(credentials(b"#auth me:\n"), pair("me", ""));
        assert_eq!(credentials(b"m v=1\n"), None);
        assert_eq!(credentials(b"# auth me\n"), None);
        assert_eq!(credentials(b"# auth \xff:x\n"), None);
    }

    #[cfg(feature = "sim")]
    #[test]
    fn lines_behind_a_login_are_kept_and_a_wrong_one_ends_the_connection() {
        use crate::runtime::sim::Simulation;
        use tidemark_net::socket::sim::{Faults, pair};

        for (said, want) in [("# auth me:right\nm v=1\n", Ok(b"m v=1\n".to_vec())), ("m v=1\n", Err(()))] {
            let simulation = Simulation::new(1);
            let (mut client, server) = pair(1, Faults::default());
            let runtime = simulation.runtime();
            let got = simulation.block_on(async move {
                let check: Check = Rc::new(|user, password| {
                    let is_right = (user.as_str(), password.as_str()) == ("me", "right");
                    Box::pin(async move { is_right.then_some(()).ok_or_else(|| "no".to_owned()) })
                });
                client.write_all(said.as_bytes()).await.expect("sent");
                let mut server: BoxStream = Box::new(server);
                login(&mut server, &check, &runtime).await
            });
            assert_eq!(got.map_err(|_| ()), want, "{said:?}");
        }
    }
}
