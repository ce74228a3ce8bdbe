//! Point to shard group (by time), to shard (by hash), to the batch of that shard. Pure: what is missing is asked of the
//! caller by pausing.
//!
//! A body repeats its series, its shapes and its times. So for each series the router keeps where it stood last
//! (group, batch, position), and for each batch the last shape: a usual point costs two comparisons and a copy of
//! its values. One router per body; its memory goes from body to body.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use tidemark_engine::index::fields::FieldTypeConflict;
use tidemark_engine::model::{BatchBuilder, ShardGroupId, ShardId};
use tidemark_engine::store::{DropReason, ShardWrite, WriteOutcome};

use crate::line_protocol::{Flow, PASSING, Point, Refusal, Sink};
use crate::meta::RetentionPolicyInfo;
use crate::meta::data::shard_position;

/// Batches a router holds before the caller should send them: a body may touch any number of groups.
const BATCHES_MAX: usize = 1_024;
/// Bytes of all batches after which the caller should send them. A few megabytes share a WAL record well and leave
/// the mailboxes room for others.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// See the head of this file.
#[derive(Default)]
pub struct Router {
    policy: Option<Arc<RetentionPolicyInfo>>,
    /// Points before this are beyond the policy.
    oldest_kept: i64,
    /// The groups met since batches were last taken, in order of appearance.
    routes: Vec<Route>,
    /// (start, position in `routes`), by start.
    routes_by_start: Vec<(i64, u32)>,
    /// Position in `routes` of the last point's group.
    current: usize,
    /// Time of the point that has no group yet.
    missing: Option<i64>,
    batches: Vec<Building>,
    /// Batches in use; those after them are kept for their memory.
    batch_count: usize,
    /// By the parser's series number.
    places: Vec<Place>,
    /// Where series stand in batches that are not their last one: (series, batch) to position.
    elsewhere: HashMap<(u32, u32), u32>,
    /// Grows whenever the batches are taken, so that places are forgotten.
    epoch: u32,
    bytes: usize,
    points: u64,
    /// The least time of all points of the body.
    earliest: i64,
    pub drops: Drops,
}

/// One shard group and the batches of its shards.
struct Route {
    id: ShardGroupId,
    start: i64,
    end: i64,
    shards: Vec<ShardId>,
    /// Per shard its batch plus 1; 0: none yet.
    batches: Vec<u32>,
}

/// A batch under way.
#[derive(Default)]
struct Building {
    shard: ShardId,
    group: ShardGroupId,
    /// The shard's position in its group, and how many that has: they decide its core.
    position: usize,
    shards: usize,
    builder: BatchBuilder,
    /// Of each row.
    lines: Vec<u32>,
    /// The last shape and its position, shape plus 1.
    last_shape: (u32, u32),
    shapes: HashMap<u32, u32>,
}

/// Where a series stood last.
#[derive(Clone, Copy, Default)]
struct Place {
    epoch: u32,
    route: u32,
    batch: u32,
    position: u32,
}

/// A finished batch and what is needed to understand its outcome.
pub struct Routed {
    pub write: ShardWrite,
    /// The shard's position in its group, and how many that has.
    pub position: usize,
    pub shards: usize,
    lines: Vec<u32>,
}

impl Router {
    /// Begins a body for a policy; `now` in ns decides what is beyond it.
    pub fn begin(&mut self, policy: Arc<RetentionPolicyInfo>, now: i64) {
        self.oldest_kept = policy.oldest_kept(now);
        self.policy = Some(policy);
        self.missing = None;
        self.drop_batches();
        self.points = 0;
        self.earliest = i64::MAX;
        self.drops = Drops::default();
    }

    /// The time for which a group must be made before the paused line can go on.
    pub fn missing(&mut self) -> Option<i64> {
        self.missing.take()
    }

    /// Takes over a newer state of the policy, with the group that was missing.
    pub fn renew(&mut self, policy: Arc<RetentionPolicyInfo>) {
        self.policy = Some(policy);
    }

