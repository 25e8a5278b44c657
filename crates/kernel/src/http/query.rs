//! Query strings.

use axum::extract::FromRequestParts;
use contracts::{Code, Problem};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::failure::{Failure, field_path};

/// The query string as a `T`; 422 `invalid-query` if it is not one. `T` refuses unknown parameters by its own
/// `#[serde(deny_unknown_fields)]`, and needs `#[serde(default)]` where a parameter may be absent.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        decode(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn decode<T: DeserializeOwned>(query: &str) -> Result<T, Failure> {
    if query.contains("%00") {
        return Err(Problem::new(Code::InvalidQuery)
            .error("", "must not contain the character U+0000")
            .into());
    }
    let parameters = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(parameters).map_err(|error| {
        let mut words = error.inner().to_string();
        let field = field_path(&error.path().to_string(), &words);
        // What the standard library says of a number.
        let of_numbers = ["invalid digit found in string", "cannot parse integer", "number too"];
        if of_numbers.iter().any(|start| words.starts_with(start)) {
            "must be a whole number".clone_into(&mut words);
        }
        Problem::new(Code::InvalidQuery).error(field, words).into()
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use contracts::{Cursor, Limit, OrderId};
    use insta::assert_snapshot;
    use serde::Deserialize;

    use super::*;
    use crate::http::fixture::app;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct List {
        #[serde(default)]
        order_id: Option<OrderId>,
        #[serde(default)]
        below: Option<u64>,
        #[serde(default)]
        limit: Limit,
        #[serde(default)]
        cursor: Option<Cursor>,
    }

    async fn ask(query: &str) -> String {
        let list = async |Query(list): Query<List>| {
            format!(
                "{:?} {:?} {} {:?}",
                list.order_id,
                list.below,
                list.limit.get(),
                list.cursor
            )
        };
        app(Router::new().route("/list", get(list)))
            .get(&format!("/list{query}"), &[])
            .await
            .shown()
    }

    #[tokio::test]
    async fn parameters_are_read() {
        assert_snapshot!(ask("").await, @"200 None None 50 None");
        assert_snapshot!(ask("?order_id=ord_01h455vb4pex5vsknk084sn02q&below=7&limit=200&cursor=abc").await, @r#"200 Some(ord_01h455vb4pex5vsknk084sn02q) Some(7) 200 Some("abc")"#);
    }

    #[tokio::test]
    async fn a_wrong_parameter_is_named() {
        assert_snapshot!(ask("?limit=201").await, @r#"422 {"type":"/docs/errors#invalid-query","title":"Invalid query","status":422,"detail":"Correct the query parameters, or the GraphQL query, as `errors` says.","instance":"/list#ID","code":"invalid-query","errors":[{"field":"limit","message":"must be a whole number from 1 to 200"}]}"#);
        assert_snapshot!(ask("?below=x").await, @r#"422 {"type":"/docs/errors#invalid-query","title":"Invalid query","status":422,"detail":"Correct the query parameters, or the GraphQL query, as `errors` says.","instance":"/list#ID","code":"invalid-query","errors":[{"field":"below","message":"must be a whole number"}]}"#);
        assert_snapshot!(ask("?belwo=7").await, @r#"422 {"type":"/docs/errors#invalid-query","title":"Invalid query","status":422,"detail":"Correct the query parameters, or the GraphQL query, as `errors` says.","instance":"/list#ID","code":"invalid-query","errors":[{"field":"belwo","message":"unknown field `belwo`, expected one of `order_id`, `below`, `limit`, `cursor`"}]}"#);
        assert_snapshot!(ask("?below=7&below=8").await, @r#"422 {"type":"/docs/errors#invalid-query","title":"Invalid query","status":422,"detail":"Correct the query parameters, or the GraphQL query, as `errors` says.","instance":"/list#ID","code":"invalid-query","errors":[{"field":"below","message":"duplicate field `below`"}]}"#);
        assert_snapshot!(ask("?order_id=7").await, @r#"422 {"type":"/docs/errors#invalid-query","title":"Invalid query","status":422,"detail":"Correct the query parameters, or the GraphQL query, as `errors` says.","instance":"/list#ID","code":"invalid-query","errors":[{"field":"order_id","message":"must be an id such as `ord_01h455vb4pex5vsknk084sn02q`"}]}"#);
        assert_snapshot!(ask("?cursor=a%00").await, @r#"422 {"type":"/docs/errors#invalid-query","title":"Invalid query","status":422,"detail":"Correct the query parameters, or the GraphQL query, as `errors` says.","instance":"/list#ID","code":"invalid-query","errors":[{"field":"","message":"must not contain the character U+0000"}]}"#);
    }
}
