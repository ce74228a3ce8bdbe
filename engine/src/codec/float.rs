//! Columns of f64; every bit comes back, of NaN, -0.0 and the infinities too.
//!
//! ```text
//! 0 raw       the bits, 8 bytes each
//! 1 constant  the bits, once
//! 2 ALP       decimals as integers
//! 3 ALP-RD    left bits by dictionary, right bits packed
//! ```

use super::alp::{self, Cut, Places};
use super::varint::{take_byte, take_u64};
use super::{DecodeError, Few};

const RAW: u8 = 0;
const CONSTANT: u8 = 1;
const DECIMAL: u8 = 2;
const CUT: u8 = 3;

/// What the last block of a column taught, so that the next need not search again.
#[derive(Debug, Clone, Default)]
pub struct FloatHint {
    places: Option<Places>,
    /// Blocks still to be encoded without trying decimals again.
    undecimal_blocks: u8,
    /// What suited the last block that was no decimals.
    cut: Option<Cut>,
}

impl FloatHint {
    /// Decimal places that suited the last block.
    pub fn places(&self) -> Option<Places> {
        self.places
    }
}

/// After a search found no decimals, this many blocks pass before the next one.
const UNDECIMAL_BLOCKS: u8 = 15;

/// Positions of exceptions are u16.
const COUNT_MAX: usize = 1 << 16;

