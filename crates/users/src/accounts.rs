//! Registration, credential lookup, e-mail verification, password changes and token revocation.

use chrono::TimeDelta;
use database::DatabaseError;
use domain::{Timestamp, UserId};
use event_publishing::AccountOutbox;
use events::{
    Envelope, EventContext, OutboxEvent, TraceParent,
    user::{UserRegistered, UserTokensRevoked},
};
use sqlx::{PgConnection, error::UnexpectedNullError};
use tokens::Role;
use uuid::Uuid;

use crate::{
    DisplayName, EmailAddress, Identity, NewAuditEntry, User, Users, audit, identities, role::parse_role,
};

/// Bounds the retries of a registration whose conflicting account disappears before it can be read.
const MAX_REGISTRATION_ATTEMPTS: usize = 3;

/// A user to register.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub email: EmailAddress,
    pub name: DisplayName,
    pub credential: Credential,
}

/// The credential that a new user signs in with.
#[derive(Clone)]
pub enum Credential {
    /// An argon2id hash in the PHC format. The e-mail address still has to be verified.
    PasswordHash(String),
    /// An identity whose provider has verified the e-mail address.
    ///
    /// An identity with an unverified address must not create an account: otherwise an attacker could
    /// register the address of another person and keep access when the owner of the address arrives.
    Identity(Identity),
}

/// The outcome of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The account exists now, and the outbox contains its `UserRegistered` event.
    Created(User),
    /// This account has the e-mail address or the identity already. Nothing has changed.
    AlreadyRegistered(User),
    /// In every attempt, another account had the address or the identity and was deleted before it could be
    /// read. Nothing has changed. Callers answer as they do for [`Self::AlreadyRegistered`].
    Conflict,
}

/// A user and the hash that their password is verified against.
#[derive(Clone)]
pub struct StoredCredentials {
    pub user: User,
    /// An argon2id hash in the PHC format; `None` when the user signs in with identity providers only.
    pub password_hash: Option<String>,
}

