//! Bytes of commands and of the whole state, written by hand where they are drawn: docs/formats/meta.md.
//!
//! Integers are LEB128 varints (signed ones zigzag), texts and bytes are length-prefixed, options are a byte 0 or 1 before
//! the value, lists a count before the items, enums a number. The first byte of a state is its format.

use std::sync::Arc;

use tidemark_engine::model::varint::{put_varint, take_varint, unzigzag, zigzag};
use tidemark_engine::model::{DatabaseId, NodeId, RetentionPolicyId, ShardGroupId, ShardId, TimeRange};
use tidemark_engine::scan::request::TagFilter;

use super::command::*;
use super::data::*;

/// Format of a stored state. Format 1 ends before the runs of continuous queries.
const FORMAT: u8 = 2;
const FORMAT_WITHOUT_RUNS: u8 = 1;
/// Tag filters deeper than this are malformed; the parser's own limit is below it.
const FILTER_DEPTH_MAX: u32 = 256;

/// Bytes are not what was written; what was being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// A type with bytes of its own.
trait Coded: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed>;
}

pub fn encode_command(command: &Command) -> Vec<u8> {
    let mut out = Vec::new();
    command.put(&mut out);
    out
}

pub fn decode_command(mut bytes: &[u8]) -> Result<Command, Malformed> {
    let command = Command::take(&mut bytes)?;
    if bytes.is_empty() { Ok(command) } else { Err(Malformed("bytes after a command")) }
}

pub fn encode_data(data: &Data) -> Vec<u8> {
    let mut out = vec![FORMAT];
    data.put(&mut out);
    out
}

pub fn decode_data(bytes: &[u8]) -> Result<Data, Malformed> {
    let (format, mut rest) = bytes.split_first().ok_or(Malformed("empty state"))?;
    let data = match *format {
        FORMAT => Data::take(&mut rest)?,
        FORMAT_WITHOUT_RUNS => {
            // As if an empty list followed.
            let mut all = rest.to_vec();
            all.push(0);
            let mut all = all.as_slice();
            let data = Data::take(&mut all)?;
            return if all.is_empty() { Ok(data) } else { Err(Malformed("bytes after a state")) };
        }
        _ => return Err(Malformed("unknown format of the state")),
    };
    if rest.is_empty() { Ok(data) } else { Err(Malformed("bytes after a state")) }
}

impl Coded for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, *self);
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        take_varint(bytes).ok_or(Malformed("varint"))
    }
}

impl Coded for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        u64::from(*self).put(out);
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        u32::try_from(u64::take(bytes)?).map_err(|_| Malformed("number too large"))
    }
}

impl Coded for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, zigzag(*self));
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        u64::take(bytes).map(unzigzag)
    }
}

impl Coded for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        match take_byte(bytes)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("boolean")),
        }
    }
}

impl Coded for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        out.extend_from_slice(self);
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        let length = usize::try_from(u64::take(bytes)?).map_err(|_| Malformed("length"))?;
        let (head, rest) = bytes.split_at_checked(length).ok_or(Malformed("length"))?;
        *bytes = rest;
        Ok(head.to_vec())
    }
}

impl Coded for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        String::from_utf8(Vec::take(bytes)?).map_err(|_| Malformed("text"))
    }
}

impl<T: Coded> Coded for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(if bool::take(bytes)? { Some(T::take(bytes)?) } else { None })
    }
}

/// A list; items take at least a byte each, so a false count cannot make a large allocation.
fn put_list<T: Coded>(items: &[T], out: &mut Vec<u8>) {
    put_varint(out, items.len() as u64);
    items.iter().for_each(|item| item.put(out));
}

fn take_list<T: Coded>(bytes: &mut &[u8]) -> Result<Vec<T>, Malformed> {
    let count = u64::take(bytes)?;
    if count > bytes.len() as u64 {
        return Err(Malformed("count"));
    }
    (0..count).map(|_| T::take(bytes)).collect()
}

fn take_byte(bytes: &mut &[u8]) -> Result<u8, Malformed> {
    let (byte, rest) = bytes.split_first().ok_or(Malformed("truncated"))?;
    *bytes = rest;
    Ok(*byte)
}

/// Writes the named fields of a struct one after the other, and reads them back in the same order.
macro_rules! coded_struct {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl Coded for $type {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
                $(let $field = Coded::take(bytes)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}

macro_rules! coded_id {
    ($($id:ident),*) => {
        $(impl Coded for $id {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
                u64::take(bytes).map($id)
            }
        })*
    };
}

macro_rules! coded_list_of {
    ($($item:ty),*) => {
        $(impl Coded for Vec<$item> {
            fn put(&self, out: &mut Vec<u8>) {
                put_list(self, out);
            }

            fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
                take_list(bytes)
            }
        })*
    };
}

/// An enum of plain numbers.
macro_rules! coded_enum {
    ($type:ident { $($number:literal => $variant:ident),* $(,)? }) => {
        impl Coded for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.push(match self { $($type::$variant => $number),* });
            }

            fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
                match take_byte(bytes)? {
                    $($number => Ok($type::$variant),)*
                    _ => Err(Malformed(stringify!($type))),
                }
            }
        }
    };
}

