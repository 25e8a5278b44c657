//! Parameters of the path.

use axum::extract::FromRequestParts;
use axum::extract::rejection::PathRejection;
use contracts::Code;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::failure::{Failure, internal};

/// What the route's `{…}` matched. A malformed id is 404, like an unknown one.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(rejection)) if rejection.status().is_client_error() => {
                Err(Code::NotFound.into())
            }
            Err(rejection) => Err(internal(rejection.body_text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use contracts::{OrderId, Sku};

    use super::*;
    use crate::http::fixture::app;

    #[tokio::test]
    async fn a_malformed_id_is_not_found() {
        let app = app(Router::new()
            .route("/orders/{id}", get(async |Path(id): Path<OrderId>| id.to_string()))
            .route(
                "/orders/{id}/lines/{sku}",
                get(async |Path((_, sku)): Path<(OrderId, Sku)>| sku.to_string()),
            ));
        let order = "/orders/ord_01h455vb4pex5vsknk084sn02q";
        assert_eq!(app.get(order, &[]).await.status, 200);
        assert_eq!(app.get(&format!("{order}/lines/a%20b%2Fc"), &[]).await.body, "a b/c");
        for wrong in [
            "/orders/7",
            "/orders/usr_01h455vb4pex5vsknk084sn02q",
            "/orders/%00",
            "/orders/%ff",
            &format!("{order}/lines/a%00"),
            &format!("{order}/lines/%20"),
        ] {
            let answer = app.get(wrong, &[]).await;
            assert_eq!(answer.status, 404, "{wrong}");
            assert!(answer.body.contains("\"not-found\""), "{}", answer.body);
        }
    }
}