/// The columns of `users` that a [`User`] needs.
struct UserRow {
    id: Uuid,
    email: Option<String>,
    name: String,
    role: String,
    email_verified_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Users {
    /// Creates the account, its linked identity if there is one, and the `UserRegistered` event in one
    /// transaction.
    ///
    /// The unique constraint on the e-mail address decides between concurrent registrations.
    pub async fn register(
        &self,
        new_user: &NewUser,
        traceparent: TraceParent,
    ) -> Result<Registration, DatabaseError> {
        for _ in 0..MAX_REGISTRATION_ATTEMPTS {
            if let Some(registration) = self.try_register(new_user, traceparent).await? {
                return Ok(registration);
            }
        }
        Ok(Registration::Conflict)
    }

    /// Returns `None` when the insert conflicts with an account that is deleted before this method can read
    /// it.
    async fn try_register(
        &self,
        new_user: &NewUser,
        traceparent: TraceParent,
    ) -> Result<Option<Registration>, DatabaseError> {
        let now = self.now();
        let user_id = UserId::new(now);
        let (password_hash, identity) = match &new_user.credential {
            Credential::PasswordHash(hash) => (Some(hash.as_str()), None),
            Credential::Identity(identity) => (None, Some(identity)),
        };
        let mut transaction = self.pool.begin().await?;
        let inserted = sqlx::query_as!(
            UserRow,
            "INSERT INTO accounts.users (id, email, password_hash, name, email_verified_at, tokens_valid_from,
                                         created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6, $6)
             ON CONFLICT (email) DO NOTHING
             RETURNING id, email, name, role, email_verified_at, created_at, updated_at",
            user_id.0,
            new_user.email.as_str(),
            password_hash,
            new_user.name.as_str(),
            identity.map(|_| now),
            now,
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = inserted else {
            let credentials = find_credentials(&mut transaction, &new_user.email).await?;
            transaction.rollback().await?;
            return Ok(credentials.map(|found| Registration::AlreadyRegistered(found.user)));
        };
        if let Some(identity) = identity
            && !identities::insert(&mut transaction, identity, user_id, now).await?
        {
            transaction.rollback().await?;
            let user = self.find_by_identity(identity).await?;
            return Ok(user.map(Registration::AlreadyRegistered));
        }
        let event = user_registered_event(user_id, now, traceparent);
        AccountOutbox::enqueue(&mut transaction, &[event], now).await?;
        transaction.commit().await?;
        Ok(Some(Registration::Created(row.try_into()?)))
    }

    /// Creates an account without a password, for example that of the first administrator. Its user sets the
    /// password with the function `password-forgot`.
    ///
    /// An existing account with this id gets the e-mail address, the name and the role instead. The audit log
    /// entry is written in the same transaction.
    pub async fn upsert_account(
        &self,
        user_id: UserId,
        email: &EmailAddress,
        name: &DisplayName,
        role: Role,
    ) -> Result<(), DatabaseError> {
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        sqlx::query!(
            "INSERT INTO accounts.users (id, email, name, role, tokens_valid_from, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $5, $5)
             ON CONFLICT (id) DO UPDATE SET
                 email = EXCLUDED.email, name = EXCLUDED.name, role = EXCLUDED.role, updated_at = EXCLUDED.updated_at,
                 email_verified_at = CASE WHEN users.email = EXCLUDED.email THEN users.email_verified_at END,
                 deleted_at = NULL",
            user_id.0,
            email.as_str(),
            name.as_str(),
            role.to_string(),
            now,
        )
        .execute(&mut *transaction)
        .await?;
        let entry = NewAuditEntry {
            actor: None,
            action: "account_created",
            subject: Some(user_id.to_string()),
            client_ip: None,
            trace_id: None,
            details: serde_json::json!({"role": role}),
        };
        audit::insert(&mut transaction, &entry, now).await?;
        Ok(transaction.commit().await?)
    }

    pub async fn find_by_email(
        &self,
        email: &EmailAddress,
    ) -> Result<Option<StoredCredentials>, DatabaseError> {
        find_credentials(&mut *self.pool.acquire().await?, email).await
    }

    /// Returns `None` when the account does not exist or was deleted.
    pub async fn find_by_id(&self, user_id: UserId) -> Result<Option<User>, DatabaseError> {
        let row = sqlx::query_as!(
            UserRow,
            "SELECT id, email, name, role, email_verified_at, created_at, updated_at FROM accounts.users
             WHERE id = $1 AND deleted_at IS NULL",
            user_id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(User::try_from).transpose()
    }

    /// Records that the user owns `email`. A repeated call keeps the time of the first verification.
    ///
    /// Returns `false` when `email` is no longer the account's address.
    pub async fn mark_email_verified(&self, user_id: UserId, email: &str) -> Result<bool, DatabaseError> {
        let now = self.now();
        let updated = sqlx::query!(
            "UPDATE accounts.users
             SET updated_at = CASE WHEN email_verified_at IS NULL THEN $3 ELSE updated_at END,
                 email_verified_at = COALESCE(email_verified_at, $3)
             WHERE id = $1 AND email = $2",
            user_id.0,
            email,
            now,
        )
        .execute(&self.pool)
        .await?;
        Ok(updated.rows_affected() == 1)
    }

    /// Replaces the password hash and rejects all tokens that were issued before. The transaction also writes
    /// the `UserTokensRevoked` event.
    ///
    /// `verified_email` is the address that the password reset link was sent to: following the link verifies
    /// it. Returns `false` when the account does not exist, or when `verified_email` is no longer its
    /// address.
    pub async fn change_password(
        &self,
        user_id: UserId,
        password_hash: &str,
        verified_email: Option<&str>,
    ) -> Result<bool, DatabaseError> {
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        let valid_from = next_millisecond(now);
        let updated = sqlx::query!(
            "UPDATE accounts.users
             SET password_hash = $2, tokens_valid_from = $5, updated_at = $4,
                 email_verified_at = CASE WHEN $3::text IS NULL THEN email_verified_at
                                          ELSE COALESCE(email_verified_at, $4) END
             WHERE id = $1 AND deleted_at IS NULL AND ($3::text IS NULL OR email = $3)",
            user_id.0,
            password_hash,
            verified_email,
            now,
            valid_from,
        )
        .execute(&mut *transaction)
        .await?;
        if updated.rows_affected() == 0 {
            return Ok(false);
        }
        enqueue_tokens_revoked(&mut transaction, user_id, valid_from, now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Signs the user out on all devices: the account rejects all tokens that were issued before. The
    /// transaction also writes the `UserTokensRevoked` event.
    pub async fn revoke_tokens(&self, user_id: UserId) -> Result<(), DatabaseError> {
        let now = self.now();
        let valid_from = next_millisecond(now);
        let mut transaction = self.pool.begin().await?;
        sqlx::query!(
            "UPDATE accounts.users SET tokens_valid_from = GREATEST(tokens_valid_from, $2) WHERE id = $1",
            user_id.0,
            valid_from,
        )
        .execute(&mut *transaction)
        .await?;
        enqueue_tokens_revoked(&mut transaction, user_id, valid_from, now).await?;
        Ok(transaction.commit().await?)
    }
}

/// Token issue times have millisecond precision, so tokens of the current millisecond are rejected as well.
pub(crate) fn next_millisecond(now: Timestamp) -> Timestamp {
    now + TimeDelta::milliseconds(1)
}

async fn find_credentials(
    connection: &mut PgConnection,
    email: &EmailAddress,
) -> Result<Option<StoredCredentials>, DatabaseError> {
    let row = sqlx::query!(
        "SELECT id, email, name, role, email_verified_at, created_at, updated_at, password_hash
         FROM accounts.users WHERE email = $1",
        email.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(StoredCredentials {
            user: User::try_from(UserRow {
                id: row.id,
                email: row.email,
                name: row.name,
                role: row.role,
                email_verified_at: row.email_verified_at,
                created_at: row.created_at,
                updated_at: row.updated_at,
            })?,
            password_hash: row.password_hash,
        })
    })
    .transpose()
}

/// Adds the `UserTokensRevoked` event to the outbox. Consumers such as the realtime API end what the user's
/// tokens have opened.
pub(crate) async fn enqueue_tokens_revoked(
    connection: &mut PgConnection,
    user_id: UserId,
    tokens_valid_from: Timestamp,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let context = EventContext {
        correlation_id: user_id.0,
        causation_id: None,
        traceparent: TraceParent::root(now),
    };
    let data = UserTokensRevoked {
        user_id,
        tokens_valid_from,
    };
    let event = OutboxEvent::from(&Envelope::new(data, now, context));
    AccountOutbox::enqueue(connection, &[event], now).await
}

fn user_registered_event(user_id: UserId, registered_at: Timestamp, traceparent: TraceParent) -> OutboxEvent {
    let context = EventContext {
        correlation_id: user_id.0,
        causation_id: None,
        traceparent,
    };
    let data = UserRegistered {
        user_id,
        registered_at,
    };
    OutboxEvent::from(&Envelope::new(data, registered_at, context))
}

impl TryFrom<UserRow> for User {
    type Error = DatabaseError;

    fn try_from(row: UserRow) -> Result<Self, DatabaseError> {
        Ok(Self {
            id: UserId(row.id),
            // A table constraint allows no e-mail address for deleted accounts only.
            email: row
                .email
                .ok_or_else(|| DatabaseError::invalid_value("email", UnexpectedNullError))?,
            name: row.name,
            role: parse_role(&row.role)?,
            email_verified_at: row.email_verified_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PasswordHash(_) => "Password",
            Self::Identity(_) => "Identity",
        })
    }
}

impl std::fmt::Debug for StoredCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user_id", &self.user.id)
            .finish_non_exhaustive()
    }
}