coded_id!(DatabaseId, NodeId, RetentionPolicyId, ShardGroupId, ShardId);
coded_list_of!(
    String,
    Vec<u8>,
    NodeId,
    NodeInfo,
    Arc<DatabaseInfo>,
    Arc<RetentionPolicyInfo>,
    ShardGroupInfo,
    ShardInfo,
    ContinuousQueryInfo,
    ContinuousQueryRun,
    TimeRange,
    SubscriptionInfo,
    UserInfo,
    (String, Privilege),
    PendingDelete
);
coded_enum!(Privilege { 0 => None, 1 => Read, 2 => Write, 3 => All });
coded_enum!(SubscriptionMode { 0 => All, 1 => Any });
coded_struct!(TimeRange { start, end });
coded_struct!(NodeInfo { id, http_address, tcp_address, is_meta, is_data, cores });
coded_struct!(DatabaseInfo { id, name, default_retention_policy, retention_policies, continuous_queries });
coded_struct!(RetentionPolicyInfo {
    id,
    name,
    duration,
    shard_group_duration,
    replica_n,
    shard_groups,
    subscriptions
});
coded_struct!(ShardGroupInfo { id, start, end, deleted_at, shards });
coded_struct!(ShardInfo { id, owners });
coded_struct!(ContinuousQueryInfo { name, query });
coded_struct!(ContinuousQueryRun { database, name, last_run, due_again, error });
coded_struct!(SubscriptionInfo { name, mode, destinations });
coded_struct!(UserInfo { name, hash, admin, privileges });
coded_struct!(PendingDelete {
    id,
    database,
    retention_policy,
    measurements,
    series,
    time,
    whole_measurements
});
coded_struct!(DeleteTarget { database, retention_policy, measurements, series, time, whole_measurements });
coded_struct!(RetentionPolicySpec { name, duration, replica_n, shard_group_duration });
coded_struct!(RetentionPolicyChange { duration, replica_n, shard_group_duration, make_default });
coded_struct!(Data {
    index,
    cluster_id,
    nodes,
    databases,
    users,
    pending_deletes,
    last_id,
    last_shard_group_id,
    last_shard_id,
    continuous_query_runs
});

impl<T: Coded> Coded for Arc<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        T::take(bytes).map(Arc::new)
    }
}

impl Coded for (String, Privilege) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        Ok((Coded::take(bytes)?, Coded::take(bytes)?))
    }
}

impl Coded for TagFilter {
    fn put(&self, out: &mut Vec<u8>) {
        let mut leaf = |number: u8, name: &Vec<u8>, value: &[u8]| {
            out.push(number);
            name.put(out);
            value.to_vec().put(out);
        };
        match self {
            Self::Equal { name, value } => leaf(0, name, value),
            Self::NotEqual { name, value } => leaf(1, name, value),
            Self::Matches { name, pattern } => leaf(2, name, pattern.as_bytes()),
            Self::NotMatches { name, pattern } => leaf(3, name, pattern.as_bytes()),
            Self::And(parts) | Self::Or(parts) => {
                out.push(if matches!(self, Self::And(_)) { 4 } else { 5 });
                put_list(parts, out);
            }
            Self::Constant(value) => {
                out.push(6);
                value.put(out);
            }
        }
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        take_filter(bytes, 0)
    }
}

fn take_filter(bytes: &mut &[u8], depth: u32) -> Result<TagFilter, Malformed> {
    if depth > FILTER_DEPTH_MAX {
        return Err(Malformed("tag filter too deep"));
    }
    let number = take_byte(bytes)?;
    Ok(match number {
        0 => TagFilter::Equal { name: Coded::take(bytes)?, value: Coded::take(bytes)? },
        1 => TagFilter::NotEqual { name: Coded::take(bytes)?, value: Coded::take(bytes)? },
        2 => TagFilter::Matches { name: Coded::take(bytes)?, pattern: Coded::take(bytes)? },
        3 => TagFilter::NotMatches { name: Coded::take(bytes)?, pattern: Coded::take(bytes)? },
        4 | 5 => {
            let count = u64::take(bytes)?;
            let parts: Vec<TagFilter> =
                (0..count).map(|_| take_filter(bytes, depth + 1)).collect::<Result<_, _>>()?;
            if number == 4 { TagFilter::And(parts) } else { TagFilter::Or(parts) }
        }
        6 => TagFilter::Constant(Coded::take(bytes)?),
        _ => return Err(Malformed("tag filter")),
    })
}

/// Numbers of commands; never reused.
macro_rules! coded_command {
    ($($number:literal => $variant:ident { $($field:ident),* }),* $(,)?) => {
        impl Coded for Command {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Command::$variant { $($field),* } => {
                        out.push($number);
                        $($field.put(out);)*
                    })*
                    Command::StartDelete(target) => {
                        out.push(20);
                        target.put(out);
                    }
                }
            }

            fn take(bytes: &mut &[u8]) -> Result<Self, Malformed> {
                Ok(match take_byte(bytes)? {
                    $($number => {
                        $(let $field = Coded::take(bytes)?;)*
                        Command::$variant { $($field),* }
                    })*
                    20 => Command::StartDelete(Coded::take(bytes)?),
                    _ => return Err(Malformed("unknown command")),
                })
            }
        }
    };
}

