//! InfluxDB's regular expressions (Go's RE2 syntax) as ours.
//!
//! Both are linear-time and nearly the same language. [`translate`] rewrites what the two read differently:
//!
//! * inside `[…]` our engine knows nested classes and the operators `&&`, `--`, `~~`; Go takes them as characters;
//! * a `{` that is no repetition is a character in Go;
//! * `\d \w \s \b` are ASCII in Go;
//! * `\<` and `\>` are characters in Go, `\Q…\E` quotes.
//!
//! A pattern that cannot be read gives Go's error text for the usual mistakes.

use super::ast::Regex;

/// Most bytes a compiled pattern may take. Go's limit on repetitions keeps honest patterns far below.
pub const REGEX_BYTES_MAX: usize = 1 << 20;

impl Regex {
    /// The pattern in our engine's syntax; this, not `pattern`, is what compiles and travels in scan requests.
    pub fn translated(&self) -> String {
        translate(&self.pattern)
    }

    /// Unanchored search over bytes.
    pub fn compile(&self) -> Result<regex::bytes::Regex, String> {
        compile(&self.pattern)
    }
}

/// Compiles a pattern of InfluxQL. The error is worded as Go does.
pub fn compile(pattern: &str) -> Result<regex::bytes::Regex, String> {
    regex::bytes::RegexBuilder::new(&translate(pattern))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("error parsing regexp: {}", explain(pattern, &error)))
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut in_class = false;
    // A `]` directly after `[` or `[^` is a character.
    let mut class_is_empty = false;
    while let Some(char) = rest.chars().next() {
        let tail = &rest[char.len_utf8()..];
        let mut taken = char.len_utf8();
        let mut first_in_class = false;
        match char {
            '\\' => {
                let Some(next) = tail.chars().next() else {
                    out.push('\\');
                    break;
                };
                taken += next.len_utf8();
                match (next, in_class) {
                    ('Q', false) => {
                        let quoted = &tail[1..];
                        let end = quoted.find("\\E").unwrap_or(quoted.len());
                        out.push_str(&regex::escape(&quoted[..end]));
                        taken += end + if end < quoted.len() { 2 } else { 0 };
                    }
                    ('d', _) => out.push_str("[0-9]"),
                    ('D', _) => out.push_str("[^0-9]"),
                    ('w', _) => out.push_str("[0-9A-Za-z_]"),
                    ('W', _) => out.push_str("[^0-9A-Za-z_]"),
                    ('s', _) => out.push_str(r"[\t\n\f\r ]"),
                    ('S', _) => out.push_str(r"[^\t\n\f\r ]"),
                    ('b', false) => out.push_str(r"(?-u:\b)"),
                    ('B', false) => out.push_str(r"(?-u:\B)"),
                    ('<' | '>', _) => out.push(next),
                    ('p' | 'P' | 'x', _) if tail[1..].starts_with('{') => {
                        let end = tail.find('}').map_or(tail.len(), |end| end + 1);
                        out.push('\\');
                        out.push_str(&tail[..end]);
                        taken += end - 1;
                    }
                    _ => {
                        out.push('\\');
                        out.push(next);
                    }
                }
            }
            '[' if !in_class => {
                in_class = true;
                first_in_class = true;
                out.push('[');
                if tail.starts_with('^') {
                    out.push('^');
                    taken += 1;
                }
            }
            '[' if tail.starts_with(':') && tail[1..].contains(":]") => {
                let end = tail.find(":]").map_or(tail.len(), |end| end + 2);
                out.push('[');
                out.push_str(&tail[..end]);
                taken += end;
            }
            '[' => out.push_str(r"\["),
            ']' if in_class && class_is_empty => out.push_str(r"\]"),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class && tail.starts_with(char) => {
                out.push('\\');
                out.push(char);
            }
            '-' if in_class && tail.starts_with('-') => out.push_str(r"\-"),
            '{' if !in_class && !is_repetition(rest) => out.push_str(r"\{"),
            _ => out.push(char),
        }
        class_is_empty = first_in_class;
        rest = &rest[taken.min(rest.len())..];
    }
    out
}

/// `{n}`, `{n,}` or `{n,m}`.
fn is_repetition(text: &str) -> bool {
    let Some(end) = text.find('}') else { return false };
    let inside = &text[1..end];
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    !low.is_empty() && low.bytes().chain(high.bytes()).all(|byte| byte.is_ascii_digit())
}

/// Go's words for the usual mistakes; our engine's own for the rest.
fn explain(pattern: &str, error: &regex::Error) -> String {
    let regex::Error::Syntax(text) = error else {
        return format!("expression too large: `{pattern}`");
    };
    // The cause is the last line: `error: unclosed group`.
    let cause = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
    if cause.starts_with("unclosed character class") {
        let start = pattern.rfind('[').unwrap_or(0);
        return format!("missing closing ]: `{}`", &pattern[start..]);
    }
    let go = match cause {
        "unclosed group" => "missing closing )",
        "unopened group" => "unexpected )",
        "repetition operator missing expression" => "missing argument to repetition operator",
        "unrecognized escape sequence" | "backreferences are not supported" => "invalid escape sequence",
        "incomplete escape sequence, reached end of pattern prematurely" => {
            "trailing backslash at end of expression"
        }
        "invalid character class range, the start must be <= the end" => "invalid character class range",
        "look-around, including look-ahead and look-behind, is not supported" => {
            "invalid or unsupported Perl syntax"
        }
        other => other,
    };
    format!("{go}: `{pattern}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let cases = [
            (r"^server.*", "server01", true),
            (r"[[]", "[", true),
            (r"[a[b]", "[", true),
            (r"[]a]", "]", true),
            (r"[^]a]", "]", false),
            (r"[[:alpha:]]", "x", true),
            (r"[a&&b]", "&", true),
            (r"a{", "a{", true),
            (r"a{,2}", "a{,2}", true),
            (r"^a{2}$", "aa", true),
            (r"a{b}", "a{b}", true),
            (r"\d", "٣", false),
            (r"^\w+$", "é", false),
            (r"[\d.]+", "1.5", true),
            (r"\<b\>", "<b>", true),
            (r"\Qa.b\E$", "a.b", true),
            (r"\Qa.b\E$", "axb", false),
            (r"http\:\/\/", "http://", true),
            (r"(?i)ABC", "abc", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^\x{41}\p{Greek}\pL$", "Aαb", true),
        ];
        for (pattern, text, want) in cases {
            let regex = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.is_match(text.as_bytes()), want, "{pattern} on {text}");
        }
    }

    #[test]
    fn mistakes_are_explained_as_go_does() {
        let cases = [
            ("[", "missing closing ]: `[`"),
            ("a(b", "missing closing ): `a(b`"),
            ("a)b", "unexpected ): `a)b`"),
        ];
        for (pattern, want) in cases {
            let error = compile(pattern).expect_err(pattern);
            assert_eq!(error, format!("error parsing regexp: {want}"));
        }
    }

    #[test]
    fn a_pattern_that_would_be_huge_is_refused() {
        let error = compile("((a{1000}){1000}){1000}").expect_err("too large");
        assert!(error.contains("too large"), "{error}");
    }
}
