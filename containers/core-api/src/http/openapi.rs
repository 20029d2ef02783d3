//! The OpenAPI document: what the handlers say of themselves, and the problems that all of them share.

use serde::Serialize;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        Components, Content, Header, Ref, RefOr, Response, ResponseBuilder,
        path::{Operation, Parameter, ParameterIn},
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

/// What the document says before its paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Matsuri core-api",
        description = "Catalogue, accounts, carts and orders. Amounts are integers of minor units; times are RFC 3339 in UTC; \
                       every error is a problem document (RFC 9457). `RateLimit-Policy` and `RateLimit` \
                       tell how much may be asked for, and how much of it is left. What an operation needs the permission for stands in its \
                       `x-permission`; `anyone` needs none.",
    ),
    tags(
        (name = "Catalogue", description = "Products: open to read, changed by administrators"),
        (name = "Orders", description = "Each customer's own"),
        (name = "Cart", description = "What somebody means to buy, signed in or not"),
        (name = "Account", description = "Each person's own"),
        (name = "Administration", description = "Other people's accounts, and who did what"),
    ),
    components(schemas(Problem)),
    modifiers(&BearerSecurity),
)]
pub struct ApiDocument;

/// What went wrong (RFC 9457). Some types have members of their own.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem {
    /// The problem's type.
    #[schema(format = "uri", example = "https://matsuri.dev/problems/invalid-body")]
    r#type: String,
    /// The type in words.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened this time, and what to do about it.
    detail: String,
    /// What is wrong with the parts of a body; only for the type invalid-body.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
}

/// What is wrong with one part of a body.
#[derive(Serialize, ToSchema)]
struct FieldError {
    /// Where: a JSON pointer (RFC 6901).
    #[schema(example = "/items/0/quantity")]
    pointer: String,
    /// What, and what would be right.
    detail: String,
}

/// The access token.
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

/// A problem that several operations share.
struct SharedProblem {
    status: &'static str,
    name: &'static str,
    description: &'static str,
    /// A header that goes with it.
    header: Option<&'static str>,
    /// Whether an operation can end in it.
    applies: fn(&Operation) -> bool,
}

/// What follows from what an operation takes: its body, its parameters, a token.
const SHARED_PROBLEMS: [SharedProblem; 15] = [
    SharedProblem {
        status: "400",
        name: "BadRequest",
        description: "A body that is not JSON, a query or a header that is not valid",
        header: None,
        applies: |operation| {
            has_body(operation)
                || has_parameter_in(operation, ParameterIn::Query)
                || has_header(operation, "Cart-Token")
        },
    },
    SharedProblem {
        status: "401",
        name: "Unauthorized",
        description: "No access token, or one that is not valid or has expired",
        header: Some("WWW-Authenticate"),
        applies: requires_token,
    },
    SharedProblem {
        status: "403",
        name: "Forbidden",
        description: "The role of the one who asks does not permit this",
        header: None,
        applies: requires_token,
    },
    SharedProblem {
        status: "404",
        name: "NotFound",
        description: "There is no such thing, or it is not the asker's",
        header: None,
        applies: |operation| has_parameter_in(operation, ParameterIn::Path),
    },
    SharedProblem {
        status: "409",
        name: "InProgress",
        description: "A request with the same Idempotency-Key is in progress",
        header: Some("Retry-After"),
        applies: |operation| has_header(operation, "Idempotency-Key"),
    },
    SharedProblem {
        status: "412",
        name: "Outdated",
        description: "It is no longer as it was when the change was decided on",
        header: None,
        applies: |operation| has_header(operation, "If-Match"),
    },
    SharedProblem {
        status: "413",
        name: "BodyTooLarge",
        description: "A body of more than 64 KiB",
        header: None,
        applies: has_body,
    },
    SharedProblem {
        status: "414",
        name: "UriTooLong",
        description: "A path and query of more than 4 KiB",
        header: None,
        applies: |_| true,
    },
    SharedProblem {
        status: "415",
        name: "UnsupportedMediaType",
        description: "A body that does not say that it is JSON",
        header: None,
        applies: has_body,
    },
    SharedProblem {
        status: "422",
        name: "Unprocessable",
        description: "JSON that says what cannot be; `errors` tells where",
        header: None,
        applies: has_body,
    },
    SharedProblem {
        status: "428",
        name: "PreconditionRequired",
        description: "If-Match is missing",
        header: None,
        applies: |operation| has_header(operation, "If-Match"),
    },
    SharedProblem {
        status: "429",
        name: "TooManyRequests",
        description: "The limit of the one who asks is reached; `violated-policies` names it",
        header: Some("Retry-After"),
        applies: |_| true,
    },
    SharedProblem {
        status: "431",
        name: "HeadersTooLarge",
        description: "More than 64 header lines, or 16 KiB of them",
        header: None,
        applies: |_| true,
    },
    SharedProblem {
        status: "500",
        name: "InternalError",
        description: "Internal server error, and has been recorded",
        header: None,
        applies: |_| true,
    },
    SharedProblem {
        status: "503",
        name: "Unavailable",
        description: "Something that this needs is down, or too much is going on; worth another try",
        header: Some("Retry-After"),
        applies: |_| true,
    },
];

/// Adds the shared problems to every operation that can end in them and does not tell of them itself.
pub fn add_shared_problems(document: &mut utoipa::openapi::OpenApi) {
    let components = document.components.get_or_insert_with(Components::new);
    for shared in &SHARED_PROBLEMS {
        components
            .responses
            .insert(shared.name.to_owned(), RefOr::T(problem_response(shared)));
    }
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            for shared in &SHARED_PROBLEMS {
                if !(shared.applies)(operation) {
                    continue;
                }
                let reference = RefOr::Ref(Ref::from_response_name(shared.name));
                operation
                    .responses
                    .responses
                    .entry(shared.status.to_owned())
                    .or_insert(reference);
            }
        }
    }
}

fn problem_response(shared: &SharedProblem) -> Response {
    let body = Content::new(Some(Ref::from_schema_name("Problem")));
    let mut response = ResponseBuilder::new()
        .description(shared.description)
        .content("application/problem+json", body)
        .build();
    if let Some(header) = shared.header {
        response
            .headers
            .insert(header.to_owned(), RefOr::T(Header::default()));
    }
    response
}

fn has_body(operation: &Operation) -> bool {
    operation.request_body.is_some()
}

fn requires_token(operation: &Operation) -> bool {
    operation.security.is_some()
}

fn parameters(operation: &Operation) -> impl Iterator<Item = &Parameter> {
    operation
        .parameters
        .iter()
        .flatten()
        .filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        })
}

fn has_parameter_in(operation: &Operation, place: ParameterIn) -> bool {
    parameters(operation).any(|parameter| parameter.parameter_in == place)
}

fn has_header(operation: &Operation, name: &str) -> bool {
    parameters(operation).any(|parameter| parameter.name == name)
}
