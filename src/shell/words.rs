//! The words of the shell itself: those of `influx`, and those of `psql` that begin with a backslash. What is no word is
//! InfluxQL.

/// A word with its arguments' form and what it does.
pub struct Word {
    pub name: &'static str,
    pub arguments: &'static str,
    pub help: &'static str,
}

const fn word(name: &'static str, arguments: &'static str, help: &'static str) -> Word {
    Word { name, arguments, help }
}

/// The words of `influx`.
pub const WORDS: [Word; 17] = [
    word("connect", "<host:port>", "connects to another node specified by host:port"),
    word("auth", "", "prompts for username and password"),
    word("pretty", "", "toggles pretty print for the json format"),
    word("chunked", "", "toggles chunked responses from the server"),
    word("chunk", "size <size>", "sets the size of the chunked responses; 0 is the server's default"),
    word("use", "<db_name>[.<rp_name>]", "sets the current database and retention policy"),
    word(
        "format",
        "<format>",
        "sets the format of answers: column, csv, json, ndjson, line, table, vertical, markdown",
    ),
    word("precision", "<format>", "sets the format of timestamps: rfc3339, h, m, s, ms, u or ns"),
    word("consistency", "<level>", "sets the write consistency level: any, one, quorum, or all"),
    word("insert", "[into <db>.<rp>] <point>", "writes a line of line protocol"),
    word("node", "<id>|clear", "asks the data of one node only"),
    word("history", "", "displays the command history"),
    word("settings", "", "outputs the current settings of the shell"),
    word("clear", "database|rp", "clears the database or retention policy in use"),
    word("help", "", "displays this help"),
    word("exit", "", "leaves the shell, as do quit and ctrl+d"),
    word("gopher", "", "a friend"),
];

/// The words with a backslash.
pub const BACKSLASH: [Word; 20] = [
    word("\\l", "", "list databases"),
    word("\\c", "<db>[.<rp>]", "use a database"),
    word("\\d", "[measurement]", "list measurements, or a measurement's tags and fields"),
    word("\\dt", "[/regex/]", "list measurements"),
    word("\\drp", "[db]", "list retention policies"),
    word("\\dq", "", "list continuous queries"),
    word("\\du", "", "list users"),
    word("\\f", "[format]", "show or set the format of answers"),
    word("\\x", "", "toggle vertical answers"),
    word("\\chart", "[query]", "chart this query's series, or toggle charts for all"),
    word("\\watch", "[seconds] [query]", "repeat this query, or the last one, until ctrl+c"),
    word("\\timing", "", "toggle showing how long statements take"),
    word("\\pager", "", "toggle the pager"),
    word("\\i", "<file>", "run a script"),
    word("\\o", "[file]", "write answers to a file; without one, to the terminal again"),
    word("\\ps", "", "list running queries"),
    word("\\kill", "<id>", "end a query"),
    word("\\refresh", "", "forget the names completion knows"),
    word("\\?", "", "displays this help"),
    word("\\q", "", "leaves the shell"),
];

/// Whether a line is one of these words.
pub fn is_word(line: &str) -> bool {
    let line = line.trim_start();
    if line.starts_with('\\') {
        return true;
    }
    let first = line.split_whitespace().next().unwrap_or_default().trim_end_matches(';');
    first.eq_ignore_ascii_case("quit") || WORDS.iter().any(|word| word.name.eq_ignore_ascii_case(first))
}

/// The help of both kinds.
pub fn help() -> String {
    let mut text = String::from("Usage:\n");
    for (list, title) in [(&WORDS[..], ""), (&BACKSLASH[..], "\n")] {
        text.push_str(title);
        for word in list {
            let form = format!("{} {}", word.name, word.arguments);
            text.push_str(&format!("        {:<30}{}\n", form.trim_end(), word.help));
        }
    }
    text.push_str(
        "
        show databases                show database names
        show series                   show series information
        show measurements             show measurement information
        show tag keys                 show tag key information
        show field keys               show field key information

Enter runs a statement that is whole; one that is not goes on in the next line, and so does Alt+Enter.
Tab completes, Ctrl+R searches the history, the right arrow takes the grey suggestion, Ctrl+C ends a query.
",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_statements() {
        for line in ["use d", "  USE d", "insert m v=1", "\\l", "quit", "exit;", "\\x"] {
            assert!(is_word(line), "{line}");
        }
        for line in ["SHOW DATABASES", "select * from m", "", "used"] {
            assert!(!is_word(line), "{line}");
        }
    }
}