coded_command! {
    1 => Found { cluster_id },
    2 => SetNode { id, http_address, tcp_address, is_meta, is_data, cores },
    3 => CreateDatabase { name, spec, autocreate },
    4 => DropDatabase { name },
    5 => CreateRetentionPolicy { database, spec, make_default },
    6 => AlterRetentionPolicy { database, name, change },
    7 => DropRetentionPolicy { database, name },
    8 => CreateShardGroup { database, retention_policy, timestamp, slices },
    9 => DeleteShardGroup { id, now },
    10 => DropShard { id, now },
    11 => PruneShardGroups { before },
    12 => CreateUser { name, hash, admin },
    13 => SetPassword { name, hash },
    14 => DropUser { name },
    15 => SetPrivilege { user, database, privilege },
    16 => SetAdmin { user, admin },
    17 => CreateContinuousQuery { database, name, query },
    18 => DropContinuousQuery { database, name },
    19 => CreateSubscription { database, retention_policy, name, mode, destinations },
    21 => FinishDelete { id },
    22 => DropSubscription { database, retention_policy, name },
    23 => NoteContinuousQueryRuns { runs },
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::apply::apply;
    use super::*;
    use proptest::prelude::*;

    /// Most kinds of commands, in an order in which all are taken.
    pub fn commands() -> Vec<Command> {
        let text = |text: &str| text.to_owned();
        let spec = RetentionPolicySpec {
            name: text("rp"),
            duration: Some(7_200_000_000_000),
            replica_n: Some(1),
            shard_group_duration: None,
        };
        let filter = TagFilter::And(vec![
            TagFilter::Equal { name: b"host".to_vec(), value: b"a".to_vec() },
            TagFilter::Or(vec![
                TagFilter::NotMatches { name: b"dc".to_vec(), pattern: text("^x") },
                TagFilter::Constant(true),
            ]),
        ]);
        vec![
            Command::Found { cluster_id: 99 },
            Command::SetNode {
                id: NodeId(1),
                http_address: text("h:1"),
                tcp_address: text("h:2"),
                is_meta: true,
                is_data: true,
                cores: 2,
            },
            Command::CreateDatabase { name: text("db"), spec: None, autocreate: true },
            Command::CreateRetentionPolicy { database: text("db"), spec, make_default: true },
            Command::CreateShardGroup {
                database: text("db"),
                retention_policy: text("rp"),
                timestamp: -5,
                slices: 0,
            },
            Command::CreateUser { name: text("u"), hash: text("$argon2id$"), admin: true },
            Command::SetPrivilege { user: text("u"), database: text("db"), privilege: Privilege::Read },
            Command::CreateContinuousQuery { database: text("db"), name: text("cq"), query: text("SELECT") },
            Command::NoteContinuousQueryRuns {
                runs: vec![ContinuousQueryRun {
                    // The third thing to get an id: after the node, the database.
                    database: DatabaseId(2),
                    name: text("cq"),
                    last_run: 60,
                    due_again: vec![TimeRange::new(-10, 0), TimeRange::new(20, 30)],
                    error: text("database not found: x"),
                }],
            },
            Command::CreateSubscription {
                database: text("db"),
                retention_policy: text("rp"),
                name: text("s"),
                mode: SubscriptionMode::Any,
                destinations: vec![text("udp://h:1")],
            },
            Command::StartDelete(DeleteTarget {
                database: DatabaseId(2),
                retention_policy: None,
                measurements: Some(vec![b"m".to_vec()]),
                series: Some(filter),
                time: TimeRange::ALL,
                whole_measurements: false,
            }),
            Command::DeleteShardGroup { id: ShardGroupId(1), now: 7 },
        ]
    }

    #[test]
    fn commands_and_the_state_they_lead_to_read_back() {
        let mut data = Data::default();
        for command in commands() {
            assert_eq!(decode_command(&encode_command(&command)), Ok(command.clone()));
            apply(&mut data, &command).expect("applies");
        }
        assert_eq!(decode_data(&encode_data(&data)), Ok(data));
    }

    #[test]
    fn a_state_of_the_first_format_has_no_runs() {
        let mut data = Data::default();
        apply(&mut data, &Command::Found { cluster_id: 7 }).expect("applies");
        let mut bytes = encode_data(&data);
        // The list of runs is the last thing, and empty.
        assert_eq!(bytes.pop(), Some(0));
        bytes[0] = FORMAT_WITHOUT_RUNS;
        assert_eq!(decode_data(&bytes), Ok(data));
    }

    #[test]
    fn truncated_bytes_are_refused() {
        for command in commands() {
            let bytes = encode_command(&command);
            for length in 0..bytes.len() {
                assert!(decode_command(&bytes[..length]).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_command(&bytes);
            let _ = decode_data(&bytes);
        }
    }
}
