-- The relay sends an event that cannot be published to event-parking-queue and deletes it from the outbox.
DROP INDEX event_outbox_due;
ALTER TABLE event_outbox DROP COLUMN parked_at;
CREATE INDEX event_outbox_due ON event_outbox (next_attempt_at);
