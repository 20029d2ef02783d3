//! The circuit breaker of DynamoDB: requests while it does not respond, and after it recovers.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use sqlx::PgPool;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use crate::support::{RequestBuilderExt, TestApp, TestAppConfig};

/// Host and port of the real DynamoDB.
async fn dynamodb_address() -> String {
    let aws = aws_client::sdk_config().await;
    let url = aws.endpoint_url().expect("the tests run against a local AWS");
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// Starts a proxy to DynamoDB that accepts requests and does not forward them while `stalled` is true.
async fn start_stalling_proxy(stalled: watch::Receiver<bool>) -> String {
    let dynamodb = dynamodb_address().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (dynamodb, mut stalled) = (dynamodb.clone(), stalled.clone());
            tokio::spawn(async move {
                let mut server = TcpStream::connect(dynamodb).await.unwrap();
                tokio::select! {
                    biased;
                    _ = stalled.wait_for(|stalled| *stalled) => {}
                    _ = copy_bidirectional(&mut client, &mut server) => return,
                }
                // Keeps the connection open, so that the client waits.
                let _ = stalled.wait_for(|stalled| !*stalled).await;
            });
        }
    });
    url
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn orders_fail_fast_and_catalog_works_while_dynamodb_hangs(pool: PgPool) {
    let (stalled, proxy_stalled) = watch::channel(false);
    let config = TestAppConfig {
        dynamodb_url: Some(start_stalling_proxy(proxy_stalled).await),
        ..TestAppConfig::default()
    };
    let app = TestApp::start_with_config(pool, config).await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let user = app.customer().await;
    let body = json!({"items": [{"product_id": bowl, "quantity": 1}], "payment_method": "pm_card_visa"});
    let order = async |key: &str| app.order_request(&user.token(), key, &body).fetch().await;
    assert_eq!(order("before").await.status, 202);

    stalled.send(true).unwrap();
    let keys: Vec<String> = (0..6).map(|number| format!("key-{number}")).collect();
    for response in join_all(keys.iter().map(|key| order(key))).await {
        assert_eq!(response.problem(), "503 unavailable");
    }
    // The requests are concurrent, because a half-open probe waits for its timeout of 10 s after each second.
    let quick = join_all((0..20).map(async |_| {
        let started = Instant::now();
        let response = order("while").await;
        assert_eq!(response.problem(), "503 unavailable");
        assert_eq!(response.header("retry-after"), "1");
        let is_quick = started.elapsed() < Duration::from_secs(5);
        assert_eq!(
            app.get(format!("/v1/products/{bowl}")).fetch().await.status,
            200,
            "the catalog does not depend on DynamoDB"
        );
        is_quick
    }));
    let quick = quick.await.into_iter().filter(|is_quick| *is_quick).count();
    assert!(
        quick >= 18,
        "{quick} of 20 failed fast; one may be the half-open probe"
    );

    stalled.send(false).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let response = order("after").await;
        if response.status == 202 {
            break;
        }
        assert_eq!(response.problem(), "503 unavailable");
        assert!(Instant::now() < end, "the circuit breaker does not close again");
        sleep(Duration::from_millis(100)).await;
    }
}
