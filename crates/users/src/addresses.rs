//! Postal addresses that users save for deliveries.

use database::DatabaseError;
use domain::{Timestamp, UserId, ids::uuid_v7};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::Users;

/// Per account.
pub const MAX_ADDRESSES: i64 = 20;

/// The postal address itself, as the user entered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressDetails {
    pub recipient: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// In the format of the country.
    pub postal_code: String,
    /// Prefecture, state or province.
    pub region: String,
    pub city: String,
    /// Street and house number.
    pub line1: String,
    /// Building, floor or apartment.
    pub line2: Option<String>,
    /// The carrier calls this number about the delivery.
    pub phone: Option<String>,
}

/// A saved address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub id: Uuid,
    pub details: AddressDetails,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The address was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("an account can have at most {MAX_ADDRESSES} addresses")]
    TooMany,
    /// The account does not exist or was deleted.
    #[error("the account does not exist")]
    AccountNotFound,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for AddressError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

struct AddressRow {
    id: Uuid,
    recipient: String,
    country: String,
    postal_code: String,
    region: String,
    city: String,
    line1: String,
    line2: Option<String>,
    phone: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<AddressRow> for Address {
    fn from(row: AddressRow) -> Self {
        Self {
            id: row.id,
            details: AddressDetails {
                recipient: row.recipient,
                country: row.country,
                postal_code: row.postal_code,
                region: row.region,
                city: row.city,
                line1: row.line1,
                line2: row.line2,
                phone: row.phone,
            },
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl Users {
    /// The user's addresses, oldest first.
    pub async fn addresses(&self, user_id: UserId) -> Result<Vec<Address>, DatabaseError> {
        let rows = sqlx::query_as!(
            AddressRow,
            "SELECT id, recipient, country, postal_code, region, city, line1, line2, phone, created_at, updated_at
             FROM accounts.user_addresses WHERE user_id = $1 ORDER BY id",
            user_id.0,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(Address::from).collect())
    }

    /// Returns `None` when the address does not exist or belongs to another user.
    pub async fn address(&self, user_id: UserId, id: Uuid) -> Result<Option<Address>, DatabaseError> {
        let row = sqlx::query_as!(
            AddressRow,
            "SELECT id, recipient, country, postal_code, region, city, line1, line2, phone, created_at, updated_at
             FROM accounts.user_addresses WHERE user_id = $1 AND id = $2",
            user_id.0,
            id,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(Address::from))
    }

    pub async fn add_address(
        &self,
        user_id: UserId,
        details: AddressDetails,
    ) -> Result<Address, AddressError> {
        let now = self.now();
        let id = uuid_v7(now);
        let mut transaction = self.pool.begin().await?;
        if !lock_account(&mut transaction, user_id).await? {
            return Err(AddressError::AccountNotFound);
        }
        let count = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM accounts.user_addresses WHERE user_id = $1"#,
            user_id.0
        )
        .fetch_one(&mut *transaction)
        .await?;
        if count >= MAX_ADDRESSES {
            return Err(AddressError::TooMany);
        }
        sqlx::query!(
            "INSERT INTO accounts.user_addresses (id, user_id, recipient, country, postal_code, region, city,
                                                  line1, line2, phone, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)",
            id,
            user_id.0,
            details.recipient,
            details.country,
            details.postal_code,
            details.region,
            details.city,
            details.line1,
            details.line2,
            details.phone,
            now,
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Address {
            id,
            details,
            created_at: now,
            updated_at: now,
        })
    }

    /// Returns `None` when the address does not exist or belongs to another user.
    pub async fn replace_address(
        &self,
        user_id: UserId,
        id: Uuid,
        details: AddressDetails,
    ) -> Result<Option<Address>, DatabaseError> {
        let now = self.now();
        let row = sqlx::query!(
            "UPDATE accounts.user_addresses
             SET recipient = $3, country = $4, postal_code = $5, region = $6, city = $7, line1 = $8, line2 = $9,
                 phone = $10, updated_at = $11
             WHERE user_id = $1 AND id = $2 RETURNING created_at",
            user_id.0,
            id,
            details.recipient,
            details.country,
            details.postal_code,
            details.region,
            details.city,
            details.line1,
            details.line2,
            details.phone,
            now,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| Address {
            id,
            details,
            created_at: row.created_at,
            updated_at: now,
        }))
    }

    /// Returns `false` when the address does not exist or belongs to another user.
    pub async fn remove_address(&self, user_id: UserId, id: Uuid) -> Result<bool, DatabaseError> {
        let removed = sqlx::query!(
            "DELETE FROM accounts.user_addresses WHERE user_id = $1 AND id = $2",
            user_id.0,
            id
        )
        .execute(&self.pool)
        .await?;
        Ok(removed.rows_affected() == 1)
    }
}

/// Locks the account's row: concurrent requests then count the addresses one after the other, and the account
/// cannot be deleted meanwhile. Returns `false` when the account does not exist.
async fn lock_account(
    transaction: &mut Transaction<'_, Postgres>,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let locked = sqlx::query!(
        "SELECT id FROM accounts.users WHERE id = $1 AND deleted_at IS NULL FOR UPDATE",
        user_id.0
    )
    .fetch_optional(&mut **transaction)
    .await?;
    Ok(locked.is_some())
}
