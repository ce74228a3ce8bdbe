//! The columns a SELECT reads.

use hashbrown::HashMap;

use super::types::Type;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Input {
    pub name: String,
    pub kind: Type,
}

/// The inputs found so far. Wildcards make thousands of them, so they are looked up by hash.
#[derive(Default)]
pub struct Inputs {
    pub list: Vec<Input>,
    at: HashMap<Input, usize>,
}

impl Inputs {
    pub fn known(&self, name: &str, kind: Type) -> Option<usize> {
        self.at.get(&Input { name: name.to_string(), kind }).copied()
    }

    /// Where an input stands, added when it is new.
    pub fn position(&mut self, name: &str, kind: Type) -> usize {
        let input = Input { name: name.to_string(), kind };
        let next = self.list.len();
        let at = *self.at.entry_ref(&input).or_insert(next);
        if at == next {
            self.list.push(input);
        }
        at
    }
}
