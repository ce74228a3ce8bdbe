//! The floors, as a test: which module may use which crate and which other module, and what may stand in the tree.
//!
//! Edges, never taste. The table below is the drawing of docs/architecture.md; a new edge is a decision.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `src/` by floor. A module uses lower floors only.
const FLOORS: [&[&str]; 8] = [
    &[],
    &["line_protocol", "influxql", "error", "config"],
    &["runtime"],
    &["cores", "meta"],
    &["cluster", "stats"],
    &["write", "query", "statement"],
    &["http", "input", "service", "shell"],
    &["server"],
];

/// Edges on one floor, or upward, that were decided.
/// Cores carry commands to the core that decides, and the new state to all; meta stays blind to cores.
const ALLOWED: [(&str, &str); 3] = [("statement", "write"), ("statement", "query"), ("cores", "meta")];

/// Files that may name the executor: the real sides of the three doors.
const GLOMMIO: [&str; 7] = [
    "engine/src/disk/buffer.rs",
    "engine/src/disk/uring.rs",
    "net/src/socket/uring.rs",
    "src/runtime/glommio.rs",
    "src/runtime/glommio/awake.rs",
    "src/runtime/glommio/short_query.rs",
    "src/runtime/glommio/ticker.rs",
];

/// Largest file that may be tracked, in bytes.
const FILE_BYTES_MAX: u64 = 512 * 1024;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" && name != "data" {
                files_below(&path, ending, out);
            }
        } else if path.to_string_lossy().ends_with(ending) {
            out.push(path);
        }
    }
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    files_below(&root().join(folder), ".rs", &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            (name, text)
        })
        .collect()
}

/// Code without comments and without what follows `#[cfg(test)]`: tests may use what they like.
fn product_code(text: &str) -> String {
    text.lines()
        .take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

#[test]
fn modules_use_lower_floors_only() {
    let mut wrong = Vec::new();
    for (file, text) in sources("src") {
        let module = file.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default().to_owned();
        let Some(own) = floor(&module) else { continue };
        if file.ends_with("tests.rs") {
            continue;
        }
        for used in product_code(&text).match_indices("crate::").map(|(at, _)| at) {
            let code = product_code(&text);
            let name: String =
                code[used + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(other) = floor(&name) else { continue };
            let sideways = other == own && name != module;
            if (other > own || sideways) && !ALLOWED.contains(&(module.as_str(), name.as_str())) {
                wrong.push(format!("{file} (floor {own}) uses crate::{name} (floor {other})"));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "edges against the floors:\n{}", wrong.join("\n"));
}

#[test]
fn engine_and_net_are_blind_to_the_rest() {
    let mut wrong = Vec::new();
    for (folder, forbidden) in [("engine/src", "tidemark_net"), ("net/src", "tidemark_engine")] {
        for (file, text) in sources(folder) {
            if text.contains(forbidden) || text.contains("use tidemark::") {
                wrong.push(file);
            }
        }
    }
    assert!(wrong.is_empty(), "against the floors: {wrong:?}");
}

#[test]
fn the_executor_is_named_behind_the_doors_only() {
    let mut wrong = Vec::new();
    for folder in ["engine/src", "net/src", "src"] {
        for (file, text) in sources(folder) {
            let code = product_code(&text);
            let named = code.contains("use glommio") || code.contains("glommio::");
            if named
                && !GLOMMIO.contains(&file.as_str())
                && !code.contains("runtime::glommio::")
                && !code.contains("runtime::{glommio")
            {
                wrong.push(file);
            }
        }
    }
    assert!(wrong.is_empty(), "glommio outside the doors: {wrong:?}");
}

#[test]
fn the_engine_reads_no_clock_and_starts_nothing() {
    let mut wrong = Vec::new();
    for (file, text) in sources("engine/src") {
        let code = product_code(&text);
        for word in ["SystemTime", "Instant::now", "thread::", "spawn(", "std::net"] {
            if code.contains(word) && file != "engine/src/disk/uring.rs" {
                wrong.push(format!("{file}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "the engine gets time and tasks from outside: {wrong:?}");
}

#[test]
fn locks_and_atomics_stay_in_the_runtime() {
    let mut wrong = Vec::new();
    for folder in ["engine/src", "net/src", "src"] {
        for (file, text) in sources(folder) {
            if file.starts_with("src/runtime/")
                || file.starts_with("src/shell/")
                || file.starts_with("src/bin/")
            {
                continue;
            }
            let code = product_code(&text);
            for word in ["Mutex", "RwLock", "sync::atomic"] {
                if code.contains(word) {
                    wrong.push(format!("{file}: {word}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "a core owns its data; send a message: {wrong:?}");
}

#[test]
fn nothing_is_left_unfinished() {
    let mut wrong = Vec::new();
    for folder in ["engine/src", "net/src", "src", "bench"] {
        for (file, text) in sources(folder) {
            for (at, line) in text.lines().enumerate() {
                let marked =
                    ["todo!(", "unimplemented!(", "FIXME", "XXX"].iter().any(|word| line.contains(word));
                if marked {
                    wrong.push(format!("{file}:{}", at + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "unfinished: {wrong:?}");
}

#[test]
fn paths_named_in_the_docs_exist() {
    let mut docs = vec![root().join("README.md")];
    files_below(&root().join("docs"), ".md", &mut docs);
    let mut wrong = Vec::new();
    for doc in docs {
        let text = fs::read_to_string(&doc).unwrap_or_default();
        for (at, quoted) in text.split('`').enumerate() {
            let is_code = at % 2 == 1;
            let starts = ["src/", "engine/src/", "net/src/", "bench/", "scripts/", "tests/", "docs/"];
            if is_code
                && starts.iter().any(|start| quoted.starts_with(start))
                && !quoted.contains(['*', ' ', '<', '{', '…', '\n'])
                && !root().join(quoted).exists()
            {
                wrong.push(format!("{}: {quoted}", doc.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "named but not there:\n{}", wrong.join("\n"));
}

#[test]
fn no_large_file_is_tracked() {
    let listed = std::process::Command::new("git").args(["ls-files"]).current_dir(root()).output();
    let Ok(listed) = listed else { return };
    let wrong: Vec<String> = String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter(|file| fs::metadata(root().join(file)).is_ok_and(|meta| meta.len() > FILE_BYTES_MAX))
        .map(str::to_owned)
        .collect();
    assert!(wrong.is_empty(), "larger than {FILE_BYTES_MAX} bytes: {wrong:?}");
}
