//! The shell `tidemark` as a process: what scripts see of it. Texts were recorded from InfluxDB's `influx`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::Node;

struct Run {
    out: String,
    err: String,
    status: i32,
}

/// Runs the shell against a node; `input` is its standard input.
fn shell_with_input(node: &Node, arguments: &[&str], input: &str) -> Run {
    let address = node.client().address;
    let (host, port) = address.split_once(':').expect("an address has a port");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidemark"))
        .args(["-host", host, "-port", port])
        .args(arguments)
        .env_remove("INFLUX_USERNAME")
        .env_remove("INFLUX_PASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shell starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A shell that needs no input may be gone already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let done = child.wait_with_output().expect("the shell ends");
    Run {
        out: String::from_utf8(done.stdout).expect("text"),
        err: String::from_utf8(done.stderr).expect("text"),
        status: done.status.code().expect("no signal"),
    }
}

fn shell(node: &Node, arguments: &[&str]) -> Run {
    shell_with_input(node, arguments, "")
}

/// A node with a few points of every type.
fn node_with_points() -> Node {
    let node = Node::start("");
    let client = node.client();
    client.query("", "CREATE DATABASE d");
    let lines = "cpu,host=a,region=eu\\ west v=1.5,n=3i,s=\"x, \\\"y\\\"\",ok=true 1000000000\n\
                 cpu,host=b v=20,n=-7i 2000000000\ncpu,host=a v=1e21,s=\"<é&>\" 3000000000\n";
    assert_eq!(client.write("db=d", lines).status, 204);
    node
}

#[test]
fn answers_are_those_of_influx_to_the_byte() {
    let node = node_with_points();
    let unknown = "error parsing query: found selec, expected SELECT, DELETE, SHOW, CREATE, DROP, EXPLAIN, GRANT, REVOKE, \
                   ALTER, SET, KILL at line 1, char 1";
    for (arguments, out, err) in [
        (
            &["-database", "d", "-execute", "select * from cpu"][..],
            "name: cpu\n\
             time       host n  ok   region  s      v\n\
             ----       ---- -  --   ------  -      -\n\
             1000000000 a    3  true eu west x, \"y\" 1.5\n\
             2000000000 b    -7                     20\n\
             3000000000 a                    <é&>   1e+21\n",
            "",
        ),
        (
            &["-database", "d", "-execute", "select count(v) from cpu group by host; show databases"],
            "name: cpu\ntags: host=a\ntime count\n---- -----\n0    2\n\n\
             name: cpu\ntags: host=b\ntime count\n---- -----\n0    1\n\nname: databases\nname\n----\nd\n",
            "",
        ),
        (
            &["--database=d", "--format=csv", "-execute", "select * from cpu"],
            "name,time,host,n,ok,region,s,v\n\
             cpu,1000000000,a,3,true,eu west,\"x, \"\"y\"\"\",1.5\n\
             cpu,2000000000,b,-7,,,,20\n\
             cpu,3000000000,a,,,,<é&>,1e+21\n",
            "",
        ),
        (
            &["-database", "d", "-format", "csv", "-execute", "select count(v) from cpu group by host"],
            "name,tags,time,count\ncpu,host=a,0,2\nname,tags,time,count\ncpu,host=b,0,1\n",
            "",
        ),
        (
            &["-database", "d", "-format", "json", "-execute", "select v, s from cpu group by host"],
            "{\"results\":[{\"series\":[{\"name\":\"cpu\",\"tags\":{\"host\":\"a\"},\"columns\":[\"time\",\"v\",\"s\"],\"values\":\
             [[1000000000,1.5,\"x, \\\"y\\\"\"],[3000000000,1e+21,\"\\u003cé\\u0026\\u003e\"]]}]},\
             {\"series\":[{\"name\":\"cpu\",\"tags\":{\"host\":\"b\"},\"columns\":[\"time\",\"v\",\"s\"],\"values\":[[2000000000,20,null]]}]}]}\n",
            "",
        ),
        (
            &["-format", "json", "-pretty", "-execute", "show databases"],
            "{\n    \"results\": [\n        {\n            \"series\": [\n                {\n                    \"name\": \"databases\",\n                    \
             \"columns\": [\n                        \"name\"\n                    ],\n                    \"values\": [\n                        \
             [\n                            \"d\"\n                        ]\n                    ]\n                }\n            ]\n        }\n    ]\n}\n",
            "",
        ),
        (
            &["-database", "d", "-precision", "rfc3339", "-execute", "select n from cpu where host = 'b'"],
            "name: cpu\ntime                 n\n----                 -\n1970-01-01T00:00:02Z -7\n",
            "",
        ),
        (&["-database", "d", "-execute", "selec x"], &format!("ERR: {unknown}\n"), &format!("{unknown}\n")),
        (
            &["-format", "json", "-execute", "select v from cpu"],
            "{\"results\":[{\"error\":\"database name required\"}]}\nERR: database name required\n\
             Warning: It is possible this error is due to not setting a database.\n\
             Please set a database with the command \"use <database>\".\n",
            "database name required\n",
        ),
    ] {
        let run = shell(&node, arguments);
        assert_eq!((run.out.as_str(), run.err.as_str()), (out, err), "{arguments:?}");
        assert_eq!(run.status, i32::from(!err.is_empty()), "{arguments:?}");
    }
}

#[test]
fn words_and_inserts_work_in_scripts() {
    let node = node_with_points();
    for (execute, out, status) in [
        (
            "use d\nselect n from cpu limit 1",
            "Using database d\nname: cpu\ntime       n\n----       -\n1000000000 3\n",
            0,
        ),
        (
            "use d.autogen\nselect n from cpu limit 1",
            "Using database d\nUsing retention policy autogen\nname: cpu\ntime       n\n----       -\n1000000000 3\n",
            0,
        ),
        (
            "use nothere",
            "ERR: Database nothere doesn't exist. Run SHOW DATABASES for a list of existing databases.\nDB does not exist!\n",
            0,
        ),
        ("insert into d.autogen w v=1i 5", "", 0),
        ("use d\nselect * from w", "Using database d\nname: w\ntime v\n---- -\n5    1\n", 0),
        (
            "use d\ninsert w v=",
            "Using database d\nERR: {\"error\":\"unable to parse 'w v=': missing field value\"}\n\n",
            0,
        ),
        ("chunk size 10", "chunk size set to 10\n", 0),
        ("pretty", "Pretty print enabled\n", 0),
        ("format csv\nshow databases", "name,name\ndatabases,d\n", 0),
        ("clear db", "database context cleared\n", 0),
        // What influx sends line by line and so refuses: a statement of several lines.
        (
            "use d\nselect n\nfrom cpu\n\nlimit 1;",
            "Using database d\nname: cpu\ntime       n\n----       -\n1000000000 3\n2000000000 -7\n",
            1,
        ),
        (" ", "", 1),
    ] {
        let run = shell(&node, &["-execute", execute]);
        if status == 0 {
            assert_eq!((run.out.as_str(), run.status), (out, 0), "{execute:?}: {}", run.err);
        } else {
            assert_ne!(run.status, 0, "{execute:?}");
        }
    }
    let run = shell(&node, &["-database", "d", "-execute", "settings"]);
    for line in [
        "Setting           Value\n",
        "Database          d\n",
        "Format            column\n",
        "Chunk Size        0\n\n",
    ] {
        assert!(run.out.contains(line), "{}", run.out);
    }
}

#[test]
fn standard_input_is_a_script() {
    let node = node_with_points();
    let run = shell_with_input(&node, &["-database", "d"], "select n\nfrom cpu;\nshow databases\n");
    assert_eq!(
        run.out,
        "name: cpu\ntime       n\n----       -\n1000000000 3\n2000000000 -7\n\nname: databases\nname\n----\nd\n"
    );
    let run = shell_with_input(&node, &[], "use d\n\\f csv\nselect n from cpu;\n\\d cpu\nexit\nnever\n");
    assert_eq!(
        run.out,
        "Using database d\nname,time,n\ncpu,1000000000,3\ncpu,2000000000,-7\n\
         host    tag\nregion  tag\nn       integer field\nok      boolean field\ns       string field\nv       float field\n"
    );
    assert_eq!((run.status, run.err.as_str()), (0, ""));
    let run = shell_with_input(&node, &[], "\\nonsense\nshow databases\n");
    assert_eq!((run.status, run.out.as_str()), (1, ""));
    assert!(run.err.contains("unknown word"), "{}", run.err);
}

#[test]
fn further_formats_are_for_people_and_programs() {
    let node = node_with_points();
    let ask = |format: &str, query: &str| {
        shell(&node, &["-database", "d", "-format", format, "-execute", query]).out
    };
    assert_eq!(
        ask("ndjson", "select n from cpu"),
        "{\"name\":\"cpu\",\"time\":1000000000,\"n\":3}\n{\"name\":\"cpu\",\"time\":2000000000,\"n\":-7}\n"
    );
    assert_eq!(
        ask("markdown", "select n from cpu"),
        "**cpu**\n\n| time | n |\n|---|---|\n| 1000000000 | 3 |\n| 2000000000 | -7 |\n"
    );
    assert_eq!(
        ask("vertical", "select n from cpu where host = 'b'"),
        "-[ 1 ]- cpu\ntime | 2000000000\nn    | -7\n"
    );
    assert!(ask("table", "select count(v) from cpu group by host").contains("    0 | a    |     2\n"));
    assert!(!ask("table", "select * from cpu").contains('\x1b'));
    // What is printed as lines can be written again, and is the same then.
    let lines = ask("line", "select * from cpu");
    assert_eq!(
        lines,
        "cpu,host=a,region=eu\\ west n=3i,ok=true,s=\"x, \\\"y\\\"\",v=1.5 1000000000\n\
         cpu,host=b n=-7i,v=20 2000000000\ncpu,host=a s=\"<é&>\",v=1e+21 3000000000\n"
    );
    node.client().query("", "CREATE DATABASE copy");
    assert_eq!(node.client().write("db=copy", &lines).status, 204);
    let all = |database: &str| shell(&node, &["-database", database, "-execute", "select * from cpu"]).out;
    assert_eq!(all("d"), all("copy"));
    assert!(ask("table", "\\chart select n from cpu").contains('┤'));
}

#[test]
fn wrong_command_lines_have_influx_statuses() {
    let node = Node::start("");
    for (arguments, err, status) in [
        (&["-nope"][..], "flag provided but not defined: -nope\n", 2),
        (&["-port", "x"], "invalid value \"x\" for flag -port: parse error\n", 2),
        (&["stray", "words"], "unknown arguments: stray words\n", 1),
        (&["-password", ""], "unable to prompt for a password with no TTY\n", 1),
        (&["-import"], "ERROR: file argument required\n", 1),
        (&["-type", "flux"], "invalid value \"flux\" for flag -type: Flux is not served\n", 2),
    ] {
        let run = shell(&node, arguments);
        assert_eq!((run.err.as_str(), run.status), (err, status), "{arguments:?}");
    }
    let run = shell(&node, &["-version"]);
    assert!(run.out.starts_with("InfluxDB shell version: 1.8.10"), "{}", run.out);
    assert_eq!(run.status, 0);
    let run = shell(&node, &["-port", "1", "-execute", "show databases"]);
    assert!(run.err.starts_with("Failed to connect to http://127.0.0.1:1: "), "{}", run.err);
    assert!(run.err.contains("\nPlease check your connection settings"), "{}", run.err);
    assert_eq!((run.out.as_str(), run.status), ("", 1));
}

/// Lines of a log without their times.
fn untimed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap_or(line).to_owned()).collect()
}

