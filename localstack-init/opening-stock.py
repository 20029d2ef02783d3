"""Asks stock-service, as a warehouse would, to book the catalogue's opening stock.

For docker-compose.yml: `cargo xtask up` has a service token and books by HTTP. An adjustment bears its product's id
either way, so it counts once however often and from wherever it is asked for.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
from datetime import datetime, timezone

BATCH = 10  # what one PutEvents takes


def entry(product: dict, now: str) -> dict:
    """The event that asks for a product's opening stock."""
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
    """Puts a batch of events, all or an exception."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(entries, file)
        file.flush()
        command = ["awslocal", "events", "put-events", "--output", "json", "--entries", f"file://{file.name}"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if answer["FailedEntryCount"]:
        raise SystemExit(f"the bus refused some of a batch: {answer['Entries']}")


def main(catalogue: str) -> None:
    """Publishes one event for each product of which there is any."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    products = json.loads(pathlib.Path(catalogue).read_text(encoding="utf-8"))
    entries = [entry(product, now) for product in products if product["quantity"]]
    for start in range(0, len(entries), BATCH):
        publish(entries[start : start + BATCH])
    print(f"opening stock of {len(entries)} products is on its way")


if __name__ == "__main__":
    main(sys.argv[1])
