//! The syntax tree of InfluxQL: plain owned values, no behaviour beyond small questions about a node.
//!
//! What the tree promises to its readers:
//!
//! * It is as written: nothing is resolved, folded or reordered, except that chains of `AND` and of `OR` are balanced
//!   (both are associative), so that a long list of terms is a shallow tree.
//! * Its depth is at most [`DEPTH_MAX`] and its size at most [`NODES_MAX`] (the parser refuses more), so walking it
//!   recursively is safe.
//! * Names are unescaped text. An empty `database` or `retention_policy` in the text is `None` here.
//! * `display` writes every node back as text that parses to an equal node.

use std::sync::Arc;

/// Deepest nesting of expressions and subqueries the parser accepts.
pub const DEPTH_MAX: usize = 100;
/// Most expression nodes of one text.
pub const NODES_MAX: usize = 100_000;

/// A parsed query text: statements that stood between semicolons.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    pub statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    Select(Box<SelectStatement>),
    Explain(ExplainStatement),
    Delete(DeleteStatement),
    DropSeries(DropSeriesStatement),
    DropMeasurement { name: String },
    DropShard { id: u64 },

    CreateDatabase(CreateDatabase),
    DropDatabase { name: String },
    CreateRetentionPolicy(CreateRetentionPolicy),
    AlterRetentionPolicy(AlterRetentionPolicy),
    DropRetentionPolicy { name: String, database: String },

    CreateContinuousQuery(CreateContinuousQuery),
    DropContinuousQuery { name: String, database: String },
    CreateSubscription(CreateSubscription),
    DropSubscription { name: String, database: String, retention_policy: String },

    CreateUser { name: String, password: String, admin: bool },
    DropUser { name: String },
    SetPassword { name: String, password: String },
    Grant { privilege: Privilege, database: String, user: String },
    GrantAdmin { user: String },
    Revoke { privilege: Privilege, database: String, user: String },
    RevokeAdmin { user: String },
    ShowUsers,
    ShowGrants { user: String },

    ShowDatabases,
    ShowRetentionPolicies { database: Option<String> },
    ShowMeasurements(ShowMeasurements),
    ShowSeries(ShowSeries),
    ShowTagKeys(ShowTagKeys),
    ShowTagValues(ShowTagValues),
    ShowFieldKeys(ShowFieldKeys),
    ShowCardinality(ShowCardinality),

    ShowContinuousQueries,
    ShowSubscriptions,
    ShowShards,
    ShowShardGroups,
    ShowServers,
    ShowStats { module: Option<String> },
    ShowDiagnostics { module: Option<String> },
    ShowQueries,
    KillQuery { id: u64, host: Option<String> },
}

// ---------------------------------------------------------------------------------------------------- SELECT

/// `SELECT fields [INTO t] FROM s [WHERE] [GROUP BY] [fill] [ORDER BY] [LIMIT…] [tz]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SelectStatement {
    pub fields: Vec<Field>,
    pub target: Option<Target>,
    pub sources: Vec<Source>,
    /// Shared: it may be long, and statements are copied to fill in their sources.
    pub condition: Option<Arc<Expr>>,
    pub dimensions: Vec<Dimension>,
    pub fill: Fill,
    /// Empty: ascending by time.
    pub sort_fields: Vec<SortField>,
    /// Rows per series; 0 is no limit.
    pub limit: u64,
    pub offset: u64,
    /// Series; 0 is no limit.
    pub slimit: u64,
    pub soffset: u64,
    /// The name in `tz('…')`; known to be a time zone.
    pub time_zone: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub expr: Expr,
    pub alias: Option<String>,
}

/// One item of GROUP BY: a `VarRef`, `Wildcard`, `Regex`, or the call `time(…)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dimension {
    pub expr: Expr,
}

/// `INTO`.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name is `Name` or `BackReference`, never a regex.
    pub measurement: Measurement,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Measurement(Measurement),
    Subquery(Box<SelectStatement>),
}

