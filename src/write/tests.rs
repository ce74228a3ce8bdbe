//! The write path over a catalogue and cores made of plain values.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use futures_lite::future::block_on;
use tidemark_engine::Error;
use tidemark_engine::index::fields::FieldTypeConflict;
use tidemark_engine::model::{Batch, FieldType, ShardId};
use tidemark_engine::store::DropReason;

use super::*;
use crate::meta::{DatabaseInfo, RetentionPolicyInfo, ShardGroupInfo, ShardInfo};

const HOUR: i64 = 3_600_000_000_000;
const NOW: i64 = 400_000 * HOUR;
const CORES: usize = 3;

/// What arrived at the cores, and what they are told to answer.
#[derive(Default)]
pub(crate) struct Fake {
    data: RefCell<Arc<Data>>,
    groups_made: Cell<u64>,
    /// (core, shard) to batches.
    arrived: RefCell<BTreeMap<(usize, u64), Vec<Batch>>>,
    /// Field names whose rows are dropped as of another type.
    conflicting: RefCell<Vec<Vec<u8>>>,
    pub(crate) fail: RefCell<Option<Error>>,
    gave_way: Cell<u64>,
}

/// A node with the database `db`, whose default policy keeps `duration` ns.
pub(crate) fn fake(duration: i64) -> Fake {
    let policy = |name: &str, duration| {
        Arc::new(RetentionPolicyInfo {
            id: Default::default(),
            name: name.to_owned(),
            duration,
            shard_group_duration: HOUR,
            replica_n: 1,
            shard_groups: Vec::new(),
            subscriptions: Vec::new(),
        })
    };
    let database = DatabaseInfo {
        id: Default::default(),
        name: "db".to_owned(),
        default_retention_policy: "autogen".to_owned(),
        retention_policies: vec![policy("autogen", duration), policy("other", 0)],
        continuous_queries: Vec::new(),
    };
    let data = Data { databases: vec![Arc::new(database)], ..Data::default() };
    Fake { data: RefCell::new(Arc::new(data)), ..Fake::default() }
}

impl Backend for Fake {
    fn catalogue(&self) -> Arc<Data> {
        self.data.borrow().clone()
    }

    async fn create_shard_group(
        &self,
        database: &str,
        policy: &str,
        timestamp: i64,
    ) -> Result<(), MetaError> {
        assert_eq!(database, "db");
        let made = self.groups_made.get() + 1;
        self.groups_made.set(made);
        let mut data = (**self.data.borrow()).clone();
        let mut database = (*data.databases[0]).clone();
        let at = database.retention_policies.iter().position(|known| known.name == policy).expect("a policy");
        let mut changed = (*database.retention_policies[at]).clone();
        let start = timestamp - timestamp.rem_euclid(HOUR);
        let shards =
            (0..4).map(|slice| ShardInfo { id: ShardId(made * 10 + slice), owners: Vec::new() }).collect();
        changed.shard_groups.push(ShardGroupInfo {
            id: ShardGroupId(made),
            start,
            end: start + HOUR,
            deleted_at: None,
            shards,
        });
        changed.shard_groups.sort_by_key(|group| group.start);
        database.retention_policies[at] = Arc::new(changed);
        data.databases[0] = Arc::new(database);
        *self.data.borrow_mut() = Arc::new(data);
        Ok(())
    }

    fn core_of(&self, group: ShardGroupId, position: usize, shards: usize) -> usize {
        (group.0 as usize + position + shards) % CORES
    }

    fn version(&self) -> (u64, u64) {
        (7, 1)
    }

    async fn write(&self, core: usize, writes: Vec<ShardWrite>) -> Result<Vec<WriteOutcome>, Error> {
        futures_lite::future::yield_now().await;
        if let Some(error) = self.fail.borrow().clone() {
            return Err(error);
        }
        let mut outcomes = Vec::new();
        for write in writes {
            // What arrives must be a valid batch of this very shard.
            let batch = Batch::from_bytes(write.batch.as_bytes().to_vec()).expect("a valid batch");
            let mut outcome = WriteOutcome::default();
            for (at, row) in batch.rows().enumerate() {
                let shape = batch.shape(row.shape);
                let hit =
                    shape.fields().find(|(_, name)| self.conflicting.borrow().iter().any(|c| c == name));
                if let Some((given, field)) = hit {
                    outcome.dropped += 1;
                    outcome.first.get_or_insert((
                        at as u32,
                        DropReason::FieldTypeConflict(FieldTypeConflict {
                            measurement: shape.measurement().to_vec(),
                            field: field.to_vec(),
                            given,
                            existing: FieldType::Float,
                        }),
                    ));
                }
            }
            outcomes.push(outcome);
            self.arrived.borrow_mut().entry((core, write.shard.0)).or_default().push(batch);
        }
        Ok(outcomes)
    }

