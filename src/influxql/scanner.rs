//! Characters to tokens.
//!
//! Clients compare error texts, so positions follow InfluxDB's to the character, including two habits of it:
//!
//! * The end of the text stands one place further once it has been read: a name or a blank at the end reads past
//!   itself and so moves it, a quoted name or an operator does not.
//! * A string's position, and a regex's, is that of the character before it.
//!
//! `\r` and `\r\n` count as `\n`.

use super::token::{Lexeme, Position, Token};

pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Of the next character.
    position: Position,
    /// Of the last character read.
    last: Position,
    end_was_read: bool,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, position: Position::default(), last: Position::default(), end_was_read: false }
    }

    /// Bytes of the text that have been read.
    pub fn offset(&self) -> usize {
        self.at
    }

    pub fn peek(&self) -> Option<char> {
        let char = self.text[self.at..].chars().next()?;
        Some(if char == '\r' { '\n' } else { char })
    }

    /// The rest begins with this text.
    pub fn at_text(&self, text: &str) -> bool {
        self.text[self.at..].starts_with(text)
    }

    /// Reads a character; `None` is the end, whose first reading moves the position.
    pub fn read(&mut self) -> Option<char> {
        self.last = self.position;
        let Some(char) = self.peek() else {
            if !self.end_was_read {
                self.end_was_read = true;
                self.position.char += 1;
            }
            return None;
        };
        self.at += if self.at_text("\r\n") {
            2
        } else {
            self.text[self.at..].chars().next().map_or(0, char::len_utf8)
        };
        if char == '\n' {
            self.position = Position { line: self.position.line + 1, char: 0 };
        } else {
            self.position.char += 1;
        }
        Some(char)
    }

    fn read_if(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.read();
        }
        found
    }

    pub fn scan(&mut self) -> Lexeme {
        let position = self.position;
        let token = match self.peek() {
            None => {
                self.read();
                Token::End
            }
            Some(char) if is_space(char) => return self.scan_space(),
            Some(char) if is_name_start(char) || char == '"' => return self.scan_name(true),
            Some(char) if char.is_ascii_digit() => return self.scan_number(),
            Some('\'') => return self.scan_string(),
            Some('.') if self.text[self.at + 1..].starts_with(|next: char| next.is_ascii_digit()) => {
                return self.scan_number();
            }
            Some('$') => {
                self.read();
                let name = self.scan_name(false);
                if name.token != Token::Ident {
                    return name;
                }
                return Lexeme { token: Token::BoundParameter, position, text: format!("${}", name.text) };
            }
            Some(char) => {
                self.read();
                match self.scan_operator(char) {
                    Some(token) => token,
                    None => return Lexeme { token: Token::Illegal, position, text: char.to_string() },
                }
            }
        };
        Lexeme { token, position, text: String::new() }
    }

    /// After `char` was read. `None`: not a token.
    fn scan_operator(&mut self, char: char) -> Option<Token> {
        Some(match char {
            '+' => Token::Add,
            '-' if self.read_if('-') => self.skip_line(),
            '-' => Token::Subtract,
            '*' => Token::Multiply,
            '/' if self.read_if('*') => self.skip_block(),
            '/' => Token::Divide,
            '%' => Token::Modulo,
            '&' => Token::BitAnd,
            '|' => Token::BitOr,
            '^' => Token::BitXor,
            '=' if self.read_if('~') => Token::Matches,
            '=' => Token::Equal,
            '!' if self.read_if('=') => Token::NotEqual,
            '!' if self.read_if('~') => Token::NotMatches,
            '>' if self.read_if('=') => Token::GreaterEqual,
            '>' => Token::Greater,
            '<' if self.read_if('=') => Token::LessEqual,
            '<' if self.read_if('>') => Token::NotEqual,
            '<' => Token::Less,
            '(' => Token::OpenParen,
            ')' => Token::CloseParen,
            ',' => Token::Comma,
            ';' => Token::Semicolon,
            '.' => Token::Dot,
            ':' if self.read_if(':') => Token::DoubleColon,
            ':' => Token::Colon,
            _ => return None,
        })
    }

    fn skip_line(&mut self) -> Token {
        while !matches!(self.read(), None | Some('\n')) {}
        Token::Comment
    }

    fn skip_block(&mut self) -> Token {
        loop {
            match self.read() {
                None => return Token::Illegal,
                Some('*') if self.read_if('/') => return Token::Comment,
                Some(_) => {}
            }
        }
    }

    fn scan_space(&mut self) -> Lexeme {
        let position = self.position;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => {
                    self.read();
                    break;
                }
                Some(char) if is_space(char) => {
                    self.read();
                    text.push(char);
                }
                Some(_) => break,
            }
        }
        Lexeme { token: Token::Space, position, text }
    }

    /// A name, or with `keywords` a keyword. A quoted part ends the name and is all of it.
    fn scan_name(&mut self, keywords: bool) -> Lexeme {
        let position = self.position;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => {
                    self.read();
                    break;
                }
                Some('"') => {
                    let quoted = self.scan_string();
                    if quoted.token != Token::String {
                        return quoted;
                    }
                    return Lexeme { token: Token::Ident, position, text: quoted.text };
                }
                Some(char) if is_name_char(char) => {
                    self.read();
                    text.push(char);
                }
                Some(_) => break,
            }
        }
        if keywords && let Some(token) = Token::keyword(&text) {
            return Lexeme { token, position, text: String::new() };
        }
        Lexeme { token: Token::Ident, position, text }
    }

    /// A string in whatever quotes the next character is.
    fn scan_string(&mut self) -> Lexeme {
        let position = self.last;
        let ending = self.read();
        let mut text = String::new();
        loop {
            let char = self.read();
            if char == ending {
                return Lexeme { token: Token::String, position, text };
            }
            match char {
                None | Some('\n') => return Lexeme { token: Token::BadString, position, text },
                Some('\\') => match self.read() {
                    Some('n') => text.push('\n'),
                    Some(escaped @ ('\\' | '"' | '\'')) => text.push(escaped),
                    other => {
                        let text = format!("\\{}", other.map(String::from).unwrap_or_default());
                        return Lexeme { token: Token::BadEscape, position: self.last, text };
                    }
                },
                Some(char) => text.push(char),
            }
        }
    }

    /// An integer, a number with a point, or a duration, which is digits followed by letters.
    fn scan_number(&mut self) -> Lexeme {
        let position = self.position;
        let mut text = String::new();
        self.take_while(&mut text, |char| char.is_ascii_digit());
        if self.read_if('.') {
            text.push('.');
            self.take_while(&mut text, |char| char.is_ascii_digit());
            return Lexeme { token: Token::Number, position, text };
        }
        let digits = text.len();
        self.take_while(&mut text, is_duration_letter);
        if text.len() == digits {
            return Lexeme { token: Token::Integer, position, text };
        }
        self.take_while(&mut text, |char| is_duration_letter(char) || char.is_ascii_digit());
        Lexeme { token: Token::Duration, position, text }
    }

    fn take_while(&mut self, text: &mut String, wanted: impl Fn(char) -> bool) {
        while let Some(char) = self.peek().filter(|&char| wanted(char)) {
            self.read();
            text.push(char);
        }
    }

    /// A regex; the next character is expected to be its opening slash. `\/` stands for a slash, all else is left
    /// to the regex.
    pub fn scan_regex(&mut self) -> Lexeme {
        let position = self.last;
        let bad = Lexeme { token: Token::BadRegex, position, text: String::new() };
        if self.read() != Some('/') {
            return bad;
        }
        let mut text = String::new();
        loop {
            match self.read() {
                Some('/') => return Lexeme { token: Token::Regex, position, text },
                None | Some('\n') => return bad,
                Some('\\') if self.read_if('/') => text.push('/'),
                Some(char) => text.push(char),
            }
        }
    }
}

