//! How long a page may be.

use serde::Deserialize;
use utoipa::ToSchema;

/// How many entries a page has at most: 1 to 100, and 20 unless the client says otherwise.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(try_from = "u32")]
#[schema(value_type = u32, minimum = 1, maximum = 100, default = 20)]
pub struct PageSize(u32);

/// A length that no page has.
#[derive(Debug, thiserror::Error)]
#[error("expected a limit from 1 to 100")]
pub struct InvalidPageSize;

impl PageSize {
    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(20)
    }
}

impl TryFrom<u32> for PageSize {
    type Error = InvalidPageSize;

    fn try_from(limit: u32) -> Result<Self, InvalidPageSize> {
        if (1..=100).contains(&limit) {
            Ok(Self(limit))
        } else {
            Err(InvalidPageSize)
        }
    }
}
