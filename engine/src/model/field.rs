//! Field types and single values.

/// The type of a field. The numbers are a format: they stand in batches, WAL and TSM files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FieldType {
    Float = 0,
    Integer = 1,
    Unsigned = 2,
    Boolean = 3,
    String = 4,
}

impl FieldType {
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Float,
            1 => Self::Integer,
            2 => Self::Unsigned,
            3 => Self::Boolean,
            4 => Self::String,
            _ => return None,
        })
    }

    /// The name InfluxQL and error texts use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::Boolean => "boolean",
            Self::String => "string",
        }
    }
}

/// One value of a field, owned. Hot paths use typed columns instead.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(Vec<u8>),
}

impl Value {
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::Unsigned(_) => FieldType::Unsigned,
            Self::Boolean(_) => FieldType::Boolean,
            Self::String(_) => FieldType::String,
        }
    }
}
