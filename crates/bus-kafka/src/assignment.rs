//! Which member of a group receives which lanes: what each says when it joins, what the one of them that Kafka makes the
//! leader decides, and how both are written.
//!
//! A member goes on with what it has, and lets go of what it has too much only when its handler has put that down. So a lane
//! is given to somebody else in a later generation of the group, after the one in which its holder was told: nobody waits
//! for a handler, and no two have the same lane. Members and their lanes are written as any consumer of Kafka writes them, so
//! that its tools show them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as Assigned;
use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as Owned;
use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable};
use kernel::bus::shares::{Member, divide};
use kernel::event::Lane;
use uuid::Uuid;

use crate::failure::Failure;

/// Of what a member says: from 2 on with the generation that it had.
const SUBSCRIPTION_VERSION: i16 = 2;
const ASSIGNMENT_VERSION: i16 = 1;
/// Of a member that was in no generation.
pub(crate) const NO_GENERATION: i32 = -1;

/// What a member has, and since which generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) lanes: BTreeSet<Lane>,
    pub(crate) generation: i32,
}

/// What a member is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// What it receives from now on.
    pub(crate) granted: BTreeSet<Lane>,
    /// What it still has and is to let go of.
    pub(crate) surplus: BTreeSet<Lane>,
}

/// Decides for all members. A lane that two claim, because one of them had lost it without a word, is the one's who had it in
/// the later generation.
pub(crate) fn assign<N: Ord + Clone>(claims: &BTreeMap<N, Claim>, lanes: u16) -> BTreeMap<N, Share> {
    let names: Vec<&N> = claims.keys().collect();
    let member = |place: usize| Member(Uuid::from_u128(place as u128));
    let holder = |lane: Lane| {
        let claiming = (0..)
            .zip(claims.values())
            .filter(|(_, claim)| claim.lanes.contains(&lane));
        claiming
            .max_by_key(|(_, claim)| claim.generation)
            .map(|(place, _)| member(place))
    };
    let holders: Vec<Option<Member>> = (0..lanes).map(|lane| holder(Lane(lane))).collect();
    let members: BTreeSet<Member> = (0..names.len()).map(member).collect();
    let wanted = divide(&members, &holders);
    let share = |(place, name): (usize, &&N)| {
        let mut share = Share::default();
        for (lane, (holder, wanted)) in (0..).map(Lane).zip(holders.iter().zip(&wanted)) {
            let (is_held, is_wanted) = (*holder == Some(member(place)), *wanted == Some(member(place)));
            if is_wanted && (is_held || holder.is_none()) {
                share.granted.insert(lane);
            } else if is_held {
                share.surplus.insert(lane);
            }
        }
        ((*name).clone(), share)
    };
    names.iter().enumerate().map(share).collect()
}

/// What a member says when it joins.
pub(crate) fn written_claim(topic: &TopicName, claim: &Claim) -> Result<Bytes, Failure> {
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(vec![topic.0.clone()])
        .with_owned_partitions(vec![
            Owned::default()
                .with_topic(topic.clone())
                .with_partitions(partitions(&claim.lanes)),
        ])
        .with_generation_id(claim.generation);
    written(&subscription, SUBSCRIPTION_VERSION)
}

/// What a member has said.
pub(crate) fn read_claim(bytes: &Bytes) -> Result<Claim, Failure> {
    let (subscription, _): (ConsumerProtocolSubscription, _) = read(bytes)?;
    let owned = subscription.owned_partitions.iter().flat_map(|it| &it.partitions);
    Ok(Claim {
        lanes: owned.filter_map(|&partition| lane(partition)).collect(),
        generation: subscription.generation_id,
    })
}

/// What a member is told, with what is to be let go of in the part that Kafka leaves to us.
pub(crate) fn written_share(topic: &TopicName, share: &Share) -> Result<Bytes, Failure> {
    let mut surplus = BytesMut::new();
    share.surplus.iter().for_each(|lane| surplus.put_u16(lane.0));
    let assignment = ConsumerProtocolAssignment::default()
        .with_assigned_partitions(vec![
            Assigned::default()
                .with_topic(topic.clone())
                .with_partitions(partitions(&share.granted)),
        ])
        .with_user_data(Some(surplus.freeze()));
    written(&assignment, ASSIGNMENT_VERSION)
}

/// What a member was told; nothing, if whoever leads had not heard of it.
pub(crate) fn read_share(bytes: &Bytes) -> Result<Share, Failure> {
    if bytes.is_empty() {
        return Ok(Share::default());
    }
    let (assignment, _): (ConsumerProtocolAssignment, _) = read(bytes)?;
    let granted = assignment.assigned_partitions.iter().flat_map(|it| &it.partitions);
    let mut rest = assignment.user_data.unwrap_or_default();
    let mut surplus = BTreeSet::new();
    while rest.remaining() >= size_of::<u16>() {
        surplus.insert(Lane(rest.get_u16()));
    }
    Ok(Share {
        granted: granted.filter_map(|&partition| lane(partition)).collect(),
        surplus,
    })
}

