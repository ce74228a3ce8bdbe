//! Connections over simulated pipes: what goes in as text, what comes out.

use std::io::Write;
use std::rc::Rc;

use futures_lite::future::{block_on, or, zip};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use http::{Request, Response, StatusCode};

use super::*;
use crate::pool::Pool;
use crate::socket::sim::{Faults, pair};

/// Answers with the length of the body and its first bytes, or the error.
async fn echo(pool: Pool, bytes_max: u64, request: Request<RequestBody>) -> Response<Answer> {
    let (head, body) = request.into_parts();
    let collected = async {
        let first = RequestBody::first_reservation(&head.headers, bytes_max)?;
        let reservation = pool.reserve(first).await?;
        body.collect(Encoding::of(&head.headers), bytes_max, reservation).await
    };
    match collected.await {
        Ok(body) => {
            let text = format!("{} {}", body.len(), String::from_utf8_lossy(&body[..body.len().min(20)]));
            Response::new(Answer::whole(text))
        }
        Err(error) => {
            let status = match error {
                Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                Error::PoolFull { .. } => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_REQUEST,
            };
            let mut answer = Response::new(Answer::whole(error.to_string()));
            *answer.status_mut() = status;
            answer
        }
    }
}

/// Sends `bytes`, closes the sending side, and gives all that comes back.
fn exchange(seed: u64, pool_bytes: u64, bytes_max: u64, bytes: &[u8]) -> String {
    block_on(async {
        let (mut client, server) = pair(seed, Faults { piece_bytes_max: 4096, ..Faults::default() });
        let connections = Connections::new(0);
        let pool = Pool::new(pool_bytes);
        let serve = connections.serve(server, |_, request| echo(pool.clone(), bytes_max, request));
        let mut got = Vec::new();
        let talk = async {
            let _ = client.write_all(bytes).await;
            let mut piece = [0; 1024];
            while let Ok(count) = client.read(&mut piece).await {
                if count == 0 {
                    break;
                }
                got.extend_from_slice(&piece[..count]);
            }
        };
        zip(serve, talk).await.0.ok();
        assert_eq!(pool.used(), 0, "all reserved bytes are back");
        String::from_utf8(got).unwrap()
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn check(bytes_max: u64, request: &[u8], want_status: &str, want_body: &str) {
    for seed in 0..10 {
        let got = exchange(seed, 8 << 20, bytes_max, request);
        let want_head = format!("HTTP/1.1 {want_status}\r\n");
        assert!(got.starts_with(&want_head), "seed {seed}: {got}");
        assert!(got.ends_with(&format!("\r\n\r\n{want_body}")), "seed {seed}: {got}");
    }
}

#[test]
fn bodies_of_every_framing_arrive_whole() {
    check(1 << 20, &post("Content-Length: 5\r\n", b"hello"), "200 OK", "5 hello");
    check(1 << 20, &post("Content-Length: 0\r\n", b""), "200 OK", "0 ");
    let chunked = post("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    check(1 << 20, &chunked, "200 OK", "7 abcdefg");
    let compressed = gzip(&[b'x'; 3_000_000]);
    let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", compressed.len());
    check(4 << 20, &post(&headers, &compressed), "200 OK", &format!("3000000 {}", "x".repeat(20)));
}

#[test]
fn a_body_over_its_limit_is_refused_compressed_or_not() {
    check(4, &post("Content-Length: 5\r\n", b"hello"), "413 Payload Too Large", "body of more than 4 bytes");
    let chunked = post("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n");
    check(4, &chunked, "413 Payload Too Large", "body of more than 4 bytes");
    let bomb = gzip(&[0; 2_000_000]);
    let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", bomb.len());
    check(1_000_000, &post(&headers, &bomb), "413 Payload Too Large", "body of more than 1000000 bytes");
}

#[test]
fn broken_gzip_is_told_in_the_known_words() {
    let cut = &gzip(b"hello hello hello")[..15];
    let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", cut.len());
    check(1 << 20, &post(&headers, cut), "400 Bad Request", "unexpected EOF");
    let junk = b"this is no gzip at all";
    let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", junk.len());
    check(1 << 20, &post(&headers, junk), "400 Bad Request", "gzip: invalid header");
}

#[test]
fn a_body_that_cannot_grow_is_refused_and_gives_its_bytes_back() {
    let compressed = gzip(&[b'y'; 5_000_000]);
    let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", compressed.len());
    let got = exchange(3, 2 << 20, 100 << 20, &post(&headers, &compressed));
    assert!(got.starts_with("HTTP/1.1 503 "), "{got}");
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let got = exchange(1, 1 << 20, 1 << 20, &post("Expect: 100-continue\r\nContent-Length: 2\r\n", b"ok"));
    assert!(got.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{got}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut bytes = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na".to_vec();
    bytes.extend_from_slice(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nb");
    bytes.extend_from_slice(&post("Content-Length: 1\r\n", b"c"));
    let got = exchange(5, 1 << 20, 1 << 20, &bytes);
    let bodies: Vec<_> = got.match_indices("1 ").map(|(at, _)| &got[at + 2..at + 3]).collect();
    let order: String = bodies.into_iter().filter(|body| "abc".contains(*body)).collect();
    assert_eq!(order, "abc", "{got}");
}

#[test]
fn silence_ends_a_connection_in_each_phase() {
    let cases: [(&[u8], u64, &str); 3] = [
        (b"", limits::IDLE_TIMEOUT.as_millis() as u64, "idle"),
        (b"POST / HT", limits::HEAD_TIMEOUT.as_millis() as u64, "the head does not come"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe",
            limits::BODY_SILENCE_TIMEOUT.as_millis() as u64,
            "the body does not come",
        ),
    ];
    for (sent, after_ms, want) in cases {
        block_on(async {
            let (mut client, server) = pair(1, Faults { delay_percent: 0, ..Faults::default() });
            let connections = Connections::new(0);
            let pool = Pool::new(1 << 20);
            let serve = connections.serve(server, |_, request| echo(pool.clone(), 1 << 20, request));
            let ticks = async {
                client.write_all(sent).await.unwrap();
                for _ in 0..10 {
                    futures_lite::future::yield_now().await;
                }
                connections.tick(after_ms);
                futures_lite::future::yield_now().await;
                assert_eq!(connections.stats().connections_timed_out, 0, "not before its time");
                connections.tick(after_ms + 1);
                std::future::pending::<Result<()>>().await
            };
            let ended = or(serve, ticks).await.unwrap_err();
            assert_eq!(ended.to_string(), format!("timed out: {want}"));
            assert_eq!(connections.open_count(), 0);
        });
    }
}

#[test]
fn finishing_closes_an_idle_connection() {
    block_on(async {
        let (_client, server) = pair(1, Faults::default());
        let connections = Connections::new(0);
        let pool = Rc::new(Pool::new(1));
        let serve = connections.serve(server, |_, request| echo((*pool).clone(), 1, request));
        let (served, ()) = zip(serve, async {
            futures_lite::future::yield_now().await;
            connections.finish();
        })
        .await;
        served.unwrap();
    });
}

#[test]
fn a_gzip_answer_inflates_to_what_was_sent() {
    block_on(async {
        let text: String = (0..100_000).map(|n| format!("{n},")).collect();
        let mut body = Box::pin(Answer::whole(text.clone()).gzip());
        let mut inflate = flate2::write::GzDecoder::new(Vec::new());
        while let Some(frame) = poll_fn(|cx| hyper::body::Body::poll_frame(body.as_mut(), cx)).await {
            inflate.write_all(&frame.unwrap().into_data().unwrap()).unwrap();
        }
        assert_eq!(inflate.finish().unwrap(), text.as_bytes());
    });
}
