//! What is searched for.

use serde::Deserialize;
use utoipa::ToSchema;

/// A text that is compared with what a store holds.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 255)]
pub struct Term(String);

/// A text that no store holds.
#[derive(Debug, thiserror::Error)]
#[error("expected 1 to 255 characters on one line")]
pub struct InvalidTerm;

impl Term {
    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl TryFrom<String> for Term {
    type Error = InvalidTerm;

    fn try_from(text: String) -> Result<Self, InvalidTerm> {
        // PostgreSQL takes no NUL, and nothing that is looked for has another control character.
        if (1..=255).contains(&text.chars().count()) && !text.contains(char::is_control) {
            Ok(Self(text))
        } else {
            Err(InvalidTerm)
        }
    }
}
