//! The limits: every number stands here, and which route has which.

use std::time::Duration;

use axum::http::Method;

/// What a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyedBy {
    /// The requests from one address, whoever sends them.
    Address,
    /// The requests of one person, from wherever.
    User,
}

/// So many requests in so long.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    /// What clients know it by.
    pub name: &'static str,
    /// How many requests, which may also come all at once.
    pub requests: u32,
    /// In what time they are given again, one after the other.
    pub window: Duration,
    /// Whose.
    pub keyed_by: KeyedBy,
}

const MINUTE: Duration = Duration::from_secs(60);

/// Reading the catalogue: many people share an address, and an answer costs next to nothing.
pub static CATALOG: Policy = Policy {
    name: "catalog",
    requests: 6000,
    window: MINUTE,
    keyed_by: KeyedBy::Address,
};

/// One's cart.
pub static CARTS: Policy = Policy {
    name: "carts",
    requests: 300,
    window: MINUTE,
    keyed_by: KeyedBy::User,
};

/// The carts of people who are not signed in.
pub static ANONYMOUS_CARTS: Policy = Policy {
    name: "anonymous-carts",
    requests: 1800,
    window: MINUTE,
    keyed_by: KeyedBy::Address,
};

/// Placing orders and taking them back.
pub static ORDERS: Policy = Policy {
    name: "orders",
    requests: 30,
    window: MINUTE,
    keyed_by: KeyedBy::User,
};

/// What is one's own: account, addresses, orders to read.
pub static ACCOUNT: Policy = Policy {
    name: "account",
    requests: 300,
    window: MINUTE,
    keyed_by: KeyedBy::User,
};

/// All that is known of oneself, which reads every order one ever placed.
pub static DATA_EXPORT: Policy = Policy {
    name: "data-export",
    requests: 10,
    window: Duration::from_secs(3600),
    keyed_by: KeyedBy::User,
};

/// Other people's accounts, the audit log, changes of the catalogue.
pub static ADMINISTRATION: Policy = Policy {
    name: "administration",
    requests: 600,
    window: MINUTE,
    keyed_by: KeyedBy::User,
};

/// Whatever needs a token, asked for without one that is good.
pub static UNAUTHENTICATED: Policy = Policy {
    name: "unauthenticated",
    requests: 120,
    window: MINUTE,
    keyed_by: KeyedBy::Address,
};

/// All of them.
pub static POLICIES: [&Policy; 8] = [
    &CATALOG,
    &ANONYMOUS_CARTS,
    &CARTS,
    &ORDERS,
    &ACCOUNT,
    &DATA_EXPORT,
    &ADMINISTRATION,
    &UNAUTHENTICATED,
];

/// The limits of a route.
#[derive(Clone, Copy, Debug)]
pub struct RouteLimits {
    /// Of those who are signed in; none where nobody looks at a token.
    pub per_user: Option<&'static Policy>,
    /// Of everybody else.
    pub per_address: &'static Policy,
}

/// The limits of an operation, by the pattern of its path. None for what is no operation: the description of the API, and
/// the page to try it.
#[must_use]
pub fn route_limits(method: &Method, path: &str) -> Option<RouteLimits> {
    let person = match path {
        "/v1/products" | "/v1/products/{id}" | "/v1/categories" if method.is_safe() => {
            return Some(RouteLimits {
                per_user: None,
                per_address: &CATALOG,
            });
        }
        "/v1/cart" | "/v1/cart/items/{product_id}" => {
            return Some(RouteLimits {
                per_user: Some(&CARTS),
                per_address: &ANONYMOUS_CARTS,
            });
        }
        "/v1/orders" | "/v1/orders/{id}" if method.is_safe() => &ACCOUNT,
        "/v1/orders" | "/v1/orders/{id}/cancel" | "/v1/cart/checkout" => &ORDERS,
        "/v1/me/export" => &DATA_EXPORT,
        "/v1/me" | "/v1/me/addresses" | "/v1/me/addresses/{id}" => &ACCOUNT,
        "/v1/products" | "/v1/products/{id}" => &ADMINISTRATION,
        "/v1/users" | "/v1/users/{id}" | "/v1/users/{id}/role" | "/v1/audit" => &ADMINISTRATION,
        _ => return None,
    };
    Some(RouteLimits {
        per_user: Some(person),
        per_address: &UNAUTHENTICATED,
    })
}
