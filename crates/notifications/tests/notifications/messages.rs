//! The notifications' use cases on a memory store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use contracts::notification::{ListNotifications, NotificationStatus, Notify};
use contracts::order::{self, OrderStatus};
use contracts::{OrderId, PaymentId, RefundId, Role, Service, UserId, payment};
use jiff::SignedDuration;
use kernel::bus::{Bus, Group};
use kernel::event::Position;
use kernel::http::Paging;
use kernel::reaction::Reaction;
use kernel::store::Query;
use kernel::writer::{self, Priority};
use notifications::{COLLECTIONS, Error, Steps, Undelivered};
use testkit::faults::StutteringBus;
use testkit::harness::Harness;

use crate::rig::{EMAIL, NAME, Rig, confirmed, eur, rig, rig_on};

const MINUTE: Duration = Duration::from_secs(60);

async fn sent_after_a_confirmation(rig: &Rig) -> (UserId, OrderId) {
    let (user, order) = (rig.user(), rig.order());
    rig.happens(order, confirmed(order, user)).await;
    rig.settle().await;
    (user, order)
}

#[tokio::test(start_paused = true)]
async fn each_step_is_told_once() {
    let rig = rig().await;
    let (user_id, order_id) = (rig.user(), rig.order());
    let paid_by = order::PaidBy::Manual { admin: user_id };
    let (was, by) = (OrderStatus::Paid, order::Canceller::Customer);
    rig.happens(
        order_id,
        order::Placed {
            order_id,
            user_id,
            lines: vec![],
            total: eur(2500),
            details: vec![],
        },
    )
    .await;
    rig.happens(order_id, confirmed(order_id, user_id)).await;
    rig.happens(
        order_id,
        order::Rejected {
            order_id,
            user_id,
            shortages: vec![],
        },
    )
    .await;
    rig.happens(
        order_id,
        order::Paid {
            order_id,
            user_id,
            amount: eur(2500),
            paid_by,
        },
    )
    .await;
    rig.happens(order_id, order::Fulfilled { order_id, user_id }).await;
    rig.happens(
        order_id,
        order::Updated {
            order_id,
            user_id,
            changed: vec![],
        },
    )
    .await;
    rig.happens(
        order_id,
        order::Cancelled {
            order_id,
            user_id,
            was,
            by,
            details: vec![],
        },
    )
    .await;
    rig.happens(order_id, order::Expired { order_id, user_id }).await;
    let payment_id = PaymentId::from_uuid(rig.harness.uuid());
    for amount in [500, 2000] {
        let refunded = payment::Refunded {
            payment_id,
            refund_id: RefundId::from_uuid(rig.harness.uuid()),
            order_id,
            user_id,
            amount: eur(amount),
            refunded_total: eur(amount),
            captured: eur(2500),
            full: amount == 2000,
        };
        rig.harness.publish(Service::Payments, payment_id, refunded).await;
    }
    rig.settle().await;
    let told: BTreeSet<String> = rig
        .all()
        .await
        .into_iter()
        .map(|it| it.template.into_string())
        .collect();
    let steps = [
        "order-cancelled",
        "order-confirmed",
        "order-expired",
        "order-fulfilled",
        "order-paid",
        "order-rejected",
        "payment-refunded",
    ];
    assert!(told.iter().eq(&steps), "{told:?}");
    let letters = rig.postbox.letters();
    assert_eq!(letters.len(), 8);
    let refunds = letters
        .iter()
        .filter(|letter| letter.body.contains("20.00") || letter.body.contains("5.00"));
    assert_eq!(refunds.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_message_says_what_the_event_knew_and_users_added() {
    let rig = rig().await;
    let (user, order) = sent_after_a_confirmation(&rig).await;
    let [letter] = &rig.postbox.letters()[..] else {
        panic!("one letter")
    };
    assert_eq!((&*letter.email, letter.order_id), (EMAIL, Some(order)));
    assert_eq!(letter.subject, format!("Your order {order} is confirmed"));
    assert!(
        letter.body.contains(NAME) && letter.body.contains("25.00"),
        "{}",
        letter.body
    );
    let shown = rig.only().await;
    assert_eq!(
        (shown.id, shown.user_id, shown.order_id),
        (letter.id, user, Some(order))
    );
    assert_eq!((shown.status, shown.attempts), (NotificationStatus::Sent, 1));
    assert_eq!(shown.subject, letter.subject);
    assert_eq!(
        rig.harness.journal().await,
        ["notification.queued", "notification.sent"]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_personal_is_stored() {
    let rig = rig().await;
    sent_after_a_confirmation(&rig).await;
    let store = rig.engine.reader().store();
    let mut stored: Vec<String> = Vec::new();
    for event in store.tail(Position::START, 1000).await.unwrap().events {
        stored.push(serde_json::to_string(&event).unwrap());
    }
    for collection in kernel::engine::schema(COLLECTIONS).collections {
        let found = store.query(&Query::all(collection, 1000)).await.unwrap();
        stored.extend(found.into_iter().map(|found| found.stored.document.to_string()));
    }
    assert!(stored.len() > 10);
    for text in stored {
        assert!(
            !text.contains(EMAIL) && !text.contains("Lovelace") && !text.contains("Hello"),
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_happened_before_the_first_start_is_not_mailed() {
    let harness = Harness::new(Service::Notifications, COLLECTIONS).await;
    let (order, user) = (OrderId::from_uuid(harness.uuid()), UserId::from_uuid(harness.uuid()));
    harness.publish(Service::Orders, order, confirmed(order, user)).await;
    let bus = Arc::clone(harness.bus());
    let rig = rig_on(harness, &bus).await;
    rig.settle().await;
    assert_eq!(rig.all().await, []);
    sent_after_a_confirmation(&rig).await;
    assert_eq!(rig.postbox.letters().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn users_is_waited_for_as_long_as_it_is_down() {
    let rig = rig().await;
    rig.users.down.store(true, Ordering::Relaxed);
    sent_after_a_confirmation(&rig).await;
    rig.pass(60 * MINUTE).await;
    let waiting = rig.only().await;
    assert_eq!((waiting.status, waiting.attempts), (NotificationStatus::Queued, 0));
    assert_eq!(rig.harness.journal().await, ["notification.queued"]);
    let asked = rig.users.asked.load(Ordering::Relaxed);
    assert!((30..80).contains(&asked), "asked {asked} times in an hour");
    rig.users.down.store(false, Ordering::Relaxed);
    rig.pass(2 * MINUTE).await;
    assert_eq!(rig.only().await.status, NotificationStatus::Sent);
    assert_eq!(rig.postbox.letters().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_erased_user_gets_nothing() {
    let rig = rig().await;
    let (user, order) = (rig.user(), rig.order());
    rig.erased(user).await;
    rig.settle().await;
    rig.happens(order, confirmed(order, user)).await;
    rig.settle().await;
    assert_eq!(
        rig.harness.journal().await,
        ["notification.queued", "notification.failed"]
    );
    assert_eq!(
        (rig.only().await.status, rig.only().await.attempts),
        (NotificationStatus::Failed, 0)
    );
    assert_eq!(
        (rig.postbox.letters(), rig.users.asked.load(Ordering::Relaxed)),
        (vec![], 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_user_erased_while_a_message_waits_gets_nothing() {
    let rig = rig().await;
    rig.users.down.store(true, Ordering::Relaxed);
    let (user, _) = sent_after_a_confirmation(&rig).await;
    rig.erased(user).await;
    rig.pass(2 * MINUTE).await;
    assert_eq!(rig.only().await.status, NotificationStatus::Failed);
    let tail = rig.engine.reader().store().tail(Position::START, 10).await.unwrap();
    assert!(
        tail.events
            .last()
            .unwrap()
            .data
            .get()
            .contains(r#""cause":"undeliverable""#)
    );
    assert_eq!(rig.postbox.letters(), []);
}

#[tokio::test(start_paused = true)]
async fn an_address_just_used_is_not_used_after_the_erasure() {
    let rig = rig().await;
    let (user, order) = sent_after_a_confirmation(&rig).await;
    rig.erased(user).await;
    rig.happens(
        order,
        order::Fulfilled {
            order_id: order,
            user_id: user,
        },
    )
    .await;
    rig.settle().await;
    let letters = rig.postbox.letters().len();
    let erasure_came_first = rig.all().await.iter().any(|it| it.status == NotificationStatus::Failed);
    assert_eq!(letters, if erasure_came_first { 1 } else { 2 });
    rig.happens(
        order,
        order::Expired {
            order_id: order,
            user_id: user,
        },
    )
    .await;
    rig.settle().await;
    assert_eq!(rig.postbox.letters().len(), letters);
}

#[tokio::test(start_paused = true)]
async fn a_user_whom_users_does_not_know_is_undeliverable() {
    let rig = rig().await;
    let (user, order) = (rig.stranger(), rig.order());
    rig.happens(order, confirmed(order, user)).await;
    rig.settle().await;
    assert_eq!(rig.only().await.status, NotificationStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn an_address_is_remembered_for_seconds_only() {
    let rig = rig().await;
    let (user, order) = sent_after_a_confirmation(&rig).await;
    rig.happens(
        order,
        order::Fulfilled {
            order_id: order,
            user_id: user,
        },
    )
    .await;
    rig.settle().await;
    assert_eq!(
        (rig.postbox.letters().len(), rig.users.asked.load(Ordering::Relaxed)),
        (2, 1)
    );
    rig.pass(MINUTE).await;
    rig.users.delete(user);
    rig.happens(
        order,
        order::Expired {
            order_id: order,
            user_id: user,
        },
    )
    .await;
    rig.settle().await;
    assert_eq!(
        (rig.postbox.letters().len(), rig.users.asked.load(Ordering::Relaxed)),
        (2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_down_is_tried_again_and_every_try_is_counted() {
    let rig = rig().await;
    rig.postbox.fail(Some(Undelivered::Unavailable {
        reason: "as the test asks".to_owned(),
    }));
    sent_after_a_confirmation(&rig).await;
    rig.pass(MINUTE).await;
    let tries = rig.only().await.attempts;
    assert!((3..=8).contains(&tries), "{tries} tries in a minute");
    rig.postbox.fail(None);
    rig.pass(2 * MINUTE).await;
    let sent = rig.only().await;
    assert_eq!(
        (sent.status, sent.attempts),
        (NotificationStatus::Sent, rig.postbox.tried.load(Ordering::Relaxed))
    );
    assert_eq!(rig.postbox.letters().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_hangs_is_given_up_on_and_tried_again() {
    let rig = rig().await;
    rig.postbox.hangs.store(true, Ordering::Relaxed);
    sent_after_a_confirmation(&rig).await;
    rig.pass(Duration::from_secs(31)).await;
    assert_eq!(rig.only().await.attempts, 1);
    rig.postbox.hangs.store(false, Ordering::Relaxed);
    rig.pass(MINUTE).await;
    assert_eq!(rig.only().await.status, NotificationStatus::Sent);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_given_up_after_three_days_and_an_admin_can_have_it_tried_again() {
    let rig = rig().await;
    rig.postbox.fail(Some(Undelivered::Unavailable {
        reason: "as the test asks".to_owned(),
    }));
    let (user, _) = sent_after_a_confirmation(&rig).await;
    rig.harness.clock().jump(SignedDuration::from_hours(70));
    rig.pass(MINUTE).await;
    let waiting = rig.only().await;
    assert_eq!(waiting.status, NotificationStatus::Queued);
    rig.harness.clock().jump(SignedDuration::from_hours(3));
    rig.pass(MINUTE).await;
    assert_eq!(rig.only().await.status, NotificationStatus::Failed);
    rig.postbox.fail(None);
    let admin = || rig.harness.context(user);
    let queued = rig.notifications.retry(waiting.id, admin()).await.unwrap();
    assert_eq!(queued.status, NotificationStatus::Queued);
    rig.settle().await;
    assert_eq!(rig.only().await.status, NotificationStatus::Sent);
    let again = rig.notifications.retry(waiting.id, admin()).await;
    assert!(matches!(again, Err(Error::NotFailed)), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_fails_at_once() {
    let rig = rig().await;
    rig.postbox.fail(Some(Undelivered::Refused { cause: "bad-address" }));
    sent_after_a_confirmation(&rig).await;
    assert_eq!(
        rig.harness.journal().await,
        ["notification.queued", "notification.failed"]
    );
    assert_eq!(rig.only().await.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn many_steps_are_told_once_each_under_redelivery_and_restarts() {
    let harness = Harness::new(Service::Notifications, COLLECTIONS).await;
    let bus: Arc<dyn Bus> = Arc::new(StutteringBus::new(Arc::clone(harness.bus())));
    let mut rig = rig_on(harness, &bus).await;
    let user = rig.user();
    let mut orders = BTreeSet::new();
    for _ in 0..5 {
        for _ in 0..100 {
            let order = rig.order();
            rig.happens(order, confirmed(order, user)).await;
            orders.insert(order);
        }
        rig.restart(&bus).await;
    }
    rig.settle().await;
    // What was about to be sent when a process ended is sent when its lease has.
    rig.pass(Duration::from_secs(60)).await;
    let letters = rig.postbox.letters();
    let told: BTreeSet<OrderId> = letters.iter().filter_map(|letter| letter.order_id).collect();
    assert_eq!((letters.len(), told), (500, orders));
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_when_the_process_ended_is_sent_by_the_next() {
    let mut rig = rig().await;
    rig.users.down.store(true, Ordering::Relaxed);
    let user = rig.user();
    for _ in 0..300 {
        let order = rig.order();
        rig.happens(order, confirmed(order, user)).await;
    }
    rig.settle().await;
    let bus = Arc::clone(rig.harness.bus());
    rig.users.down.store(false, Ordering::Relaxed);
    rig.restart(&bus).await;
    rig.pass(2 * MINUTE).await;
    assert_eq!(rig.postbox.letters().len(), 300);
    let ids: BTreeSet<_> = rig.postbox.letters().iter().map(|letter| letter.id).collect();
    assert_eq!(ids.len(), 300);
}

#[tokio::test(start_paused = true)]
async fn the_same_event_queues_one_message_even_if_the_consumer_begins_anew() {
    let rig = rig().await;
    sent_after_a_confirmation(&rig).await;
    let group = Group {
        service: Service::Notifications,
        consumer: "again",
        source: Service::Orders,
    };
    let mut subscription = rig
        .harness
        .bus()
        .subscribe(&group, vec![Position::START])
        .await
        .unwrap();
    let message = subscription.receive(1).await.unwrap().remove(0);
    let steps = Steps {
        channel: contracts::notification::Channel::Smtp,
    };
    let context = kernel::context::Context::system("test");
    let again = rig.engine.writer().execute(Priority::Background, context, move |unit| {
        steps
            .react(&message, unit)
            .map_err(|error| writer::Error::Content(error.to_string().into()))
    });
    again.await.unwrap();
    rig.settle().await;
    assert_eq!(rig.postbox.letters().len(), 1);
    assert_eq!(rig.all().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_admin_has_a_user_told_where_the_order_stands() {
    let rig = rig().await;
    let (user_id, order_id) = sent_after_a_confirmation(&rig).await;
    let context = || rig.harness.context(user_id);
    let notify = Notify {
        user_id,
        order_id,
        template: None,
    };
    let queued = rig.notifications.notify(notify.clone(), context()).await.unwrap();
    assert_eq!(queued.status, NotificationStatus::Queued);
    rig.settle().await;
    let [first, second] = &rig.postbox.letters()[..] else {
        panic!("two letters")
    };
    assert_eq!(
        (second.id, &second.subject, &second.body),
        (queued.id, &first.subject, &first.body)
    );

    let foreign = Notify {
        user_id: rig.user(),
        ..notify.clone()
    };
    assert!(matches!(
        rig.notifications.notify(foreign, context()).await,
        Err(Error::ForeignOrder)
    ));
    let unknown = Notify {
        order_id: rig.order(),
        ..notify.clone()
    };
    assert!(matches!(
        rig.notifications.notify(unknown.clone(), context()).await,
        Err(Error::UnknownStatus)
    ));
    let named = Notify {
        template: Some("order-paid".parse().unwrap()),
        ..unknown
    };
    assert!(rig.notifications.notify(named, context()).await.is_ok());
    let nowhere = Notify {
        template: Some("nowhere".parse().unwrap()),
        ..notify
    };
    assert!(matches!(
        rig.notifications.notify(nowhere, context()).await,
        Err(Error::UnknownTemplate)
    ));
}

#[tokio::test(start_paused = true)]
async fn lists_are_by_owner_and_status_newest_first() {
    let rig = rig().await;
    let (ada, order) = sent_after_a_confirmation(&rig).await;
    rig.happens(
        order,
        order::Fulfilled {
            order_id: order,
            user_id: ada,
        },
    )
    .await;
    rig.settle().await;
    rig.postbox.fail(Some(Undelivered::Refused { cause: "bad-address" }));
    let (bob, _) = sent_after_a_confirmation(&rig).await;
    let list = async |viewer, role, user_id, status| {
        let filter = ListNotifications {
            user_id,
            status,
            ..ListNotifications::default()
        };
        let viewer = rig.viewer(viewer, role);
        let page = rig
            .notifications
            .notifications(viewer, &filter, &Paging::default())
            .await
            .unwrap();
        page.data
            .into_iter()
            .map(|it| (it.user_id, it.template.into_string()))
            .collect::<Vec<_>>()
    };
    let [confirmed, fulfilled] = ["order-confirmed", "order-fulfilled"].map(str::to_owned);
    let adas = vec![(ada, fulfilled), (ada, confirmed.clone())];
    let bobs = vec![(bob, confirmed)];
    assert_eq!(list(ada, Role::Customer, None, None).await, adas);
    assert_eq!(list(ada, Role::Customer, Some(ada), None).await, adas);
    assert_eq!(list(ada, Role::Customer, Some(bob), None).await, []);
    assert_eq!(
        list(bob, Role::Customer, None, Some(NotificationStatus::Sent)).await,
        []
    );
    assert_eq!(
        list(bob, Role::Customer, None, Some(NotificationStatus::Failed)).await,
        bobs
    );
    assert_eq!(list(bob, Role::Admin, None, None).await, [&bobs[..], &adas].concat());
    assert_eq!(list(bob, Role::Admin, Some(ada), None).await, adas);
    assert_eq!(
        list(ada, Role::Admin, None, Some(NotificationStatus::Failed)).await,
        bobs
    );
}
