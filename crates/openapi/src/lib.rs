//! What the OpenAPI documents of all services share: problem documents, the access token, and the problem
//! responses that follow from what an operation accepts.

mod shared_problems;

use serde::Serialize;
use utoipa::{
    Modify, ToSchema,
    openapi::{
        Components, OpenApi,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

pub use shared_problems::{COMMON_PROBLEMS, SharedProblem, add_shared_problems, has_header};

/// A problem document (RFC 9457). Some problem types have additional members.
#[derive(Debug, Serialize, ToSchema)]
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
#[derive(Debug, Serialize, ToSchema)]
struct FieldError {
    /// The field, as a JSON pointer (RFC 6901).
    #[schema(example = "/items/0/quantity")]
    pointer: String,
    /// The error and the expected value.
    detail: String,
}

/// Adds the bearer token as a security scheme.
#[derive(Debug)]
pub struct BearerSecurity;

impl Modify for BearerSecurity {
    fn modify(&self, document: &mut OpenApi) {
        let mut token = Http::new(HttpAuthScheme::Bearer);
        token.bearer_format = Some("JWT".to_owned());
        token.description = Some("An access token, signed with RS256.".to_owned());
        document
            .components
            .get_or_insert_with(Components::new)
            .add_security_scheme("bearer", SecurityScheme::Http(token));
    }
}
