//! Sizes, durations, the bytes of a file, and values from the environment.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use toml::{Table, Value};

use super::ConfigError;

/// Bytes: a number, or a number with k, m or g (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size(pub u64);

/// A span of time: `1h30m`, `10s`, `500ms`; nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Duration(pub u64);

impl Duration {
    pub fn std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0)
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        suffix => return Err(format!("unknown size suffix: {suffix} (expected k, m, or g)")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("invalid size: {text}"))?;
    number.checked_mul(factor).ok_or_else(|| format!("size {text} is too large"))
}

pub fn parse_duration(text: &str) -> Result<u64, String> {
    let bad = || format!("invalid duration {text:?}, expected one like \"1h30m\" or \"10s\"");
    if text.is_empty() || text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit: f64 = match &rest[..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            "w" => 604_800e9,
            _ => return Err(bad()),
        };
        rest = &rest[unit_end..];
        total += number * unit;
    }
    if total > i64::MAX as f64 { Err(bad()) } else { Ok(total as u64) }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Size;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a size such as 25000000 or \"25m\"")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Size, E> {
                u64::try_from(value).map(Size).map_err(|_| E::custom("a size cannot be negative"))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Size, E> {
                Ok(Size(value))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Size, E> {
                parse_size(value).map(Size).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Duration;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration such as \"1h30m\"")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Duration, E> {
                parse_duration(value).map(Duration).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The text of a file: UTF-8 with or without a byte order mark, or UTF-16 with one.
pub fn text_of(bytes: &[u8]) -> Result<String, &'static str> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).collect::<Result<String, _>>().map_err(|_| "not UTF-16")
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8(rest.to_vec()).map_err(|_| "not UTF-8"),
    }
}

/// Lays `PREFIX_SECTION_KEY` over the tree. Listeners: `PREFIX_UDP_0_ENABLED` for one, `PREFIX_UDP_ENABLED` for all.
pub fn apply_environment(
    effective: &mut Table,
    known: &Table,
    prefixes: &[&str],
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    for prefix in prefixes {
        apply_to(effective, known, &[prefix.to_string()], environment)?;
    }
    Ok(())
}

/// `names` are the beginnings a variable may have for this table, the later winning.
fn apply_to(
    onto: &mut Table,
    known: &Table,
    names: &[String],
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    for (key, default) in known {
        let part = key.to_ascii_uppercase().replace('-', "_");
        let names: Vec<String> = names.iter().map(|name| format!("{name}_{part}")).collect();
        match (default, onto.get_mut(key)) {
            (Value::Table(known), Some(Value::Table(onto))) => apply_to(onto, known, &names, environment)?,
            (Value::Array(template), Some(Value::Array(elements)))
                if template.first().is_some_and(Value::is_table) =>
            {
                let template = template[0].as_table().expect("just seen");
                for (position, element) in elements.iter_mut().enumerate() {
                    let Value::Table(element) = element else { continue };
                    let numbered = names.iter().map(|name| format!("{name}_{position}"));
                    let names: Vec<String> = names.iter().cloned().chain(numbered).collect();
                    apply_to(element, template, &names, environment)?;
                }
            }
            _ => {
                for name in &names {
                    if let Some(text) = environment(name).filter(|text| !text.is_empty()) {
                        onto.insert(key.clone(), read(name, key, &text, default)?);
                    }
                }
            }
        }
    }
    Ok(())
}

/// A variable's text as the kind of value its default has.
fn read(name: &str, key: &str, text: &str, default: &Value) -> Result<Value, ConfigError> {
    let (kind, value) = match default {
        Value::Boolean(_) => ("bool", text.parse().ok().map(Value::Boolean)),
        Value::Integer(_) => ("int", parse_size(text).ok().map(|size| Value::Integer(size as i64))),
        Value::Array(_) => {
            let parts = text.split(',').map(|part| Value::String(part.trim().to_owned()));
            ("array", Some(Value::Array(parts.collect())))
        }
        _ => ("string", Some(Value::String(text.to_owned()))),
    };
    value.ok_or_else(|| {
        ConfigError(format!("failed to apply {name} to {key} using type {kind} and value '{text}'"))
    })
}
