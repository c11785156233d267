//! The lines of an invoice, as far as they say by which prices its subscription is billed.
//!
//! Moved in 2025-03-31.basil: `price` and the older `plan` went to `pricing.price_details.price`, and `subscription`, `proration` and
//! `type` below `parent`.
//!
//! A change of price within a period makes two lines, both prorated: a credit for what is left of the old price, and what the new one costs
//! until the period ends. So a line names the price that is paid for, and these name none:
//! - a credit, which takes an old price back;
//! - a prorated line beside one that is not: where a period is billed, it says by which price, and what was changed and changed again
//!   within the one before does not;
//! - what was put on the invoice by hand and is not prorated, such as a fee for setting up;
//! - a line of another subscription.

use super::ViewError;
use super::read::Object;

/// The prices that an invoice's lines name, in their order and each once. None where the list is cut short: what is not shown may be the
/// price that is looked for.
pub(super) fn prices(invoice: &Object<'_>, lines: &[Object<'_>], subscription: &str) -> Result<Vec<String>, ViewError> {
    let list = invoice.object_if_one("lines")?;
    if list.map_or(Ok(None), |list| list.flag("has_more"))? == Some(true) {
        return Ok(Vec::new());
    }
    let (mut of_a_period, mut prorated) = (Vec::new(), Vec::new());
    for line in lines {
        let Some(named) = named(line, subscription)? else {
            continue;
        };
        let prices = if named.is_prorated {
            &mut prorated
        } else {
            &mut of_a_period
        };
        if !prices.contains(&named.price) {
            prices.push(named.price);
        }
    }
    Ok(if of_a_period.is_empty() { prorated } else { of_a_period })
}

/// The price that a line names.
struct Named {
    price: String,
    is_prorated: bool,
}

fn named(line: &Object<'_>, subscription: &str) -> Result<Option<Named>, ViewError> {
    let parent = line.object("parent")?;
    let details = |name| parent.as_ref().map_or(Ok(None), |parent| parent.object(name));
    let by_hand = details("invoice_item_details")?;
    let is_by_hand = by_hand.is_some() || line.text("type")?.as_deref() == Some("invoiceitem");
    let details = details("subscription_item_details")?.or(by_hand);
    let of_details = details.as_ref();
    let belongs_to = match line.id("subscription")? {
        Some(id) => Some(id),
        None => of_details.map_or(Ok(None), |details| details.id("subscription"))?,
    };
    let is_prorated = match line.flag("proration")? {
        Some(is_prorated) => is_prorated,
        None => of_details
            .map_or(Ok(None), |details| details.flag("proration"))?
            .unwrap_or(false),
    };
    let is_of_another = belongs_to.is_some_and(|id| id != subscription);
    let is_credit = line.amount("amount")?.is_some_and(|amount| amount < 0);
    if is_of_another || is_credit || (is_by_hand && !is_prorated) {
        return Ok(None);
    }
    Ok(price(line)?.map(|price| Named { price, is_prorated }))
}

fn price(line: &Object<'_>) -> Result<Option<String>, ViewError> {
    let pricing = match line.object("pricing")? {
        Some(pricing) => pricing.object("price_details")?,
        None => None,
    };
    if let Some(price) = pricing.map_or(Ok(None), |details| details.id("price"))? {
        return Ok(Some(price));
    }
    match line.id("price")? {
        Some(price) => Ok(Some(price)),
        None => line.id("plan"),
    }
}
