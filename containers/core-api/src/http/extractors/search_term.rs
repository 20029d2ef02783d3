//! Text query parameters that filter a list by equality.

use serde::Deserialize;
use utoipa::ToSchema;

/// A filter value: 1 to 255 characters on one line.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 255)]
pub struct SearchTerm(String);

/// A text that is empty, too long, or contains control characters.
#[derive(Debug, thiserror::Error)]
#[error("expected 1 to 255 characters on one line")]
pub struct InvalidSearchTerm;

impl SearchTerm {
    pub fn into_string(self) -> String {
        self.0
    }
}

impl TryFrom<String> for SearchTerm {
    type Error = InvalidSearchTerm;

    fn try_from(text: String) -> Result<Self, InvalidSearchTerm> {
        // PostgreSQL rejects NUL in text, and no stored value contains another control character.
        if (1..=255).contains(&text.chars().count()) && !text.contains(char::is_control) {
            Ok(Self(text))
        } else {
            Err(InvalidSearchTerm)
        }
    }
}
