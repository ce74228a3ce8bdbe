//! When a client may be answered: how many owners of a shard must have a write durably.

/// As asked by the `consistency` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// One owner, or a durable hint for one.
    Any,
    #[default]
    One,
    Quorum,
    All,
}

impl Consistency {
    /// Reads the parameter, in any case of letters; the empty text is the default.
    pub fn from_token(token: &str) -> Option<Self> {
        Some(match token.to_ascii_lowercase().as_str() {
            "any" => Self::Any,
            "" | "one" => Self::One,
            "quorum" => Self::Quorum,
            "all" => Self::All,
            _ => return None,
        })
    }

    /// Owners that must have answered, of `owners`.
    pub fn required(self, owners: usize) -> usize {
        match self {
            Self::Any | Self::One => 1,
            Self::Quorum => owners / 2 + 1,
            Self::All => owners,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_in_any_case_and_others_refused() {
        assert_eq!(Consistency::from_token(""), Some(Consistency::One));
        assert_eq!(Consistency::from_token("QUORUM"), Some(Consistency::Quorum));
        assert_eq!(Consistency::from_token("two"), None);
    }

    #[test]
    fn a_quorum_is_more_than_half() {
        let required = |level: Consistency| (1..=5).map(|owners| level.required(owners)).collect::<Vec<_>>();
        assert_eq!(required(Consistency::Quorum), [1, 2, 2, 3, 3]);
        assert_eq!(required(Consistency::All), [1, 2, 3, 4, 5]);
        assert_eq!(required(Consistency::Any), [1; 5]);
    }
}
