//! Rules over HTTP.

use std::sync::Arc;

use fault_injection::{FaultClient, FunctionFault, NetworkFault, Rule, RuleEngine, Upstream, router};
use tokio::net::TcpListener;

/// A plan, and its address.
pub async fn start_control_api() -> (Arc<RuleEngine>, String) {
    let plan = Arc::new(RuleEngine::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = router(Arc::clone(&plan));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (plan, url)
}

#[tokio::test]
async fn rules_are_set_looked_at_and_lifted() {
    let (plan, url) = start_control_api().await;
    let faults = FaultClient::new(url);
    let throttle = Rule::for_function("reserve-stock", FunctionFault::Throttle).containing("order-1");
    let lasting = faults.add_rule(&throttle).await.unwrap();
    let cut =
        Rule::for_all_requests(Upstream::PaymentProvider, NetworkFault::Delay(250)).with_probability(1.0, 7);
    faults.add_rule(&cut.limit_hits(1)).await.unwrap();

    assert_eq!(
        plan.fault_for_invocation("reserve-stock", b"order-1"),
        Some(FunctionFault::Throttle)
    );
    for expected in [Some(NetworkFault::Delay(250)), None] {
        assert_eq!(
            plan.fault_for_request(Upstream::PaymentProvider, "GET /", b""),
            expected
        );
    }
    assert_eq!(faults.hits(lasting).await.unwrap(), 1);
    assert_eq!(faults.counts().await.unwrap()["payment-provider"]["GET /"], 2);

    faults.remove_rule(lasting).await.unwrap();
    assert_eq!(plan.fault_for_invocation("reserve-stock", b"order-1"), None);
    assert!(faults.hits(lasting).await.is_err());
    faults.add_rule(&throttle).await.unwrap();
    faults.clear_rules().await.unwrap();
    assert_eq!(plan.fault_for_invocation("reserve-stock", b"order-1"), None);
}
