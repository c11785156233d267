//! Distinct, signed events of the size that Stripe posts, made so that sending one costs the generator next to nothing.
//!
//! Every event is the same indented `invoice.paid` of about 4.9 kB but for its id. Signing costs more than sending (13 µs), so
//! signatures are made before the clock starts; only the signature's hexadecimal text is kept per event, and a request is
//! made by copying the template and writing the two over.

use std::ops::Range;

use serde_json::{Map, Value, json};
use stripe_gateway::signature::sign;

/// About what an invoice's event takes on the wire, in bytes.
const BODY_BYTES: usize = 4_900;
/// Stands where the event's number goes, within its id.
const PLACE: &str = "00000000000";
const HEX: usize = 64;

/// The template of all events.
#[derive(Debug, Clone)]
pub struct Template {
    body: Vec<u8>,
    number: Range<usize>,
}

impl Template {
    /// A template whose events have ids of their own, by the run's name (letters and digits).
    #[must_use]
    pub fn new(run: &str) -> Self {
        let mut metadata = Map::new();
        let mut body = render(run, &metadata);
        while body.len() < BODY_BYTES {
            metadata.insert(
                format!("order_line_{}", metadata.len()),
                json!("PRODUCT-4711 two pieces, gift wrapped"),
            );
            body = render(run, &metadata);
        }
        Self::from_body(body)
    }

    /// The same, of about so many bytes and never more.
    #[must_use]
    pub fn of_bytes(run: &str, bytes: usize) -> Self {
        let mut metadata = Map::new();
        let rest = bytes.saturating_sub(render(run, &metadata).len() + 100);
        metadata.insert("note".into(), json!("x".repeat(rest)));
        Self::from_body(render(run, &metadata))
    }

    fn from_body(body: String) -> Self {
        let start = body.find(PLACE).unwrap_or_default();
        Self {
            body: body.into_bytes(),
            number: start..start + PLACE.len(),
        }
    }

    /// The body of event number `n`.
    #[must_use]
    pub fn body(&self, n: usize) -> Vec<u8> {
        let mut body = self.body.clone();
        write_over(&mut body, &self.number, format!("{n:011}").as_bytes());
        body
    }

    /// The size of every body.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }
}

fn render(run: &str, metadata: &Map<String, Value>) -> String {
    let line = |n: u32| {
        json!({
            "id": format!("il_{n}"), "object": "line_item", "amount": 1_990, "currency": "eur", "description": "1 × Pro (at €19.90 / month)",
            "discountable": true, "livemode": false, "metadata": {"client_id": "c_1"},
            "period": {"end": 1_762_678_400, "start": 1_760_000_000},
            "parent": {"type": "subscription_item_details", "subscription_item_details": {"subscription": "sub_1", "proration": false}},
            "pricing": {"type": "price_details", "price_details": {"price": "price_1", "product": "prod_1"}, "unit_amount_decimal": "1990"},
            "quantity": 1,
        })
    };
    let event = json!({
        "id": format!("evt_{run}{PLACE}"), "object": "event", "api_version": webhook_ingest::NEWEST_KNOWN, "created": 1_760_000_000,
        "data": {"object": {
            "id": "in_1", "object": "invoice", "account_country": "FR", "amount_due": 1_990, "amount_paid": 1_990, "amount_remaining": 0,
            "attempt_count": 1, "billing_reason": "subscription_cycle", "collection_method": "charge_automatically", "created": 1_760_000_000,
            "currency": "eur", "customer": "cus_1", "customer_email": "someone@example.com", "lines": {"object": "list", "data": [line(1), line(2)]},
            "metadata": metadata, "number": "F-0001", "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
            "period_end": 1_762_678_400, "period_start": 1_760_000_000, "status": "paid", "subtotal": 1_990, "total": 1_990,
        }},
        "livemode": false, "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null}, "type": "invoice.paid",
    });
    serde_json::to_string_pretty(&event).unwrap_or_default()
}

fn write_over(target: &mut [u8], place: &Range<usize>, text: &[u8]) {
    if let Some(slot) = target.get_mut(place.clone()) {
        slot.copy_from_slice(text);
    }
}

/// Signed requests, ready to send.
#[derive(Debug)]
pub struct Requests {
    template: Vec<u8>,
    number: Range<usize>,
    signature: Range<usize>,
    signatures: Vec<[u8; HEX]>,
    first: usize,
}

impl Requests {
    /// Signs events `first..first + count` for a host and path, as of a time.
    #[must_use]
    pub fn sign(template: &Template, secret: &str, host: &str, first: usize, count: usize, now: i64) -> Self {
        let mut signatures = Vec::with_capacity(count);
        let mut body = template.body.clone();
        for n in first..first + count {
            write_over(&mut body, &template.number, format!("{n:011}").as_bytes());
            let header = sign(secret, &body, now);
            let mut hex = [b'0'; HEX];
            if let Some((_, mac)) = header.rsplit_once("v1=") {
                hex.copy_from_slice(mac.as_bytes());
            }
            signatures.push(hex);
        }
        let head = format!(
            "POST /webhooks/stripe HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n\
             Accept: */*; q=0.5, application/xml\r\nCache-Control: no-cache\r\nContent-Type: application/json; charset=utf-8\r\n\
             Content-Length: {}\r\nStripe-Signature: t={now},v1=",
            template.body.len()
        );
        let signature = head.len()..head.len() + HEX;
        let start = signature.end + 4;
        let number = start + template.number.start..start + template.number.end;
        let template = [head.as_bytes(), &[b'0'; HEX], b"\r\n\r\n", &template.body].concat();
        Self {
            template,
            number,
            signature,
            signatures,
            first,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.signatures.len()
    }

    /// A buffer for [`Self::write`].
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        self.template.clone()
    }

    /// Turns a buffer into request number `index`; false when there are no more.
    #[must_use]
    pub fn write(&self, index: usize, buffer: &mut [u8]) -> bool {
        let Some(signature) = self.signatures.get(index) else {
            return false;
        };
        write_over(buffer, &self.signature, signature);
        let mut number = self.first + index;
        if let Some(digits) = buffer.get_mut(self.number.clone()) {
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stripe_gateway::envelope::peek;
    use stripe_gateway::signature::{Secrets, verify};

    #[test]
    fn requests_are_distinct_signed_events_of_the_right_size() {
        let template = Template::new("a1");
        assert!(
            (4_900..5_100).contains(&template.body_bytes()),
            "{}",
            template.body_bytes()
        );
        let secret = "whsec_0123456789abcdef";
        let requests = Requests::sign(&template, secret, "127.0.0.1", 7, 3, 1_760_000_000);
        let mut buffer = requests.buffer();
        for index in [2, 0, 1] {
            assert!(requests.write(index, &mut buffer));
            let text = String::from_utf8(buffer.clone()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(body.as_bytes(), template.body(7 + index));
            assert_eq!(peek(body.as_bytes()).unwrap().id, format!("evt_a1{:011}", 7 + index));
            let header = head.rsplit_once("Stripe-Signature: ").unwrap().1;
            let secrets = Secrets::new([secret]).unwrap();
            verify(Some(header.as_bytes()), body.as_bytes(), &secrets, 1_760_000_000, 300).unwrap();
        }
        assert!(!requests.write(3, &mut buffer));
    }
}