/// `[db.][rp.]name`.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    pub database: Option<String>,
    pub retention_policy: Option<String>,
    pub name: MeasurementName,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MeasurementName {
    Name(String),
    Regex(Regex),
    /// `:MEASUREMENT` in INTO: the name of the source.
    BackReference,
}

/// What empty windows show. `fill(null)`, the default, is not distinguishable from no fill.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Fill {
    #[default]
    Null,
    None,
    Integer(i64),
    Number(f64),
    Previous,
    Linear,
}

/// One item of ORDER BY. No name stands for time.
#[derive(Debug, Clone, PartialEq)]
pub struct SortField {
    pub name: Option<String>,
    pub ascending: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ExplainStatement {
    pub kind: ExplainKind,
    pub select: Box<SelectStatement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainKind {
    Plan,
    /// Executes the query too.
    Analyze,
    /// Our own: what the query would read and hold.
    Estimate,
}

// ---------------------------------------------------------------------------------------------------- expressions

#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    VarRef(VarRef),
    /// The name is as written; InfluxQL's functions are lower-case.
    Call(Call),
    Binary(Box<Binary>),
    Paren(Box<Expr>),
    Wildcard(WildcardKind),
    Regex(Regex),
    /// `DISTINCT field`, without parentheses.
    Distinct(String),
    Number(f64),
    Integer(i64),
    /// An integer above the greatest of `i64`.
    Unsigned(u64),
    /// Single-quoted text; next to `time` it may stand for a timestamp.
    String(String),
    Boolean(bool),
    /// Nanoseconds.
    Duration(i64),
    /// Nanoseconds since 1970; never parsed, made by rewrites only.
    Time(i64),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VarRef {
    /// Qualified names keep their dots: `a.b`.
    pub name: String,
    /// After `::`.
    pub data_type: Option<DataType>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub name: String,
    pub args: Vec<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    pub op: BinaryOp,
    pub left: Expr,
    pub right: Expr,
}

/// Precedence from low to high: OR; AND; comparisons; `+ - | ^`; `* / % &`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Or,
    And,
    Equal,
    NotEqual,
    Matches,
    NotMatches,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    BitOr,
    BitXor,
    Multiply,
    Divide,
    Modulo,
    BitAnd,
}

/// A pattern in InfluxDB's (RE2) syntax, without the slashes; known to compile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Regex {
    pub pattern: String,
}

/// `*`, `*::field`, `*::tag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WildcardKind {
    All,
    Field,
    Tag,
}

/// What may stand after `::`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DataType {
    Float,
    Integer,
    Unsigned,
    String,
    Boolean,
    /// Any field.
    AnyField,
    Tag,
}

// ---------------------------------------------------------------------------------------------------- SHOW

