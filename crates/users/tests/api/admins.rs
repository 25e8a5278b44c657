//! Roles, and the operator's way to an admin.

use contracts::{Email, Password};
use serde_json::json;
use users::AdminCreated;

use crate::fixture::{App, PASSWORD, app, user_id};

async fn create(app: &App, email: &str, password: &str) -> AdminCreated {
    let (email, password) = (Email::try_from(email).unwrap(), Password::try_from(password).unwrap());
    app.users.create_admin(email, password).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_first_admin_is_made_once() {
    let app = app().await;
    assert!(app.users.is_empty().await.unwrap() && !app.users.has_admin().await.unwrap());
    let AdminCreated::Created(id) = create(&app, "root@example.com", PASSWORD).await else {
        panic!("not created")
    };
    assert!(!app.users.is_empty().await.unwrap() && app.users.has_admin().await.unwrap());
    assert_eq!(
        create(&app, "ROOT@example.com", "another password").await,
        AdminCreated::Already(id)
    );
    let root = app.signed_in("root@example.com").await;
    assert_eq!(app.get("/api/users/me", &root.token).await.body["role"], "admin");
    assert_eq!(app.harness.journal().await, ["user.registered", "user.logged_in"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_signed_up_with_the_operators_email_before_is_out() {
    let app = app().await;
    let squatter = app.customer("root@example.com").await;
    let created = create(&app, "root@example.com", "the operator's own").await;
    assert_eq!(created, AdminCreated::Promoted(user_id(&squatter.id)));
    assert_eq!(app.log_in("root@example.com", PASSWORD).await.status, 401);
    assert_eq!(app.refresh(&squatter.refresh).await.refusal(), (401, "session-ended"));
    let root = app.log_in("root@example.com", "the operator's own").await;
    assert_eq!(app.get("/api/users/me", root.text("token")).await.body["role"], "admin");
    assert_eq!(app.count("sessions").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_customer_is_no_admin_for_the_operators_purposes() {
    let app = app().await;
    app.customer("ada@example.com").await;
    assert!(!app.users.is_empty().await.unwrap() && !app.users.has_admin().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_admin_gives_and_takes_roles() {
    let app = app().await;
    let root = app.admin("root@example.com").await;
    let ada = app.customer("ada@example.com").await;
    let path = format!("/api/users/{}/role", ada.id);
    let given = app.put(&path, &root.token, json!({"role": "admin"})).await;
    assert_eq!(
        (given.status, &given.body["role"], given.header("etag")),
        (200, &json!("admin"), "\"2\"")
    );
    let again = app.put(&path, &root.token, json!({"role": "admin"})).await;
    assert_eq!((again.status, again.header("etag")), (200, "\"2\""));
    // The next token has the role.
    let refreshed = app.refresh(&ada.refresh).await;
    assert_eq!(app.get("/api/users", &ada.token).await.status, 403);
    assert_eq!(app.get("/api/users", refreshed.text("token")).await.status, 200);
    for wrong in [
        json!({"role": "service"}),
        json!({"role": "root"}),
        json!({}),
        json!({"role": "admin", "x": 1}),
    ] {
        assert_eq!(app.put(&path, &root.token, wrong).await.refusal(), (422, "invalid"));
    }
    let stale = app.request(
        "PUT",
        &path,
        Some(&root.token),
        &[("if-match", "\"1\"")],
        Some(json!({"role": "customer"})),
    );
    assert_eq!(stale.await.refusal(), (412, "stale-version"));
    let taken = app.put(&path, &root.token, json!({"role": "customer"})).await;
    assert_eq!(taken.body["role"], "customer");
    let unknown = "/api/users/usr_01h455vb4pex5vsknk084sn02q/role";
    assert_eq!(
        app.put(unknown, &root.token, json!({"role": "admin"})).await.status,
        404
    );
    let journal = app.journal().await;
    let changed = journal
        .iter()
        .filter(|event| event.event_type == "user.updated")
        .map(|event| event.data.get());
    let expected = |role: &str| format!(r#"{{"user_id":"{}","changed":["role"],"role":"{role}"}}"#, ada.id);
    assert_eq!(changed.collect::<Vec<_>>(), [expected("admin"), expected("customer")]);
}

#[tokio::test(start_paused = true)]
async fn the_last_admin_stays_one() {
    let app = app().await;
    let root = app.admin("root@example.com").await;
    let own = format!("/api/users/{}", root.id);
    let refused = app
        .put(&format!("{own}/role"), &root.token, json!({"role": "customer"}))
        .await;
    assert_eq!(refused.refusal(), (409, "conflict"));
    assert_eq!(
        refused.text("detail"),
        "This is the last admin's account; make somebody else an admin first."
    );
    assert_eq!(app.delete(&own, &root.token).await.refusal(), (409, "conflict"));
    app.admin("other@example.com").await;
    assert_eq!(app.delete(&own, &root.token).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn two_admins_who_remove_each_other_at_once_leave_one() {
    for (method, suffix, body) in [
        ("DELETE", "", None),
        ("PUT", "/role", Some(json!({"role": "customer"}))),
    ] {
        let app = app().await;
        let [ada, bob] = [app.admin("ada@example.com").await, app.admin("bob@example.com").await];
        let paths = [
            format!("/api/users/{}{suffix}", bob.id),
            format!("/api/users/{}{suffix}", ada.id),
        ];
        let (first, second) = tokio::join!(
            app.request(method, &paths[0], Some(&ada.token), &[], body.clone()),
            app.request(method, &paths[1], Some(&bob.token), &[], body.clone()),
        );
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert!(statuses[0] < 300 && statuses[1] >= 400, "{statuses:?}");
        assert!(app.users.has_admin().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_an_admin_a_moment_ago_changes_no_other_account_and_no_role() {
    let app = app().await;
    let root = app.admin("root@example.com").await;
    let former = app.admin("former@example.com").await;
    let ada = app.customer("ada@example.com").await;
    let demoted = app
        .put(
            &format!("/api/users/{}/role", former.id),
            &root.token,
            json!({"role": "customer"}),
        )
        .await;
    assert_eq!(demoted.status, 200);
    let admin = json!({"role": "admin"});
    for (method, path, body) in [
        ("PUT", format!("/api/users/{}/role", former.id), Some(admin.clone())),
        ("PUT", format!("/api/users/{}/role", ada.id), Some(admin)),
        (
            "PUT",
            format!("/api/users/{}", ada.id),
            Some(json!({"email": "former2@example.com"})),
        ),
        ("DELETE", format!("/api/users/{}", root.id), None),
    ] {
        let answer = app.request(method, &path, Some(&former.token), &[], body).await;
        assert_eq!(answer.refusal(), (403, "forbidden"), "{method} {path}");
    }
    let own = format!("/api/users/{}", former.id);
    assert_eq!(
        app.put(&own, &former.token, json!({"name": "Former"})).await.status,
        200
    );
}
