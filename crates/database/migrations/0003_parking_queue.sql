-- An event that cannot be published goes to a queue, where an alarm rings, and leaves the outbox.
DROP INDEX event_outbox_due;
ALTER TABLE event_outbox DROP COLUMN parked_at;
CREATE INDEX event_outbox_due ON event_outbox (next_attempt_at);
