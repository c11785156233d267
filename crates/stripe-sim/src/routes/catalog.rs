//! Products and prices.

use serde_json::Value;

use super::paging::Page;
use super::{Call, unknown};
use crate::error::{ApiError, ApiResult};
use crate::form::Params;
use crate::state::World;
use crate::state::catalog::{Price, Product};
use crate::state::customer::{Metadata, merge_metadata};
use crate::state::object::Object;
use crate::time::Interval;

pub(super) fn products(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    match at {
        ("POST", []) => {
            let p = &call.params;
            let mut product = new_product(p.required("name")?);
            product.id = p.some("id")?.unwrap_or_default();
            product.description = p.some("description")?;
            product.active = p.flag("active")?.unwrap_or(true);
            merge_metadata(&mut product.metadata, p.dict("metadata")?);
            p.ignore(&[
                "images",
                "tax_code",
                "url",
                "unit_label",
                "statement_descriptor",
                "shippable",
                "type",
            ]);
            p.finish()?;
            if world.products.get(&product.id).is_some() {
                return Err(ApiError::state(
                    "resource_already_exists",
                    format!("Product already exists: {}", product.id),
                ));
            }
            let made = world.create_product(product);
            call.show(Object::Product(made))
        }
        ("GET", []) => {
            let page = Page::read(call)?;
            let active = call.params.flag("active")?;
            call.params.finish()?;
            let fits = |one: &Product| active.is_none_or(|active| one.active == active);
            page.of(
                call,
                world.products.iter(),
                |one| one.created,
                fits,
                |one| crate::render::object(&Object::Product(one.clone()), &call.version),
            )
        }
        ("GET", [id]) => {
            call.params.finish()?;
            let one = world
                .products
                .get(id)
                .cloned()
                .ok_or_else(|| ApiError::missing("product", id, "id"))?;
            call.show(Object::Product(one))
        }
        _ => Err(unknown(call)),
    }
}

fn new_product(name: String) -> Product {
    Product {
        id: String::new(),
        created: 0,
        updated: 0,
        name,
        description: None,
        active: true,
        metadata: Metadata::new(),
    }
}

pub(super) fn prices(world: &mut World, call: &Call, at: (&str, &[&str])) -> ApiResult<Value> {
    match at {
        ("POST", []) => {
            let p = &call.params;
            let product = match (p.some("product")?, p.child("product_data")) {
                (Some(product), _) => Ok(product),
                (None, Some(data)) => {
                    data.ignore(&["metadata", "active", "statement_descriptor", "tax_code", "unit_label"]);
                    Err(data.required("name")?)
                }
                (None, None) => {
                    return Err(ApiError::invalid(
                        "product",
                        "parameter_missing",
                        "Missing required param: product.",
                    ));
                }
            };
            let mut price = read_price(p, "")?;
            price.nickname = p.some("nickname")?;
            price.lookup_key = p.some("lookup_key")?;
            price.active = p.flag("active")?.unwrap_or(true);
            merge_metadata(&mut price.metadata, p.dict("metadata")?);
            p.ignore(&["tax_behavior", "billing_scheme"]);
            p.finish()?;
            price.product = match product {
                Ok(known) if world.products.get(&known).is_some() => known,
                Ok(other) => return Err(ApiError::missing("product", &other, "product")),
                Err(name) => world.create_product(new_product(name)).id,
            };
            let made = world.create_price(price);
            call.show(Object::Price(made))
        }
        ("GET", []) => {
            let page = Page::read(call)?;
            let (product, active, keys) = (
                call.params.some("product")?,
                call.params.flag("active")?,
                call.params.texts("lookup_keys")?,
            );
            call.params.finish()?;
            let fits = |one: &Price| {
                product.as_ref().is_none_or(|id| one.product == *id)
                    && active.is_none_or(|active| one.active == active)
                    && (keys.is_empty() || one.lookup_key.as_ref().is_some_and(|key| keys.contains(key)))
            };
            page.of(
                call,
                world.prices.iter(),
                |one| one.created,
                fits,
                |one| crate::render::object(&Object::Price(one.clone()), &call.version),
            )
        }
        ("GET", [id]) => {
            call.params.finish()?;
            call.show(Object::Price(world.price(id, "id")?))
        }
        _ => Err(unknown(call)),
    }
}

