//! Telephone numbers of test users, and the SMS that were sent to them.

use chrono::{DateTime, Timelike, Utc};
use domain::ids::uuid_v7;
use reqwest::Method;
use serde_json::{Value, json};

use super::{ApiCaller, ApiResponse, TestSystem, eventually, send};

impl TestSystem {
    /// A mobile number that no other test uses.
    pub fn unused_phone_number(&self) -> String {
        format!("+8190{}", 10_000_000 + uuid_v7(self.now()).as_u128() % 90_000_000)
    }

    /// Creates a customer who wants SMS about orders, with a verified number. Returns both.
    pub async fn customer_with_sms(&self) -> (ApiCaller, String) {
        let (customer, number) = (self.customer().await, self.unused_phone_number());
        self.put_phone(&customer, &number).await.expect_status(202);
        let code = self.wait_for_phone_code(&number).await;
        self.enter_phone_code(&customer, &code).await.expect_status(200);
        self.change_preferences(&customer, json!({"order_sms": true}))
            .await;
        (customer, number)
    }

    pub async fn put_phone(&self, caller: &ApiCaller, number: &str) -> ApiResponse {
        let url = format!("{}/v1/me/phone", self.gateway_url);
        let request = self.http.put(url).bearer_auth(&caller.token);
        send(request.json(&json!({"phone_number": number}))).await
    }

    pub async fn enter_phone_code(&self, caller: &ApiCaller, code: &str) -> ApiResponse {
        let url = format!("{}/v1/me/phone/verification", self.gateway_url);
        let request = self.http.post(url).bearer_auth(&caller.token);
        send(request.json(&json!({"code": code}))).await
    }

    pub async fn change_preferences(&self, caller: &ApiCaller, preferences: Value) {
        let request = self.core_api_request(Method::PATCH, "/v1/me");
        let request = request.bearer_auth(&caller.token).header("If-Match", "*");
        let response = send(request.json(&json!({"preferences": preferences}))).await;
        response.expect_status(200);
    }

    /// Waits for an SMS with a code and returns the code of the last one.
    pub async fn wait_for_phone_code(&self, number: &str) -> String {
        eventually(&format!("a code for {number}"), async || {
            let texts = self.sent_sms(number).await;
            let (_, rest) = texts.last()?.split_once("code is ")?;
            Some(rest[..6].to_owned())
        })
        .await
    }

    /// The texts of all SMS to a number, oldest first.
    pub async fn sent_sms(&self, number: &str) -> Vec<String> {
        let url = format!("{}/_ministack/sns/sms-messages", self.aws_endpoint_url);
        let request = self.http.get(url).query(&[("phoneNumber", number)]);
        let sent = send(request).await.expect_status(200);
        let text = |sms: &Value| sms["Message"].as_str().unwrap().to_owned();
        let to_number = sent["sms_messages"][number].as_array();
        to_number.into_iter().flatten().map(text).collect()
    }

    /// Waits until sms-sender has deleted all messages about an order. So the order causes no further SMS.
    pub async fn wait_until_sms_queue_is_done_with(&self, order_id: domain::OrderId) {
        eventually(
            &format!("messages about {order_id} to leave sms-queue"),
            async || {
                let waiting = self.queue_messages("sms-queue").await;
                let is_about = |message: &Value| message.to_string().contains(&order_id.to_string());
                (!waiting.iter().any(is_about)).then_some(())
            },
        )
        .await;
    }

    /// Quiet hours that contain the present time, and their end in one to two minutes.
    pub fn short_quiet_hours(&self) -> (Value, DateTime<Utc>) {
        let minute = self.now().with_second(0).and_then(|time| time.with_nanosecond(0));
        let end = minute.unwrap() + chrono::TimeDelta::minutes(2);
        let start = end - chrono::TimeDelta::minutes(10);
        let text = |time: DateTime<Utc>| time.format("%H:%M").to_string();
        let hours = json!({"start": text(start), "end": text(end), "time_zone": "UTC"});
        (hours, end)
    }
}
