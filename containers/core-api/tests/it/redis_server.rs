//! A Redis of a test's own, which it may stop, wake and kill.

use std::{process::Stdio, time::Duration};

use ::redis::{Client, aio::MultiplexedConnection};
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
    /// Starts one on a port that is free.
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
        // `cargo xtask test` says where it is.
        let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let server = Command::new(program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("there is a Redis");
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

    /// Kills it, with all that it has counted. What is left can be started again.
    pub async fn kill(mut self) -> KilledRedis {
        self.process.kill().await.unwrap();
        KilledRedis(self.port)
    }

    /// From now on it takes connections and requests, and answers nothing.
    pub async fn pause(&self) {
        self.signal("-STOP").await;
    }

    /// It goes on where it was stopped.
    pub async fn resume(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await;
        assert!(sent.unwrap().success());
    }
}

/// Where a Redis was.
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
        let mut answer = [0; 5];
        connection.read_exact(&mut answer).await?;
        std::io::Result::Ok(&answer == b"+PONG")
    };
    ping.await.unwrap_or(false)
}
