//! An HTTP/1.1 load generator. It uses as little CPU as possible, because it shares the machine with the
//! measured process: one thread, one connection per client, one request at a time per connection, and no
//! parsing beyond status and length.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use futures::future::try_join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Above the size of the largest response.
const BUFFER_SIZE: usize = 64 * 1024;

#[derive(Clone, Debug, Default)]
pub struct LoadResult {
    /// Number of responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Time from the first request to the last response.
    pub elapsed: Duration,
}

impl LoadResult {
    /// Returns the number of responses with this status.
    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Returns the number of responses with this status per second.
    pub fn per_second(&self, status: u16) -> f64 {
        self.count(status) as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends requests to `address` from `clients` concurrent clients for `duration`. `write_request` writes the
/// next request into the buffer, or returns `false` to stop.
///
/// # Errors
/// Fails when a connection fails or a response is not HTTP/1.1 with a content length.
pub async fn run(
    address: &str,
    clients: usize,
    duration: Duration,
    write_request: impl FnMut(&mut Vec<u8>) -> bool,
) -> anyhow::Result<LoadResult> {
    let write_request = Rc::new(RefCell::new(write_request));
    let statuses = Rc::new(RefCell::new(BTreeMap::new()));
    let connections = try_join_all((0..clients).map(|_| TcpStream::connect(address))).await?;
    let started = Instant::now();
    let end = started + duration;
    try_join_all(connections.into_iter().map(async |mut connection| {
        connection.set_nodelay(true)?;
        let (mut sent, mut received) = (Vec::with_capacity(1024), vec![0; BUFFER_SIZE]);
        while Instant::now() < end {
            sent.clear();
            if !(write_request.borrow_mut())(&mut sent) {
                break;
            }
            connection.write_all(&sent).await?;
            let status = read_response_status(&mut connection, &mut received).await?;
            *statuses.borrow_mut().entry(status).or_insert(0) += 1;
        }
        anyhow::Ok(())
    }))
    .await?;
    Ok(LoadResult {
        elapsed: started.elapsed(),
        statuses: statuses.take(),
    })
}

/// Reads one response and returns its status.
async fn read_response_status(connection: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<u16> {
    let mut filled = 0;
    loop {
        let read = connection.read(&mut buffer[filled..]).await?;
        if read == 0 {
            bail!("the server closed a connection before the response was complete");
        }
        filled += read;
        let Some(end) = buffer[..filled]
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
        else {
            continue;
        };
        let head =
            std::str::from_utf8(&buffer[..end]).context("the head of a response is not valid UTF-8")?;
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .context("a response has no content-length")?
            .parse()?;
        if filled >= end + 4 + length {
            return head
                .get(9..12)
                .and_then(|status| status.parse().ok())
                .context("a response has no valid status");
        }
    }
}
