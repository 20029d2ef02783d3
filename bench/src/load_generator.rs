//! Load over HTTP/1.1, as lean as it can be: it shares the machine with what it measures. One thread, one connection
//! for each client, one request at a time on each, no parsing beyond status and length.

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

/// Room for the largest answer that is read.
const BUFFER_SIZE: usize = 64 * 1024;

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct LoadResult {
    /// How many of each status.
    pub statuses: BTreeMap<u16, u64>,
    /// How long it took from the first request to the last answer.
    pub elapsed: Duration,
}

impl LoadResult {
    /// How many had this status.
    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// How many had this status, per second.
    pub fn per_second(&self, status: u16) -> f64 {
        self.count(status) as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends what `request` writes into the buffer from `clients` clients to `address`, one after the other from each, for
/// the time `during`. `request` returns false when it wants no more.
///
/// # Errors
/// When a connection fails or answers something else than HTTP/1.1 with a length.
pub async fn run(
    address: &str,
    clients: usize,
    during: Duration,
    request: impl FnMut(&mut Vec<u8>) -> bool,
) -> anyhow::Result<LoadResult> {
    let request = Rc::new(RefCell::new(request));
    let statuses = Rc::new(RefCell::new(BTreeMap::new()));
    let connections = try_join_all((0..clients).map(|_| TcpStream::connect(address))).await?;
    let started = Instant::now();
    let end = started + during;
    try_join_all(connections.into_iter().map(async |mut connection| {
        connection.set_nodelay(true)?;
        let (mut sent, mut received) = (Vec::with_capacity(1024), vec![0; BUFFER_SIZE]);
        while Instant::now() < end {
            sent.clear();
            if !(request.borrow_mut())(&mut sent) {
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

/// Reads one answer and returns its status.
async fn read_response_status(connection: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<u16> {
    let mut filled = 0;
    loop {
        let read = connection.read(&mut buffer[filled..]).await?;
        if read == 0 {
            bail!("the server closed a connection in the middle of an answer");
        }
        filled += read;
        let Some(end) = buffer[..filled]
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
        else {
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end]).context("an answer's head is not text")?;
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .context("an answer has no content-length")?
            .parse()?;
        if filled >= end + 4 + length {
            return head
                .get(9..12)
                .and_then(|status| status.parse().ok())
                .context("an answer has no status");
        }
    }
}
