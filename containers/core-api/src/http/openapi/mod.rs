//! The OpenAPI document: its general part. The operations come from the handlers' `utoipa::path` attributes,
//! and the problems that several operations share are in [`shared_problems`].

mod shared_problems;

use serde::Serialize;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        Components,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

pub use shared_problems::add_shared_problems;

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

/// A problem document (RFC 9457). Some problem types have additional members.
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// The problem type, a URI.
    #[schema(format = "uri", example = "https://matsuri.dev/problems/invalid-body")]
    r#type: String,
    /// The summary of the problem type.
    title: String,
    /// The HTTP status code.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The explanation of this occurrence and how to resolve it.
    detail: String,
    /// The invalid fields of the request body; only present for the type invalid-body.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
}

/// One invalid field of a request body.
#[derive(Serialize, ToSchema)]
struct FieldError {
    /// The field, as a JSON pointer (RFC 6901).
    #[schema(example = "/items/0/quantity")]
    pointer: String,
    /// The error and the expected value.
    detail: String,
}

/// Adds the bearer token as a security scheme.
struct BearerSecurity;

impl Modify for BearerSecurity {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut token = Http::new(HttpAuthScheme::Bearer);
        token.bearer_format = Some("JWT".to_owned());
        token.description = Some("An access token, signed with RS256.".to_owned());
        document
            .components
            .get_or_insert_with(Components::new)
            .add_security_scheme("bearer", SecurityScheme::Http(token));
    }
}
