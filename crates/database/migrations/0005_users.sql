-- People's accounts. The functions of the auth family and core-api write them, through the crate `users`.
CREATE TABLE users (
    id                uuid PRIMARY KEY,
    -- In small letters. None once the account is deleted: the address is free again.
    email             text UNIQUE CHECK (email = lower(email) AND length(email) <= 254),
    -- argon2id in the PHC format; none for those who only come by a provider.
    password_hash     text,
    name              text        NOT NULL CHECK (length(name) <= 100),
    role              text        NOT NULL DEFAULT 'customer' CHECK (role IN ('customer', 'support', 'admin')),
    email_verified_at timestamptz,
    -- Tokens that were issued before are refused: a new password, logout everywhere, a deleted account.
    tokens_valid_from timestamptz NOT NULL,
    -- {"order_mails": true, "language": "ja"}
    preferences       jsonb       NOT NULL DEFAULT '{}',
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    -- Deleted accounts stay, emptied: orders that must be kept name them.
    deleted_at        timestamptz,
    CHECK ((email IS NULL) = (deleted_at IS NOT NULL))
);

CREATE INDEX users_by_age ON users (created_at DESC, id DESC);

-- By which providers' accounts a person may sign in.
CREATE TABLE user_identities (
    provider   text        NOT NULL CHECK (provider IN ('google', 'github')),
    -- The provider's own name of the account, which never changes; its e-mail address may.
    subject    text        NOT NULL CHECK (length(subject) <= 255),
    user_id    uuid        NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (provider, subject)
);

CREATE INDEX user_identities_by_user ON user_identities (user_id);

CREATE TABLE user_addresses (
    id          uuid PRIMARY KEY,
    user_id     uuid        NOT NULL REFERENCES users,
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

CREATE INDEX user_addresses_by_user ON user_addresses (user_id, id);

-- Who did what to whom. Rows are added, never changed, and hold no secret.
CREATE TABLE audit_log (
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL,
    -- None where nobody was signed in.
    actor_id   uuid,
    -- What was done: `login`, `login_refused`, `role_changed`, …
    action     text        NOT NULL,
    -- Whom or what it was done to.
    subject    text,
    -- From where, as the front door saw it.
    address    text,
    trace_id   text,
    details    jsonb       NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_log_by_age ON audit_log (id DESC);
CREATE INDEX audit_log_by_actor ON audit_log (actor_id, id DESC);
CREATE INDEX audit_log_by_subject ON audit_log (subject, id DESC);

CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only();
