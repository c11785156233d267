-- What was canceled before 0014 has recipients that look as if they waited for ever, and every account.updated passes by them. They are
-- stored as the API has shown them since: nothing was ever there for them. Safe on a running system: nobody writes to what is canceled, no other
-- row is locked, the previous version never reads this column back, and the rows are found by the index of 0014.

UPDATE escrow_recipients AS r SET status = 'returned', account_news = false FROM escrow_transactions AS e
    WHERE e.id = r.escrow_id AND e.status = 'canceled' AND r.status NOT IN ('paid', 'reversed', 'returned');
