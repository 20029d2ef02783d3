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

use crate::{NetworkFault, RuleEngine, Upstream};

pub(super) async fn serve(listener: TcpListener, address: String, plan: Arc<RuleEngine>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (address, plan) = (address.clone(), Arc::clone(&plan));
        tokio::spawn(async move {
            if let Err(error) = proxy_connection(client, &address, &plan).await {
                tracing::debug!(%error, "a connection to PostgreSQL broke off");
            }
        });
    }
}

/// Serves one connection; both of its ends close when it returns.
async fn proxy_connection(client: TcpStream, address: &str, plan: &RuleEngine) -> io::Result<()> {
    match fault_for(plan, "connect", b"") {
        Some(NetworkFault::Delay(milliseconds)) => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await
        }
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
        sent = forward_messages(&mut from_client, &mut to_server, plan, &lose_answer) => sent,
        answered = forward_responses(&mut from_server, &mut to_client, &lose_answer) => answered,
    }
}

/// Passes what the client sends. It returns when the connection is to end.
async fn forward_messages(
    client: &mut OwnedReadHalf,
    server: &mut OwnedWriteHalf,
    plan: &RuleEngine,
    lose_answer: &tokio::sync::Notify,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut buffer).await?;
        let message = &buffer[..length];
        if message.is_empty() {
            return Ok(());
        }
        match fault_for(plan, "message", message) {
            Some(NetworkFault::Refuse | NetworkFault::Disconnect) => return Ok(()),
            Some(NetworkFault::Delay(milliseconds)) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
            Some(NetworkFault::DropResponse) => lose_answer.notify_one(),
            Some(NetworkFault::Duplicate) | None => {}
        }
        server.write_all(message).await?;
    }
}

/// Passes what the server answers, until an answer is to be lost: it has arrived then, so what it answers is done.
async fn forward_responses(
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

fn fault_for(plan: &RuleEngine, operation: &str, content: &[u8]) -> Option<NetworkFault> {
    let fault = plan.fault_for_request(Upstream::Postgres, operation, content);
    if let Some(fault) = fault {
        tracing::info!(operation, ?fault, "PostgreSQL's client is disturbed");
    }
    fault
}
