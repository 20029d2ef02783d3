//! The order in which the first deployment creates the HTTP API.

use crate::template::{created_before, resources};

/// API Gateway reads the issuer's discovery document when it creates the authorizer. The route of the
/// document has to exist before the stage, because the stage deploys later routes only some time after their
/// creation.
#[test]
fn discovery_document_is_served_before_the_authorizer_is_created() {
    let resources = resources();
    let before_stage = created_before(&resources, "HttpApiStage");
    for id in [
        "Jwks",
        "JwksRole",
        "JwksIntegration",
        "JwksRoute",
        "DiscoveryRoute",
    ] {
        assert!(before_stage.contains(id), "{id} before the stage");
    }
    let before_authorizer = created_before(&resources, "UserJwtAuthorizer");
    for id in ["HttpApiStage", "JwksPermission"] {
        assert!(before_authorizer.contains(id), "{id} before the authorizer");
    }
    // Otherwise CloudFormation could create neither.
    assert!(!before_stage.contains("UserJwtAuthorizer"));
}
