//! The routes: who may, and what they answer.

use std::sync::Mutex;

use axum::body::Body;
use axum::http::Request;
use contracts::{Role, UserId};
use http_body_util::BodyExt;
use notifications::{Channel, LogChannel, Message, Recipient, Undelivered};
use serde_json::{Value, json};
use tower::ServiceExt;
use tracing_subscriber::fmt::MakeWriter;

use crate::rig::{EMAIL, NAME, Rig, confirmed, rig};

async fn send(rig: &Rig, token: Option<&str>, method: &str, path: &str, body: Value) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        request = request.header("content-type", "application/json");
        Body::from(body.to_string())
    };
    let response = rig
        .notifications
        .router()
        .oneshot(request.body(body).unwrap())
        .await
        .unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

struct Tokens {
    customer: String,
    admin: String,
    service: String,
}

fn tokens(rig: &Rig, customer: UserId) -> Tokens {
    Tokens {
        customer: rig.harness.token(customer, Role::Customer),
        admin: rig.harness.token(rig.stranger(), Role::Admin),
        service: rig.harness.service_token(contracts::Service::Orders),
    }
}

#[tokio::test(start_paused = true)]
async fn routes_admit_whom_the_api_names() {
    let rig = rig().await;
    let (user, order) = (rig.user(), rig.order());
    rig.postbox.fail(Some(Undelivered::Refused { cause: "bad-address" }));
    rig.happens(order, confirmed(order, user)).await;
    rig.settle().await;
    let Tokens {
        customer,
        admin,
        service,
    } = tokens(&rig, user);
    let notify = json!({"user_id": user, "order_id": order});
    let retry = format!("/api/notifications/{}/retry", rig.only().await.id);
    for (method, path, body, expected) in [
        ("GET", "/api/notifications", Value::Null, [401, 200, 200, 403]),
        ("POST", "/api/notify", notify, [401, 403, 202, 202]),
        ("POST", &retry, Value::Null, [401, 403, 202, 403]),
    ] {
        for (token, expected) in [None, Some(&customer), Some(&admin), Some(&service)]
            .into_iter()
            .zip(expected)
        {
            let (status, answer) = send(&rig, token.map(String::as_str), method, path, body.clone()).await;
            assert_eq!(status, expected, "{method} {path}: {answer}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_customer_sees_own_messages_and_an_admin_all() {
    let rig = rig().await;
    let (ada, bob, order) = (rig.user(), rig.user(), rig.order());
    rig.happens(order, confirmed(order, ada)).await;
    rig.settle().await;
    let see = async |user, role, query: &str| {
        let token = rig.harness.token(user, role);
        send(
            &rig,
            Some(&token),
            "GET",
            &format!("/api/notifications{query}"),
            Value::Null,
        )
        .await
    };
    let (status, seen) = see(ada, Role::Customer, "").await;
    let message = &seen["data"][0];
    assert_eq!((status, &seen["next_cursor"]), (200, &Value::Null));
    assert_eq!(
        *message,
        json!({
            "id": message["id"], "user_id": ada, "order_id": order, "channel": "smtp", "template": "order-confirmed",
            "subject": format!("Your order {order} is confirmed"), "status": "sent", "attempts": 1,
            "created_at": message["created_at"],
        })
    );
    assert_eq!(see(bob, Role::Customer, "").await.1["data"], json!([]));
    assert_eq!(
        see(bob, Role::Customer, &format!("?user_id={ada}")).await.1["data"],
        json!([])
    );
    assert_eq!(
        see(bob, Role::Admin, &format!("?user_id={ada}&status=sent")).await.1["data"][0],
        *message
    );
    assert_eq!(see(bob, Role::Admin, "?status=lost").await.0, 422);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_once_per_idempotency_key() {
    let rig = rig().await;
    let (user, order) = (rig.user(), rig.order());
    let token = rig.harness.token(rig.stranger(), Role::Admin);
    let body = json!({"user_id": user, "order_id": order, "template": "order-paid"}).to_string();
    let ask = async || {
        let request = Request::post("/api/notify")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("idempotency-key", "k");
        let response = rig
            .notifications
            .router()
            .oneshot(request.body(Body::from(body.clone())).unwrap())
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    };
    let first = ask().await;
    assert_eq!(first.0, 202);
    assert_eq!(ask().await, first);
    rig.settle().await;
    assert_eq!(rig.postbox.letters().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refusals_say_what_to_do() {
    let rig = rig().await;
    let (user, order) = (rig.user(), rig.order());
    rig.happens(order, confirmed(order, user)).await;
    rig.settle().await;
    let admin = tokens(&rig, user).admin;
    let sent = rig.only().await.id;
    let post = async |path: &str, body| send(&rig, Some(&admin), "POST", path, body).await;
    let code = |(status, problem): (u16, Value)| (status, problem["code"].as_str().unwrap_or_default().to_owned());
    let notify =
        |order: contracts::OrderId, template: &str| json!({"user_id": user, "order_id": order, "template": template});
    assert_eq!(
        code(post(&format!("/api/notifications/{sent}/retry"), Value::Null).await),
        (409, "conflict".to_owned())
    );
    assert_eq!(
        code(post("/api/notifications/ntf_7/retry", Value::Null).await),
        (404, "not-found".to_owned())
    );
    let unknown = format!(
        "/api/notifications/{}/retry",
        sent.to_string().replace("ntf_0", "ntf_1")
    );
    assert_eq!(code(post(&unknown, Value::Null).await), (404, "not-found".to_owned()));
    assert_eq!(
        code(post("/api/notify", notify(order, "nowhere")).await),
        (422, "invalid".to_owned())
    );
    assert_eq!(
        code(post("/api/notify", notify(order, "../secret")).await),
        (422, "invalid".to_owned())
    );
    let without = json!({"user_id": user, "order_id": rig.order()});
    assert_eq!(
        code(post("/api/notify", without).await),
        (422, "unknown-reference".to_owned())
    );
}

#[derive(Clone, Debug, Default)]
struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_channel_tells_what_and_not_to_whom() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let id = "01h455vb4pex5vsknk084sn02q";
    let recipient = Recipient {
        email: EMAIL.try_into().unwrap(),
        name: Some(NAME.try_into().unwrap()),
    };
    let message = Message {
        id: format!("ntf_{id}").parse().unwrap(),
        user_id: format!("usr_{id}").parse().unwrap(),
        order_id: Some(format!("ord_{id}").parse().unwrap()),
        template: &"order-paid".parse().unwrap(),
        recipient: &recipient,
        subject: "Thank you, Ada Lovelace",
        headline: "Thank you",
        body: "Hello Ada Lovelace",
    };
    LogChannel.send(&message).await.unwrap();
    tracing::info!(?message, ?recipient, "debug forms");
    drop(guard);
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for told in [
        format!("ntf_{id}"),
        format!("usr_{id}"),
        format!("ord_{id}"),
        "order-paid".into(),
        "Thank you".into(),
    ] {
        assert!(log.contains(&told), "{told}: {log}");
    }
    assert!(!log.contains("Lovelace") && !log.contains("example.com"), "{log}");
}