    async fn give_way(&self) {
        self.gave_way.set(self.gave_way.get() + 1);
    }
}

impl Fake {
    pub(crate) fn groups_made(&self) -> u64 {
        self.groups_made.get()
    }

    /// Drops every database.
    pub(crate) fn drop_all(&self) {
        *self.data.borrow_mut() = Arc::new(Data::default());
    }
}

pub(crate) fn request(policy: &str) -> WriteRequest<'_> {
    WriteRequest {
        database: "db",
        retention_policy: policy,
        precision: Precision::Nanosecond,
        consistency: Consistency::One,
        now: NOW,
        unsigned: false,
        validate_keys: false,
    }
}

fn write(writer: &Writer<Fake>, body: &str) -> Result<Written, WriteError> {
    block_on(writer.write_lines(&request(""), body.as_bytes()))
}

/// All batches that arrived, byte by byte, by core and shard.
pub(crate) fn sent(writer: &Writer<Fake>) -> Vec<((usize, u64), Vec<Vec<u8>>)> {
    let bytes = |batches: &Vec<Batch>| batches.iter().map(|batch| batch.as_bytes().to_vec()).collect();
    writer.backend().arrived.borrow().iter().map(|(place, batches)| (*place, bytes(batches))).collect()
}

/// Series keys and timestamps of all that arrived.
pub(crate) fn rows(writer: &Writer<Fake>) -> Vec<(String, i64)> {
    let arrived = writer.backend().arrived.borrow();
    let mut rows: Vec<_> = arrived
        .values()
        .flatten()
        .flat_map(|batch| {
            let keys = batch.series().whole();
            let key = |series: u32| String::from_utf8_lossy(keys.get(series).1).into_owned();
            batch.rows().map(|row| (key(row.series), row.timestamp)).collect::<Vec<_>>()
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn points_of_series_that_pass_by_arrive_too() {
    let writer = Writer::new(fake(0));
    // More bodies than a sender that never repeats itself is remembered for.
    let mut wanted = Vec::new();
    for body in 0..8 {
        // Every tenth is of the series before.
        let number = |at: i64| at - i64::from(at % 10 == 9);
        let series = |at: i64| format!("cpu,host=h{body}_{},padding={}", number(at), "x".repeat(100));
        let lines: Vec<_> = (0..10_000).map(|at| format!("{} v={at}i {}", series(at), NOW + at)).collect();
        assert_eq!(write(&writer, &lines.join("\n")), Ok(Written { points: 10_000 }));
        wanted.extend((0..10_000).map(|at| (series(at), NOW + at)));
    }
    wanted.sort();
    assert!(rows(&writer) == wanted, "points are missing or others");
}

#[test]
fn every_point_arrives_once_at_the_core_that_owns_its_shard() {
    let writer = Writer::new(fake(0));
    let lines: Vec<_> =
        (0..500).map(|at| format!("cpu,host=h{} v={at}i {}", at % 37, NOW + (at % 5) * HOUR + at)).collect();
    assert_eq!(write(&writer, &lines.join("\n")), Ok(Written { points: 500 }));
    assert_eq!(writer.backend().groups_made.get(), 5);
    let mut wanted: Vec<_> =
        (0..500).map(|at| (format!("cpu,host=h{}", at % 37), NOW + (at % 5) * HOUR + at)).collect();
    wanted.sort();
    assert_eq!(rows(&writer), wanted);
    let data = writer.backend().catalogue();
    for ((core, shard), batches) in &*writer.backend().arrived.borrow() {
        assert_eq!(batches.len(), 1, "one batch per shard");
        let policy = data.retention_policy("db", "").expect("policy");
        let group =
            policy.shard_groups.iter().find(|g| g.shards.iter().any(|s| s.id.0 == *shard)).expect("group");
        let position = group.shards.iter().position(|s| s.id.0 == *shard).expect("shard");
        assert_eq!(*core, writer.backend().core_of(group.id, position, group.shards.len()));
        let series = batches[0].series().whole();
        let keys: Vec<_> = (0..batches[0].series_count() as u32).map(|s| series.get(s).1.to_vec()).collect();
        let mut distinct = keys.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), keys.len(), "a series stands once in a batch");
        for row in batches[0].rows() {
            assert!(group.range().contains(row.timestamp));
            assert_eq!(group.shard_for(series.get(row.series).0).id.0, *shard);
        }
    }
}

#[test]
fn a_body_of_many_megabytes_is_sent_in_rounds_and_gives_way() {
    let writer = Writer::new(fake(0));
    let body: String =
        (0..600_000).map(|at| format!("cpu,host=h{} v={at}i {}\n", at % 100, NOW + at)).collect();
    assert_eq!(write(&writer, &body), Ok(Written { points: 600_000 }));
    assert_eq!(rows(&writer).len(), 600_000);
    assert!(writer.backend().gave_way.get() > 20);
    assert!(writer.backend().arrived.borrow().values().all(|batches| batches.len() > 1));
}

#[test]
fn a_body_of_very_many_groups_never_holds_all_their_batches() {
    let writer = Writer::new(fake(0));
    let body: String = (0..3_000).map(|at| format!("cpu v={at}i {}\n", NOW - at * HOUR)).collect();
    assert_eq!(write(&writer, &body), Ok(Written { points: 3_000 }));
    assert_eq!(rows(&writer).len(), 3_000);
}

#[test]
fn blank_bodies_are_a_success() {
    let writer = Writer::new(fake(0));
    for body in ["", "\n\n", "# nothing\n"] {
        assert_eq!(write(&writer, body), Ok(Written { points: 0 }));
    }
    assert!(writer.backend().arrived.borrow().is_empty());
}

fn check_text(writer: &Writer<Fake>, body: &str, status: u16, text: &str) {
    let error = write(writer, body).expect_err(text);
    assert_eq!((error.status(), error.to_string().as_str()), (status, text));
}

#[test]
fn what_was_not_stored_is_told_in_the_words_of_the_lowest_line() {
    let writer = Writer::new(fake(24 * HOUR));
    check_text(
        &writer,
        "m v=\nm",
        400,
        "unable to parse 'm v=': missing field value\nunable to parse 'm': missing fields",
    );
    assert!(rows(&writer).is_empty());
    check_text(
        &writer,
        "m v=1\nm v=1,",
        400,
        "partial write: unable to parse 'm v=1,': invalid field format dropped=0",
    );
    assert_eq!(rows(&writer), [("m".to_owned(), NOW)]);
    check_text(&writer, "m v=1 1\nm v=2", 400, "partial write: points beyond retention policy dropped=1");
    writer.backend().conflicting.borrow_mut().push(b"bad".to_vec());
    check_text(
        &writer,
        "m v=1\nm,t=a bad=1i\nm,t=b bad=1i\nm v=1 1\nm,time=1 v=1",
        400,
        "partial write: field type conflict: input field \"bad\" on measurement \"m\" is type integer, already exists as type float dropped=4",
    );
    check_text(
        &writer,
        "m v=1 1\nm,t=a bad=1i",
        400,
        "partial write: points beyond retention policy dropped=2",
    );
    check_text(
        &writer,
        "m time=1\nm v=",
        400,
        "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid dropped=1",
    );
}

#[test]
fn unknown_places_are_refused_before_anything_is_read() {
    let writer = Writer::new(fake(0));
    let error = |database, policy| {
        let request = WriteRequest { database, ..request(policy) };
        block_on(writer.write_lines(&request, b"m v=1")).expect_err("refused").to_string()
    };
    assert_eq!(error("nope", ""), "database not found: \"nope\"");
    assert_eq!(error("db", "zz"), "retention policy not found: zz");
}

#[test]
fn a_core_without_room_makes_the_client_come_again() {
    let writer = Writer::new(fake(0));
    *writer.backend().fail.borrow_mut() = Some(Error::Full { what: "write pool" });
    let error = write(&writer, "m v=1").expect_err("full");
    assert_eq!((error.status(), error.retry_after()), (503, Some(1)));
    *writer.backend().fail.borrow_mut() = None;
    assert_eq!(write(&writer, "m v=1"), Ok(Written { points: 1 }), "the same write again");
}

#[test]
fn a_named_policy_gets_the_points() {
    let writer = Writer::new(fake(HOUR));
    let written = block_on(writer.write_lines(&request("other"), b"m v=1 1\nm v=2 2"));
    assert_eq!(written, Ok(Written { points: 2 }));
}
