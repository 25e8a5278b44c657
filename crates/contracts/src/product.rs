//! Products: the catalogue.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Attributes, Cursor, Description, HttpUrl, Limit, OnHand, Patch, Price, ProductId, ProductName, Sku, Text, patch,
    word::words,
};

words! {
    /// Whether a product can be bought.
    pub enum ProductStatus {
        /// In the catalogue.
        Active = "active",
        /// Gone from lists; old orders keep it.
        Archived = "archived",
    }
}

words! {
    /// The order of a list of products. A minus means the other way round.
    pub enum ProductSort {
        /// Newest first.
        NewestFirst = "-created_at",
        /// Oldest first.
        OldestFirst = "created_at",
        /// By name.
        Name = "name",
        /// By name, from the end.
        NameDescending = "-name",
        /// Cheapest first.
        Price = "price",
        /// Dearest first.
        PriceDescending = "-price",
    }
}

/// A product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Its id.
    pub id: ProductId,
    /// Its SKU, never changed.
    pub sku: Sku,
    /// Its name.
    pub name: ProductName,
    /// What a piece costs.
    pub price: Price,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// What it is like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// What it looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<HttpUrl>,
    /// Whether it can be bought.
    pub status: ProductStatus,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The number of its changes, for `If-Match`.
    pub version: u64,
}

/// `POST /api/products`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateProduct {
    /// Unique.
    pub sku: Sku,
    /// Its name.
    pub name: ProductName,
    /// What a piece costs, above zero.
    pub price: Price,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// What it is like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// What it looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<HttpUrl>,
    /// How many pieces lie in the warehouse at first; none unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_stock: Option<OnHand>,
}

/// `PUT` or `PATCH /api/products/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateProduct {
    /// Its name; it cannot be cleared.
    #[serde(
        default,
        deserialize_with = "patch::required",
        skip_serializing_if = "Option::is_none"
    )]
    pub name: Option<ProductName>,
    /// What a piece costs; it cannot be cleared. Placed orders keep theirs.
    #[serde(
        default,
        deserialize_with = "patch::required",
        skip_serializing_if = "Option::is_none"
    )]
    pub price: Option<Price>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub description: Patch<Description>,
    /// What it is like, as a whole.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub attributes: Patch<Attributes>,
    /// What it looks like.
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub image_url: Patch<HttpUrl>,
    /// Whether it can be bought; `active` brings back an archived one.
    #[serde(
        default,
        deserialize_with = "patch::required",
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<ProductStatus>,
}

/// The query of `GET /api/products`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListProducts {
    /// Words to find in name, description and SKU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q: Option<Text<200>>,
    /// The product of this SKU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<Sku>,
    /// Those of this status; active ones unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ProductStatus>,
    /// In which order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<ProductSort>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// `product.created`: a product joined the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Which one.
    pub product_id: ProductId,
    /// Its SKU.
    pub sku: Sku,
    /// Its name.
    pub name: ProductName,
    /// What a piece costs.
    pub price: Price,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// What it is like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// What it looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<HttpUrl>,
    /// How many pieces lie in the warehouse at first.
    #[serde(default)]
    pub initial_stock: u64,
}

/// `product.updated`: a product changed. It holds the whole product, so that a replica needs no other event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// Which one.
    pub product_id: ProductId,
    /// Its SKU.
    pub sku: Sku,
    /// Its name now.
    pub name: ProductName,
    /// What a piece costs now.
    pub price: Price,
    /// What it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// What it is like now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Attributes>,
    /// What it looks like now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<HttpUrl>,
    /// Whether it can be bought now.
    pub status: ProductStatus,
    /// The names of the fields that changed.
    pub changed: Vec<String>,
}

/// `product.archived`: a product left the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// Which one.
    pub product_id: ProductId,
    /// Its SKU.
    pub sku: Sku,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_needs_sku_name_and_a_price_above_zero() {
        let good = r#"{"sku":"A","name":"Lamp","price":{"amount":1,"currency":"USD"}}"#;
        assert!(serde_json::from_str::<CreateProduct>(good).is_ok());
        assert!(serde_json::from_str::<CreateProduct>(&good.replace("1,", "0,")).is_err());
        assert!(serde_json::from_str::<CreateProduct>(&good.replace("Lamp", "")).is_err());
        assert!(serde_json::from_str::<CreateProduct>(&good.replace("sku", "SKU")).is_err());
    }

    #[test]
    fn the_sku_never_changes_and_the_name_is_never_cleared() {
        assert!(serde_json::from_str::<UpdateProduct>(r#"{"sku":"B"}"#).is_err());
        assert!(serde_json::from_str::<UpdateProduct>(r#"{"name":null}"#).is_err());
        let update: UpdateProduct = serde_json::from_str(r#"{"description":null}"#).unwrap();
        assert_eq!(
            update,
            UpdateProduct {
                description: Patch::Clear,
                ..Default::default()
            }
        );
    }
}
