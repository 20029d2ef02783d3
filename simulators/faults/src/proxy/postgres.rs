//! The proxy for PostgreSQL: bytes in both directions. What a client sends at once is one `message`, and as text
//! it can be recognised by a rule (`COMMIT`), because our own PostgreSQL is spoken to in the clear.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{Plan, Upstream, WireFault};

pub(super) async fn serve(listener: TcpListener, address: String, plan: Arc<Plan>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (address, plan) = (address.clone(), Arc::clone(&plan));
        tokio::spawn(async move {
            if let Err(error) = pass(client, &address, &plan).await {
                tracing::debug!(%error, "a connection to PostgreSQL broke off");
            }
        });
    }
}

/// Serves one connection; both of its ends close when it returns.
async fn pass(client: TcpStream, address: &str, plan: &Plan) -> io::Result<()> {
    match ask(plan, "connect", b"") {
        Some(WireFault::Delay(milliseconds)) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
        Some(_) => return Ok(()),
        None => {}
    }
    let server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let lose_answer = tokio::sync::Notify::new();
    tokio::select! {
        sent = send(&mut from_client, &mut to_server, plan, &lose_answer) => sent,
        answered = answer(&mut from_server, &mut to_client, &lose_answer) => answered,
    }
}

/// Passes what the client sends. It returns when the connection is to end.
async fn send(
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
    plan: &Plan,
    lose_answer: &tokio::sync::Notify,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut buffer).await?;
        let message = &buffer[..length];
        if message.is_empty() {
            return Ok(());
        }
        match ask(plan, "message", message) {
            Some(WireFault::Refuse | WireFault::Cut) => return Ok(()),
            Some(WireFault::Delay(milliseconds)) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
            Some(WireFault::LoseAnswer) => lose_answer.notify_one(),
            Some(WireFault::Duplicate) | None => {}
        }
        server.write_all(message).await?;
    }
}

/// Passes what the server answers, until an answer is to be lost: it has arrived then, so what it answers is done.
async fn answer(
    server: &mut OwnedReadHalf,
    client: &mut OwnedWriteHalf,
    lose_answer: &tokio::sync::Notify,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut losing = false;
    loop {
        let length = tokio::select! {
            biased;
            () = lose_answer.notified(), if !losing => {
                losing = true;
                continue;
            }
            length = server.read(&mut buffer) => length?,
        };
        if losing || length == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..length]).await?;
    }
}

fn ask(plan: &Plan, operation: &str, content: &[u8]) -> Option<WireFault> {
    let fault = plan.request(Upstream::Postgres, operation, content);
    if let Some(fault) = fault {
        tracing::info!(operation, ?fault, "PostgreSQL's client is disturbed");
    }
    fault
}