    /// The batches should be sent before more is read.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES_MAX || self.batch_count >= BATCHES_MAX
    }

    /// Points taken into batches, from the beginning of the body.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// The least time of the points taken into batches; `None` without any.
    pub fn earliest(&self) -> Option<i64> {
        (self.points > 0).then_some(self.earliest)
    }

    /// Finishes all batches with this version and node.
    pub fn take(&mut self, version: u64, node: u64) -> Vec<Routed> {
        let routed = self.batches[..self.batch_count]
            .iter_mut()
            .map(|building| Routed {
                write: ShardWrite {
                    shard: building.shard,
                    group: building.group,
                    batch: building.builder.finish(version, node),
                },
                position: building.position,
                shards: building.shards,
                lines: std::mem::take(&mut building.lines),
            })
            .collect();
        self.drop_batches();
        routed
    }

    /// Notes what an owner dropped.
    pub fn note_outcome(&mut self, routed_lines: &RoutedLines, outcome: &WriteOutcome) {
        if let Some((row, reason)) = &outcome.first {
            let line = routed_lines.0.get(*row as usize).copied().unwrap_or(u32::MAX);
            self.drops.note(line, u64::from(outcome.dropped), || describe(reason));
        }
    }

    fn drop_batches(&mut self) {
        for building in &mut self.batches[..self.batch_count] {
            building.builder.clear();
            building.lines.clear();
            building.shapes.clear();
            building.last_shape = (0, 0);
        }
        self.batch_count = 0;
        self.routes.clear();
        self.routes_by_start.clear();
        self.current = 0;
        self.elsewhere.clear();
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.places.clear();
            self.epoch = 1;
        }
        self.bytes = 0;
    }

    /// The position in `routes` of the group that holds `timestamp`; `None` when there is none yet.
    fn route_at(&mut self, timestamp: i64) -> Option<usize> {
        let after = self.routes_by_start.partition_point(|(start, _)| *start <= timestamp);
        if let Some((_, at)) = after.checked_sub(1).map(|before| self.routes_by_start[before])
            && timestamp < self.routes[at as usize].end
        {
            return Some(at as usize);
        }
        let group = self.policy.as_ref()?.group_at(timestamp).filter(|group| !group.shards.is_empty())?;
        self.routes_by_start.insert(after, (group.start, self.routes.len() as u32));
        self.routes.push(Route {
            id: group.id,
            start: group.start,
            end: group.end,
            shards: group.shards.iter().map(|shard| shard.id).collect(),
            batches: vec![0; group.shards.len()],
        });
        Some(self.routes.len() - 1)
    }

    /// The batch of the current group's shard for `hash`, begun when there is none.
    fn batch_for(&mut self, hash: u64) -> u32 {
        let route = &mut self.routes[self.current];
        let position = shard_position(hash, route.shards.len());
        if let Some(batch) = route.batches[position].checked_sub(1) {
            return batch;
        }
        if self.batch_count == self.batches.len() {
            self.batches.push(Building::default());
        }
        let building = &mut self.batches[self.batch_count];
        building.shard = route.shards[position];
        building.group = route.id;
        (building.position, building.shards) = (position, route.shards.len());
        self.batch_count += 1;
        route.batches[position] = self.batch_count as u32;
        self.batch_count as u32 - 1
    }

    /// Where the point's series stands now, added to its batch when it is not there.
    #[inline(never)]
    fn place(&mut self, point: &Point<'_>) -> Place {
        let series = point.series as usize;
        if point.series == PASSING {
            // A series may stand in a batch more than once.
            let batch = self.batch_for(point.hash);
            self.bytes += point.key.len() + 10;
            let position = self.batches[batch as usize].builder.add_series(point.hash, point.key);
            return Place { epoch: self.epoch, route: self.current as u32, batch, position };
        }
        if self.places.len() <= series {
            self.places.resize(series + 1, Place::default());
        }
        let batch = self.batch_for(point.hash);
        let last = self.places[series];
        if last.epoch == self.epoch {
            self.elsewhere.insert((point.series, last.batch), last.position);
        }
        let known = match self.elsewhere.is_empty() {
            true => None,
            false => self.elsewhere.get(&(point.series, batch)).copied(),
        };
        let position = known.unwrap_or_else(|| {
            self.bytes += point.key.len() + 10;
            self.batches[batch as usize].builder.add_series(point.hash, point.key)
        });
        let place = Place { epoch: self.epoch, route: self.current as u32, batch, position };
        self.places[series] = place;
        place
    }
}