fn import(node: &Node, path: &Path, further: &[&str]) -> Run {
    let mut arguments = vec!["-import", "-path", path.to_str().expect("a plain path")];
    arguments.extend(further);
    shell(node, &arguments)
}

#[test]
fn an_import_tells_what_it_did() {
    let node = Node::start("");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("export");
    let text = "# DDL\nCREATE DATABASE imp\n\n# DML\n# CONTEXT-DATABASE: imp\n# CONTEXT-RETENTION-POLICY: autogen\n\
                m,t=a v=1 1\nm,t=b v=2 2\n\n# a comment\nm,t=c v=3 3\n";
    std::fs::write(&path, text).expect("written");
    let run = import(&node, &path, &[]);
    assert_eq!((run.err.as_str(), run.status), ("", 0));
    assert_eq!(untimed(&run.out), ["Processed 1 commands", "Processed 3 inserts", "Failed 0 inserts"]);
    let gzip = folder.path().join("export.gz");
    let mut encoder = flate2::write::GzEncoder::new(
        std::fs::File::create(&gzip).expect("a file"),
        flate2::Compression::fast(),
    );
    encoder.write_all(text.replace(" v=", " w=").as_bytes()).expect("written");
    encoder.finish().expect("written");
    let run = import(&node, &gzip, &["-compressed"]);
    assert_eq!(untimed(&run.out), ["Processed 1 commands", "Processed 3 inserts", "Failed 0 inserts"]);
    assert!(node.client().query("imp", "SELECT count(v), count(w) FROM m").contains("[0,3,3]"));
    let run = import(&node, &folder.path().join("nothere"), &[]);
    assert!(
        run.err.starts_with("ERROR: open ") && run.err.ends_with("no such file or directory\n"),
        "{}",
        run.err
    );
}