/// `ON` of SHOW MEASUREMENTS: a database, optionally with its retention policy, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShowOn {
    pub database: NameOrAll,
    pub retention_policy: Option<NameOrAll>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameOrAll {
    Name(String),
    /// `*`
    All,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ShowMeasurements {
    pub on: Option<ShowOn>,
    /// `WITH MEASUREMENT =` a name or `=~` a regex.
    pub source: Option<Measurement>,
    pub condition: Option<Expr>,
    pub sort_fields: Vec<SortField>,
    pub limit: u64,
    pub offset: u64,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ShowSeries {
    pub database: Option<String>,
    pub sources: Vec<Source>,
    pub condition: Option<Expr>,
    pub sort_fields: Vec<SortField>,
    pub limit: u64,
    pub offset: u64,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ShowTagKeys {
    pub database: Option<String>,
    pub sources: Vec<Source>,
    pub condition: Option<Expr>,
    pub sort_fields: Vec<SortField>,
    pub limit: u64,
    pub offset: u64,
    pub slimit: u64,
    pub soffset: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ShowTagValues {
    pub database: Option<String>,
    pub sources: Vec<Source>,
    pub keys: TagKeyMatch,
    pub condition: Option<Expr>,
    pub sort_fields: Vec<SortField>,
    pub limit: u64,
    pub offset: u64,
}

/// `WITH KEY …`.
#[derive(Debug, Clone, PartialEq)]
pub enum TagKeyMatch {
    Equal(String),
    NotEqual(String),
    Matches(Regex),
    NotMatches(Regex),
    In(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ShowFieldKeys {
    pub database: Option<String>,
    pub sources: Vec<Source>,
    pub sort_fields: Vec<SortField>,
    pub limit: u64,
    pub offset: u64,
}

/// `SHOW … [EXACT] CARDINALITY`.
#[derive(Debug, Clone, PartialEq)]
pub struct ShowCardinality {
    pub of: CardinalityOf,
    pub exact: bool,
    pub database: Option<String>,
    pub sources: Vec<Source>,
    pub condition: Option<Expr>,
    pub dimensions: Vec<Dimension>,
    pub limit: u64,
    pub offset: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum CardinalityOf {
    Series,
    Measurement,
    TagKey,
    TagValues(TagKeyMatch),
    FieldKey,
}

// ---------------------------------------------------------------------------------------------------- changes

/// `DELETE [FROM m] [WHERE c]`. At least one of the two is there; sources are measurements without qualifiers.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteStatement {
    pub sources: Vec<Source>,
    pub condition: Option<Expr>,
}

/// `DROP SERIES [FROM m] [WHERE c]`, as [`DeleteStatement`].
#[derive(Debug, Clone, PartialEq)]
pub struct DropSeriesStatement {
    pub sources: Vec<Source>,
    pub condition: Option<Expr>,
}

/// Durations in nanoseconds; 0 is infinite for a retention duration and "choose" for a shard duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateDatabase {
    pub name: String,
    /// `WITH …`; `None` when there is no WITH.
    pub retention_policy: Option<DatabaseRetentionPolicy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseRetentionPolicy {
    pub duration: Option<i64>,
    pub replication: Option<u64>,
    /// 0 when not given.
    pub shard_duration: i64,
    pub name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRetentionPolicy {
    pub name: String,
    pub database: String,
    pub duration: i64,
    pub replication: u64,
    /// 0 when not given.
    pub shard_duration: i64,
    pub default: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterRetentionPolicy {
    pub name: String,
    pub database: String,
    pub duration: Option<i64>,
    pub replication: Option<u64>,
    pub shard_duration: Option<i64>,
    pub default: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateContinuousQuery {
    pub name: String,
    pub database: String,
    /// Nanoseconds; 0 when not given.
    pub resample_every: i64,
    pub resample_for: i64,
    /// Always has a target.
    pub select: Box<SelectStatement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSubscription {
    pub name: String,
    pub database: String,
    pub retention_policy: String,
    pub mode: SubscriptionMode,
    pub destinations: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionMode {
    All,
    Any,
}

impl SubscriptionMode {
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Any => "ANY",
        }
    }
}

/// A privilege on one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Privilege {
    None,
    Read,
    Write,
    All,
}

impl Privilege {
    /// As SHOW GRANTS and error texts say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NO PRIVILEGES",
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::All => "ALL PRIVILEGES",
        }
    }
}

// ---------------------------------------------------------------------------------------------------- questions

impl BinaryOp {
    /// 1 (`OR`) to 5 (`*`); a greater one binds tighter.
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Matches
            | Self::NotMatches
            | Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual => 3,
            Self::Add | Self::Subtract | Self::BitOr | Self::BitXor => 4,
            Self::Multiply | Self::Divide | Self::Modulo | Self::BitAnd => 5,
        }
    }

    pub fn is_comparison(self) -> bool {
        self.precedence() == 3
    }

    pub fn is_regex(self) -> bool {
        matches!(self, Self::Matches | Self::NotMatches)
    }

    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Or => "OR",
            Self::And => "AND",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::BitOr => "|",
            Self::BitXor => "^",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::BitAnd => "&",
        }
    }
}

impl DataType {
    /// As it is written after `::`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::AnyField => "field",
            Self::Tag => "tag",
        }
    }
}

