//! The OpenAPI document: its general part, and the problems of our own that several operations share. The
//! operations come from the handlers' `utoipa::path` attributes.

use openapi::{BearerSecurity, Problem, SharedProblem, has_header};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Matsuri core-api",
        description = "Catalog, accounts, carts and orders. Amounts are integers in minor units of the \
                       currency. Times are RFC 3339 in UTC. Every error is a problem document (RFC 9457). \
                       The response headers `RateLimit-Policy` and `RateLimit` state the rate limit and the \
                       remaining quota. `x-permission` names the permission that an operation requires; \
                       `anyone` means none.",
    ),
    tags(
        (name = "Catalog",
         description = "Products and categories: public to read, changed by administrators"),
        (name = "Orders", description = "The caller's orders"),
        (name = "Realtime", description = "Access to the WebSocket API, which docs/asyncapi.yaml describes"),
        (name = "Cart", description = "The cart of the caller, signed in or not"),
        (name = "Account", description = "The caller's account and addresses"),
        (name = "Administration", description = "All accounts, roles and the audit log"),
    ),
    components(schemas(Problem)),
    modifiers(&BearerSecurity),
)]
pub struct ApiDocument;

/// The problems of rate limits, of conditional requests and of carts.
pub const SHARED_PROBLEMS: [SharedProblem; 4] = [
    SharedProblem {
        status: "400",
        name: "InvalidCartToken",
        description: "The Cart-Token header is invalid",
        header: None,
        applies: |operation| has_header(operation, "Cart-Token"),
    },
    SharedProblem {
        status: "412",
        name: "PreconditionFailed",
        description: "The resource has changed since the caller read the version in If-Match",
        header: None,
        applies: |operation| has_header(operation, "If-Match"),
    },
    SharedProblem {
        status: "428",
        name: "PreconditionRequired",
        description: "The If-Match header is missing",
        header: None,
        applies: |operation| has_header(operation, "If-Match"),
    },
    SharedProblem {
        status: "429",
        name: "TooManyRequests",
        description: "The rate limit is exceeded; `violated-policies` names the policy",
        header: Some("Retry-After"),
        applies: |_| true,
    },
];
