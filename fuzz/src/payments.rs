//! Answers of the payment provider: the real client, and a provider that says anything at all.

use std::sync::{LazyLock, Mutex};

use domain::{Currency, Money, OrderId, PaymentId};
use saga::payments::{PaymentError, PaymentProvider, PaymentStatus, stripe::Stripe};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use uuid::Uuid;

/// Statuses that the provider, or what stands before it, may answer with.
const STATUSES: [u16; 12] = [200, 201, 302, 400, 401, 402, 404, 409, 429, 500, 502, 503];

/// One provider and its client for all runs.
static STUB_PROVIDER: LazyLock<StubProvider> = LazyLock::new(StubProvider::start);

struct StubProvider {
    runtime: Runtime,
    client: Stripe,
    /// One run at a time: the provider has one answer.
    run_lock: Mutex<()>,
}

static STUB_RESPONSE: Mutex<(u16, Vec<u8>)> = Mutex::new((200, Vec::new()));

impl StubProvider {
    fn start() -> Self {
        let runtime = Runtime::new().expect("there are threads");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        runtime.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection));
            }
        });
        let client = Stripe::new(&format!("http://{address}"), &SecretString::from("sk_test"));
        Self {
            runtime,
            client: client.expect("the address and the key are good ones"),
            run_lock: Mutex::new(()),
        }
    }
}

/// Answers every request on a connection as [`ANSWER`] says.
async fn serve(mut connection: TcpStream) -> std::io::Result<()> {
    let mut heard = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = connection.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        heard.extend_from_slice(&buffer[..count]);
        // The bodies of these requests come in the same segment as their heads, or right after it.
        while let Some(length) = request_length(&heard) {
            heard.drain(..length);
            let (status, body) = STUB_RESPONSE
                .lock()
                .expect("nobody panics with the answer in hand")
                .clone();
            let head = format!(
                "HTTP/1.1 {status} Any\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            // In one piece: a body that comes after its head waits for the client's delayed acknowledgement.
            connection.write_all(&[head.as_bytes(), &body].concat()).await?;
        }
    }
}

/// How long the first request is, if all of it is here.
fn request_length(heard: &[u8]) -> Option<usize> {
    let head = heard.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&heard[..head]).to_ascii_lowercase();
    let body = text
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    (heard.len() >= head + body).then_some(head + body)
}

/// What the provider said, as far as it has to be right.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ProviderResponse {
    id: Option<String>,
    status: Option<String>,
}

/// Nothing is taken for paid, refunded or cancelled that the provider has not said so of.
pub fn responses(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let status = STATUSES[usize::from(*first) % STATUSES.len()];
    let world = &*STUB_PROVIDER;
    let _turn = world.run_lock.lock();
    *STUB_RESPONSE
        .lock()
        .expect("nobody panics with the answer in hand") = (status, body.to_owned());
    world.runtime.block_on(check_client(&world.client, status, body));
}

async fn check_client(client: &Stripe, status: u16, body: &[u8]) {
    let order = OrderId(Uuid::nil());
    let payment = PaymentId("pi_1".to_owned());
    let price = Money::new(100, Currency::JPY).expect("a hundred yen are a price");
    let said: ProviderResponse = serde_json::from_slice(body).unwrap_or_default();
    let status_is = |word| said.status.as_deref() == Some(word);
    let success = (200..300).contains(&status);

    match client.find(&payment).await {
        Ok(PaymentStatus::Charged) => assert!(success && status_is("succeeded")),
        Ok(PaymentStatus::Cancelled) => assert!(success && status_is("canceled")),
        Ok(PaymentStatus::Open) => assert!(success && said.status.is_some()),
        Err(error) => assert_safe_error_code(&error),
    }
    match client.create_intent(order, price, "pm_card_visa").await {
        Ok(PaymentId(id)) => assert!(success && said.id == Some(id)),
        Err(error) => assert_safe_error_code(&error),
    }
    match client.confirm(order, &payment).await {
        Ok(()) => assert!(success && status_is("succeeded")),
        Err(error) => assert_safe_error_code(&error),
    }
    if let Err(error) = client.refund(order, &payment).await {
        assert_safe_error_code(&error);
    }
    if let Ok(PaymentStatus::Cancelled) = client.cancel(&payment).await {
        assert!(success && status_is("canceled"));
    }
}

/// What an error says goes into logs and stores, so nothing of what the provider wrote may be in it but one word.
fn assert_safe_error_code(error: &PaymentError) {
    if let PaymentError::Declined { code } | PaymentError::Rejected { code, .. } = error {
        assert!(
            code.len() <= 64
                && code
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        );
    }
}
