//! Columns of booleans, and the bitmaps of which rows have a value.
//!
//! ```text
//! 0 bitmap  one bit per value, least significant first
//! 1 runs    u8 first value · varint length of each run, which alternate
//! ```

use super::DecodeError;
use super::varint::{put_varint, take_byte, take_varint};

const BITMAP: u8 = 0;
const RUNS: u8 = 1;

/// Appends the column; nothing for no values.
pub fn encode(values: &[bool], out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let start = out.len();
    out.push(RUNS);
    out.push(u8::from(values[0]));
    for run in values.chunk_by(|a, b| a == b) {
        put_varint(out, run.len() as u64);
        if out.len() - start > values.len().div_ceil(8) + 1 {
            out.truncate(start);
            put_bitmap(values, out);
            return;
        }
    }
}

fn put_bitmap(values: &[bool], out: &mut Vec<u8>) {
    out.push(BITMAP);
    out.extend(
        values
            .chunks(8)
            .map(|bits| bits.iter().enumerate().fold(0, |byte, (at, &bit)| byte | u8::from(bit) << at)),
    );
}

/// Appends `count` values to `out`; `bytes` must hold them exactly.
pub fn decode(mut bytes: &[u8], count: usize, out: &mut Vec<bool>) -> Result<(), DecodeError> {
    if count == 0 {
        return if bytes.is_empty() { Ok(()) } else { Err(DecodeError("booleans")) };
    }
    let start = out.len();
    let bytes = &mut bytes;
    match take_byte(bytes)? {
        BITMAP => {
            if bytes.len() != count.div_ceil(8) {
                return Err(DecodeError("booleans"));
            }
            out.reserve(count.next_multiple_of(8));
            for &byte in *bytes {
                out.extend((0..8).map(|at| byte >> at & 1 == 1));
            }
            out.truncate(start + count);
        }
        RUNS => {
            let mut value = take_byte(bytes)? != 0;
            while !bytes.is_empty() {
                let length = take_varint(bytes)?;
                if length > (count - (out.len() - start)) as u64 {
                    return Err(DecodeError("run of booleans"));
                }
                out.resize(out.len() + length as usize, value);
                value = !value;
            }
            if out.len() - start != count {
                return Err(DecodeError("run of booleans"));
            }
        }
        _ => return Err(DecodeError("boolean encoding")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[bool]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(values, &mut out);
        // Behind values that are there already.
        let mut read = vec![true, false, true];
        decode(&out, values.len(), &mut read).expect("encoded above");
        assert_eq!(read, [&[true, false, true], values].concat());
        out
    }

    #[test]
    fn the_smaller_form_is_taken() {
        assert_eq!(check(&[true; 1000]).len(), 4);
        let mixed: Vec<bool> = (0..1000).map(|at| at % 3 == 0).collect();
        assert_eq!(check(&mixed).len(), 126);
    }

    proptest! {
        #[test]
        fn any_booleans_come_back(values: Vec<bool>, run in 1usize..40) {
            check(&values);
            let long: Vec<bool> = values.iter().flat_map(|&value| std::iter::repeat_n(value, run)).collect();
            check(&long);
        }

        #[test]
        fn any_bytes_never_panic(mut bytes: Vec<u8>, tag in 0u8..3, count in 0usize..1100) {
            bytes.insert(0, tag);
            let mut out = Vec::new();
            let _ = decode(&bytes, count, &mut out);
            prop_assert!(out.len() <= count.max(bytes.len() * 8));
        }
    }
}
