//! Fuzz target of the payment client: the real client with a stub provider that sends arbitrary responses.

use std::sync::{LazyLock, Mutex};

use domain::{Currency, Money, OrderId, PaymentId, UserId};
use saga::payments::{Confirmation, PaymentError, PaymentProvider, PaymentStatus, stripe::Stripe};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use uuid::Uuid;

/// Response statuses of the provider or of a proxy in front of it.
const STATUSES: [u16; 12] = [200, 201, 302, 400, 401, 402, 404, 409, 429, 500, 502, 503];

/// One stub provider and its client for all runs.
static STUB_PROVIDER: LazyLock<StubProvider> = LazyLock::new(StubProvider::start);

struct StubProvider {
    runtime: Runtime,
    client: Stripe,
    /// Runs are sequential, because the stub has only one response.
    run_lock: Mutex<()>,
}

static STUB_RESPONSE: Mutex<(u16, Vec<u8>)> = Mutex::new((200, Vec::new()));

impl StubProvider {
    fn start() -> Self {
        let runtime = Runtime::new().expect("the runtime can start threads");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        runtime.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection));
            }
        });
        let client = Stripe::new(&format!("http://{address}"), &SecretString::from("sk_test"));
        Self {
            runtime,
            client: client.expect("the URL and the key are valid"),
            run_lock: Mutex::new(()),
        }
    }
}

/// Responds to every request on a connection with [`STUB_RESPONSE`].
async fn serve(mut connection: TcpStream) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = connection.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        received.extend_from_slice(&buffer[..count]);
        // The body of a request arrives in the same segment as its head, or in the next one.
        while let Some(length) = request_length(&received) {
            received.drain(..length);
            let (status, body) = STUB_RESPONSE
                .lock()
                .expect("no thread panics while it holds the lock")
                .clone();
            let head = format!(
                "HTTP/1.1 {status} Any\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            // One write for head and body: a separate body would wait for the client's delayed
            // acknowledgement.
            connection.write_all(&[head.as_bytes(), &body].concat()).await?;
        }
    }
}

/// Returns the length of the first request, or `None` when it is incomplete.
fn request_length(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
    let body = text
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    (received.len() >= head + body).then_some(head + body)
}

/// The fields of a response on which the client depends.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ProviderResponse {
    id: Option<String>,
    status: Option<String>,
}

/// The client reports a payment as charged, refunded or cancelled only if the response says so.
pub fn responses(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let status = STATUSES[usize::from(*first) % STATUSES.len()];
    let provider = &*STUB_PROVIDER;
    let _run = provider.run_lock.lock();
    *STUB_RESPONSE
        .lock()
        .expect("no thread panics while it holds the lock") = (status, body.to_owned());
    provider
        .runtime
        .block_on(check_client(&provider.client, status, body));
}

async fn check_client(client: &Stripe, status: u16, body: &[u8]) {
    let order_id = OrderId(Uuid::nil());
    let payment_id = PaymentId("pi_1".to_owned());
    let price = Money::new(100, Currency::JPY).expect("100 yen is a valid amount");
    let expected: ProviderResponse = serde_json::from_slice(body).unwrap_or_default();
    let status_is = |status| expected.status.as_deref() == Some(status);
    let is_success = (200..300).contains(&status);

    match client.find(&payment_id).await {
        Ok(PaymentStatus::Charged) => assert!(is_success && status_is("succeeded")),
        Ok(PaymentStatus::Cancelled) => assert!(is_success && status_is("canceled")),
        Ok(PaymentStatus::Open) => assert!(is_success && expected.status.is_some()),
        Err(error) => assert_safe_error_code(&error),
    }
    match client
        .create_intent(UserId(Uuid::nil()), order_id, price, "pm_card_visa")
        .await
    {
        Ok(PaymentId(id)) => assert!(is_success && expected.id == Some(id)),
        Err(error) => assert_safe_error_code(&error),
    }
    match client
        .confirm(order_id, &payment_id, "https://shop.example/return")
        .await
    {
        Ok(Confirmation::Charged) => assert!(is_success && status_is("succeeded")),
        Ok(Confirmation::ActionRequired(_)) => assert!(is_success && status_is("requires_action")),
        Err(error) => assert_safe_error_code(&error),
    }
    if let Err(error) = client.refund(order_id, &payment_id, price).await {
        assert_safe_error_code(&error);
    }
    if let Ok(PaymentStatus::Cancelled) = client.cancel(&payment_id).await {
        assert!(is_success && status_is("canceled"));
    }
}

/// Errors are logged and stored, so the only text of the provider in them may be a short alphanumeric code.
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