/// Appends the column; nothing for no values.
pub fn encode(values: &[f64], hint: &mut FloatHint, out: &mut Vec<u8>) {
    let Some(&first) = values.first() else { return };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        out.push(CONSTANT);
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return;
    }
    let start = out.len();
    if values.len() <= COUNT_MAX {
        if encode_decimal(values, hint, out) {
            return;
        }
        // The last block's cut serves as long as it saves a byte in sixteen; a search costs more than the encoding.
        if let Some(cut) = hint.cut.take().filter(|_| hint.undecimal_blocks != UNDECIMAL_BLOCKS) {
            out.push(CUT);
            alp::encode_cut(values, &cut, out);
            if out.len() - start < values.len() * 15 / 2 {
                hint.cut = Some(cut);
                return;
            }
            out.truncate(start);
        }
        let (cut, bits) = alp::search_cut(values);
        if bits < 62 {
            out.push(CUT);
            alp::encode_cut(values, &cut, out);
            if out.len() - start < values.len() * 8 {
                hint.cut = Some(cut);
                return;
            }
        }
    }
    out.truncate(start);
    out.push(RAW);
    for value in values {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

/// Tries ALP with the column's places, then with new ones; false when it does not pay.
fn encode_decimal(values: &[f64], hint: &mut FloatHint, out: &mut Vec<u8>) -> bool {
    if hint.undecimal_blocks > 0 {
        hint.undecimal_blocks -= 1;
        return false;
    }
    let few = values.len() / 20;
    let mut digits = Few::new();
    let mut found = None;
    if let Some(places) = hint.places {
        let exceptions = alp::digits_of(values, places, &mut digits);
        if exceptions.len() <= few {
            found = Some((places, exceptions));
        }
    }
    if found.is_none()
        && let Some(places) = alp::search(values)
    {
        found = Some((places, alp::digits_of(values, places, &mut digits)));
    }
    if let Some((places, exceptions)) = found {
        let start = out.len();
        out.push(DECIMAL);
        alp::encode(values, places, &digits, &exceptions, out);
        // 7 bytes a value is what ALP-RD gives for anything.
        if out.len() - start <= values.len() * 7 + 2 {
            hint.places = Some(places);
            return true;
        }
        out.truncate(start);
    }
    hint.places = None;
    hint.undecimal_blocks = UNDECIMAL_BLOCKS;
    false
}

/// Appends `count` values to `out`; `bytes` must hold them exactly.
pub fn decode(mut bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), DecodeError> {
    if count == 0 {
        return if bytes.is_empty() { Ok(()) } else { Err(DecodeError("floats")) };
    }
    let bytes = &mut bytes;
    match take_byte(bytes)? {
        RAW => {
            if bytes.len() != count * 8 {
                return Err(DecodeError("floats"));
            }
            out.extend(bytes.as_chunks::<8>().0.iter().map(|bits| f64::from_bits(u64::from_le_bytes(*bits))));
        }
        CONSTANT => {
            let value = f64::from_bits(take_u64(bytes)?);
            if !bytes.is_empty() {
                return Err(DecodeError("floats are followed by more bytes"));
            }
            out.resize(out.len() + count, value);
        }
        DECIMAL => alp::decode(bytes, count, out)?,
        CUT => alp::decode_cut(bytes, count, out)?,
        _ => return Err(DecodeError("float encoding")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_with(values: &[f64], hint: &mut FloatHint) -> Vec<u8> {
        let mut out = Vec::new();
        encode(values, hint, &mut out);
        // Behind values that are there already.
        let mut read = vec![1.5, f64::NAN, -0.0];
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let all = bits(&[&read, values].concat());
        decode(&out, values.len(), &mut read).expect("encoded above");
        assert_eq!(bits(&read), all);
        out
    }

    fn check(values: &[f64]) -> Vec<u8> {
        check_with(values, &mut FloatHint::default())
    }

    #[test]
    fn decimals_become_integers_and_the_hint_is_used_again() {
        let mut hint = FloatHint::default();
        let walk: Vec<f64> = (0..1024).map(|at| (2000 + at * 7919 % 300) as f64 / 10.0).collect();
        let bytes = check_with(&walk, &mut hint);
        assert_eq!(bytes[0], DECIMAL);
        assert!(bytes.len() < 1200, "{}", bytes.len());
        let places = hint.places();
        assert!(places.is_some());
        check_with(&walk, &mut hint);
        assert_eq!(hint.places(), places);
    }

    #[test]
    fn full_precision_is_cut_and_noise_stays_raw() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state
        };
        let uniform: Vec<f64> = (0..1024).map(|_| (next() >> 11) as f64 / (1u64 << 53) as f64).collect();
        let bytes = check(&uniform);
        assert_eq!(bytes[0], CUT);
        assert!(bytes.len() < 7500, "{}", bytes.len());
        let noise: Vec<f64> = (0..1024).map(|_| f64::from_bits(next() ^ next() >> 32)).collect();
        assert_eq!(check(&noise)[0], RAW);
    }

    #[test]
    fn values_that_are_no_numbers_come_back_among_decimals() {
        let mut values: Vec<f64> = (0..500).map(|at| at as f64 / 100.0).collect();
        values[0] = f64::NAN;
        values[1] = -0.0;
        values[70] = f64::INFINITY;
        values[71] = f64::NEG_INFINITY;
        values[72] = f64::from_bits(0x7ff8_dead_beef_0001);
        values[73] = f64::MIN_POSITIVE / 4.0;
        values[499] = f64::MAX;
        assert_eq!(check(&values)[0], DECIMAL);
        check(&[-0.0; 3]);
        check(&[f64::NAN; 3]);
        check(&[]);
    }

    proptest! {
        #[test]
        fn any_bits_come_back(bits in proptest::collection::vec(any::<u64>(), 0..300)) {
            let values: Vec<f64> = bits.iter().map(|&bits| f64::from_bits(bits)).collect();
            check(&values);
        }

        #[test]
        fn any_decimals_come_back(digits in proptest::collection::vec(-1_000_000i64..1_000_000, 0..300), places in 0i32..9) {
            let values: Vec<f64> = digits.iter().map(|&digits| digits as f64 / 10f64.powi(places)).collect();
            check(&values);
        }

        #[test]
        fn any_bytes_never_panic(mut bytes: Vec<u8>, tag in 0u8..5, count in 0usize..1100) {
            bytes.insert(0, tag);
            let mut out = Vec::new();
            let _ = decode(&bytes, count, &mut out);
            prop_assert!(out.len() <= count);
        }

        #[test]
        fn mutated_bytes_never_panic(digits in proptest::collection::vec(any::<u32>(), 2..100), divisor in 1u32..1000, at: usize, byte: u8) {
            let values: Vec<f64> = digits.iter().map(|&digits| f64::from(digits) / f64::from(divisor)).collect();
            let mut out = Vec::new();
            encode(&values, &mut FloatHint::default(), &mut out);
            let at = at % out.len();
            out[at] = byte;
            let _ = decode(&out, values.len(), &mut Vec::new());
        }
    }
}