#[test]
fn rejects_are_kept_and_everything_else_is_written() {
    let node = Node::start("");
    node.client().query("", "CREATE DATABASE imp");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lines");
    let mut text = String::from("# DML\n# CONTEXT-DATABASE: imp\n");
    for at in 0..12_000 {
        match at {
            7 | 11_999 => text.push_str(&format!("m v= {at}\n")),
            6_000 => text.push_str("m v=\"text\" 6000\n"),
            at => text.push_str(&format!("m v={at} {at}\n")),
        }
    }
    std::fs::write(&path, text).expect("written");
    let rejects = folder.path().join("rejects");
    let run = import(&node, &path, &["-rejects", rejects.to_str().expect("a plain path")]);
    assert_eq!((run.err.as_str(), run.status), ("ERROR: 3 points were not inserted\n", 1));
    assert_eq!(untimed(&run.out), ["Processed 0 commands", "Processed 11997 inserts", "Failed 3 inserts"]);
    assert!(node.client().query("imp", "SELECT count(v) FROM m").contains("[0,11997]"));
    let kept = std::fs::read_to_string(&rejects).expect("rejects");
    let lines: Vec<&str> = kept.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["m v= 7", "m v=\"text\" 6000", "m v= 11999"]);
    assert!(kept.contains("field type conflict") && kept.contains("# CONTEXT-DATABASE:imp\n"), "{kept}");
    // Mended, they are a file to import.
    let mended = kept.replace("v= ", "v=0 ").replace("\"text\"", "0");
    std::fs::write(&rejects, mended).expect("written");
    assert_eq!(import(&node, &rejects, &[]).status, 0);
    assert!(node.client().query("imp", "SELECT count(v) FROM m").contains("[0,12000]"));
}

