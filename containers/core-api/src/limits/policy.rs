//! The limits: every number stands here, and which route has which.

use std::time::Duration;

use axum::http::Method;

/// What a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// The requests from one address, whoever sends them.
    Address,
    /// The requests of one person, from wherever.
    Person,
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
    pub counts: Counts,
}

const MINUTE: Duration = Duration::from_secs(60);

/// Reading the catalogue: many people share an address, and an answer costs next to nothing.
pub static CATALOGUE: Policy = Policy {
    name: "catalogue",
    requests: 6000,
    window: MINUTE,
    counts: Counts::Address,
};

/// One's cart.
pub static CARTS: Policy = Policy {
    name: "carts",
    requests: 300,
    window: MINUTE,
    counts: Counts::Person,
};

/// The carts of people who are not signed in.
pub static ANONYMOUS_CARTS: Policy = Policy {
    name: "anonymous-carts",
    requests: 1800,
    window: MINUTE,
    counts: Counts::Address,
};

/// Placing orders and taking them back.
pub static ORDERS: Policy = Policy {
    name: "orders",
    requests: 30,
    window: MINUTE,
    counts: Counts::Person,
};

/// What is one's own: account, addresses, orders to read.
pub static ACCOUNT: Policy = Policy {
    name: "account",
    requests: 300,
    window: MINUTE,
    counts: Counts::Person,
};

/// All that is known of oneself, which reads every order one ever placed.
pub static EXPORTS: Policy = Policy {
    name: "exports",
    requests: 10,
    window: Duration::from_secs(3600),
    counts: Counts::Person,
};

/// Other people's accounts, the audit log, changes of the catalogue.
pub static ADMINISTRATION: Policy = Policy {
    name: "administration",
    requests: 600,
    window: MINUTE,
    counts: Counts::Person,
};

/// Whatever needs a token, asked for without one that is good.
pub static STRANGERS: Policy = Policy {
    name: "strangers",
    requests: 120,
    window: MINUTE,
    counts: Counts::Address,
};

/// All of them.
pub static POLICIES: [&Policy; 8] = [
    &CATALOGUE,
    &ANONYMOUS_CARTS,
    &CARTS,
    &ORDERS,
    &ACCOUNT,
    &EXPORTS,
    &ADMINISTRATION,
    &STRANGERS,
];

/// The limits of a route.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Of those who are signed in; none where nobody looks at a token.
    pub person: Option<&'static Policy>,
    /// Of everybody else.
    pub address: &'static Policy,
}

/// The limits of an operation, by the pattern of its path. None for what is no operation: the description of the API, and
/// the page to try it.
#[must_use]
pub fn rule(method: &Method, path: &str) -> Option<Rule> {
    let person = match path {
        "/v1/products" | "/v1/products/{id}" | "/v1/categories" if method.is_safe() => {
            return Some(Rule {
                person: None,
                address: &CATALOGUE,
            });
        }
        "/v1/cart" | "/v1/cart/items/{product_id}" => {
            return Some(Rule {
                person: Some(&CARTS),
                address: &ANONYMOUS_CARTS,
            });
        }
        "/v1/orders" | "/v1/orders/{id}" if method.is_safe() => &ACCOUNT,
        "/v1/orders" | "/v1/orders/{id}/cancel" | "/v1/cart/checkout" => &ORDERS,
        "/v1/me/export" => &EXPORTS,
        "/v1/me" | "/v1/me/addresses" | "/v1/me/addresses/{id}" => &ACCOUNT,
        "/v1/products" | "/v1/products/{id}" => &ADMINISTRATION,
        "/v1/users" | "/v1/users/{id}" | "/v1/users/{id}/role" | "/v1/audit" => &ADMINISTRATION,
        _ => return None,
    };
    Some(Rule {
        person: Some(person),
        address: &STRANGERS,
    })
}
