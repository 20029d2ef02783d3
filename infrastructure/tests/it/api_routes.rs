//! The routes of the HTTP API in API Gateway are those of the OpenAPI document: an operation without a token
//! has a route without the authorizer, and the route leads to the program that serves the operation.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::template::{Resources, find_in_map, of_type, resources};

/// Open routes that are no operations of the public API.
const OTHER_ROUTES: [&str; 2] = [
    "OPTIONS /{proxy+}",                  // CORS preflight
    "POST /v1/webhooks/payment-provider", // for the payment provider
];

#[test]
fn open_routes_are_the_operations_without_a_token() {
    let resources = resources();
    let mut open_routes: BTreeMap<String, &str> = routes(&resources)
        .filter(|(_, route)| route["AuthorizationType"].is_null())
        .map(|(key, route)| (key, serving_program(route)))
        .collect();
    for key in OTHER_ROUTES {
        assert!(open_routes.remove(key).is_some(), "{key} is no open route");
    }
    let open_operations: BTreeMap<String, &str> = operations()
        .filter(|(_, operation)| !requires_token(operation))
        .map(|(key, operation)| (key, declaring_program(&operation)))
        .collect();
    assert_eq!(open_routes, open_operations);
}

#[test]
fn one_route_with_the_authorizer_leads_to_all_other_operations() {
    let resources = resources();
    let closed: Vec<_> = routes(&resources)
        .filter(|(_, route)| !route["AuthorizationType"].is_null())
        .collect();
    let [(key, route)] = &closed[..] else {
        panic!("{closed:?}")
    };
    assert_eq!(
        (key.as_str(), serving_program(route)),
        ("ANY /v1/{proxy+}", "core-api")
    );
    assert_eq!(route["AuthorizerId"], json!({"Ref": "UserJwtAuthorizer"}));
    for (key, operation) in operations().filter(|(_, operation)| requires_token(operation)) {
        assert!(key.contains(" /v1/"), "{key}");
        assert_eq!(declaring_program(&operation), "core-api", "{key}");
    }
}

/// AWS rejects settings of a route that does not exist.
#[test]
fn settings_of_routes_name_routes() {
    let resources = resources();
    let keys: Vec<String> = routes(&resources).map(|(key, _)| key).collect();
    let settings = resources["HttpApiStage"]["Properties"]["RouteSettings"]
        .as_object()
        .unwrap();
    for key in settings.keys() {
        assert!(keys.contains(key), "{key} is no route");
    }
}

/// The route keys of the HTTP API, and the properties of the routes.
fn routes(resources: &Resources) -> impl Iterator<Item = (String, &Value)> {
    of_type(resources, "AWS::ApiGatewayV2::Route")
        .into_values()
        .map(|route| &route["Properties"])
        .filter(|route| route["ApiId"] == json!({"Ref": "HttpApi"}))
        .map(|route| {
            let key = &route["RouteKey"];
            let key = match key["Fn::FindInMap"] {
                Value::Null => key.clone(),
                ref arguments => find_in_map(arguments),
            };
            (key.as_str().unwrap().to_owned(), route)
        })
}

/// The operations of the OpenAPI document, by method and path.
fn operations() -> impl Iterator<Item = (String, Value)> {
    let document = serde_json::to_value(api_documents::public_api()).unwrap();
    let paths = document["paths"].as_object().unwrap().clone();
    paths.into_iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().clone();
        operations
            .into_iter()
            .map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    })
}

fn requires_token(operation: &Value) -> bool {
    match &operation["security"] {
        Value::Null => false,
        alternatives => !alternatives.as_array().unwrap().contains(&json!({})),
    }
}

fn serving_program(route: &Value) -> &'static str {
    if route["Target"].to_string().contains("CoreApiIntegration") {
        "core-api"
    } else {
        "auth"
    }
}

fn declaring_program(operation: &Value) -> &'static str {
    if operation["tags"] == json!(["Authentication"]) {
        "auth"
    } else {
        "core-api"
    }
}
