//! The tokens of InfluxQL and the names error texts give them.

use std::sync::LazyLock;

use super::ast::BinaryOp;

/// Where a character stands: both counted from 0; texts show them from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    pub line: u32,
    pub char: u32,
}

/// A token with what it stood for in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Lexeme {
    pub token: Token,
    pub position: Position,
    /// The unescaped content of names, strings, numbers, durations and regexes; empty for keywords and operators.
    pub text: String,
}

impl Lexeme {
    /// What `found …` says.
    pub fn found(&self) -> &str {
        if self.text.is_empty() { self.token.name() } else { &self.text }
    }
}

macro_rules! tokens {
    (special { $($special:ident $special_name:literal,)* } keywords { $($keyword:ident $keyword_name:literal,)* }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Token {
            $($special,)*
            $($keyword,)*
        }

        impl Token {
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$special => $special_name,)*
                    $(Self::$keyword => $keyword_name,)*
                }
            }
        }

        pub(super) const KEYWORDS: &[(&str, Token)] = &[$(($keyword_name, Token::$keyword),)*];
    };
}

tokens! {
    special {
        Illegal "ILLEGAL",
        End "EOF",
        Space "WS",
        Comment "COMMENT",
        Ident "IDENT",
        BoundParameter "BOUNDPARAM",
        Number "NUMBER",
        Integer "INTEGER",
        Duration "DURATIONVAL",
        String "STRING",
        BadString "BADSTRING",
        BadEscape "BADESCAPE",
        Regex "REGEX",
        BadRegex "BADREGEX",
        Add "+",
        Subtract "-",
        Multiply "*",
        Divide "/",
        Modulo "%",
        BitAnd "&",
        BitOr "|",
        BitXor "^",
        Equal "=",
        NotEqual "!=",
        Matches "=~",
        NotMatches "!~",
        Less "<",
        LessEqual "<=",
        Greater ">",
        GreaterEqual ">=",
        OpenParen "(",
        CloseParen ")",
        Comma ",",
        Colon ":",
        DoubleColon "::",
        Semicolon ";",
        Dot ".",
    }
    keywords {
        And "AND",
        Or "OR",
        True "TRUE",
        False "FALSE",
        All "ALL",
        Alter "ALTER",
        Analyze "ANALYZE",
        Any "ANY",
        As "AS",
        Asc "ASC",
        Begin "BEGIN",
        By "BY",
        Cardinality "CARDINALITY",
        Create "CREATE",
        Continuous "CONTINUOUS",
        Database "DATABASE",
        Databases "DATABASES",
        Default "DEFAULT",
        Delete "DELETE",
        Desc "DESC",
        Destinations "DESTINATIONS",
        Diagnostics "DIAGNOSTICS",
        Distinct "DISTINCT",
        Drop "DROP",
        DurationWord "DURATION",
        EndWord "END",
        Every "EVERY",
        Exact "EXACT",
        Explain "EXPLAIN",
        Field "FIELD",
        For "FOR",
        From "FROM",
        Grant "GRANT",
        Grants "GRANTS",
        Group "GROUP",
        Groups "GROUPS",
        In "IN",
        Inf "INF",
        Insert "INSERT",
        Into "INTO",
        Key "KEY",
        Keys "KEYS",
        Kill "KILL",
        Limit "LIMIT",
        Measurement "MEASUREMENT",
        Measurements "MEASUREMENTS",
        Name "NAME",
        Offset "OFFSET",
        On "ON",
        Order "ORDER",
        Password "PASSWORD",
        Policy "POLICY",
        Policies "POLICIES",
        Privileges "PRIVILEGES",
        Queries "QUERIES",
        Query "QUERY",
        Read "READ",
        Replication "REPLICATION",
        Resample "RESAMPLE",
        Retention "RETENTION",
        Revoke "REVOKE",
        Select "SELECT",
        Series "SERIES",
        Set "SET",
        Shard "SHARD",
        Shards "SHARDS",
        Show "SHOW",
        Slimit "SLIMIT",
        Soffset "SOFFSET",
        Stats "STATS",
        Subscription "SUBSCRIPTION",
        Subscriptions "SUBSCRIPTIONS",
        Tag "TAG",
        To "TO",
        User "USER",
        Users "USERS",
        Values "VALUES",
        Where "WHERE",
        With "WITH",
        Write "WRITE",
    }
}

impl Token {
    /// The keyword `word` is, in any case.
    pub fn keyword(word: &str) -> Option<Self> {
        static BY_NAME: LazyLock<Vec<(&str, Token)>> = LazyLock::new(|| {
            let mut keywords = KEYWORDS.to_vec();
            keywords.sort_unstable_by_key(|(name, _)| *name);
            keywords
        });
        let found = BY_NAME.binary_search_by(|(name, _)| {
            name.bytes().cmp(word.bytes().map(|byte| byte.to_ascii_uppercase()))
        });
        found.ok().map(|at| BY_NAME[at].1)
    }

    pub fn operator(self) -> Option<BinaryOp> {
        Some(match self {
            Self::Or => BinaryOp::Or,
            Self::And => BinaryOp::And,
            Self::Equal => BinaryOp::Equal,
            Self::NotEqual => BinaryOp::NotEqual,
            Self::Matches => BinaryOp::Matches,
            Self::NotMatches => BinaryOp::NotMatches,
            Self::Less => BinaryOp::Less,
            Self::LessEqual => BinaryOp::LessEqual,
            Self::Greater => BinaryOp::Greater,
            Self::GreaterEqual => BinaryOp::GreaterEqual,
            Self::Add => BinaryOp::Add,
            Self::Subtract => BinaryOp::Subtract,
            Self::BitOr => BinaryOp::BitOr,
            Self::BitXor => BinaryOp::BitXor,
            Self::Multiply => BinaryOp::Multiply,
            Self::Divide => BinaryOp::Divide,
            Self::Modulo => BinaryOp::Modulo,
            Self::BitAnd => BinaryOp::BitAnd,
            _ => return None,
        })
    }
}
