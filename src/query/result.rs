//! The common result of all statements: series with typed columns, handed over in bounded pieces.
//!
//! A statement's execution pushes pieces into a [`ResultSink`] and ends with `Result<()>`; an error ends the
//! statement. Successive pieces with the same name and tags are one series. A sink that waits (because its client
//! is slow) stops the scan behind it.

use std::rc::Rc;

use tidemark_engine::model::{Column, ColumnData};

use super::error::Result;
use super::rows;

/// One value of a row whose column has no single type, such as those of SHOW statements.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    /// Nanoseconds since 1970; encoded as the client asked for.
    Time(i64),
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(Vec<u8>),
    /// An array of strings, as SHOW SUBSCRIPTIONS has it.
    List(Vec<Vec<u8>>),
}

impl Cell {
    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        Self::String(text.into())
    }
}

/// The values of one column of a piece.
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    Times(Vec<i64>),
    Typed(Column),
    Mixed(Vec<Cell>),
}

impl Cells {
    pub fn len(&self) -> usize {
        match self {
            Self::Times(times) => times.len(),
            Self::Typed(column) => column.len(),
            Self::Mixed(cells) => cells.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of one value. For tests and slow paths.
    pub fn get(&self, at: usize) -> Cell {
        match self {
            Self::Times(times) => Cell::Time(times[at]),
            Self::Mixed(cells) => cells[at].clone(),
            Self::Typed(column) if !column.is_present(at) => Cell::Null,
            Self::Typed(column) => match &column.data {
                ColumnData::Float(values) => Cell::Float(values[at]),
                ColumnData::Integer(values) => Cell::Integer(values[at]),
                ColumnData::Unsigned(values) => Cell::Unsigned(values[at]),
                ColumnData::Boolean(values) => Cell::Boolean(values[at]),
                ColumnData::String(values) => Cell::String(values.get(at).to_vec()),
            },
        }
    }
}

/// How a chunked answer is cut into documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cut {
    /// At each series, and at so many rows.
    #[default]
    Rows,
    /// At each series; nothing says that more follows.
    Series,
    Never,
}

/// A piece of one series of a statement's answer: all columns have the same number of rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Empty: the series has no name.
    pub name: Vec<u8>,
    /// Sorted by key; empty: the series has no tags.
    pub tags: Vec<(Vec<u8>, Vec<u8>)>,
    /// Shared by all pieces of an answer.
    pub columns: Rc<[Vec<u8>]>,
    /// One per column.
    pub values: Vec<Cells>,
    /// The zone whose clock times are shown in; `None` is UTC.
    pub zone: Option<chrono_tz::Tz>,
    pub cut: Cut,
}

impl Series {
    /// A series from rows, as statements about what there is make them: chunked answers do not cut these.
    pub fn from_rows(name: &[u8], columns: &[&str], rows: Vec<Vec<Cell>>) -> Self {
        let mut values: Vec<Vec<Cell>> = columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            debug_assert_eq!(row.len(), columns.len());
            for (column, cell) in values.iter_mut().zip(row) {
                column.push(cell);
            }
        }
        Self {
            name: name.to_vec(),
            tags: Vec::new(),
            columns: columns.iter().map(|column| column.as_bytes().to_vec()).collect(),
            values: values.into_iter().map(Cells::Mixed).collect(),
            zone: None,
            cut: Cut::Never,
        }
    }

    pub fn rows(&self) -> usize {
        self.values.first().map_or(0, Cells::len)
    }

    /// The first rows of it.
    pub fn first_rows(&self, rows: usize) -> Self {
        let first = |cells: &Cells| match cells {
            Cells::Times(times) => Cells::Times(times[..rows].to_vec()),
            Cells::Typed(column) => Cells::Typed(rows::slice(column, 0..rows)),
            Cells::Mixed(cells) => Cells::Mixed(cells[..rows].to_vec()),
        };
        Self { values: self.values.iter().map(first).collect(), ..self.clone() }
    }

    /// Whether `other` continues this series.
    pub fn is_same_series(&self, other: &Self) -> bool {
        self.name == other.name && self.tags == other.tags
    }
}

/// Where a statement's pieces go.
pub trait ResultSink {
    /// Takes a piece; waits while there is no room.
    async fn series(&mut self, series: Series) -> Result<()>;

    /// Takes a message to the user, such as the deprecation warnings of InfluxDB.
    async fn message(&mut self, level: &str, text: &str) -> Result<()>;
}

/// Lets go of everything: nobody looks at the answer.
#[derive(Debug)]
pub struct Unseen;

impl ResultSink for Unseen {
    async fn series(&mut self, _: Series) -> Result<()> {
        Ok(())
    }

    async fn message(&mut self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }
}

/// Gathers everything, for statements used inside the server and for tests.
#[derive(Debug, Default)]
pub struct Collected {
    pub series: Vec<Series>,
    pub messages: Vec<(String, String)>,
}

impl ResultSink for Collected {
    async fn series(&mut self, series: Series) -> Result<()> {
        self.series.push(series);
        Ok(())
    }

    async fn message(&mut self, level: &str, text: &str) -> Result<()> {
        self.messages.push((level.to_string(), text.to_string()));
        Ok(())
    }
}
