use proptest::prelude::*;

use super::*;

const A: Member = Member(Uuid::from_u128(1));
const B: Member = Member(Uuid::from_u128(2));
const C: Member = Member(Uuid::from_u128(3));

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How many lanes each has.
fn counts(holders: &[Option<Member>]) -> BTreeMap<Member, usize> {
    let mut counts = BTreeMap::new();
    for holder in holders.iter().flatten() {
        *counts.entry(*holder).or_default() += 1;
    }
    counts
}

/// Looks at a roster and writes what follows at once, with all that is too many given up.
fn look(shares: &mut Shares, now: Duration, roster: &mut Roster) -> BTreeSet<Lane> {
    let mut plan = shares.plan(now, roster).expect("the lanes are the same");
    let surplus = plan.surplus.clone();
    plan.let_go(&surplus);
    if let Some(next) = plan.signed(roster) {
        shares.renewed(now);
        *roster = next;
    }
    plan.keep
}

#[test]
fn the_first_member_has_every_lane_and_a_second_one_half_of_them() {
    let mut roster = Roster::default();
    let (mut a, mut b) = (Shares::new(A, 8), Shares::new(B, 8));
    assert_eq!(look(&mut a, seconds(0), &mut roster).len(), 8);
    assert_eq!(look(&mut b, seconds(1), &mut roster).len(), 0, "a holds them all still");
    let kept = look(&mut a, seconds(2), &mut roster);
    assert_eq!(kept.len(), 4);
    let given = look(&mut b, seconds(3), &mut roster);
    assert_eq!(given.len(), 4);
    assert!(kept.is_disjoint(&given));
}

#[test]
fn a_lane_in_use_is_not_given_up() {
    let mut roster = Roster::default();
    let (mut a, mut b) = (Shares::new(A, 2), Shares::new(B, 2));
    look(&mut a, seconds(0), &mut roster);
    look(&mut b, seconds(1), &mut roster);
    let plan = a.plan(seconds(2), &roster).expect("the lanes are the same");
    assert_eq!(plan.surplus.len(), 1);
    assert_eq!(
        plan.signed(&roster),
        None,
        "nothing was given up, and no renewal is due"
    );
    assert_eq!(look(&mut b, seconds(3), &mut roster).len(), 0);
}

#[test]
fn a_member_that_does_not_renew_has_lapsed_after_a_lease_by_the_time_of_whoever_looks() {
    let mut roster = Roster::default();
    let (mut a, mut b) = (Shares::new(A, 4), Shares::new(B, 4));
    look(&mut a, seconds(0), &mut roster);
    // The clocks of the two have nothing to do with each other.
    let start = seconds(1_000_000);
    for passed in [0, 5, 10, 14] {
        assert_eq!(
            look(&mut b, start + seconds(passed), &mut roster).len(),
            0,
            "after {passed} s"
        );
    }
    assert_eq!(look(&mut b, start + LEASE, &mut roster).len(), 4);
    assert_eq!(roster.members.keys().collect::<Vec<_>>(), [&B]);
}

#[test]
fn a_claim_ends_a_lease_after_the_renewal_began_and_so_before_others_take_over() {
    let mut roster = Roster::default();
    let (mut a, mut b) = (Shares::new(A, 4), Shares::new(B, 4));
    assert_eq!(a.until(), Duration::ZERO, "before anything is written");
    let begun = seconds(7);
    let plan = a.plan(begun, &roster).expect("the lanes are the same");
    // It is written three seconds later, and seen then.
    roster = plan.signed(&roster).expect("it joins");
    a.renewed(begun);
    look(&mut b, seconds(10), &mut roster);
    assert_eq!(a.until(), seconds(7) + LEASE);
    assert_eq!(
        look(&mut b, seconds(10) + LEASE - Duration::from_millis(1), &mut roster).len(),
        0
    );
}

#[test]
fn whoever_looks_all_the_time_renews_every_five_seconds() {
    let mut roster = Roster::default();
    let mut a = Shares::new(A, 4);
    let mut writes = 0;
    for now in 0..=20 {
        let before = roster.clone();
        look(&mut a, seconds(now), &mut roster);
        writes += usize::from(before != roster);
    }
    assert_eq!(writes, 5);
}

#[test]
fn what_is_dropped_for_another_reason_is_a_renewal_too() {
    let mut roster = Roster::default();
    let (mut a, mut b) = (Shares::new(A, 2), Shares::new(B, 2));
    look(&mut a, seconds(0), &mut roster);
    let seen = roster.members[&A];
    look(&mut b, seconds(1), &mut roster);
    look(&mut a, seconds(2), &mut roster);
    assert_ne!(
        roster.members[&A], seen,
        "it gave a lane up, and with that said that it lives"
    );
    assert_eq!(a.until(), seconds(2) + LEASE);
}

