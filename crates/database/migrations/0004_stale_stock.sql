-- stock-service decides on rows that it has read without locks, and writes in one statement that requires
-- each row to be unchanged. The statement calls this function when a row has changed, which rolls it back.
CREATE FUNCTION stale_stock() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'stock or a reservation has changed since it was read' USING ERRCODE = 'serialization_failure';
END
$$;
