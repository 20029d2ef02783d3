//! The public prices of AWS, and bills: usages with these prices.

use std::collections::BTreeMap;
use strum::VariantArray;

/// US dollars per million, on demand in ap-northeast-1, without free tiers or volume discounts, from the
/// public pricing page of each service (aws.amazon.com/<service>/pricing). Compared in November 2026: the
/// price of transitions with a copy of its page; those of HTTP API requests, functions, DynamoDB units and S3
/// requests with published results of AWS's price list (`APN1-ApiGatewayHttpRequest`,
/// `APN1-Lambda-GB-Second-ARM`, `APN1-WriteRequestUnits`, `APN1-Requests-Tier1`). The others could not be
/// read: the pages build their tables with scripts.
mod price {
    /// State transitions of Standard workflows.
    pub const TRANSITION: f64 = 25.0;
    /// Executions of Express workflows.
    pub const EXPRESS_REQUEST: f64 = 1.0;
    /// GB-seconds of Express workflows, first tier.
    pub const EXPRESS_GB_SECOND: f64 = 16.67;
    /// Invocations of functions.
    pub const INVOCATION: f64 = 0.20;
    /// GB-seconds of functions, Arm, first tier.
    pub const FUNCTION_GB_SECOND: f64 = 13.3334;
    /// DynamoDB write request units.
    pub const WRITE_UNIT: f64 = 0.715;
    /// DynamoDB read request units.
    pub const READ_UNIT: f64 = 0.1425;
    /// Events on a custom bus.
    pub const EVENT: f64 = 1.0;
    /// Requests of SQS standard queues.
    pub const QUEUE_REQUEST: f64 = 0.40;
    /// Publications to a topic. Deliveries to SQS are free.
    pub const PUBLICATION: f64 = 0.50;
    /// Mails by SES.
    pub const MAIL: f64 = 100.0;
    /// PUT requests of S3 Standard.
    pub const OBJECT_WRITE: f64 = 4.7;
    /// Kilobytes of logs ($0.76 per GB).
    pub const LOG_KB: f64 = 0.76;
    /// Traces recorded by X-Ray.
    pub const TRACE: f64 = 5.0;
    /// Messages of a WebSocket API, in both directions, per started 32 KB.
    pub const WEBSOCKET_MESSAGE: f64 = 1.26;
    /// Minutes of connections of a WebSocket API.
    pub const CONNECTION_MINUTE: f64 = 0.315;
    /// Requests of an HTTP API.
    pub const HTTP_API_REQUEST: f64 = 1.29;
}

/// A usage: line item → amount. Each line item has a price.
pub type Bill = BTreeMap<LineItem, f64>;

/// The line items in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, VariantArray)]
pub enum LineItem {
    Transitions,
    ExpressRequests,
    ExpressGbSeconds,
    Mails,
    WriteUnits,
    ReadUnits,
    Events,
    Invocations,
    GbSeconds,
    QueueRequests,
    Publications,
    ObjectWrites,
    LogKilobytes,
    Traces,
    HttpApiRequests,
    WebSocketMessages,
    ConnectionMinutes,
}

impl LineItem {
    /// Returns the name and the price per million.
    pub fn name_and_price(self) -> (&'static str, f64) {
        match self {
            Self::Transitions => ("Step Functions: state transitions", price::TRANSITION),
            Self::ExpressRequests => ("Step Functions: Express executions", price::EXPRESS_REQUEST),
            Self::ExpressGbSeconds => ("Step Functions: Express GB-seconds", price::EXPRESS_GB_SECOND),
            Self::Mails => ("SES: mails", price::MAIL),
            Self::WriteUnits => ("DynamoDB: write units", price::WRITE_UNIT),
            Self::ReadUnits => ("DynamoDB: read units", price::READ_UNIT),
            Self::Events => ("EventBridge: events", price::EVENT),
            Self::Invocations => ("Lambda: invocations", price::INVOCATION),
            Self::GbSeconds => ("Lambda: GB-seconds", price::FUNCTION_GB_SECOND),
            Self::QueueRequests => ("SQS: requests, *derived*", price::QUEUE_REQUEST),
            Self::Publications => ("SNS: publications, *derived*", price::PUBLICATION),
            Self::ObjectWrites => ("S3: PUT requests, *derived*", price::OBJECT_WRITE),
            Self::LogKilobytes => ("CloudWatch Logs: KB, *partly derived*", price::LOG_KB),
            Self::Traces => ("X-Ray: traces, *derived*", price::TRACE),
            Self::HttpApiRequests => ("API Gateway: HTTP requests", price::HTTP_API_REQUEST),
            Self::WebSocketMessages => ("API Gateway: WebSocket messages", price::WEBSOCKET_MESSAGE),
            Self::ConnectionMinutes => ("API Gateway: connection minutes", price::CONNECTION_MINUTE),
        }
    }
}

/// Returns US dollars per thousand bills.
pub fn cost_per_thousand(line: LineItem, bill: &Bill) -> f64 {
    bill.get(&line).copied().unwrap_or(0.0) * line.name_and_price().1 / 1e3
}

/// Returns US dollars per thousand bills, of all line items together.
pub fn total_cost(bill: &Bill) -> f64 {
    LineItem::VARIANTS
        .iter()
        .copied()
        .map(|line| cost_per_thousand(line, bill))
        .sum()
}

pub fn format_dollars(amount: f64) -> String {
    format!("${amount:.4}")
}

/// Formats how often a bill contains a line item.
pub fn format_amount(line: LineItem, bill: &Bill) -> String {
    let amount = bill.get(&line).copied().unwrap_or(0.0);
    if amount == 0.0 {
        "–".to_owned()
    } else {
        format!("{amount:.3}")
    }
}
