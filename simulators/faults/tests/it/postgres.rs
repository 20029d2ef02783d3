//! Bytes through PostgreSQL's proxy, with an upstream that repeats what it is told in capitals.

use std::sync::{Arc, Mutex};

use faults::{Plan, Rule, Upstream, WireFault, proxy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

struct World {
    plan: Arc<Plan>,
    address: String,
    /// What has reached the upstream.
    heard: Arc<Mutex<String>>,
}

impl World {
    async fn new() -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let behind = upstream.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(String::new()));
        tokio::spawn(repeat(upstream, Arc::clone(&heard)));
        let plan = Arc::new(Plan::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(proxy::serve(
            listener,
            Upstream::Postgres,
            behind,
            Arc::clone(&plan),
        ));
        Self { plan, address, heard }
    }

    fn set(&self, operation: &str, fault: WireFault) {
        self.plan
            .set(Rule::request(Upstream::Postgres, operation, fault).times(1));
    }

    /// Says it on a new connection; what comes back, which is nothing when the connection is cut.
    async fn say(&self, words: &str) -> String {
        let mut connection = TcpStream::connect(&self.address).await.unwrap();
        // The connection may have been cut by now.
        let _ = connection.write_all(words.as_bytes()).await;
        let mut answer = vec![0; 100];
        let length = connection.read(&mut answer).await.unwrap_or(0);
        String::from_utf8(answer[..length].to_vec()).unwrap()
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}

async fn repeat(listener: TcpListener, heard: Arc<Mutex<String>>) {
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
    let world = World::new().await;
    assert_eq!(world.say("select").await, "SELECT");
    let counts = world.plan.counts();
    assert_eq!(
        (counts["postgres"]["connect"], counts["postgres"]["message"]),
        (1, 1)
    );
}

#[tokio::test]
async fn a_refused_connection_passes_nothing() {
    let world = World::new().await;
    world.set("connect", WireFault::Refuse);
    assert_eq!(world.say("select").await, "");
    assert_eq!(world.heard(), "");
    assert_eq!(world.say("select").await, "SELECT");
}

#[tokio::test]
async fn a_connection_is_cut_before_or_after_the_effect() {
    let world = World::new().await;
    world.set("message", WireFault::Cut);
    assert_eq!(world.say("commit").await, "");
    assert_eq!(world.heard(), "");
    world.set("message", WireFault::LoseAnswer);
    assert_eq!(world.say("commit").await, "");
    assert_eq!(world.heard(), "commit");
}