fn partitions(lanes: &BTreeSet<Lane>) -> Vec<i32> {
    lanes.iter().map(|lane| lane.0.into()).collect()
}

fn lane(partition: i32) -> Option<Lane> {
    u16::try_from(partition).ok().map(Lane)
}

fn written(what: &impl Encodable, version: i16) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    let encoded = what.encode(&mut bytes, version);
    encoded.map_err(|error| Failure::Lost(format!("what members tell each other cannot be written: {error}")))?;
    Ok(bytes.freeze())
}

/// With the version that it was written in.
fn read<T: Decodable>(bytes: &Bytes) -> Result<(T, i16), Failure> {
    let unread = |reason: String| Failure::Lost(format!("what members tell each other cannot be read: {reason}"));
    let mut bytes = bytes.clone();
    if bytes.remaining() < size_of::<i16>() {
        return Err(unread("it is too short".to_owned()));
    }
    let version = bytes.get_i16();
    let what = T::decode(&mut bytes, version).map_err(|error| unread(error.to_string()))?;
    Ok((what, version))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn lanes(lanes: impl IntoIterator<Item = u16>) -> BTreeSet<Lane> {
        lanes.into_iter().map(Lane).collect()
    }

    fn claims(claims: &[(&'static str, BTreeSet<Lane>, i32)]) -> BTreeMap<&'static str, Claim> {
        let claim = |(name, lanes, generation): &(&'static str, BTreeSet<Lane>, i32)| {
            let claim = Claim {
                lanes: lanes.clone(),
                generation: *generation,
            };
            (*name, claim)
        };
        claims.iter().map(claim).collect()
    }

    /// As members go on after they were told, of whom these put nothing down.
    fn next(shares: &BTreeMap<&'static str, Share>, generation: i32, busy: &[&str]) -> BTreeMap<&'static str, Claim> {
        let next = shares.iter().map(|(name, share)| {
            let mut lanes = share.granted.clone();
            if busy.contains(name) {
                lanes.extend(&share.surplus);
            }
            (*name, Claim { lanes, generation })
        });
        next.collect()
    }

    #[test]
    fn a_newcomer_gets_its_share_once_others_have_let_go_of_it() {
        let told = assign(&claims(&[("a", lanes(0..8), 1), ("b", lanes([]), NO_GENERATION)]), 8);
        assert_eq!(told["a"].granted.len(), 4);
        assert_eq!(told["a"].surplus.len(), 4);
        assert_eq!(told["b"], Share::default());
        // A handler that takes long keeps the lanes, and nobody else waits for anything but those.
        let mut joined = next(&told, 2, &["a"]);
        joined.insert("c", claims(&[("c", lanes([]), -1)])["c"].clone());
        let told = assign(&joined, 8);
        assert_eq!(told["a"].granted.len() + told["a"].surplus.len(), 8);
        let told = assign(&next(&told, 3, &[]), 8);
        let mut granted: Vec<usize> = told.values().map(|share| share.granted.len()).collect();
        granted.sort_unstable();
        assert_eq!(granted, [2, 3, 3]);
        assert!(told.values().all(|share| share.surplus.is_empty()));
    }

    #[test]
    fn whoever_was_away_yields_to_whoever_has_its_lanes_since() {
        let told = assign(&claims(&[("a", lanes(0..8), 3), ("b", lanes(0..4), 5)]), 8);
        assert_eq!(told["b"].granted, lanes(0..4));
        assert_eq!(told["a"].granted, lanes(4..8));
        assert_eq!(told["a"].surplus, lanes([]), "it was not its own any more");
    }

    #[test]
    fn lanes_of_members_that_are_gone_are_given_at_once() {
        let told = assign(&claims(&[("a", lanes([0, 1]), 3), ("b", lanes([2, 3]), 3)]), 8);
        let all: BTreeSet<Lane> = told.values().flat_map(|share| share.granted.clone()).collect();
        assert_eq!(all, lanes(0..8));
        assert!(told["a"].granted.is_superset(&lanes([0, 1])) && told["b"].granted.is_superset(&lanes([2, 3])));
    }

    #[test]
    fn what_is_written_is_read() {
        let topic = TopicName(StrBytes::from_static_str("shop.orders"));
        let claim = Claim {
            lanes: lanes([1, 7]),
            generation: 9,
        };
        let written = written_claim(&topic, &claim).expect("it is written");
        assert_eq!(read_claim(&written).expect("it is read"), claim);
        let share = Share {
            granted: lanes([3]),
            surplus: lanes([1, 500]),
        };
        let written = written_share(&topic, &share).expect("it is written");
        assert_eq!(read_share(&written).expect("it is read"), share);
        assert_eq!(read_share(&Bytes::new()).expect("it is read"), Share::default());
        read_share(&Bytes::from_static(&[0])).expect_err("it is too short");
    }
}
