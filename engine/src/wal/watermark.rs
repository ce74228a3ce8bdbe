//! Per shard, which sequences would need replay: they say when a segment may go, and which shard holds it back.
//!
//! Kept as one span per (shard, segment): segments are released whole, so nothing finer is of use.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::model::ShardId;

#[derive(Default)]
pub(super) struct Watermarks {
    /// Spans of each shard in rising order; no shard has an empty list.
    shards: HashMap<ShardId, VecDeque<Span>>,
}

struct Span {
    epoch: u64,
    first: u64,
    last: u64,
}

impl Watermarks {
    /// An entry of the shard is durable. Sequences come in rising order.
    pub(super) fn note(&mut self, shard: ShardId, epoch: u64, sequence: u64) {
        let spans = self.shards.entry(shard).or_default();
        match spans.back_mut() {
            Some(span) if span.epoch == epoch => span.last = sequence,
            _ => spans.push_back(Span { epoch, first: sequence, last: sequence }),
        }
    }

    pub(super) fn snapshotted(&mut self, shard: ShardId, through: u64) {
        let Some(spans) = self.shards.get_mut(&shard) else {
            return;
        };
        while spans.front().is_some_and(|span| span.last <= through) {
            spans.pop_front();
        }
        match spans.front_mut() {
            // Its next entry is somewhere behind `through`.
            Some(span) => span.first = span.first.max(through + 1),
            None => {
                self.shards.remove(&shard);
            }
        }
    }

    pub(super) fn low(&self, shard: ShardId) -> Option<u64> {
        Some(self.shards.get(&shard)?.front()?.first)
    }

    /// The shard with the lowest sequence; of several the lowest id, so that the answer does not depend on a hash.
    pub(super) fn lowest(&self) -> Option<(ShardId, u64)> {
        let lows = self.shards.iter().filter_map(|(shard, spans)| Some((spans.front()?.first, *shard)));
        lows.min().map(|(first, shard)| (shard, first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_is_the_shard_not_snapshotted_for_the_longest_time() {
        let mut marks = Watermarks::default();
        let (a, b, c) = (ShardId(1), ShardId(2), ShardId(3));
        assert_eq!(marks.lowest(), None);
        for (shard, epoch, sequence) in [(a, 1, 1), (b, 1, 2), (a, 1, 3), (c, 2, 4), (a, 2, 5), (b, 2, 5)] {
            marks.note(shard, epoch, sequence);
        }
        let check = |marks: &Watermarks, lows: [Option<u64>; 3], lowest: Option<(ShardId, u64)>| {
            assert_eq!([marks.low(a), marks.low(b), marks.low(c)], lows);
            assert_eq!(marks.lowest(), lowest);
        };
        check(&marks, [Some(1), Some(2), Some(4)], Some((a, 1)));
        marks.snapshotted(a, 1);
        check(&marks, [Some(2), Some(2), Some(4)], Some((a, 2)));
        marks.snapshotted(a, 3);
        check(&marks, [Some(5), Some(2), Some(4)], Some((b, 2)));
        marks.snapshotted(b, 9);
        check(&marks, [Some(5), None, Some(4)], Some((c, 4)));
        marks.snapshotted(c, u64::MAX);
        marks.snapshotted(a, 4);
        check(&marks, [Some(5), None, None], Some((a, 5)));
        marks.snapshotted(a, 5);
        check(&marks, [None; 3], None);
    }
}
