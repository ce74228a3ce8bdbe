//! Texts of clients.

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub fn line_protocol_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "cpu,host=a,region=us-east value=1.5,count=3i,ok=true,text=\"a b\" 1451606400000000000\ncpu value=2u\n",
        "m\\,x,t\\ k=v\\=w f\\,d=\"q\\\"uote\\\\\" -5\r\n# comment\n\n  disk f=1e9,g=-.5,h=T 10\n",
    ])
}

pub fn influxql(bytes: &[u8]) {
    tidemark::influxql::fuzz(&String::from_utf8_lossy(bytes));
}

pub fn influxql_seeds() -> Vec<Vec<u8>> {
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
