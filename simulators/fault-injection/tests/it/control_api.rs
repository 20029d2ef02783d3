//! Tests of the control API and its client.

use std::sync::Arc;

use fault_injection::{
    AwsCall, FaultClient, FunctionFault, NetworkFault, Rule, RuleEngine, Upstream, router,
};
use tokio::net::TcpListener;

/// Serves the control API. Returns its rules and its URL.
pub async fn start_control_api() -> (Arc<RuleEngine>, String) {
    let rules = Arc::new(RuleEngine::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = router(Arc::clone(&rules));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (rules, url)
}

#[tokio::test]
async fn rules_can_be_added_inspected_and_removed() {
    let (rules, url) = start_control_api().await;
    let faults = FaultClient::new(url);
    let throttle = Rule::for_function("reserve-stock", FunctionFault::Throttle)
        .containing("order-1")
        .containing("customer");
    let throttle_id = faults.add_rule(&throttle).await.unwrap();
    let delay =
        Rule::for_all_requests(Upstream::PaymentProvider, NetworkFault::Delay(250)).with_probability(1.0, 7);
    faults.add_rule(&delay.limit_hits(1)).await.unwrap();

    assert_eq!(rules.fault_for_invocation("reserve-stock", b"order-1"), None);
    assert_eq!(
        rules.fault_for_invocation("reserve-stock", b"order-1 of a customer"),
        Some(FunctionFault::Throttle)
    );
    for expected in [Some(NetworkFault::Delay(250)), None] {
        assert_eq!(
            rules.fault_for_request(Upstream::PaymentProvider, "GET /", b""),
            expected
        );
    }
    assert_eq!(faults.hits(throttle_id).await.unwrap(), 1);
    assert_eq!(faults.counts().await.unwrap()["payment-provider"]["GET /"], 2);

    faults.remove_rule(throttle_id).await.unwrap();
    assert_eq!(
        rules.fault_for_invocation("reserve-stock", b"order-1 of a customer"),
        None
    );
    assert!(faults.hits(throttle_id).await.is_err());
    faults.add_rule(&throttle).await.unwrap();
    faults.clear_rules().await.unwrap();
    assert_eq!(
        rules.fault_for_invocation("reserve-stock", b"order-1 of a customer"),
        None
    );
}

#[tokio::test]
async fn calls_to_aws_can_be_read() {
    let (rules, url) = start_control_api().await;
    let call = AwsCall {
        caller: "jwks".to_owned(),
        action: "secretsmanager:GetSecretValue".to_owned(),
        resource: "arn:aws:secretsmanager:ap-northeast-1:000000000000:secret:ecommerce/user-signing-keys"
            .to_owned(),
    };
    rules.record_aws_calls(vec![call.clone()]);
    let calls = FaultClient::new(url).aws_calls().await.unwrap();
    assert_eq!(calls.into_iter().collect::<Vec<_>>(), [call]);
}
