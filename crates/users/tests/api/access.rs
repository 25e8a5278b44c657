//! Who reads an account is told on live streams, and nowhere else.

use contracts::PublicEvent;

use crate::fixture::{app, user_id};

#[tokio::test(start_paused = true)]
async fn reading_an_account_is_an_access_event_and_no_event_of_the_journal() {
    let app = app().await;
    let ada = app.customer("ada@example.com").await;
    let before = app.journal().await.len();
    let mut stream = app.access.subscribe();
    let path = format!("/api/users/{}", ada.id);
    let service = app.service().await;
    for token in [&ada.token, &service] {
        assert_eq!(app.get(&path, token).await.status, 200);
        let seen = stream.next().await.unwrap();
        assert!(matches!(&seen.event, PublicEvent::UserViewed(viewed) if viewed.user_id == user_id(&ada.id)));
        assert_eq!(seen.stream.as_str(), ada.id);
    }
    app.get("/api/users/me", &ada.token).await;
    assert_eq!(&*stream.next().await.unwrap().actor, ada.id);
    assert_eq!(app.journal().await.len(), before);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_read_is_not_told() {
    let app = app().await;
    let (ada, bob) = (
        app.customer("ada@example.com").await,
        app.customer("bob@example.com").await,
    );
    let mut stream = app.access.subscribe();
    assert_eq!(app.get(&format!("/api/users/{}", ada.id), &bob.token).await.status, 404);
    assert_eq!(app.get(&format!("/api/users/{}", bob.id), &bob.token).await.status, 200);
    assert_eq!(stream.next().await.unwrap().stream.as_str(), bob.id);
}
