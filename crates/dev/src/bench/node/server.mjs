// What most teams write: express, Stripe's own package, one INSERT per event, a cluster of two.
import cluster from 'node:cluster';
import express from 'express';
import pg from 'pg';
import Stripe from 'stripe';

if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => process.exit(0));
  }
} else {
  const stripe = new Stripe('sk_test_unused');
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
  const app = express();
  app.get('/readyz', (_, response) => response.sendStatus(200));
  app.post('/webhooks/stripe', express.raw({ type: 'application/json' }), async (request, response) => {
    let event;
    try {
      event = stripe.webhooks.constructEvent(
        request.body,
        request.headers['stripe-signature'],
        process.env.STRIPE_WEBHOOK_SECRET,
      );
    } catch (error) {
      return response.status(400).send(error.message);
    }
    await pool.query(
      'INSERT INTO node_events (id, type, created, payload) VALUES ($1, $2, to_timestamp($3), $4) ON CONFLICT DO NOTHING',
      [event.id, event.type, event.created, request.body.toString('utf8')],
    );
    return response.json({ received: true });
  });
  app.listen(Number(process.env.PORT), '127.0.0.1');
}