/// The server goes away in the middle; the same command goes on where everything was acknowledged.
#[test]
fn an_import_resumes_behind_what_was_acknowledged() {
    let mut node = Node::start("");
    node.client().query("", "CREATE DATABASE imp");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lines");
    let mut text = String::from("# DML\n# CONTEXT-DATABASE: imp\n");
    (0..40_000).for_each(|at| text.push_str(&format!("m v={at} {at}\n")));
    std::fs::write(&path, &text).expect("written");
    let address = node.client().address;
    let (host, port) = address.split_once(':').expect("an address has a port");
    let position = folder.path().join("lines.resume");
    // Slow enough to be met in the middle.
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidemark"))
        .args(["-host", host, "-port", port, "-import", "-resume", "-pps", "20000", "-path"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shell starts");
    let started = std::time::Instant::now();
    while !position.exists() {
        assert!(started.elapsed().as_secs() < 60, "no position is saved");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let status = child.wait().expect("the shell ends");
    let done = child.wait_with_output().expect("its texts");
    let err = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(err.contains("the same command with -resume goes on after line"), "{err}");
    let before = std::fs::read_to_string(&position).expect("a position");
    node.kill();
    node.start_again();
    let run = import(&node, &path, &["-resume"]);
    assert_eq!((run.err.as_str(), run.status), ("", 0), "{before}");
    let lines = untimed(&run.out);
    assert!(lines[0].starts_with("Resuming after ") && lines[0] != "Resuming after 0 lines", "{lines:?}");
    assert_eq!(lines[2], "Processed 40000 inserts");
    assert!(!position.exists());
    assert!(node.client().query("imp", "SELECT count(v) FROM m").contains("[0,40000]"));
}

#[test]
fn users_come_from_flags_and_environment() {
    let node = Node::start("auth-enabled = true");
    let create = "CREATE USER me WITH PASSWORD 'it''s' WITH ALL PRIVILEGES".replace("''", "\\'");
    assert!(node.client().query("", &create).contains("results"));
    let run = shell(&node, &["-execute", "show databases"]);
    assert_eq!((run.status, run.err.as_str()), (1, "unable to parse authentication credentials\n"));
    let run = shell(&node, &["-username", "me", "-password", "it's", "-execute", "show users"]);
    assert_eq!((run.status, run.out.as_str()), (0, "user admin\n---- -----\nme   true\n"));
}
