-- stock-service decides on rows that it has read without a lock, and writes in one statement, only where each
-- row still is as it was read. The statement calls this where one is not, and nothing of it stands.
CREATE FUNCTION stale_stock() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'stock or a reservation has changed since it was read' USING ERRCODE = 'serialization_failure';
END
$$;
