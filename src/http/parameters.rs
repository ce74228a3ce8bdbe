//! Parameters of a request: of the query string and of form bodies, percent-decoded.

/// In order of appearance; a form's come before those of the query string, so that they win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        // A pair with a bad escape counts as not sent, as in Go.
        let pairs = pairs.filter(|pair| has_good_escapes(pair)).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a name; empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a name is given with the value "true".
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name) == "true"
    }

    /// Puts others before these.
    pub fn prepend(&mut self, mut others: Self) {
        others.0.append(&mut self.0);
        self.0 = others.0;
    }

    pub fn push(&mut self, name: &str, value: String) {
        self.0.push((name.to_owned(), value));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Whether two hex digits follow every percent sign.
fn has_good_escapes(text: &str) -> bool {
    let is_good = |(at, _): (usize, &str)| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    text.match_indices('%').all(is_good)
}

/// `%41` and `+`; what is not a good escape stands for itself, invalid UTF-8 becomes the replacement character.
pub fn decode(text: &str) -> String {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).and_then(|digits| {
            let high = (digits[0] as char).to_digit(16)?;
            let low = (digits[1] as char).to_digit(16)?;
            Some((high * 16 + low) as u8)
        });
        match (bytes[at], escaped) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_and_the_first_wins() {
        let parameters =
            Parameters::parse("q=SELECT+%2A%20FROM%20m&rp=%zz&db=%&db=a%3Db&db=other&empty=&flag&%zz=x");
        assert_eq!(parameters.get("q"), "SELECT * FROM m");
        assert_eq!(parameters.get("db"), "a=b");
        assert_eq!((parameters.find("empty"), parameters.find("flag")), (Some(""), Some("")));
        assert_eq!((parameters.find("rp"), parameters.find("%zz")), (None, None));
        assert_eq!(parameters.find("none"), None);
    }

    #[test]
    fn a_form_wins_over_the_query_string() {
        let mut parameters = Parameters::parse("db=url&epoch=ms");
        parameters.prepend(Parameters::parse("db=form"));
        assert_eq!((parameters.get("db"), parameters.get("epoch")), ("form", "ms"));
    }
}
