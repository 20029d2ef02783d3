//! Registering, being found by one's address, and proving that the address or the password is one's own.

use chrono::TimeDelta;
use domain::{Timestamp, UserId, clock::truncate_to_micros};
use event_publishing::PostgresOutbox;
use events::{Envelope, EventContext, OutboxEvent, TraceParent, user::UserRegistered};
use sqlx::PgConnection;
use tokens::Role;
use uuid::Uuid;

use crate::{
    DisplayName, EmailAddress, Identity, NewAuditEntry, User, Users, audit, identities,
    token_validity::parse_role,
};

/// A person who is not here yet.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Where mail reaches them.
    pub email: EmailAddress,
    /// How they want to be called.
    pub name: DisplayName,
    /// By what they come in.
    pub credential: Credential,
}

/// By what a new person comes in.
#[derive(Clone)]
pub enum Credential {
    /// A password, hashed: argon2id in the PHC format. That the address is theirs has yet to be shown.
    PasswordHash(String),
    /// An account at a provider that says of the address that it is theirs. One that does not say so opens no
    /// account here: its owner would hold another's address, and keep the key when that other comes.
    Identity(Identity),
}

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The person is here now, and `UserRegistered` waits in the outbox.
    Created(User),
    /// Somebody with this address was here before. Nothing has changed.
    AlreadyRegistered(User),
}

/// A person, and what their password is checked against.
#[derive(Clone)]
pub struct StoredCredentials {
    /// The person.
    pub user: User,
    /// argon2id in the PHC format; none when they only come by a provider.
    pub password_hash: Option<String>,
}

