//! The general part of the OpenAPI document. The operations come from the handlers' `utoipa::path`
//! attributes.

use openapi::BearerSecurity;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Matsuri stock-service",
        description = "Reservations and stock levels, for our own services: each request carries a service \
                       token. Every error is a problem document (RFC 9457).",
    ),
    tags(
        (name = "Reservations", description = "Units that are held for an order"),
        (name = "Stock", description = "Quantities of products"),
    ),
    components(schemas(openapi::Problem)),
    modifiers(&BearerSecurity),
)]
pub struct ApiDocument;
