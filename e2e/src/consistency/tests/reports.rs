//! What the report says about consistent snapshots, warnings and violations.

use domain::{CustomerSecret, OrderStatus, PaymentAction};
use orders::Payment as PaymentState;
use strum::VariantArray as _;

use super::{COMPLETED, DECLINED, FOLLOWED, REFUNDED, consistent_snapshot, order_id, push_message};
use crate::consistency::{Invariant, Observations, SystemSnapshot};

#[test]
fn consistent_snapshot_satisfies_all_invariants() {
    let (snapshot, observations) = consistent_snapshot();
    let report = snapshot.check_invariants(&observations);
    assert!(report.is_consistent() && report.warnings.is_empty(), "{report}");
    let invariants: Vec<Invariant> = report.checks.iter().map(|check| check.invariant).collect();
    assert_eq!(invariants, Invariant::VARIANTS);
}

#[test]
fn parked_orders_may_be_in_any_state_and_cause_a_warning() {
    let (mut snapshot, observations) = consistent_snapshot();
    let order = &mut snapshot.orders[REFUNDED];
    order.status = OrderStatus::Processing;
    order.history.pop();
    order.payment = Some(PaymentState::Captured);
    let parked_message = format!(r#"{{"order_id":"{}"}}"#, order.order_id);
    snapshot.payments[REFUNDED].refunded = 0;
    snapshot.reservations[REFUNDED].status = "reserved".to_owned();
    snapshot.executions[REFUNDED].status = "FAILED".to_owned();
    snapshot.mails.remove(REFUNDED);
    push_message(&mut snapshot, "order-parking-queue", &parked_message);
    let report = snapshot.check_invariants(&observations);
    assert!(report.is_consistent(), "{report}");
    assert_eq!(report.warnings[0].ids, [order_id(REFUNDED).to_string()]);
}

/// Its execution has ended, and its stock is reserved.
#[test]
fn order_that_waits_for_its_customer_is_consistent() {
    let (mut snapshot, observations) = consistent_snapshot();
    let waiting = &mut snapshot.orders[DECLINED];
    waiting.status = OrderStatus::Processing;
    waiting.history.truncate(2);
    waiting.payment_closed = false;
    snapshot.mails.remove(DECLINED);
    snapshot.reservations[DECLINED].status = "reserved".to_owned();
    (snapshot.products[0].open_reserved, snapshot.products[0].reserved) = (2, 2);
    let violated = |snapshot: &SystemSnapshot| {
        let report = snapshot.check_invariants(&observations);
        report.violated_invariants()
    };
    assert_eq!(violated(&snapshot), [Invariant::OrdersReachFinalStatus]);
    snapshot.orders[DECLINED].payment_action = Some(PaymentAction {
        kind: "redirect_to_url".to_owned(),
        client_secret: CustomerSecret::new("pi_2_secret".to_owned()),
        redirect_url: None,
    });
    assert_eq!(violated(&snapshot), []);
}

#[test]
fn duplicate_mails_and_sms_cause_warnings() {
    let duplicate: [fn(&mut SystemSnapshot); 2] = [
        |snapshot| snapshot.mails.push(snapshot.mails[COMPLETED].clone()),
        |snapshot| snapshot.sms.push(snapshot.sms[COMPLETED].clone()),
    ];
    for (duplicate, channel) in duplicate.into_iter().zip(["mail", "SMS"]) {
        let (mut snapshot, observations) = consistent_snapshot();
        duplicate(&mut snapshot);
        let report = snapshot.check_invariants(&observations);
        assert!(report.is_consistent(), "{report}");
        let [warning] = &report.warnings[..] else {
            panic!("one warning: {report}")
        };
        assert_eq!(
            warning.description,
            format!("orders with more than one {channel}")
        );
        assert_eq!(warning.ids, [format!("{}, 2 times", order_id(COMPLETED))]);
    }
}

#[test]
fn report_names_violations_and_findings() {
    let (mut snapshot, observations) = consistent_snapshot();
    snapshot.payments[REFUNDED].refunded = 0;
    let report = snapshot.check_invariants(&observations).to_string();
    assert!(
        report.contains("✗ charges without completed order, refunded in full"),
        "{report}"
    );
    assert!(
        report.contains(&format!(
            "pi_1  charged 1400 for order {}, refunded 0",
            order_id(REFUNDED)
        )),
        "{report}"
    );
    assert!(report.ends_with("INCONSISTENT\n"), "{report}");
    assert!(
        consistent_snapshot()
            .0
            .check_invariants(&Observations::default())
            .to_string()
            .ends_with("\nCONSISTENT\n")
    );
}

#[test]
fn report_shows_what_a_connected_customer_missed() {
    let (snapshot, mut observations) = consistent_snapshot();
    let orders = &mut observations.connected_customers[0].orders;
    orders.get_mut(&order_id(FOLLOWED)).unwrap().changes.pop();
    let report = snapshot.check_invariants(&observations).to_string();
    let finding = format!(
        "{}  expected [1 pending 00:00:00.000000, 2 cancelled 00:00:00.000000], cancelled (None); \
         its customer's client saw [1 pending 00:00:00.000000], cancelled (None)",
        order_id(FOLLOWED)
    );
    assert!(report.contains(&finding), "{report}");
}
