//! Text to syntax tree, by recursive descent.
//!
//! What the grammar accepts, and each error text with its position, is InfluxDB 1.8's. Where a rule reads with or without
//! blanks, or looks at raw characters past a token it has put back, that is on purpose: it decides which position an
//! error names.
//!
//! Bounded: nesting to [`DEPTH_MAX`], expressions to [`NODES_MAX`]. Recursion happens only through
//! [`Parser::descend`], so no text can exhaust the stack.

mod change;
mod expression;
mod select;
mod show;

use super::ast::*;
use super::duration::parse_duration;
use super::error::ParseError;
use super::parameter::Parameters;
use super::scanner::{Scanner, is_space};
use super::token::{Lexeme, Position, Token};

type Result<T> = std::result::Result<T, ParseError>;

/// Parses statements separated by semicolons. `parameters` are the values of `$name`.
pub fn parse_query(text: &str, parameters: &Parameters) -> Result<Query> {
    let mut parser = Parser::new(text, parameters);
    let mut query = Query::default();
    let mut separated = true;
    loop {
        let lexeme = parser.next();
        match lexeme.token {
            Token::End => return Ok(query),
            Token::Semicolon => separated = true,
            _ if !separated => return Err(ParseError::expected(&lexeme, &[";"])),
            _ => {
                parser.put_back();
                query.statements.push(parser.parse_statement()?);
                separated = false;
            }
        }
    }
}

/// Parses exactly one statement.
pub fn parse_statement(text: &str) -> Result<Statement> {
    let mut query = parse_query(text, &Parameters::new())?;
    match query.statements.len() {
        1 => Ok(query.statements.remove(0)),
        count => Err(ParseError::new(format!("expected one statement, found {count}"))),
    }
}

/// Parses an expression at the beginning of `text`.
pub fn parse_expr(text: &str) -> Result<Expr> {
    Parser::new(text, &Parameters::new()).parse_expr()
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    parameters: &'a Parameters,
    /// The last tokens, newest last.
    recent: Vec<Lexeme>,
    /// How many of `recent` have been put back.
    put_back: usize,
    depth: usize,
    nodes: usize,
}

/// No rule puts back more.
const RECENT_MAX: usize = 4;

/// What a regex counts for: compiling the worst one takes milliseconds, so a text gets some hundreds.
const REGEX_NODES: usize = 200;

impl<'a> Parser<'a> {
    fn new(text: &'a str, parameters: &'a Parameters) -> Self {
        let scanner = Scanner::new(text);
        Self {
            scanner,
            parameters,
            recent: Vec::with_capacity(RECENT_MAX + 1),
            put_back: 0,
            depth: 0,
            nodes: 0,
        }
    }

    // ------------------------------------------------------------------------------------------------ tokens

    /// The next token, blanks and comments included.
    fn next_raw(&mut self) -> Lexeme {
        self.next_by(Scanner::scan)
    }