impl Sink for Router {
    #[inline]
    fn point(&mut self, point: &Point<'_>) -> Flow {
        let timestamp = point.timestamp;
        if timestamp < self.oldest_kept {
            self.drops.note(point.line, 1, || "points beyond retention policy".to_owned());
            return Flow::Continue;
        }
        let is_current =
            self.routes.get(self.current).is_some_and(|r| r.start <= timestamp && timestamp < r.end);
        if !is_current {
            match self.route_at(timestamp) {
                Some(at) => self.current = at,
                None => {
                    self.missing = Some(timestamp);
                    return Flow::Pause;
                }
            }
        }
        let place = match self.places.get(point.series as usize) {
            Some(place) if place.epoch == self.epoch && place.route as usize == self.current => *place,
            _ => self.place(point),
        };
        let building = &mut self.batches[place.batch as usize];
        let shape = building.shape(point);
        building.builder.add_row(place.position, shape, timestamp, point.values);
        building.lines.push(point.line);
        self.bytes += point.values.len() + 8;
        self.points += 1;
        self.earliest = self.earliest.min(timestamp);
        Flow::Continue
    }

    fn refuse(&mut self, line: u32, reason: &Refusal<'_>) {
        self.drops.note(line, 1, || reason.to_string());
    }
}

impl Building {
    #[inline]
    fn shape(&mut self, point: &Point<'_>) -> u32 {
        let id = point.shape.id;
        if self.last_shape.0 == id + 1 {
            return self.last_shape.1;
        }
        let builder = &mut self.builder;
        let position = *self
            .shapes
            .entry(id)
            .or_insert_with(|| builder.add_shape(&point.shape.measurement, point.shape.field_refs()));
        self.last_shape = (id + 1, position);
        position
    }
}

/// The line of each row of a batch that was sent.
pub struct RoutedLines(Vec<u32>);

impl Routed {
    /// Parts with the batch, and keeps what its outcome is about.
    pub fn split(self) -> (ShardWrite, RoutedLines) {
        (self.write, RoutedLines(self.lines))
    }
}

/// Points that were well-formed and are not stored: how many, and why the one of the lowest line is not.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Drops {
    pub count: u64,
    first: Option<(u32, String)>,
}

impl Drops {
    pub fn note(&mut self, line: u32, count: u64, reason: impl FnOnce() -> String) {
        self.count += count;
        if self.first.as_ref().is_none_or(|(first, _)| line < *first) {
            self.first = Some((line, reason()));
        }
    }

    /// The reason of the lowest line; `None` when nothing was dropped.
    pub fn reason(&self) -> Option<&str> {
        self.first.as_ref().map(|(_, reason)| reason.as_str())
    }
}

/// An owner's reason in InfluxDB's words.
fn describe(reason: &DropReason) -> String {
    struct Conflict<'a>(&'a FieldTypeConflict);
    impl fmt::Display for Conflict<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let FieldTypeConflict { measurement, field, given, existing } = self.0;
            write!(
                f,
                "field type conflict: input field \"{}\" on measurement \"{}\" is type {}, already exists as type {}",
                String::from_utf8_lossy(field),
                String::from_utf8_lossy(measurement),
                given.name(),
                existing.name()
            )
        }
    }
    match reason {
        DropReason::FieldTypeConflict(conflict) => Conflict(conflict).to_string(),
    }
}
