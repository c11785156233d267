// Signs and verifies by Stripe's official package for Node. A job on standard input, its answer on standard output:
//   {sign: [{payload, secret, timestamp}], verify: [{payload, header, secret, tolerance}]}
//   {version, headers: [text], verdicts: [null when accepted, else the error's message]}
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const folder = process.argv[2];
const require = createRequire(join(folder, 'package.json'));
const { version } = JSON.parse(readFileSync(join(folder, 'node_modules/stripe/package.json'), 'utf8'));
const Stripe = require('stripe');
const stripe = new (Stripe.default ?? Stripe)('sk_test_only_signs');
const job = JSON.parse(readFileSync(0, 'utf8'));

const headers = job.sign.map(({ payload, secret, timestamp }) =>
  stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp }));
const verdicts = job.verify.map(({ payload, header, secret, tolerance }) => {
  try {
    stripe.webhooks.signature.verifyHeader(payload, header, secret, tolerance);
    return null;
  } catch (error) {
    return String(error.message).split('\n')[0];
  }
});
process.stdout.write(JSON.stringify({ version, headers, verdicts }));
