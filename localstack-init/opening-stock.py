"""Requests the initial stock of the seed catalog from stock-service, with the events that a warehouse sends.

Used by docker-compose.yml; `cargo xtask up` has a service token and uses HTTP. The adjustment's id is the product's
id in both cases, so repeating it has no effect.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
from datetime import datetime, timezone

BATCH = 10  # the maximum of one PutEvents call


def entry(product: dict, now: str) -> dict:
    """The event that requests a product's initial stock."""
    product_id = product["id"]
    detail = {
        "event_id": product_id,
        "schema_version": 1,
        "occurred_at": now,
        "correlation_id": product_id,
        "causation_id": None,
        "traceparent": f"00-{product_id.replace('-', '')}-{product_id[-12:]}0001-01",
        "data": {
            "adjustment_id": product_id,
            "product_id": product_id,
            "delta": product["quantity"],
            "reason": "opening stock",
        },
    }
    return {
        "EventBusName": "ecommerce-event-bus",
        "Source": "warehouse",
        "DetailType": "StockAdjustmentRequested",
        "Detail": json.dumps(detail),
    }


def publish(entries: list[dict]) -> None:
    """Publishes a batch of events. Exits if the bus refuses any."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(entries, file)
        file.flush()
        command = ["awslocal", "events", "put-events", "--output", "json", "--entries", f"file://{file.name}"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if answer["FailedEntryCount"]:
        raise SystemExit(f"the bus refused some of a batch: {answer['Entries']}")


def main(catalog: str) -> None:
    """Publishes one event per product with initial stock."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    products = json.loads(pathlib.Path(catalog).read_text(encoding="utf-8"))
    entries = [entry(product, now) for product in products if product["quantity"]]
    for start in range(0, len(entries), BATCH):
        publish(entries[start : start + BATCH])
    print(f"requested the initial stock of {len(entries)} products")


if __name__ == "__main__":
    main(sys.argv[1])
