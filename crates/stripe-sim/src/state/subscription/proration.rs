//! Lines of a period and prorations of a change within it.

use super::{Item, Subscription};
use crate::ids::Ids;
use crate::state::invoice::Line;

/// The line of a whole period of an item; free while the trial runs.
pub(super) fn period_line(ids: &mut Ids, subscription: &Subscription, item: &Item, trial: bool) -> Line {
    let unit = item.price.recurring.map_or("month", |(interval, _)| interval.as_str());
    let description = if trial {
        "Free trial".to_owned()
    } else {
        format!(
            "{} × Plan (at {} / {unit})",
            item.quantity,
            money(item.price.unit_amount, &item.price.currency)
        )
    };
    Line {
        id: ids.next("il"),
        description,
        amount: if trial { 0 } else { item.amount() },
        price: Some(item.price.clone()),
        quantity: item.quantity,
        proration: false,
        subscription: Some(subscription.id.clone()),
        subscription_item: Some(item.id.clone()),
        invoice_item: None,
        period: subscription.period,
        metadata: subscription.metadata.clone(),
    }
}

/// The credit for (negative) or charge of the rest of the period from `now` on.
pub(super) fn rest_of_period(ids: &mut Ids, subscription: &Subscription, item: &Item, now: i64, credit: bool) -> Line {
    let (start, end) = subscription.period;
    let whole = i128::from((end - start).max(1));
    let rest = i128::from((end - now).clamp(0, end - start));
    let amount = (i128::from(item.amount()) * rest * 2 + whole) / (whole * 2);
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    Line {
        id: ids.next("il"),
        description: format!("{} time on plan", if credit { "Unused" } else { "Remaining" }),
        amount: if credit { -amount } else { amount },
        price: Some(item.price.clone()),
        quantity: item.quantity,
        proration: true,
        subscription: Some(subscription.id.clone()),
        subscription_item: Some(item.id.clone()),
        invoice_item: Some(ids.next("ii")),
        period: (now, end),
        metadata: subscription.metadata.clone(),
    }
}

fn money(minor: i64, currency: &str) -> String {
    format!("{}.{:02} {}", minor / 100, minor % 100, currency.to_ascii_uppercase())
}
