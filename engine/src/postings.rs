//! Sorted series positions, the operations on such sets, and their bytes.
//!
//! ```text
//! varint count · u8 form
//! form 0 runs:    varint runs · (varint gap, varint length - 1) each
//! form 1 packed:  groups of 128 gaps: u8 width · packed gaps - the last group may be shorter
//! ```
//! A gap is the number of positions left out since the one before; the first counts from 0. Series of one measurement
//! mostly follow each other, so runs win there; values of a tag are spread, so gaps are packed.

use crate::codec::DecodeError;
use crate::codec::bitpack::{pack, packed_len, unpack, width_of};
use crate::codec::varint::{put_varint, take_byte, take_bytes, take_count, take_varint};

const RUNS: u8 = 0;
const PACKED: u8 = 1;
const GROUP: usize = 128;

/// Strictly ascending positions of series: in one file, or in the active index.
pub type Positions = Vec<u32>;

/// Appends a single position, as [`encode`] does.
pub fn encode_one(position: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[1, RUNS, 1]);
    put_varint(out, u64::from(position));
    out.push(0);
}

/// Appends strictly ascending positions.
pub fn encode(positions: &[u32], out: &mut Vec<u8>) {
    debug_assert!(positions.is_sorted_by(|a, b| a < b), "BUG: positions out of order");
    put_varint(out, positions.len() as u64);
    let start = out.len();
    out.push(RUNS);
    let runs = || positions.chunk_by(|a, b| a + 1 == *b);
    put_varint(out, runs().count() as u64);
    let mut next = 0;
    for run in runs() {
        put_varint(out, u64::from(run[0] - next));
        put_varint(out, run.len() as u64 - 1);
        next = run[run.len() - 1].wrapping_add(1);
    }
    if positions.len() < 3 {
        return;
    }
    let mut packed = vec![PACKED];
    let mut next = 0;
    for group in positions.chunks(GROUP) {
        let mut gaps = [0u64; GROUP];
        let mut all = 0;
        for (gap, &position) in gaps.iter_mut().zip(group) {
            *gap = u64::from(position - next);
            all |= *gap;
            next = position.wrapping_add(1);
        }
        let width = width_of(all);
        packed.push(width as u8);
        pack(&gaps[..group.len()], width, &mut packed);
    }
    if packed.len() < out.len() - start {
        out.truncate(start);
        out.extend_from_slice(&packed);
    }
}

/// Takes positions below `end` off the front of `bytes` and appends them to `out`.
pub fn decode(bytes: &mut &[u8], end: u32, out: &mut Positions) -> Result<(), DecodeError> {
    const BAD: DecodeError = DecodeError("positions");
    let count = take_count(bytes, end as usize)?;
    let mut next = 0u64;
    match take_byte(bytes)? {
        RUNS => {
            let start = out.len();
            for _ in 0..take_count(bytes, count)? {
                let first = next + take_varint(bytes)?.min(u64::from(end));
                let length = take_varint(bytes)?.min(u64::from(end)) + 1;
                next = first + length;
                if next > u64::from(end) || out.len() - start + length as usize > count {
                    return Err(BAD);
                }
                out.extend(first as u32..next as u32);
            }
            if out.len() - start != count { Err(BAD) } else { Ok(()) }
        }
        PACKED => {
            let mut gaps = Vec::with_capacity(GROUP);
            let mut left = count;
            while left > 0 {
                let group = left.min(GROUP);
                let width = u32::from(take_byte(bytes)?);
                if width > 32 {
                    return Err(BAD);
                }
                gaps.clear();
                unpack(take_bytes(bytes, packed_len(group, width))?, width, group, &mut gaps)?;
                for &gap in &gaps {
                    let position = next + gap as u64;
                    if position >= u64::from(end) {
                        return Err(BAD);
                    }
                    out.push(position as u32);
                    next = position + 1;
                }
                left -= group;
            }
            Ok(())
        }
        _ => Err(BAD),
    }
}

/// In both.
pub fn intersect(a: &[u32], b: &[u32]) -> Positions {
    let (small, large) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut out = Vec::with_capacity(small.len());
    let mut rest = large;
    for &position in small {
        rest = &rest[gallop(rest, position)..];
        if rest.first() == Some(&position) {
            out.push(position);
        }
    }
    out
}

/// In `a` and not in `b`.
pub fn subtract(a: &[u32], b: &[u32]) -> Positions {
    let mut rest = b;
    a.iter()
        .copied()
        .filter(|&position| {
            rest = &rest[gallop(rest, position)..];
            rest.first() != Some(&position)
        })
        .collect()
}

/// In either.
pub fn union(a: &[u32], b: &[u32]) -> Positions {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a, b);
    while let (Some(&left), Some(&right)) = (a.first(), b.first()) {
        out.push(left.min(right));
        a = &a[usize::from(left <= right)..];
        b = &b[usize::from(right <= left)..];
    }
    out.extend_from_slice(a);
    out.extend_from_slice(b);
    out
}

/// In any of many sets, which may be long: sorted once instead of merged pairwise.
pub fn union_all(sets: &[Positions]) -> Positions {
    match sets {
        [] => Vec::new(),
        [one] => one.clone(),
        [a, b] => union(a, b),
        _ => {
            let mut out: Positions = sets.concat();
            out.sort_unstable();
            out.dedup();
            out
        }
    }
}

/// Index of the first element not below `position`: doubling steps, then a binary search.
fn gallop(sorted: &[u32], position: u32) -> usize {
    let mut step = 1;
    while step < sorted.len() && sorted[step - 1] < position {
        step *= 2;
    }
    let from = step / 2;
    let to = step.min(sorted.len());
    from + sorted[from..to].partition_point(|&other| other < position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set() -> impl Strategy<Value = BTreeSet<u32>> {
        proptest::collection::btree_set(0u32..2000, 0..400)
    }

    proptest! {
        #[test]
        fn operations_agree_with_plain_sets(a in set(), b in set()) {
            let (left, right): (Vec<u32>, Vec<u32>) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert_eq!(intersect(&left, &right), a.intersection(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(union(&left, &right), a.union(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(subtract(&left, &right), a.difference(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(
                union_all(&[left.clone(), right.clone(), left.clone()]),
                a.union(&b).copied().collect::<Vec<_>>()
            );
        }

        #[test]
        fn positions_come_back(mut set in proptest::collection::btree_set(any::<u32>(), 0..400), run in 0u32..1000) {
            set.extend(5000..5000 + run);
            set.remove(&u32::MAX);
            let positions: Vec<u32> = set.into_iter().collect();
            let mut out = Vec::new();
            encode(&positions, &mut out);
            if let [one] = positions[..] {
                let mut single = Vec::new();
                encode_one(one, &mut single);
                prop_assert_eq!(&single, &out);
            }
            let (mut rest, mut read) = (out.as_slice(), Vec::new());
            decode(&mut rest, u32::MAX, &mut read).expect("encoded above");
            prop_assert_eq!(read, positions);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, end in 0u32..5000) {
            let mut out = Vec::new();
            if decode(&mut bytes.as_slice(), end, &mut out).is_ok() {
                prop_assert!(out.is_sorted_by(|a, b| a < b));
            }
            prop_assert!(out.len() <= end as usize);
        }
    }
}
