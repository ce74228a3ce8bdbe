//! Queries that would hurt, with what may be answered, and the data they are about. The integration test asks the same ones.

const DEEP: &str = "query is nested too deeply";
const LARGE: &str = "query is too large";
const MEMORY: &str = "bytes of memory";
const TIMEOUT: &str = "query-timeout limit exceeded";
/// An ordinary answer.
const ANSWER: &str = "statement_id";

/// A query that runs until somebody ends it, on any machine: a fit of 200,000 points with a long season.
pub const ENDLESS: &str = "SELECT holt_winters_with_fit(mean(v), 10, 500) FROM m WHERE time >= 0s AND time < 20000s GROUP BY time(100ms) FILL(previous)";

/// A statement, and the texts one of which its answer must have.
pub type Hostile = (String, &'static [&'static str]);

pub fn hostile() -> Vec<Hostile> {
    let either = |field: &str, count: usize| {
        (0..count).map(|at| format!("{field} = 'h{at}'")).collect::<Vec<_>>().join(" OR ")
    };
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let within = "WHERE time >= 0s AND time < 20000s";
    vec![
        (nested("SELECT v FROM (", "SELECT v FROM m", ")", 300), &[DEEP]),
        (format!("SELECT v FROM m WHERE {}", nested("(", "v > 1", ")", 100_000)), &[DEEP]),
        (
            format!(
                "SELECT {} FROM m {within} GROUP BY time(1s)",
                nested("derivative(", "mean(v)", ")", 5000)
            ),
            &[DEEP],
        ),
        (format!("SELECT v{} FROM m", " + v".repeat(50_000)), &[DEEP]),
        (format!("SELECT {}v FROM m", "-".repeat(100_000)), &["error parsing query"]),
        (format!("SELECT v FROM many WHERE {}", either("host", 50_000)), &[LARGE]),
        (format!("SELECT v FROM many WHERE {}", either("host", 5_000)), &[ANSWER]),
        (format!("SELECT v FROM m WHERE {}", either("s", 50_000)), &[LARGE]),
        (format!("SHOW TAG VALUES WITH KEY IN ({})", vec!["\"host\""; 90_000].join(", ")), &[ANSWER, LARGE]),
        (format!("SELECT mean(v) FROM m {within} GROUP BY time(1ns)"), &[MEMORY]),
        ("SELECT count(v) FROM m GROUP BY time(1ns)".to_owned(), &[MEMORY]),
        (format!("SELECT mean(v) FROM m {within} GROUP BY time(5ms) FILL(0)"), &[MEMORY, TIMEOUT, ANSWER]),
        (
            format!("SELECT mean(v) FROM many {within} GROUP BY time(10s), host FILL(1)"),
            &[MEMORY, TIMEOUT, ANSWER],
        ),
        (
            "SELECT v FROM many WHERE host =~ /((((a{100}){100}){100}){100})/".to_owned(),
            &["expression too large"],
        ),
        ("SELECT v FROM many WHERE host =~ /(a+)+(b+)+(c*)*(a|aa)+$/".to_owned(), &[ANSWER]),
        ("SELECT * FROM /(x+x+)+y|(.*)*/ LIMIT 1".to_owned(), &[ANSWER]),
        ("SELECT * FROM wide".to_owned(), &[ANSWER]),
        ("SELECT mean(*) FROM wide GROUP BY *".to_owned(), &[ANSWER, TIMEOUT]),
        (format!("SELECT v FROM {}", vec!["m"; 3_000].join(", ")), &[ANSWER, MEMORY, TIMEOUT]),
        (ENDLESS.to_owned(), &[TIMEOUT]),
        (
            format!("SELECT holt_winters(mean(v), 10, 100000) FROM m {within} GROUP BY time(100ms)"),
            &["holt_winters", ANSWER],
        ),
        ("SELECT top(v, 100000000) FROM many".to_owned(), &[ANSWER, MEMORY]),
        (format!("SELECT moving_average(v, 100000000) FROM m {within}"), &[ANSWER, MEMORY]),
        ("SELECT * INTO copy FROM many; SELECT * INTO again FROM copy GROUP BY *".to_owned(), &[ANSWER]),
        (vec!["SELECT count(v) FROM many"; 2_000].join(";"), &[ANSWER, TIMEOUT]),
        (format!("SELECT \"{}\" FROM m", "x".repeat(500_000)), &[ANSWER, "error parsing query"]),
    ]
}

/// Lines of what the statements are about: `m`, one series of 20,000 rows; `many`, 5,000 series of one; `wide`, 3,000 fields.
pub fn data() -> [String; 3] {
    let lines =
        |count: u64, line: &dyn Fn(u64) -> String| (0..count).map(line).collect::<Vec<_>>().join("\n");
    let second = 1_000_000_000;
    [
        lines(20_000, &|at| format!("m,host=a v={},s=\"x\" {}", at % 100, at * second)),
        lines(5_000, &|at| format!("many,host=h{at},dc=d{} v={at} {}", at % 7, at * second)),
        format!("wide,host=a {} 1", (0..3_000).map(|at| format!("f{at}=1")).collect::<Vec<_>>().join(",")),
    ]
}