/// The parts that `POST /v1/prices` and `price_data` have in common; the product comes from elsewhere.
pub(super) fn read_price(p: &Params, product: &str) -> ApiResult<Price> {
    let currency = p.required("currency")?.to_ascii_lowercase();
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_lowercase()) {
        return Err(ApiError::invalid(
            "currency",
            "",
            format!("Invalid currency: {currency}"),
        ));
    }
    let unit_amount = p.int("unit_amount")?;
    let unit_amount = unit_amount.ok_or_else(|| {
        ApiError::invalid(
            "unit_amount",
            "parameter_missing",
            "Missing required param: unit_amount.",
        )
    })?;
    if !(0..=99_999_999).contains(&unit_amount) {
        return Err(ApiError::invalid(
            "unit_amount",
            "parameter_invalid_integer",
            "Invalid integer: unit_amount must be between 0 and 99999999",
        ));
    }
    let recurring = match p.child("recurring") {
        None => None,
        Some(recurring) => {
            recurring.ignore(&["usage_type"]);
            let interval = recurring
                .choice("interval", &Interval::NAMES)?
                .and_then(Interval::parse);
            let interval = interval.ok_or_else(|| {
                ApiError::invalid(
                    "recurring[interval]",
                    "parameter_missing",
                    "Missing required param: recurring[interval].",
                )
            })?;
            let count = recurring.int("interval_count")?.unwrap_or(1);
            let count = u32::try_from(count).ok().filter(|count| (1..=1_095).contains(count));
            Some((
                interval,
                count.ok_or_else(|| ApiError::invalid("recurring[interval_count]", "", "Invalid interval_count."))?,
            ))
        }
    };
    Ok(Price {
        id: String::new(),
        created: 0,
        product: product.to_owned(),
        currency,
        unit_amount,
        recurring,
        nickname: None,
        lookup_key: None,
        active: true,
        metadata: Metadata::new(),
    })
}

/// A price named by id or given as `price_data`, whose product may be new.
pub(super) enum GivenPrice {
    Known(String),
    Data {
        price: Box<Price>,
        new_product: Option<String>,
    },
}

impl GivenPrice {
    pub(super) fn read(p: &Params) -> ApiResult<Option<Self>> {
        if let Some(id) = p.some("price")?.or(p.some("plan")?) {
            return Ok(Some(Self::Known(id)));
        }
        let Some(data) = p.child("price_data") else {
            return Ok(None);
        };
        let product = data.some("product")?;
        let new_product = match data.child("product_data") {
            Some(fresh) => {
                fresh.ignore(&["description", "images", "metadata", "tax_code", "unit_label"]);
                Some(fresh.required("name")?)
            }
            None => None,
        };
        data.ignore(&["tax_behavior"]);
        let price = read_price(&data, product.as_deref().unwrap_or_default())?;
        if product.is_none() && new_product.is_none() {
            return Err(ApiError::invalid(
                "price_data[product]",
                "parameter_missing",
                "You must specify either `product` or `product_data` when creating a price.",
            ));
        }
        Ok(Some(Self::Data {
            price: price.into(),
            new_product,
        }))
    }

    pub(super) fn resolve(self, world: &mut World) -> ApiResult<Price> {
        match self {
            Self::Known(id) => world.price(&id, "price"),
            Self::Data {
                mut price,
                new_product: name,
            } => {
                if let Some(name) = name {
                    price.product = world.create_product(new_product(name.clone())).id;
                    price.nickname = Some(name);
                } else if world.products.get(&price.product).is_none() {
                    return Err(ApiError::missing("product", &price.product, "price_data[product]"));
                }
                Ok(world.create_price(*price))
            }
        }
    }
}
