//! The stored form of the events that only orders itself reads. A line is only ever added; a change to one would be a
//! change to what is stored already.

use contracts::EventData;
use contracts::payment::PaymentStatus;
use contracts::{OrderId, PaymentId, UserId};
use orders::{Event, PaymentNoted};

const GOLDEN: &str = include_str!("../golden/internal_events.txt");

fn samples() -> Vec<Event> {
    let order_id: OrderId = "ord_01h455vb4pex5vsknk084sn02q".parse().unwrap();
    let user_id: UserId = "usr_01h455vb4pex5vsknk084sn02q".parse().unwrap();
    let payment_id: PaymentId = "pay_01h455vb4pex5vsknk084sn02q".parse().unwrap();
    let status = PaymentStatus::Authorized;
    let noted = PaymentNoted {
        order_id,
        user_id,
        payment_id,
        status,
        expires_at: None,
    };
    let expires_at = Some("2026-01-02T03:04:05Z".parse().unwrap());
    let anew = PaymentNoted {
        status: PaymentStatus::Failed,
        expires_at,
        ..noted.clone()
    };
    vec![noted.into(), anew.into()]
}

#[test]
fn internal_events_are_stored_as_their_golden_lines_say_and_read_back() {
    let lines = samples().into_iter().map(|event| {
        let line = format!("{} {} {}", event.event_type(), event.schema(), event.encode().unwrap());
        let (_, data) = line.split_once('{').unwrap();
        let read = Event::decode(event.event_type(), event.schema(), &format!("{{{data}")).unwrap();
        assert_eq!(read, event);
        line
    });
    assert_eq!(lines.collect::<Vec<_>>(), GOLDEN.lines().collect::<Vec<_>>());
}

#[test]
fn every_internal_event_has_a_golden_line_and_every_other_is_public_to_all() {
    for kind in Event::TYPES {
        let golden = GOLDEN
            .lines()
            .any(|line| line.starts_with(&format!("{} {} ", kind.name, kind.schema)));
        assert_eq!(golden, !kind.public, "{}", kind.name);
        assert_eq!(
            contracts::PublicEvent::is_public(kind.name),
            kind.public,
            "{}",
            kind.name
        );
    }
}