    fn next_by(&mut self, scan: impl FnOnce(&mut Scanner<'a>) -> Lexeme) -> Lexeme {
        if self.put_back > 0 {
            self.put_back -= 1;
            return self.recent[self.recent.len() - 1 - self.put_back].clone();
        }
        let mut lexeme = scan(&mut self.scanner);
        if lexeme.token == Token::BoundParameter
            && let Some(parameter) = self.parameters.get(&lexeme.text[1..])
        {
            let (token, text) = parameter.token();
            // A parameter of no use stays a parameter, and is complained about where an expression wants it.
            if token != Token::BoundParameter {
                (lexeme.token, lexeme.text) = (token, text);
            }
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push(lexeme.clone());
        lexeme
    }

    /// The next token that is neither blank nor comment.
    fn next(&mut self) -> Lexeme {
        loop {
            let lexeme = self.next_raw();
            if !matches!(lexeme.token, Token::Space | Token::Comment) {
                return lexeme;
            }
        }
    }

    /// The last token will be read again.
    fn put_back(&mut self) {
        self.put_back += 1;
        debug_assert!(self.put_back <= self.recent.len(), "BUG: more tokens put back than kept");
    }

    /// Reads the next token if it is `token`.
    fn next_is(&mut self, token: Token) -> bool {
        let found = self.next().token == token;
        if !found {
            self.put_back();
        }
        found
    }

    fn expect(&mut self, token: Token) -> Result<()> {
        self.expect_all(&[token])
    }

    fn expect_all(&mut self, tokens: &[Token]) -> Result<()> {
        for &token in tokens {
            let lexeme = self.next();
            if lexeme.token != token {
                return Err(ParseError::expected(&lexeme, &[token.name()]));
            }
        }
        Ok(())
    }

    /// The next raw character, past any token that was put back. Seeing the end counts as reading it.
    fn peek_char(&mut self) -> Option<char> {
        let char = self.scanner.peek();
        if char.is_none() {
            self.scanner.read();
        }
        char
    }

    fn skip_space(&mut self) {
        if self.next_raw().token != Token::Space {
            self.put_back();
        }
    }

    // ------------------------------------------------------------------------------------------------ bounds

    /// Runs a rule one level deeper.
    fn descend<T>(&mut self, rule: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH_MAX {
            return Err(too_deep());
        }
        self.depth += 1;
        let result = rule(self);
        self.depth -= 1;
        result
    }

    fn count_node(&mut self) -> Result<()> {
        self.count_nodes(1)
    }

    fn count_nodes(&mut self, count: usize) -> Result<()> {
        self.nodes += count;
        if self.nodes > NODES_MAX {
            return Err(ParseError::new(format!(
                "query is too large: it may have {NODES_MAX} expressions at most"
            )));
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------------ small rules

    fn parse_ident(&mut self) -> Result<String> {
        let lexeme = self.next();
        match lexeme.token {
            Token::Ident => Ok(lexeme.text),
            _ => Err(ParseError::expected(&lexeme, &["identifier"])),
        }
    }

    fn parse_ident_list(&mut self) -> Result<Vec<String>> {
        let mut idents = vec![self.parse_ident()?];
        while self.next_is(Token::Comma) {
            idents.push(self.parse_ident()?);
        }
        Ok(idents)
    }

    fn parse_string(&mut self) -> Result<String> {
        let lexeme = self.next();
        match lexeme.token {
            Token::String => Ok(lexeme.text),
            _ => Err(ParseError::expected(&lexeme, &["string"])),
        }
    }

    fn parse_string_list(&mut self) -> Result<Vec<String>> {
        let mut strings = vec![self.parse_string()?];
        while self.next_is(Token::Comma) {
            strings.push(self.parse_string()?);
        }
        Ok(strings)
    }

    fn next_integer(&mut self) -> Result<Lexeme> {
        let lexeme = self.next();
        match lexeme.token {
            Token::Integer => Ok(lexeme),
            _ => Err(ParseError::expected(&lexeme, &["integer"])),
        }
    }

    /// A number of replicas.
    fn parse_replication(&mut self) -> Result<u64> {
        const MAX: i64 = i32::MAX as i64;
        let lexeme = self.next_integer()?;
        let number: i64 = lexeme.text.parse().map_err(|_| out_of_range("Atoi", &lexeme))?;
        if !(1..=MAX).contains(&number) {
            let message = format!("invalid value {number}: must be 1 <= n <= {MAX}");
            return Err(ParseError::at(lexeme.position, &message));
        }
        Ok(number as u64)
    }

    fn parse_id(&mut self) -> Result<u64> {
        let lexeme = self.next_integer()?;
        lexeme.text.parse().map_err(|_| out_of_range("ParseUint", &lexeme))
    }

    /// `token n`, or 0. A number beyond all bounds is the greatest.
    fn parse_optional_count(&mut self, token: Token) -> Result<u64> {
        if !self.next_is(token) {
            return Ok(0);
        }
        let lexeme = self.next_integer()?;
        if lexeme.text.starts_with('-') {
            return Err(ParseError::at(lexeme.position, &format!("{} must be >= 0", token.name())));
        }
        Ok(lexeme.text.parse::<i64>().unwrap_or(i64::MAX) as u64)
    }

    /// A duration in nanoseconds; `INF` is 0.
    fn parse_duration(&mut self) -> Result<i64> {
        if self.next_is(Token::Inf) { Ok(0) } else { self.parse_finite_duration() }
    }

    fn parse_finite_duration(&mut self) -> Result<i64> {
        let lexeme = self.next();
        match lexeme.token {
            Token::Duration => {
                parse_duration(&lexeme.text).map_err(|message| ParseError::at(lexeme.position, &message))
            }
            _ => Err(ParseError::expected(&lexeme, &["duration"])),
        }
    }

    /// A regex, if that is what comes next.
    fn parse_regex(&mut self) -> Result<Option<Regex>> {
        if self.peek_char().is_some_and(is_space) {
            self.skip_space();
        }
        match self.peek_char() {
            Some('$') => {
                let lexeme = self.next_raw();
                self.put_back();
                if lexeme.token != Token::Regex {
                    return Ok(None);
                }
            }
            Some('/') if !self.scanner.at_text("/*") => {}
            _ => return Ok(None),
        }
        let lexeme = self.next_by(Scanner::scan_regex);
        match lexeme.token {
            Token::Regex => Ok(Some(self.compile_regex(lexeme.text, lexeme.position)?)),
            Token::BadRegex => Err(ParseError::at(lexeme.position, "bad regex: ")),
            _ => Err(ParseError::expected(&lexeme, &["regex"])),
        }
    }

    /// A pattern that is not a regex is refused here, so that no other part has to.
    fn compile_regex(&mut self, pattern: String, position: Position) -> Result<Regex> {
        self.count_nodes(REGEX_NODES)?;
        super::regex::compile(&pattern).map_err(|message| ParseError::at(position, &message))?;
        Ok(Regex { pattern })
    }

    /// `a`, `a.b`, `a..b`, `a.b.c`. Stops before a regex or a colon.
    fn parse_segments(&mut self) -> Result<Vec<String>> {
        let mut segments = vec![self.parse_ident()?];
        loop {
            if self.next_raw().token != Token::Dot {
                self.put_back();
                break;
            }
            match self.peek_char() {
                Some('/' | ':') => break,
                Some('.') => segments.push(String::new()),
                _ => segments.push(self.parse_ident()?),
            }
        }
        if segments.len() > 3 {
            let text = super::display::quote_segments(&segments);
            return Err(ParseError::at(Position::default(), &format!("too many segments in {text}")));
        }
        Ok(segments)
    }

    // ------------------------------------------------------------------------------------------------ dispatch

    fn parse_statement(&mut self) -> Result<Statement> {
        self.count_node()?;
        let lexeme = self.next();
        match lexeme.token {
            Token::Select => Ok(Statement::Select(Box::new(self.parse_select(false)?))),
            Token::Delete => self.parse_delete(),
            Token::Show => self.parse_show(),
            Token::Create => self.parse_create(),
            Token::Drop => self.parse_drop(),
            Token::Explain => self.parse_explain(),
            Token::Grant => self.parse_grant(),
            Token::Revoke => self.parse_revoke(),
            Token::Alter => {
                self.expect_all(&[Token::Retention, Token::Policy])?;
                self.parse_alter_retention_policy()
            }
            Token::Set => {
                self.expect_all(&[Token::Password, Token::For])?;
                self.parse_set_password()
            }
            Token::Kill => {
                self.expect(Token::Query)?;
                let id = self.parse_id()?;
                let host = if self.next_is(Token::On) { Some(self.parse_ident()?) } else { None };
                Ok(Statement::KillQuery { id, host })
            }
            _ => Err(ParseError::expected(
                &lexeme,
                &[
                    "SELECT", "DELETE", "SHOW", "CREATE", "DROP", "EXPLAIN", "GRANT", "REVOKE", "ALTER",
                    "SET", "KILL",
                ],
            )),
        }
    }
}

fn too_deep() -> ParseError {
    ParseError::new(format!("query is nested too deeply: {DEPTH_MAX} levels are allowed"))
}

fn out_of_range(function: &str, lexeme: &Lexeme) -> ParseError {
    let message = format!("strconv.{function}: parsing \"{}\": value out of range", lexeme.text);
    ParseError::at(lexeme.position, &message)
}

/// Empty names in a qualified name stand for the default.
fn non_empty(name: String) -> Option<String> {
    if name.is_empty() { None } else { Some(name) }
}
