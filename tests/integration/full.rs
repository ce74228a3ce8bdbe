//! A file system that is really full: writes get 503 and the free bytes, reads go on, and writes are taken again without
//! a restart when there is room. Needs root for a file system of its own: `scripts/test-long full` runs it.

use std::time::{Duration, Instant};

use crate::support::volume::Loss;
use crate::support::{Client, Node, Reply, Volume};

/// Longest until a node has seen that there is room again.
const SEEN_MAX: Duration = Duration::from_secs(30);

fn batch(number: u64) -> String {
    (0..5_000u64)
        .map(|line| {
            let noise = (number * 5_000 + line).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!(
                "m,sid={} v={},w={}i {}\n",
                line % 50,
                noise as f64 / 3.0,
                noise >> 1,
                number * 5_000 + line
            )
        })
        .collect()
}

fn write(client: &Client, number: u64) -> Reply {
    client.write("db=db&precision=s", &batch(number))
}

#[test]
#[ignore = "needs root: scripts/test-long full"]
fn a_full_disk_is_told_reads_go_on_and_writes_resume_by_themselves() {
    let volume = Volume::with_bytes(Loss::Shutdown, 160 << 20);
    let node = Node::start_in(&volume.path(), "[engine]\ncores = 2\nmemory = \"300m\"\n");
    let client = node.client();
    client.query("", "CREATE DATABASE db");
    let ballast = volume.path().join("ballast");
    std::fs::write(&ballast, vec![1; 40 << 20]).expect("room for the ballast");

    let mut taken = 0;
    let refused = loop {
        let reply = write(&client, taken);
        match reply.status {
            204 => taken += 1,
            _ => break reply,
        }
        assert!(taken < 2_000, "the disk does not fill up");
    };
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.body.contains("disk full: ") && refused.body.contains(" bytes free"), "{}", refused.body);
    assert!(refused.header("retry-after").is_some());
    assert!(taken > 0);
    let health = client.request("GET", "/health", &[], b"");
    assert_eq!(health.status, 503, "{}", health.body);
    // Of the refused write a part may be there.
    let count = |client: &Client| client.query("db", "SELECT count(v) FROM m");
    assert!(count(&client).contains("[[0,"), "{}", count(&client));

    std::fs::remove_file(&ballast).expect("the ballast can be removed");
    let waiting = Instant::now();
    while write(&client, taken).status != 204 {
        assert!(
            waiting.elapsed() < SEEN_MAX,
            "there is room again, and writes are still refused:\n{}",
            node.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    taken += 1;
    assert!(count(&client).contains(&format!("[0,{}]", taken * 5_000)), "{}", count(&client));
}
