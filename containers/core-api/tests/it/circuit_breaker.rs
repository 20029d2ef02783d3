//! What becomes of requests while DynamoDB does not answer, and when it does again.

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

/// Where DynamoDB really is.
async fn dynamodb_address() -> String {
    let aws = aws_client::sdk_config().await;
    let url = aws.endpoint_url().expect("the tests have a local AWS");
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// A way to DynamoDB on which requests are taken and get no further as long as `hangs` says so.
async fn start_stalling_proxy(hangs: watch::Receiver<bool>) -> String {
    let behind = dynamodb_address().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (behind, mut hangs) = (behind.clone(), hangs.clone());
            tokio::spawn(async move {
                let mut server = TcpStream::connect(behind).await.unwrap();
                tokio::select! {
                    biased;
                    _ = hangs.wait_for(|hangs| *hangs) => {}
                    _ = copy_bidirectional(&mut client, &mut server) => return,
                }
                // Whoever has this connection waits.
                let _ = hangs.wait_for(|hangs| !*hangs).await;
            });
        }
    });
    url
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn while_dynamodb_hangs_orders_are_refused_at_once_and_the_catalogue_goes_on(pool: PgPool) {
    let (hangs, seen) = watch::channel(false);
    let setting = TestAppConfig {
        dynamodb_url: Some(start_stalling_proxy(seen).await),
        ..TestAppConfig::default()
    };
    let app = TestApp::start_with_config(pool, setting).await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let someone = app.customer().await;
    let body = json!({"items": [{"product_id": bowl, "quantity": 1}], "payment_method": "pm_card_visa"});
    let order = async |key: &str| app.order_request(&someone.token(), key, &body).fetch().await;
    assert_eq!(order("before").await.status, 202);

    hangs.send(true).unwrap();
    let keys: Vec<String> = (0..6).map(|number| format!("key-{number}")).collect();
    for answer in join_all(keys.iter().map(|key| order(key))).await {
        assert_eq!(answer.problem(), "503 unavailable");
    }
    let mut quick = 0;
    for _ in 0..20 {
        let asked = Instant::now();
        let answer = order("while").await;
        assert_eq!(answer.problem(), "503 unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        quick += u32::from(asked.elapsed() < Duration::from_millis(500));
        assert_eq!(
            app.get(format!("/v1/products/{bowl}")).fetch().await.status,
            200,
            "the catalogue goes on"
        );
    }
    assert!(
        quick >= 18,
        "{quick} of 20 were refused at once; one may be on trial"
    );

    hangs.send(false).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = order("after").await;
        if answer.status == 202 {
            break;
        }
        assert_eq!(answer.problem(), "503 unavailable");
        assert!(Instant::now() < end, "it is not asked again");
        sleep(Duration::from_millis(100)).await;
    }
}