/// Counted by itself, a member that comes back could look like one that has stood still.
#[test]
fn no_renewal_looks_like_an_earlier_one() {
    let mut roster = Roster::default();
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        let mut a = Shares::new(A, 2);
        look(&mut a, seconds(round), &mut roster);
        assert!(seen.insert(roster.members[&A]), "{roster:?}");
        roster = a.without(&roster).expect("it is a member");
    }
}

#[test]
fn whoever_leaves_leaves_nothing_behind() {
    let mut roster = Roster::default();
    let (mut a, mut b) = (Shares::new(A, 4), Shares::new(B, 4));
    look(&mut a, seconds(0), &mut roster);
    roster = a.without(&roster).expect("it is a member");
    assert_eq!(a.without(&roster), None);
    assert_eq!(look(&mut b, seconds(1), &mut roster).len(), 4);
}

#[test]
fn another_number_of_lanes_is_no_roster_of_ours() {
    let mut roster = Roster::default();
    look(&mut Shares::new(A, 8), seconds(0), &mut roster);
    assert_eq!(Shares::new(B, 4).plan(seconds(0), &roster), None);
}

#[test]
fn a_roster_is_kept_as_json() {
    let mut roster = Roster::default();
    look(&mut Shares::new(A, 2), seconds(0), &mut roster);
    let json = serde_json::to_string(&roster).expect("a roster has a JSON form");
    let a = A.0;
    assert_eq!(
        json,
        format!(r#"{{"members":{{"{a}":1}},"renewals":1,"holders":["{a}","{a}"]}}"#)
    );
    assert_eq!(serde_json::from_str::<Roster>(&json).expect("it was written"), roster);
}

fn division() -> impl Strategy<Value = (BTreeSet<Member>, Vec<Option<Member>>)> {
    let member = || (1u128..=6).prop_map(|number| Member(Uuid::from_u128(number)));
    let members = prop::collection::btree_set(member(), 1..=6);
    (members, prop::collection::vec(prop::option::of(member()), 1..=16))
}

proptest! {
    #[test]
    fn lanes_are_divided_evenly_and_as_few_as_possible_move((members, holders) in division()) {
        let divided = divide(&members, &holders);
        prop_assert_eq!(divided.len(), holders.len());
        prop_assert!(divided.iter().all(|holder| holder.is_some_and(|it| members.contains(&it))));
        let counts = counts(&divided);
        let of = |member| counts.get(member).copied().unwrap_or_default();
        let (least, most) = (members.iter().map(of).min().unwrap(), members.iter().map(of).max().unwrap());
        prop_assert!(most - least <= 1, "{counts:?}");

        // Nobody can keep more than a share, and of the larger shares there are only so many.
        let (each, more) = (holders.len() / members.len(), holders.len() % members.len());
        let held = self::counts(&holders);
        let held = members.iter().map(|member| held.get(member).copied().unwrap_or_default());
        let larger = held.clone().filter(|count| *count > each).count().min(more);
        let could_stay = held.map(|count| count.min(each)).sum::<usize>() + larger;
        let stayed = divided.iter().zip(&holders).filter(|(now, before)| now == before).count();
        prop_assert_eq!(stayed, could_stay);
        prop_assert_eq!(divide(&members, &divided), divided, "and then it is at rest");
    }

    /// However they look, one after the other: a lane has one holder by the roster, and in the end all are at rest.
    #[test]
    fn members_that_come_and_go_end_up_with_even_shares(steps in prop::collection::vec((0usize..3, any::<bool>()), 1..60)) {
        let mut roster = Roster::default();
        let mut members = [A, B, C].map(|member| Some(Shares::new(member, 8)));
        let mut now = seconds(0);
        for (place, leaves) in steps {
            now += Duration::from_millis(700);
            let name = [A, B, C][place];
            match &mut members[place] {
                Some(shares) if leaves => {
                    roster = shares.without(&roster).unwrap_or(roster);
                    members[place] = None;
                }
                Some(shares) => {
                    look(shares, now, &mut roster);
                }
                joining => *joining = Some(Shares::new(name, 8)),
            }
        }
        for _ in 0..60 {
            now += seconds(1);
            for shares in members.iter_mut().flatten() {
                look(shares, now, &mut roster);
            }
        }
        let live = members.iter().flatten().count();
        let counts = counts(&roster.holders);
        prop_assert_eq!(counts.len(), live, "{:?}", &roster);
        prop_assert_eq!(counts.values().sum::<usize>(), if live == 0 { 0 } else { 8 });
        let (least, most) = (counts.values().min(), counts.values().max());
        prop_assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1));
    }
}
