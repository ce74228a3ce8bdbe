//! `compare`: answers that `query --save` kept from two servers, value by value.
//!
//! Floats may differ by a few units in the last place: servers add in different orders. InfluxDB 1.6 leaves
//! `"partial": true` on a series of more than 10,000 rows though all of them follow (1.8 and Tidemark do not): such answers
//! are counted by themselves. Everything else is equal or is reported.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

#[derive(Args)]
pub struct Options {
    /// Folder of the one server.
    left: PathBuf,
    /// Folder of the other.
    right: PathBuf,
    /// How many representable floats two floats may lie apart.
    #[arg(long, default_value_t = 16)]
    ulp: u64,
}

pub fn run(options: &Options) -> Result<(), String> {
    let names = names_in(&options.left)?;
    if names.is_empty() {
        return Err(format!("{}: no answers", options.left.display()));
    }
    if let Some(name) = names_in(&options.right)?.iter().find(|name| names.binary_search(name).is_err()) {
        return Err(format!("{}: is on one side only", options.right.join(name).display()));
    }
    let (mut different, mut marked) = (0, 0);
    for name in &names {
        let (mut left, mut right) = (read(&options.left.join(name))?, read(&options.right.join(name))?);
        marked += u32::from(without_stale_marks(&mut left, &mut right));
        if let Some(what) = difference(&left, &right, options.ulp, "") {
            different += 1;
            println!("{}: {what}", name.to_string_lossy());
        }
    }
    println!("{} answers, {different} different", names.len());
    if marked > 0 {
        println!(
            "{marked} of them with \"partial\": true left on a series of more than {PIECE_ROWS} rows by one server"
        );
    }
    if different == 0 { Ok(()) } else { Err("answers differ".to_owned()) }
}

/// The files of a folder, sorted.
fn names_in(folder: &Path) -> Result<Vec<OsString>, String> {
    let text = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(text)?;
    let mut names: Vec<_> =
        entries.map(|entry| Ok(entry?.file_name())).collect::<Result<_, _>>().map_err(text)?;
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// The rows a server hands to its encoder at once. InfluxDB 1.6 joins such pieces again, but keeps the first one's mark.
const PIECE_ROWS: usize = 10_000;

/// Takes the mark `partial` from series whose size explains it, when only one of the answers has it there.
fn without_stale_marks(left: &mut Value, right: &mut Value) -> bool {
    fn series(answer: &mut Value) -> impl Iterator<Item = &mut serde_json::Map<String, Value>> {
        fn items<'a>(value: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
            value.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
        }
        items(answer, "results").flat_map(|result| items(result, "series")).filter_map(Value::as_object_mut)
    }
    let mut is_found = false;
    for (left, right) in series(left).zip(series(right)) {
        let (marked, other) = if left.contains_key("partial") { (left, right) } else { (right, left) };
        let rows = marked.get("values").and_then(Value::as_array).map_or(0, Vec::len);
        if rows > PIECE_ROWS
            && marked.get("partial") == Some(&Value::Bool(true))
            && !other.contains_key("partial")
        {
            marked.remove("partial");
            is_found = true;
        }
    }
    is_found
}

