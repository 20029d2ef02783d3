-- User accounts. The auth functions and core-api write them through the crate `users`.
CREATE SCHEMA accounts;

CREATE TABLE accounts.users (
    id                uuid PRIMARY KEY,
    -- In lower case. Null once the account is deleted, so that the address is free again.
    email             text UNIQUE CHECK (email = lower(email) AND length(email) <= 254),
    -- argon2id in the PHC format; null for users who sign in with a provider only.
    password_hash     text,
    name              text        NOT NULL CHECK (length(name) <= 100),
    role              text        NOT NULL DEFAULT 'customer' CHECK (role IN ('customer', 'support', 'admin')),
    email_verified_at timestamptz,
    -- Tokens issued earlier are rejected. Moved by a new password, a logout everywhere and account deletion.
    tokens_valid_from timestamptz NOT NULL,
    -- {"order_mails": true, "order_sms": true, "language": "ja",
    --  "quiet_hours": {"start": "22:00", "end": "08:00", "time_zone": "Asia/Tokyo"}}
    preferences       jsonb       NOT NULL DEFAULT '{}',
    -- E.164. The user has entered a code that was sent to it.
    phone_number      text,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    -- Deleted accounts stay without personal data, because retained orders refer to them.
    deleted_at        timestamptz,
    CHECK ((email IS NULL) = (deleted_at IS NOT NULL)),
    CHECK (phone_number IS NOT NULL OR NOT COALESCE((preferences ->> 'order_sms')::boolean, false))
);

CREATE INDEX users_by_age ON accounts.users (created_at DESC, id DESC);

-- The accounts at identity providers that a user may sign in with.
CREATE TABLE accounts.user_identities (
    provider   text        NOT NULL CHECK (provider IN ('google', 'github')),
    -- The provider's id of the account (`sub`), which never changes; its e-mail address may.
    subject    text        NOT NULL CHECK (length(subject) <= 255),
    user_id    uuid        NOT NULL REFERENCES accounts.users,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (provider, subject)
);

CREATE INDEX user_identities_by_user ON accounts.user_identities (user_id);

-- The code that verifies a telephone number: at most one per account.
CREATE TABLE accounts.phone_verifications (
    user_id      uuid PRIMARY KEY REFERENCES accounts.users,
    phone_number text        NOT NULL,
    -- SHA-256 of account, number and code.
    code_digest  bytea       NOT NULL,
    attempts     smallint    NOT NULL,
    expires_at   timestamptz NOT NULL
);

-- The codes of the last day, to bound them. Rows outlive the account, so that its deletion resets no bound;
-- the next code deletes those that are older than a day.
CREATE TABLE accounts.phone_codes_sent (
    id            uuid PRIMARY KEY,
    user_id       uuid        NOT NULL,
    -- SHA-256 of the number.
    number_digest bytea       NOT NULL,
    sent_at       timestamptz NOT NULL
);

CREATE TABLE accounts.user_addresses (
    id          uuid PRIMARY KEY,
    user_id     uuid        NOT NULL REFERENCES accounts.users,
    recipient   text        NOT NULL,
    -- ISO 3166-1 alpha-2.
    country     text        NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    postal_code text        NOT NULL,
    region      text        NOT NULL,
    city        text        NOT NULL,
    line1       text        NOT NULL,
    line2       text,
    phone       text,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

CREATE INDEX user_addresses_by_user ON accounts.user_addresses (user_id, id);

-- The audit log: who did what to whom. Append-only. Rows contain no secrets.
CREATE TABLE accounts.audit_log (
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL,
    -- Null if the request was unauthenticated.
    actor_id   uuid,
    -- The action: `login`, `login_refused`, `role_changed`, …
    action     text        NOT NULL,
    -- The object of the action, for example a user's id.
    subject    text,
    -- The client's IP address, as seen by the API gateway.
    address    text,
    trace_id   text,
    details    jsonb       NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_log_by_age ON accounts.audit_log (id DESC);
CREATE INDEX audit_log_by_actor ON accounts.audit_log (actor_id, id DESC);
CREATE INDEX audit_log_by_subject ON accounts.audit_log (subject, id DESC);

CREATE FUNCTION accounts.audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON accounts.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION accounts.audit_log_is_append_only();
