//! A Redis server per test, which the test can pause, resume and kill.

use std::{process::Stdio, time::Duration};

use redis::{Client, aio::MultiplexedConnection};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::sleep,
};

pub struct RedisServer {
    process: Child,
    port: u16,
}

impl RedisServer {
    /// Starts a server on a free port.
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Self::start_on_port(port).await
    }

    async fn start_on_port(port: u16) -> Self {
        // `cargo xtask test` sets the path of the binary.
        let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let server = Command::new(program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server starts");
        while !responds_to_ping(port).await {
            sleep(Duration::from_millis(10)).await;
        }
        Self {
            process: server,
            port,
        }
    }

    pub fn url(&self) -> SecretString {
        format!("redis://127.0.0.1:{}", self.port).into()
    }

    pub async fn connect(&self) -> MultiplexedConnection {
        let client = Client::open(self.url().expose_secret()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Kills the server; its data is lost. The result can start a new one on the same port.
    pub async fn kill(mut self) -> KilledRedis {
        self.process.kill().await.unwrap();
        KilledRedis(self.port)
    }

    /// From now on the server accepts connections and requests and never responds (SIGSTOP).
    pub async fn pause(&self) {
        self.signal("-STOP").await;
    }

    /// Resumes a paused server (SIGCONT).
    pub async fn resume(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await;
        assert!(sent.unwrap().success());
    }
}

/// The port of a killed server.
pub struct KilledRedis(u16);

impl KilledRedis {
    pub async fn start(self) -> RedisServer {
        RedisServer::start_on_port(self.0).await
    }
}

async fn responds_to_ping(port: u16) -> bool {
    let ping = async {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
        connection.write_all(b"PING\r\n").await?;
        let mut response = [0; 5];
        connection.read_exact(&mut response).await?;
        std::io::Result::Ok(&response == b"+PONG")
    };
    ping.await.unwrap_or(false)
}
