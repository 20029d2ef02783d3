//! Bytes through PostgreSQL's proxy, with an upstream that repeats what it is told in capitals.

use std::sync::{Arc, Mutex};

use fault_injection::{NetworkFault, Rule, RuleEngine, Upstream, proxy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

struct TestContext {
    rules: Arc<RuleEngine>,
    address: String,
    /// What has reached the upstream.
    received: Arc<Mutex<String>>,
}

impl TestContext {
    async fn new() -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let behind = upstream.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(String::new()));
        tokio::spawn(echo_uppercase(upstream, Arc::clone(&heard)));
        let plan = Arc::new(RuleEngine::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(proxy::serve(
            listener,
            Upstream::Postgres,
            behind,
            Arc::clone(&plan),
        ));
        Self {
            rules: plan,
            address,
            received: heard,
        }
    }

    fn add_rule(&self, operation: &str, fault: NetworkFault) {
        self.rules
            .add_rule(Rule::for_operation(Upstream::Postgres, operation, fault).limit_hits(1));
    }

    /// Says it on a new connection; what comes back, which is nothing when the connection is cut.
    async fn send(&self, words: &str) -> String {
        let mut connection = TcpStream::connect(&self.address).await.unwrap();
        // The connection may have been cut by now.
        let _ = connection.write_all(words.as_bytes()).await;
        let mut answer = vec![0; 100];
        let length = connection.read(&mut answer).await.unwrap_or(0);
        String::from_utf8(answer[..length].to_vec()).unwrap()
    }

    fn received(&self) -> String {
        self.received.lock().unwrap().clone()
    }
}

async fn echo_uppercase(listener: TcpListener, heard: Arc<Mutex<String>>) {
    while let Ok((mut connection, _)) = listener.accept().await {
        let heard = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut buffer = vec![0; 100];
            while let Ok(length @ 1..) = connection.read(&mut buffer).await {
                let words = String::from_utf8_lossy(&buffer[..length]).into_owned();
                heard.lock().unwrap().push_str(&words);
                connection
                    .write_all(words.to_uppercase().as_bytes())
                    .await
                    .unwrap();
            }
        });
    }
}

#[tokio::test]
async fn bytes_pass_and_are_counted() {
    let world = TestContext::new().await;
    assert_eq!(world.send("select").await, "SELECT");
    let counts = world.rules.counts();
    assert_eq!(
        (counts["postgres"]["connect"], counts["postgres"]["message"]),
        (1, 1)
    );
}

#[tokio::test]
async fn a_refused_connection_passes_nothing() {
    let world = TestContext::new().await;
    world.add_rule("connect", NetworkFault::Refuse);
    assert_eq!(world.send("select").await, "");
    assert_eq!(world.received(), "");
    assert_eq!(world.send("select").await, "SELECT");
}

#[tokio::test]
async fn a_connection_is_cut_before_or_after_the_effect() {
    let world = TestContext::new().await;
    world.add_rule("message", NetworkFault::Disconnect);
    assert_eq!(world.send("commit").await, "");
    assert_eq!(world.received(), "");
    world.add_rule("message", NetworkFault::DropResponse);
    assert_eq!(world.send("commit").await, "");
    assert_eq!(world.received(), "commit");
}