/// The first place where two answers differ.
fn difference(left: &Value, right: &Value, ulp: u64, at: &str) -> Option<String> {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .enumerate()
            .find_map(|(index, (left, right))| difference(left, right, ulp, &format!("{at}[{index}]"))),
        (Value::Object(left), Value::Object(right)) => {
            let mut missing = right.keys().filter(|key| !left.contains_key(*key));
            let differing = left.iter().find_map(|(key, value)| match right.get(key) {
                Some(other) => difference(value, other, ulp, &format!("{at}.{key}")),
                None => Some(format!("{at}.{key} is missing on the right")),
            });
            differing.or_else(|| missing.next().map(|key| format!("{at}.{key} is missing on the left")))
        }
        (Value::Number(left), Value::Number(right)) if left == right => None,
        (Value::Number(left), Value::Number(right)) => {
            let near = match (left.as_f64(), right.as_f64()) {
                (Some(a), Some(b)) => !(left.is_i64() && right.is_i64()) && steps_between(a, b) <= ulp,
                _ => false,
            };
            (!near).then(|| format!("{at}: {left} and {right}"))
        }
        _ if left == right => None,
        (Value::Array(left), Value::Array(right)) => {
            Some(format!("{at}: {} and {} items", left.len(), right.len()))
        }
        _ => Some(format!("{at}: {} and {}", short(left), short(right))),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// How many representable floats lie between two.
fn steps_between(a: f64, b: f64) -> u64 {
    let ordered = |value: f64| {
        let bits = value.to_bits() as i64;
        if bits < 0 { i64::MIN.wrapping_sub(bits) } else { bits }
    };
    ordered(a).abs_diff(ordered(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_last_bits_of_floats_may_differ() {
        let near = f64::from_bits(1.5f64.to_bits() + 3);
        assert_eq!(difference(&json!([1, 1.5, "a"]), &json!([1, near, "a"]), 16, ""), None);
        assert!(difference(&json!([1.5]), &json!([near]), 2, "").is_some());
        assert!(
            difference(&json!({"v": [1]}), &json!({"v": [2]}), 16, "")
                .is_some_and(|at| at.starts_with(".v[0]"))
        );
        assert!(difference(&json!([1]), &json!([1, 2]), 16, "").is_some());
        assert!(difference(&json!(null), &json!(0), 16, "").is_some());
        assert_eq!(steps_between(0.0, -0.0), 0);
        assert_eq!(steps_between(f64::from_bits(2), -f64::from_bits(3)), 5);
        assert_eq!(steps_between(-1.0, f64::from_bits((-1.0f64).to_bits() + 4)), 4);
    }

    #[test]
    fn floats_may_lie_as_far_apart_as_is_said_and_integers_not_at_all() {
        let apart = |steps: u64| f64::from_bits(1.5f64.to_bits() + steps);
        assert_eq!(difference(&json!(1.5), &json!(apart(16)), 16, ""), None);
        let text =
            difference(&json!({"v": [0, 1.5]}), &json!({"v": [0, apart(17)]}), 16, "").expect("too far");
        assert!(text.starts_with(".v[1]: 1.5 and 1.5"), "{text}");
        let large = 9_007_199_254_740_993i64;
        assert!(difference(&json!(large), &json!(large + 1), 16, "").is_some());
        assert_eq!(
            difference(&json!(2), &json!(2.0), 16, ""),
            None,
            "a whole float may be written as an integer"
        );
    }

    /// What [`run`] says of answers in two folders, each a name and its text.
    fn ran(left: &[(&str, &str)], right: &[(&str, &str)]) -> Result<(), String> {
        static RUNS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let run_number = RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("compare-{}-{run_number}", std::process::id()));
        for (side, files) in [("left", left), ("right", right)] {
            std::fs::create_dir_all(folder.join(side)).expect("a folder");
            for (name, text) in files {
                std::fs::write(folder.join(side).join(name), text).expect("written");
            }
        }
        let options = Options { left: folder.join("left"), right: folder.join("right"), ulp: 16 };
        let result = run(&options);
        std::fs::remove_dir_all(folder).expect("removed");
        result
    }

    #[test]
    fn answers_are_equal_only_if_both_sides_have_all_of_them() {
        let (one, other) = (("a", "{\"v\":[1]}"), ("b", "{}"));
        assert_eq!(ran(&[one, other], &[other, one]), Ok(()));
        let many = ["c", "a", "e", "b", "d"].map(|name| (name, "{}"));
        assert_eq!(ran(&many, &many), Ok(()));
        assert_eq!(ran(&[one], &[("a", "{\"v\":[2]}")]), Err("answers differ".to_owned()));
        assert!(ran(&[one, other], &[one, ("b", "[]")]).is_err());
        assert!(ran(&[one, other], &[one]).is_err_and(|error| error.contains("right/b")));
        assert!(
            ran(&[one], &[one, other]).is_err_and(|error| error.ends_with("right/b: is on one side only"))
        );
        assert!(ran(&[], &[]).is_err_and(|error| error.ends_with("left: no answers")));
        assert!(ran(&[("a", "no JSON")], &[one]).is_err());
    }

    #[test]
    fn a_member_that_only_one_answer_has_is_told_from_either_side() {
        let (less, more) = (json!({"a": 1}), json!({"a": 1, "b": 2}));
        assert_eq!(difference(&less, &more, 16, "").as_deref(), Some(".b is missing on the left"));
        assert_eq!(difference(&more, &less, 16, "").as_deref(), Some(".b is missing on the right"));
    }

    #[test]
    fn a_mark_left_on_a_whole_series_is_no_difference_but_a_mark_on_a_cut_one_is() {
        let answer = |rows: usize, is_partial: bool| {
            let mut series = json!({"name": "cpu", "values": vec![json!([1, 2]); rows]});
            if is_partial {
                series["partial"] = json!(true);
            }
            json!({"results": [{"statement_id": 0, "series": [series]}]})
        };
        let compared = |mut left: Value, mut right: Value| {
            (without_stale_marks(&mut left, &mut right), difference(&left, &right, 16, "").is_some())
        };
        assert_eq!(compared(answer(10_001, false), answer(10_001, true)), (true, false));
        assert_eq!(compared(answer(10_001, true), answer(10_001, false)), (true, false));
        assert_eq!(compared(answer(10_000, false), answer(10_000, true)), (false, true));
        assert_eq!(compared(answer(10_001, true), answer(10_001, true)), (false, false));
        assert!(compared(answer(10_001, true), answer(10_002, false)).1);
    }
}
