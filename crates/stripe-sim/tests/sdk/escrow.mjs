// Stripe's own package for Node plays an escrow against the simulator. Arguments: the folder with the package, the simulator's host and port.
import { createRequire } from "node:module";
import path from "node:path";

const [folder, host, port] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(folder), "index.js"));
const Stripe = require("stripe");
const stripe = new Stripe("sk_test_sdk", { host, port: Number(port), protocol: "http", maxNetworkRetries: 0 });

const refused = async (call) => {
  try {
    await call();
    return null;
  } catch (error) {
    return { type: error.type, code: error.code ?? null, status: error.statusCode };
  }
};

const account = await stripe.accounts.create({
  type: "custom",
  country: "DE",
  capabilities: { transfers: { requested: true } },
  external_account: { object: "bank_account", country: "DE", currency: "eur", account_number: "DE89370400440532013000" },
  tos_acceptance: { date: 1769860800, ip: "203.0.113.9" },
});
const declined = await refused(() =>
  stripe.paymentIntents.create({ amount: 5000, currency: "eur", confirm: true, payment_method: "pm_card_chargeDeclined" }),
);
const small = await refused(() => stripe.paymentIntents.create({ amount: 1, currency: "eur" }));
const intent = await stripe.paymentIntents.create({
  amount: 10000,
  currency: "eur",
  capture_method: "manual",
  confirm: true,
  payment_method: "pm_card_visa",
  transfer_group: "order_1",
  metadata: { escrow_id: "escrow_1" },
});
const captured = await stripe.paymentIntents.capture(intent.id, { amount_to_capture: 8000 }, { idempotencyKey: "capture" });
const give = (amount, key) =>
  stripe.transfers.create(
    { amount, currency: "eur", destination: account.id, source_transaction: captured.latest_charge, transfer_group: "order_1" },
    { idempotencyKey: key },
  );
const transfer = await give(7000, "t1");
const replayed = await give(7000, "t1");
const mismatch = await refused(() => give(6000, "t1"));
const over = await refused(() => give(2000, "t2"));
const reversal = await stripe.transfers.createReversal(transfer.id, { amount: 500 });
const refund = await stripe.refunds.create({ payment_intent: intent.id, amount: 1500 });
const listed = [];
for await (const one of stripe.transfers.list({ transfer_group: "order_1", limit: 1 })) listed.push(one.id);
const balance = await stripe.balance.retrieve({}, { stripeAccount: account.id });
const v2 = await stripe.v2.core.accounts.retrieve(account.id, { include: ["configuration.recipient"] });
const charge = await stripe.charges.retrieve(captured.latest_charge, { expand: ["balance_transaction"] });

console.log(
  JSON.stringify({
    account: account.capabilities.transfers,
    declined,
    small,
    captured: [captured.status, captured.amount_received, captured.lastResponse.headers["date"] !== undefined],
    replayed: [replayed.id === transfer.id, replayed.lastResponse.headers["idempotent-replayed"]],
    mismatch,
    over,
    reversal: reversal.amount,
    refund: refund.status,
    listed: listed.length,
    pending: balance.pending[0].amount,
    v2: v2.configuration.recipient.capabilities.stripe_balance.stripe_transfers.status,
    net: charge.balance_transaction.net,
  }),
);
