//! Tests of the PostgreSQL proxy, with an encrypted upstream that echoes in upper case.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use fault_injection::{
    NetworkFault, Rule, RuleEngine, Upstream,
    proxy::{self, PostgresTls},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

struct TestContext {
    rules: Arc<RuleEngine>,
    address: String,
    tls: PostgresTls,
    /// The text that has reached the upstream.
    received: Arc<Mutex<String>>,
}

impl TestContext {
    async fn new() -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream_address = upstream.local_addr().unwrap().to_string();
        let received = Arc::new(Mutex::new(String::new()));
        let tls = test_tls();
        tokio::spawn(echo_uppercase(upstream, tls.clone(), Arc::clone(&received)));
        let rules = Arc::new(RuleEngine::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(proxy::serve_postgres(
            listener,
            upstream_address,
            tls.clone(),
            Arc::clone(&rules),
        ));
        Self {
            rules,
            address,
            tls,
            received,
        }
    }

    fn add_rule(&self, operation: &str, fault: NetworkFault) {
        self.rules
            .add_rule(Rule::for_operation(Upstream::Postgres, operation, fault).limit_hits(1));
    }

    /// Sends text on a new connection and returns the response, which is empty when the proxy disconnects.
    async fn send(&self, text: &str) -> String {
        let connection = TcpStream::connect(&self.address).await.unwrap();
        let Ok(mut connection) = self.tls.connect("127.0.0.1", connection).await else {
            return String::new();
        };
        // The proxy may have closed the connection already.
        let _ = connection.write_all(text.as_bytes()).await;
        let mut response = vec![0; 100];
        let length = connection.read(&mut response).await.unwrap_or(0);
        String::from_utf8(response[..length].to_vec()).unwrap()
    }

    fn received(&self) -> String {
        self.received.lock().unwrap().clone()
    }
}

/// The certificates of the local PostgreSQL.
#[expect(clippy::disallowed_methods, reason = "the tests' configuration")]
fn test_tls() -> PostgresTls {
    let keys = std::env::var("MATSURI_KEYS").expect("`cargo xtask test` sets MATSURI_KEYS");
    PostgresTls::from_dir(Path::new(&keys)).unwrap()
}

async fn echo_uppercase(listener: TcpListener, tls: PostgresTls, received: Arc<Mutex<String>>) {
    while let Ok((connection, _)) = listener.accept().await {
        let (tls, received) = (tls.clone(), Arc::clone(&received));
        tokio::spawn(async move {
            let Ok(mut connection) = tls.accept(connection).await else {
                return;
            };
            let mut buffer = vec![0; 100];
            while let Ok(length @ 1..) = connection.read(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                received.lock().unwrap().push_str(&text);
                connection
                    .write_all(text.to_uppercase().as_bytes())
                    .await
                    .unwrap();
                connection.flush().await.unwrap();
            }
        });
    }
}

#[tokio::test]
async fn bytes_are_forwarded_and_counted() {
    let context = TestContext::new().await;
    assert_eq!(context.send("select").await, "SELECT");
    let counts = context.rules.counts();
    assert_eq!(
        (counts["postgres"]["connect"], counts["postgres"]["message"]),
        (1, 1)
    );
}

#[tokio::test]
async fn a_client_without_encryption_is_refused() {
    let context = TestContext::new().await;
    let mut connection = TcpStream::connect(&context.address).await.unwrap();
    connection.write_all(b"select * from users").await.unwrap();
    let mut response = Vec::new();
    // Closing with unread data resets the connection on some systems.
    let _ = connection.read_to_end(&mut response).await;
    assert_eq!((response, context.received()), (Vec::new(), String::new()));
}

#[tokio::test]
async fn a_refused_connection_forwards_nothing() {
    let context = TestContext::new().await;
    context.add_rule("connect", NetworkFault::Refuse);
    assert_eq!(context.send("select").await, "");
    assert_eq!(context.received(), "");
    assert_eq!(context.send("select").await, "SELECT");
}

#[tokio::test]
async fn disconnect_has_no_effect_and_drop_response_has_one() {
    let context = TestContext::new().await;
    context.add_rule("message", NetworkFault::Disconnect);
    assert_eq!(context.send("commit").await, "");
    assert_eq!(context.received(), "");
    context.add_rule("message", NetworkFault::DropResponse);
    assert_eq!(context.send("commit").await, "");
    assert_eq!(context.received(), "commit");
}