pub fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n')
}

pub fn is_name_start(char: char) -> bool {
    char.is_ascii_alphabetic() || char == '_'
}

pub fn is_name_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

fn is_duration_letter(char: char) -> bool {
    char.is_ascii_alphabetic() || char == 'µ'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(Token, String, u32)> {
        let mut scanner = Scanner::new(text);
        let mut found = Vec::new();
        loop {
            let lexeme = scanner.scan();
            let end = lexeme.token == Token::End;
            if lexeme.token != Token::Space {
                found.push((lexeme.token, lexeme.text, lexeme.position.char));
            }
            if end {
                return found;
            }
        }
    }

    #[test]
    fn names_keywords_and_numbers_are_told_apart() {
        let want = [
            (Token::Select, "", 0),
            (Token::Ident, "a b", 7),
            (Token::Integer, "10", 13),
            (Token::Number, ".5", 16),
            (Token::Duration, "1h30m", 19),
            (Token::Duration, "4µ", 25),
            (Token::BoundParameter, "$x", 28),
            (Token::End, "", 31),
        ];
        let got = tokens("select \"a b\" 10 .5 1h30m 4µ $x");
        assert_eq!(got, want.map(|(token, text, char)| (token, text.to_string(), char)));
    }

    #[test]
    fn comments_and_operators_are_recognised() {
        let kinds: Vec<Token> =
            tokens("a<>b -- x\n/* **/ =~ !~ :: ! /*").into_iter().map(|token| token.0).collect();
        use Token::*;
        assert_eq!(
            kinds,
            [
                Ident,
                NotEqual,
                Ident,
                Comment,
                Comment,
                Matches,
                NotMatches,
                DoubleColon,
                Illegal,
                Illegal,
                End
            ]
        );
    }

    #[test]
    fn a_regex_keeps_its_escapes_but_for_the_slash() {
        let lexeme = Scanner::new(r"/a\/b\.\\c/").scan_regex();
        assert_eq!((lexeme.token, lexeme.text.as_str()), (Token::Regex, r"a/b\.\\c"));
        assert_eq!(Scanner::new("/abc").scan_regex().token, Token::BadRegex);
    }
}
