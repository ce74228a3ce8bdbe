//! Bytes of connections, and what travels between cores.

use futures_lite::future::{block_on, or};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use http::{Request, Response};
use tidemark_engine::model::Batch;
use tidemark_net::http1::{Answer, Connections, Encoding, RequestBody};
use tidemark_net::pool::Pool;
use tidemark_net::socket::sim::{Faults, pair};

const BODY_BYTES_MAX: u64 = 64 << 10;
const POOL_BYTES: u64 = 1 << 20;

/// A connection that sends these bytes and hangs up: the server ends it, and no byte of its pool is left taken.
pub fn http1(bytes: &[u8]) {
    let pool = Pool::new(POOL_BYTES);
    block_on(async {
        let (mut client, server) = pair(1, Faults { piece_bytes_max: 512, ..Faults::default() });
        let connections = Connections::new(0);
        let serve = connections.serve(server, |_, request| read_body(pool.clone(), request));
        let talk = async {
            let reading = async {
                let _ = client.write_all(bytes).await;
                let _ = client.close().await;
                let mut piece = [0; 1024];
                while client.read(&mut piece).await.is_ok_and(|count| count > 0) {}
            };
            reading.await;
            Ok(())
        };
        let _ = or(serve, talk).await;
    });
    assert_eq!(pool.used(), 0, "BUG: bytes of a body are not given back");
}

async fn read_body(pool: Pool, request: Request<RequestBody>) -> Response<Answer> {
    let (head, body) = request.into_parts();
    let collected = async {
        let first = RequestBody::first_reservation(&head.headers, BODY_BYTES_MAX)?;
        let reservation = pool.reserve(first).await?;
        body.collect(Encoding::of(&head.headers), BODY_BYTES_MAX, reservation).await
    };
    match collected.await {
        Ok(body) => Response::new(Answer::whole(format!("{}", body.len()))),
        Err(error) => Response::new(Answer::whole(error.to_string())),
    }
}

pub fn http1_seeds() -> Vec<Vec<u8>> {
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbM\x54(\x53\xb0\x05\0\xd3\x0f\x5d\xa9\x07\0\0\0";
    let head = format!(
        "POST /write?db=d HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        gzip.len()
    );
    vec![
        b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\nGET /query?q=x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
        b"POST /write?db=d&precision=s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nm v=1".to_vec(),
        b"POST /write HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nm v=1\r\n0\r\n\r\n".to_vec(),
        [head.as_bytes(), gzip].concat(),
    ]
}

pub fn batch(bytes: &[u8]) {
    let Ok(batch) = Batch::from_bytes(bytes.to_vec()) else { return };
    let series = batch.series().whole();
    for row in batch.rows() {
        series.get(row.series);
        let mut values = row.values;
        for (field_type, _) in batch.shape(row.shape).fields() {
            tidemark_engine::model::batch::take_value(&mut values, field_type).expect("checked on reading");
        }
    }
}

pub fn batch_seeds() -> Vec<Vec<u8>> {
    vec![small_batch().into_bytes()]
}

/// Two series, a float and a string.
pub fn small_batch() -> Batch {
    use tidemark_engine::model::{BatchBuilder, FieldType, series_key};
    let mut builder = BatchBuilder::new();
    for key in [b"cpu,host=a".as_slice(), b"cpu,host=b"] {
        let series = builder.add_series(series_key::hash(key), key);
        let fields = [(FieldType::Float, b"f".as_slice()), (FieldType::String, b"s")];
        let shape = builder.add_shape(b"cpu", fields.into_iter());
        builder.add_row(series, shape, 7, b"\0\0\0\0\0\0\xf0\x3f\x02ab");
    }
    builder.finish(1, 1)
}
