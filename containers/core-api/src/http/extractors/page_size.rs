//! The `limit` query parameter of lists.

use serde::Deserialize;
use utoipa::ToSchema;

/// The maximum number of entries in a page: 1 to 100, 20 by default.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(try_from = "u32")]
#[schema(value_type = u32, minimum = 1, maximum = 100, default = 20)]
pub struct PageSize(u32);

/// A page size outside the range 1 to 100.
#[derive(Debug, thiserror::Error)]
#[error("expected a limit from 1 to 100")]
pub struct InvalidPageSize;

impl PageSize {
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

    fn try_from(size: u32) -> Result<Self, InvalidPageSize> {
        if (1..=100).contains(&size) {
            Ok(Self(size))
        } else {
            Err(InvalidPageSize)
        }
    }
}
