//! The proxy for PostgreSQL. It forwards bytes in both directions. The data of one read from the client
//! counts as one `message`. Rules can match its text (for example `COMMIT`), because the proxy decrypts both
//! sides.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::{TcpListener, TcpStream},
};

use super::PostgresTls;
use crate::{NetworkFault, RuleEngine, Upstream};

/// Forwards connections from `listener` to the database at `address` and injects faults. Never returns.
pub async fn serve(listener: TcpListener, address: String, tls: PostgresTls, rules: Arc<RuleEngine>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (address, tls, rules) = (address.clone(), tls.clone(), Arc::clone(&rules));
        tokio::spawn(async move {
            if let Err(error) = proxy_connection(client, &address, &tls, &rules).await {
                tracing::debug!(%error, "a PostgreSQL connection failed");
            }
        });
    }
}

/// Serves one connection. Both sockets close when this function returns.
async fn proxy_connection(
    client: TcpStream,
    address: &str,
    tls: &PostgresTls,
    rules: &RuleEngine,
) -> io::Result<()> {
    match fault_for(rules, "connect", b"") {
        Some(NetworkFault::Delay(milliseconds)) => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let (mut from_client, mut to_client) = split(tls.accept(client).await?);
    let (mut from_server, mut to_server) = split(tls.connect(host, server).await?);
    let drop_response = tokio::sync::Notify::new();
    tokio::select! {
        result = forward_messages(&mut from_client, &mut to_server, rules, &drop_response) => result,
        result = forward_responses(&mut from_server, &mut to_client, &drop_response) => result,
    }
}

/// Forwards the client's messages. Returns when the connection has to be closed.
async fn forward_messages(
    client: &mut (impl AsyncRead + Unpin),
    server: &mut (impl AsyncWrite + Unpin),
    rules: &RuleEngine,
    drop_response: &tokio::sync::Notify,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut buffer).await?;
        let message = &buffer[..length];
        if message.is_empty() {
            return Ok(());
        }
        match fault_for(rules, "message", message) {
            Some(NetworkFault::Refuse | NetworkFault::Disconnect) => return Ok(()),
            Some(NetworkFault::Delay(milliseconds)) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
            Some(NetworkFault::DropResponse) => drop_response.notify_one(),
            Some(NetworkFault::Duplicate) | None => {}
        }
        server.write_all(message).await?;
        server.flush().await?;
    }
}

/// Forwards the server's responses until a response has to be dropped. That response was read first, so the
/// request that it belongs to has taken effect.
async fn forward_responses(
    server: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    drop_response: &tokio::sync::Notify,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut dropping = false;
    loop {
        let length = tokio::select! {
            biased;
            () = drop_response.notified(), if !dropping => {
                dropping = true;
                continue;
            }
            length = server.read(&mut buffer) => length?,
        };
        if dropping || length == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..length]).await?;
        client.flush().await?;
    }
}

fn fault_for(rules: &RuleEngine, operation: &str, content: &[u8]) -> Option<NetworkFault> {
    let fault = rules.fault_for_request(Upstream::Postgres, operation, content);
    if let Some(fault) = fault {
        tracing::info!(
            operation,
            ?fault,
            "injecting a fault into a PostgreSQL connection"
        );
    }
    fault
}