impl VarRef {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), data_type: None }
    }

    /// InfluxQL's `time` is found in any case.
    pub fn is_time(&self) -> bool {
        self.name.eq_ignore_ascii_case("time")
    }
}

impl Expr {
    pub fn var(name: impl Into<String>) -> Self {
        Self::VarRef(VarRef::new(name))
    }

    pub fn binary(op: BinaryOp, left: Self, right: Self) -> Self {
        Self::Binary(Box::new(Binary { op, left, right }))
    }

    pub fn call(name: impl Into<String>, args: Vec<Self>) -> Self {
        Self::Call(Call { name: name.into(), args })
    }

    /// Without the parentheses around it.
    pub fn unparenthesized(&self) -> &Self {
        let mut expr = self;
        while let Self::Paren(inner) = expr {
            expr = inner;
        }
        expr
    }

    /// The operands of a chain of one operator, `a OR b OR c`, from left to right.
    pub fn operands(&self, op: BinaryOp) -> Vec<&Self> {
        fn gather<'a>(expr: &'a Expr, op: BinaryOp, operands: &mut Vec<&'a Expr>) {
            match expr {
                Expr::Binary(binary) if binary.op == op => {
                    gather(&binary.left, op, operands);
                    gather(&binary.right, op, operands);
                }
                other => operands.push(other),
            }
        }
        let mut operands = Vec::new();
        gather(self, op, &mut operands);
        operands
    }

    /// Calls `visit` for this node and all below it, parents first, left to right.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Binary(binary) => {
                binary.left.walk(visit);
                binary.right.walk(visit);
            }
            Self::Paren(inner) => inner.walk(visit),
            Self::Call(call) => call.args.iter().for_each(|argument| argument.walk(visit)),
            _ => {}
        }
    }

    /// As [`Expr::walk`], with the right to change; children are visited before their parent.
    pub fn walk_mut(&mut self, visit: &mut dyn FnMut(&mut Self)) {
        match self {
            Self::Binary(binary) => {
                binary.left.walk_mut(visit);
                binary.right.walk_mut(visit);
            }
            Self::Paren(inner) => inner.walk_mut(visit),
            Self::Call(call) => call.args.iter_mut().for_each(|argument| argument.walk_mut(visit)),
            _ => {}
        }
        visit(self);
    }

    /// Whether any node below, or this one, is a reference to time.
    pub fn mentions_time(&self) -> bool {
        let mut found = false;
        self.walk(&mut |expr| found |= matches!(expr, Self::VarRef(var) if var.is_time()));
        found
    }
}

impl SelectStatement {
    pub fn ascending(&self) -> bool {
        self.sort_fields.first().is_none_or(|field| field.ascending)
    }

    /// The interval of `GROUP BY time(interval)` in nanoseconds; `None` when there is none or it is 0.
    pub fn group_by_interval(&self) -> Result<Option<i64>, &'static str> {
        for dimension in &self.dimensions {
            let Expr::Call(call) = &dimension.expr else { continue };
            if call.name != "time" {
                continue;
            }
            return match call.args.as_slice() {
                [Expr::Duration(0)] | [Expr::Duration(0), _] => Ok(None),
                [Expr::Duration(every)] | [Expr::Duration(every), _] => Ok(Some(*every)),
                [_] | [_, _] => Err("time dimension must have duration argument"),
                _ => Err("time dimension expected 1 or 2 arguments"),
            };
        }
        Ok(None)
    }

    /// Whether no field calls a function.
    pub fn is_raw(&self) -> bool {
        let mut raw = true;
        for field in &self.fields {
            field.expr.walk(&mut |expr| raw &= !matches!(expr, Expr::Call(_)));
        }
        raw
    }
}
