//! The targets, each named after the file it serves.

use tidemark_engine::model::Batch;

pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Inputs the mutator starts from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 4] = [
    Target { name: "line_protocol", run: tidemark::line_protocol::fuzz, seeds: line_protocol_seeds },
    Target { name: "influxql", run: influxql, seeds: influxql_seeds },
    Target { name: "batch", run: batch, seeds: batch_seeds },
    Target { name: "meta", run: meta, seeds: meta_seeds },
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn line_protocol_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "cpu,host=a,region=us-east value=1.5,count=3i,ok=true,text=\"a b\" 1451606400000000000\ncpu value=2u\n",
        "m\\,x,t\\ k=v\\=w f\\,d=\"q\\\"uote\\\\\" -5\r\n# comment\n\n  disk f=1e9,g=-.5,h=T 10\n",
    ])
}

fn influxql(bytes: &[u8]) {
    tidemark::influxql::fuzz(&String::from_utf8_lossy(bytes));
}

fn influxql_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "SELECT mean(\"f\"), top(x, host, 3) AS t FROM db.rp./cpu.*/, (SELECT * FROM m) WHERE time > now() - 1h AND \
         (host =~ /a|b/ OR v::float >= -1.5e3) GROUP BY time(10m, 1m), * fill(linear) ORDER BY time DESC LIMIT 3 \
         OFFSET 1 SLIMIT 2 tz('Europe/Berlin')",
        "CREATE RETENTION POLICY \"r\" ON d DURATION 1w2d REPLICATION 2 SHARD DURATION INF DEFAULT; DROP SERIES FROM m \
         WHERE a != 'x'; SHOW TAG VALUES ON d WITH KEY IN (a, b) LIMIT 5 -- end",
        "CREATE CONTINUOUS QUERY c ON d RESAMPLE EVERY 1m FOR 1h BEGIN SELECT count(v) INTO :MEASUREMENT FROM m GROUP BY \
         time(5m) END /* note */; CREATE USER u WITH PASSWORD 'it''s' WITH ALL PRIVILEGES",
    ])
}

fn batch(bytes: &[u8]) {
    let Ok(batch) = Batch::from_bytes(bytes.to_vec()) else { return };
    for row in batch.rows() {
        batch.series(row.series);
        let mut values = row.values;
        for (field_type, _) in batch.shape(row.shape).fields() {
            tidemark_engine::model::batch::take_value(&mut values, field_type).expect("checked on reading");
        }
    }
}

fn batch_seeds() -> Vec<Vec<u8>> {
    use tidemark_engine::model::{BatchBuilder, FieldType, series_key};
    let mut builder = BatchBuilder::new();
    for key in [b"cpu,host=a".as_slice(), b"cpu,host=b"] {
        let series = builder.add_series(series_key::hash(key), key);
        let fields = [(FieldType::Float, b"f".as_slice()), (FieldType::String, b"s")];
        let shape = builder.add_shape(b"cpu", fields.into_iter());
        builder.add_row(series, shape, 7, b"\0\0\0\0\0\0\xf0\x3f\x02ab");
    }
    vec![builder.finish(1, 1).into_bytes()]
}

fn meta(bytes: &[u8]) {
    let _ = tidemark::meta::codec::decode_command(bytes);
    let _ = tidemark::meta::codec::decode_data(bytes);
}

fn meta_seeds() -> Vec<Vec<u8>> {
    use tidemark::meta::{Command, Data, apply::apply, codec};
    let command = Command::CreateDatabase { name: "db".to_owned(), spec: None, autocreate: true };
    let mut data = Data::default();
    let _ = apply(&mut data, &command);
    vec![codec::encode_command(&command), codec::encode_data(&data)]
}
