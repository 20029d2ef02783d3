//! Rules over HTTP.

use std::sync::Arc;

use faults::{Faults, FunctionFault, Plan, Rule, Upstream, WireFault, router};
use tokio::net::TcpListener;

/// A plan, and its address.
pub async fn serve() -> (Arc<Plan>, String) {
    let plan = Arc::new(Plan::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = router(Arc::clone(&plan));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (plan, url)
}

#[tokio::test]
async fn rules_are_set_looked_at_and_lifted() {
    let (plan, url) = serve().await;
    let faults = Faults::new(url);
    let throttle = Rule::function("reserve-stock", FunctionFault::Throttle).mentioning("order-1");
    let lasting = faults.set(&throttle).await.unwrap();
    let cut = Rule::every_request(Upstream::PaymentProvider, WireFault::Delay(250)).share(1.0, 7);
    faults.set(&cut.times(1)).await.unwrap();

    assert_eq!(
        plan.invocation("reserve-stock", b"order-1"),
        Some(FunctionFault::Throttle)
    );
    for expected in [Some(WireFault::Delay(250)), None] {
        assert_eq!(plan.request(Upstream::PaymentProvider, "GET /", b""), expected);
    }
    assert_eq!(faults.hits(lasting).await.unwrap(), 1);
    assert_eq!(faults.counts().await.unwrap()["payment-provider"]["GET /"], 2);

    faults.lift(lasting).await.unwrap();
    assert_eq!(plan.invocation("reserve-stock", b"order-1"), None);
    assert!(faults.hits(lasting).await.is_err());
    faults.set(&throttle).await.unwrap();
    faults.clear().await.unwrap();
    assert_eq!(plan.invocation("reserve-stock", b"order-1"), None);
}
