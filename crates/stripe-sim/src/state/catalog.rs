//! Products and prices.

use super::World;
use super::customer::Metadata;
use super::object::Object;
use crate::error::{ApiError, ApiResult};
use crate::time::Interval;

#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) active: bool,
    pub(crate) metadata: Metadata,
}

#[derive(Clone, Debug)]
pub(crate) struct Price {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) product: String,
    pub(crate) currency: String,
    pub(crate) unit_amount: i64,
    pub(crate) recurring: Option<(Interval, u32)>,
    pub(crate) nickname: Option<String>,
    pub(crate) lookup_key: Option<String>,
    pub(crate) active: bool,
    pub(crate) metadata: Metadata,
}

impl World {
    pub(crate) fn create_product(&mut self, mut product: Product) -> Product {
        if product.id.is_empty() {
            product.id = self.ids.next("prod");
        }
        product.created = self.now();
        product.updated = product.created;
        self.products.insert(&product.id, product.clone());
        self.emit("product.created", Object::Product(product.clone()));
        product
    }

    pub(crate) fn create_price(&mut self, mut price: Price) -> Price {
        price.id = self.ids.next("price");
        price.created = self.now();
        self.prices.insert(&price.id, price.clone());
        if price.recurring.is_some() {
            self.emit("plan.created", Object::Plan(price.clone()));
        }
        self.emit("price.created", Object::Price(price.clone()));
        price
    }

    pub(crate) fn price(&self, id: &str, param: &str) -> ApiResult<Price> {
        self.prices
            .get(id)
            .cloned()
            .ok_or_else(|| ApiError::missing("price", id, param))
    }
}
