-- core-api deletes accounts, which revokes their tokens: it writes that event in the same transaction.
GRANT INSERT ON outbox.account_events TO core_api;
