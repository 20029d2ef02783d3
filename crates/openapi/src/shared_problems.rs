//! Problem responses that follow from what an operation accepts: a body, parameters, a token.

use utoipa::openapi::{
    Components, Content, Header, OpenApi, Ref, RefOr, Response, ResponseBuilder,
    path::{Operation, Parameter, ParameterIn},
};

/// A problem response that several operations share.
#[derive(Clone, Copy, Debug)]
pub struct SharedProblem {
    pub status: &'static str,
    /// The name of the response in the document's components.
    pub name: &'static str,
    pub description: &'static str,
    /// A response header that accompanies the problem.
    pub header: Option<&'static str>,
    /// Whether an operation can return this problem.
    pub applies: fn(&Operation) -> bool,
}

/// The problems of every service with the middleware of `http-server`.
pub const COMMON_PROBLEMS: [SharedProblem; 11] = [
    SharedProblem {
        status: "400",
        name: "BadRequest",
        description: "The body is not JSON, or the query string or a header is invalid",
        header: None,
        applies: |operation| has_body(operation) || has_parameter_in(operation, ParameterIn::Query),
    },
    SharedProblem {
        status: "401",
        name: "Unauthorized",
        description: "The access token is missing, invalid or expired",
        header: Some("WWW-Authenticate"),
        applies: requires_token,
    },
    SharedProblem {
        status: "403",
        name: "Forbidden",
        description: "The caller's role does not have the required permission",
        header: None,
        applies: requires_token,
    },
    SharedProblem {
        status: "404",
        name: "NotFound",
        description: "The resource does not exist, or the caller may not access it",
        header: None,
        applies: |operation| has_parameter_in(operation, ParameterIn::Path),
    },
    SharedProblem {
        status: "413",
        name: "BodyTooLarge",
        description: "The body is larger than 64 KiB",
        header: None,
        applies: has_body,
    },
    SharedProblem {
        status: "414",
        name: "UriTooLong",
        description: "The path and the query string together are longer than 4 KiB",
        header: None,
        applies: |_| true,
    },
    SharedProblem {
        status: "415",
        name: "UnsupportedMediaType",
        description: "The Content-Type of the body is not JSON",
        header: None,
        applies: has_body,
    },
    SharedProblem {
        status: "422",
        name: "Unprocessable",
        description: "The JSON body is invalid; `errors` lists the invalid fields",
        header: None,
        applies: has_body,
    },
    SharedProblem {
        status: "431",
        name: "HeadersTooLarge",
        description: "The request has more than 64 header fields or more than 16 KiB of headers",
        header: None,
        applies: |_| true,
    },
    SharedProblem {
        status: "500",
        name: "InternalError",
        description: "Internal server error; the error was logged",
        header: None,
        applies: |_| true,
    },
    SharedProblem {
        status: "503",
        name: "Unavailable",
        description: "A dependency is unavailable, or the service is overloaded; retry later",
        header: Some("Retry-After"),
        applies: |_| true,
    },
];

/// Adds each of the problems to the operations that can return it, unless an operation describes the status
/// itself.
pub fn add_shared_problems(document: &mut OpenApi, problems: &[SharedProblem]) {
    let components = document.components.get_or_insert_with(Components::new);
    for problem in problems {
        components
            .responses
            .insert(problem.name.to_owned(), RefOr::T(problem_response(problem)));
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
            for problem in problems {
                if !(problem.applies)(operation) {
                    continue;
                }
                let reference = RefOr::Ref(Ref::from_response_name(problem.name));
                operation
                    .responses
                    .responses
                    .entry(problem.status.to_owned())
                    .or_insert(reference);
            }
        }
    }
}

fn problem_response(problem: &SharedProblem) -> Response {
    let body = Content::new(Some(Ref::from_schema_name("Problem")));
    let mut response = ResponseBuilder::new()
        .description(problem.description)
        .content("application/problem+json", body)
        .build();
    if let Some(header) = problem.header {
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

fn has_parameter_in(operation: &Operation, location: ParameterIn) -> bool {
    parameters(operation).any(|parameter| parameter.parameter_in == location)
}

/// Whether the operation accepts the request header.
#[must_use]
pub fn has_header(operation: &Operation, name: &str) -> bool {
    parameters(operation).any(|parameter| parameter.name == name)
}