/// A row of `users` as it is read here.
struct Row {
    id: Uuid,
    email: Option<String>,
    name: String,
    role: String,
    email_verified_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Users {
    /// Takes a new person in: the account, the provider's identity if that is how they come, and the event, in
    /// one transaction. An address is had by one person at a time, whoever registers at the same moment.
    pub async fn register(&self, new: &NewUser, trace: TraceParent) -> Result<Registration, sqlx::Error> {
        let now = truncate_to_micros(self.clock.now());
        let user_id = UserId::new(now);
        let (password_hash, identity) = match &new.credential {
            Credential::PasswordHash(hash) => (Some(hash.as_str()), None),
            Credential::Identity(identity) => (None, Some(identity)),
        };
        let mut transaction = self.pool.begin().await?;
        let added = sqlx::query_as!(
            Row,
            "INSERT INTO users (id, email, password_hash, name, email_verified_at, tokens_valid_from, created_at,
                                updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $6, $6)
             ON CONFLICT (email) DO NOTHING
             RETURNING id, email, name, role, email_verified_at, created_at, updated_at",
            user_id.0,
            new.email.as_str(),
            password_hash,
            new.name.as_str(),
            identity.map(|_| now),
            now,
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = added else {
            let found = find_credentials(&mut transaction, &new.email).await?;
            transaction.rollback().await?;
            // The account may have been deleted between the two statements; then the address is free again.
            return found
                .map(|found| Registration::AlreadyRegistered(found.user))
                .ok_or(sqlx::Error::RowNotFound);
        };
        if let Some(identity) = identity
            && !identities::insert(&mut transaction, identity, user_id, now).await?
        {
            transaction.rollback().await?;
            let found = self.find_by_identity(identity).await?;
            return found
                .map(Registration::AlreadyRegistered)
                .ok_or(sqlx::Error::RowNotFound);
        }
        PostgresOutbox::enqueue(
            &mut transaction,
            &[user_registered_event(user_id, now, trace)],
            now,
        )
        .await?;
        transaction.commit().await?;
        Ok(Registration::Created(row.into()))
    }

    /// Makes an account without its person, who comes in by `password-forgot`: the first administrator, say. An account that
    /// has this id already gets the address, the name and the role. That it was made is noted in the same transaction.
    pub async fn upsert_account(
        &self,
        user_id: UserId,
        email: &EmailAddress,
        name: &DisplayName,
        as_role: Role,
    ) -> Result<(), sqlx::Error> {
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        sqlx::query!(
            "INSERT INTO users (id, email, name, role, tokens_valid_from, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $5, $5)
             ON CONFLICT (id) DO UPDATE SET
                 email = EXCLUDED.email, name = EXCLUDED.name, role = EXCLUDED.role, updated_at = EXCLUDED.updated_at,
                 email_verified_at = CASE WHEN users.email = EXCLUDED.email THEN users.email_verified_at END,
                 deleted_at = NULL",
            user_id.0,
            email.as_str(),
            name.as_str(),
            as_role.to_string(),
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
            details: serde_json::json!({"role": as_role}),
        };
        audit::insert(&mut transaction, &entry, now).await?;
        transaction.commit().await
    }

    /// The person with this address, and what their password is checked against.
    pub async fn find_by_email(
        &self,
        email: &EmailAddress,
    ) -> Result<Option<StoredCredentials>, sqlx::Error> {
        find_credentials(&mut *self.pool.acquire().await?, email).await
    }

    /// A person who is here.
    pub async fn find_by_id(&self, user_id: UserId) -> Result<Option<User>, sqlx::Error> {
        let row = sqlx::query_as!(
            Row,
            "SELECT id, email, name, role, email_verified_at, created_at, updated_at FROM users
             WHERE id = $1 AND deleted_at IS NULL",
            user_id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(User::from))
    }

    /// Notes that `email` was found to be the person's own. False when it is not their address any more; the
    /// first time is kept.
    pub async fn mark_email_verified(&self, user_id: UserId, email: &str) -> Result<bool, sqlx::Error> {
        let now = truncate_to_micros(self.clock.now());
        let written = sqlx::query!(
            "UPDATE users SET updated_at = CASE WHEN email_verified_at IS NULL THEN $3 ELSE updated_at END,
                              email_verified_at = COALESCE(email_verified_at, $3)
             WHERE id = $1 AND email = $2",
            user_id.0,
            email,
            now,
        )
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Gives the person another password, and ends all that they were signed in by: tokens from before are
    /// refused. `proven` is the address by whose mail they have shown who they are, if that is how; it has then
    /// been found to be theirs. False when there is no such person, or the address is not theirs any more.
    pub async fn change_password(
        &self,
        user_id: UserId,
        password_hash: &str,
        proven: Option<&str>,
    ) -> Result<bool, sqlx::Error> {
        let now = truncate_to_micros(self.clock.now());
        let written = sqlx::query!(
            "UPDATE users SET password_hash = $2, tokens_valid_from = $5, updated_at = $4,
                              email_verified_at = CASE WHEN $3::text IS NULL THEN email_verified_at
                                                       ELSE COALESCE(email_verified_at, $4) END
             WHERE id = $1 AND deleted_at IS NULL AND ($3::text IS NULL OR email = $3)",
            user_id.0,
            password_hash,
            proven,
            now,
            next_millisecond(now),
        )
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Signs the person out everywhere: all tokens that were issued before are refused.
    pub async fn revoke_tokens(&self, user_id: UserId) -> Result<(), sqlx::Error> {
        let from = next_millisecond(truncate_to_micros(self.clock.now()));
        sqlx::query!(
            "UPDATE users SET tokens_valid_from = GREATEST(tokens_valid_from, $2) WHERE id = $1",
            user_id.0,
            from,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// From when on tokens are good if those of this millisecond are not.
fn next_millisecond(now: Timestamp) -> Timestamp {
    now + TimeDelta::milliseconds(1)
}

async fn find_credentials(
    connection: &mut PgConnection,
    email: &EmailAddress,
) -> Result<Option<StoredCredentials>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT id, email, name, role, email_verified_at, created_at, updated_at, password_hash FROM users
         WHERE email = $1",
        email.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| StoredCredentials {
        user: User::from(Row {
            id: row.id,
            email: row.email,
            name: row.name,
            role: row.role,
            email_verified_at: row.email_verified_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }),
        password_hash: row.password_hash,
    }))
}

fn user_registered_event(user_id: UserId, at: Timestamp, traceparent: TraceParent) -> OutboxEvent {
    let cause = EventContext {
        correlation_id: user_id.0,
        causation_id: None,
        traceparent,
    };
    let data = UserRegistered {
        user_id,
        registered_at: at,
    };
    OutboxEvent::from(&Envelope::new(data, at, cause))
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: UserId(row.id),
            // A constraint of the table: only deleted accounts have none.
            email: row.email.unwrap_or_default(),
            name: row.name,
            role: parse_role(&row.role),
            email_verified_at: row.email_verified_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
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
