//! The rate limit policies and the routes that they apply to.

use std::time::Duration;

use axum::http::Method;

/// The key by which a policy counts requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyedBy {
    /// The client's IP address.
    Address,
    /// The authenticated user.
    User,
}

/// A rate limit: a number of requests per window.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name in the response headers, in problem documents and in metrics.
    pub name: &'static str,
    /// The number of requests per window; also the maximum burst.
    pub requests: u32,
    /// The time in which the whole quota is replenished, at a constant rate.
    pub window: Duration,
    pub keyed_by: KeyedBy,
}

const MINUTE: Duration = Duration::from_secs(60);

/// Reads of the catalog. The limit is high because many users share an address and cached responses are
/// cheap.
pub static CATALOG: Policy = Policy {
    name: "catalog",
    requests: 6000,
    window: MINUTE,
    keyed_by: KeyedBy::Address,
};

/// The cart of an authenticated user.
pub static CARTS: Policy = Policy {
    name: "carts",
    requests: 300,
    window: MINUTE,
    keyed_by: KeyedBy::User,
};

/// The carts of unauthenticated clients.
pub static ANONYMOUS_CARTS: Policy = Policy {
    name: "anonymous-carts",
    requests: 1800,
    window: MINUTE,
    keyed_by: KeyedBy::Address,
};

/// Placing, paying and cancelling orders.
pub static ORDERS: Policy = Policy {
    name: "orders",
    requests: 30,
    window: MINUTE,
    keyed_by: KeyedBy::User,
};

/// Tickets of the WebSocket API. A client asks for one per connection.
pub static REALTIME_TICKETS: Policy = Policy {
    name: "realtime-tickets",
    requests: 30,
    window: MINUTE,
    keyed_by: KeyedBy::User,
};

/// The caller's account and addresses, and reads of the caller's orders and receipts.
pub static ACCOUNT: Policy = Policy {
    name: "account",
    requests: 300,
    window: MINUTE,
    keyed_by: KeyedBy::User,
};

/// The export of personal data, which reads all orders of the user.
pub static DATA_EXPORT: Policy = Policy {
    name: "data-export",
    requests: 10,
    window: Duration::from_secs(3600),
    keyed_by: KeyedBy::User,
};

/// Accounts of other users, the audit log and changes to the catalog.
pub static ADMINISTRATION: Policy = Policy {
    name: "administration",
    requests: 600,
    window: MINUTE,
    keyed_by: KeyedBy::User,
};

/// Unsubscribe links in mails. Mail providers send the requests of many customers from few addresses.
pub static UNSUBSCRIBE: Policy = Policy {
    name: "unsubscribe",
    requests: 600,
    window: MINUTE,
    keyed_by: KeyedBy::Address,
};

/// Requests without a valid access token to routes that require one.
pub static UNAUTHENTICATED: Policy = Policy {
    name: "unauthenticated",
    requests: 120,
    window: MINUTE,
    keyed_by: KeyedBy::Address,
};

/// All policies.
pub static POLICIES: [&Policy; 10] = [
    &CATALOG,
    &ANONYMOUS_CARTS,
    &CARTS,
    &ORDERS,
    &REALTIME_TICKETS,
    &ACCOUNT,
    &DATA_EXPORT,
    &ADMINISTRATION,
    &UNSUBSCRIBE,
    &UNAUTHENTICATED,
];

/// The policies of a route.
#[derive(Clone, Copy, Debug)]
pub struct RouteLimits {
    /// The policy for requests with a valid access token; `None` for public routes, which ignore tokens.
    pub per_user: Option<&'static Policy>,
    /// The policy for all other requests.
    pub per_address: &'static Policy,
}

/// The policies of an operation, by its method and route pattern. Returns `None` for routes that are not API
/// operations: the OpenAPI document, Swagger UI, health checks and metrics.
#[must_use]
pub fn route_limits(method: &Method, path: &str) -> Option<RouteLimits> {
    let per_user = match path {
        "/v1/products" | "/v1/products/{id}" | "/v1/categories" if method.is_safe() => {
            return Some(RouteLimits {
                per_user: None,
                per_address: &CATALOG,
            });
        }
        "/v1/unsubscribe" => {
            return Some(RouteLimits {
                per_user: None,
                per_address: &UNSUBSCRIBE,
            });
        }
        "/v1/cart" | "/v1/cart/items/{product_id}" => {
            return Some(RouteLimits {
                per_user: Some(&CARTS),
                per_address: &ANONYMOUS_CARTS,
            });
        }
        "/v1/orders" | "/v1/orders/{id}" | "/v1/orders/{id}/receipt" if method.is_safe() => &ACCOUNT,
        "/v1/orders"
        | "/v1/orders/{id}/cancel"
        | "/v1/orders/{id}/payment-action/return"
        | "/v1/cart/checkout" => &ORDERS,
        "/v1/realtime/ticket" => &REALTIME_TICKETS,
        "/v1/me/export" => &DATA_EXPORT,
        "/v1/me"
        | "/v1/me/addresses"
        | "/v1/me/addresses/{id}"
        | "/v1/me/phone"
        | "/v1/me/phone/verification" => &ACCOUNT,
        "/v1/products" | "/v1/products/{id}" => &ADMINISTRATION,
        "/v1/users"
        | "/v1/users/{id}"
        | "/v1/users/{id}/role"
        | "/v1/users/{id}/mail-suppression"
        | "/v1/audit" => &ADMINISTRATION,
        _ => return None,
    };
    Some(RouteLimits {
        per_user: Some(per_user),
        per_address: &UNAUTHENTICATED,
    })
}
