//! One subscription's place in its group, by Kafka's own group protocol.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kernel::bus::keeper::Tenancy;
use kernel::bus::log::Cursors;
use kernel::bus::{BusError, Group};
use kernel::clock::Clock;
use kernel::event::Lane;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::assignment::{Claim, NO_GENERATION, Share, assign, read_claim, read_share, written_claim, written_share};
use crate::coordinator::{Coordinator, WITHIN};
use crate::failure::{Failure, done};
use crate::topics::millis;

/// How long the coordinator hears nothing of a member before it takes it for dead.
pub(crate) const SESSION: Duration = Duration::from_secs(15);
/// How long it waits for members when others come or go. So long after it has last heard of one at the least, others may have
/// its lanes: a member that reaches the coordinator answers within [`BEAT`], whatever its handler does.
const REJOIN: Duration = Duration::from_secs(4);
/// How often it hears of a member, which hears of others then.
const BEAT: Duration = Duration::from_secs(1);
/// How often joining is tried in a row, and the pause between.
const JOIN_ATTEMPTS_MAX: u32 = 25;
const JOIN_PAUSE: Duration = Duration::from_millis(200);
/// How often leaving is tried. After that the membership lapses by itself.
const LEAVE_ATTEMPTS_MAX: u32 = 3;
/// As consumers of Kafka call what they agree on, and what we call our way.
const PROTOCOL_TYPE: StrBytes = StrBytes::from_static_str("consumer");
const PROTOCOL: StrBytes = StrBytes::from_static_str("tradewind");

/// Under which name a member keeps how far it has come, and in which lanes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) member: StrBytes,
    pub(crate) generation: i32,
    /// Since which generation it has had each lane.
    pub(crate) held: BTreeMap<Lane, i32>,
}

#[derive(Debug)]
pub(crate) struct Membership {
    group: Group,
    topic: TopicName,
    lanes: u16,
    coordinator: Coordinator,
    tenancy: Arc<Tenancy>,
    cursors: Arc<Cursors>,
    clock: Arc<dyn Clock>,
    standing: watch::Sender<Standing>,
    share: Share,
    /// Of the coordinator that is known to know this member.
    known_to: Option<u64>,
}

/// What became of a call.
enum Outcome {
    Done,
    /// The group has another generation, or is about to.
    Rejoin,
}

impl Membership {
    /// Of one that has joined.
    pub(crate) async fn join(
        group: Group,
        topic: TopicName,
        lanes: u16,
        coordinator: Coordinator,
        cursors: Arc<Cursors>,
        clock: Arc<dyn Clock>,
        standing: watch::Sender<Standing>,
    ) -> Result<Self, BusError> {
        let mut membership = Self {
            group,
            topic,
            lanes,
            coordinator,
            tenancy: Arc::default(),
            cursors,
            clock,
            standing,
            share: Share::default(),
            known_to: None,
        };
        membership.forget();
        let mut attempts = 1;
        loop {
            match membership.rejoin().await {
                // Brokers that have just begun make room for groups first.
                Err(Failure::Refused { code, .. }) if code.is_retriable() && attempts < JOIN_ATTEMPTS_MAX => {}
                joined => return joined.map(|()| membership).map_err(BusError::from),
            }
            attempts += 1;
            membership.clock.sleep(JOIN_PAUSE).await;
        }
    }

    pub(crate) fn tenancy(&self) -> Arc<Tenancy> {
        Arc::clone(&self.tenancy)
    }

    /// Takes and gives lanes until told to stop; then gives everything back. A coordinator that is away is waited for:
    /// meanwhile what was granted runs out.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (mut is_away, clock) = (false, Arc::clone(&self.clock));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.tenancy.left() => {}
                () = clock.sleep(BEAT) => {}
            }
            // A group that is about to have another generation is left in that: what was acknowledged is kept in none but
            // the latest.
            let stopped = async {
                stop.cancelled().await;
                clock.sleep(REJOIN).await;
            };
            let renewed = tokio::select! {
                biased;
                renewed = self.renew() => renewed,
                () = stopped => break,
            };
            if let Err(error) = &renewed
                && !is_away
            {
                tracing::warn!(group = %self.group, %error, "the group cannot be asked for lanes; it is tried again");
            }
            is_away = renewed.is_err();
        }
        if let Err(error) = self.leave().await {
            tracing::warn!(group = %self.group, %error, "lanes were not given back; others take them once the member lapses");
        }
    }

    /// Does what there is to do about the group.
    async fn renew(&mut self) -> Result<(), BusError> {
        if matches!(self.beat().await?, Outcome::Rejoin) {
            self.rejoin().await?;
        }
        while self.let_go().await? {
            self.rejoin().await?;
        }
        Ok(())
    }

    /// Gives up lanes that are too many and not in use any more. Whether there were any.
    async fn let_go(&mut self) -> Result<bool, BusError> {
        if self.share.surplus.is_empty() {
            return Ok(false);
        }
        let free = self.tenancy.withdraw(&self.share.surplus);
        if free.is_empty() {
            return Ok(false);
        }
        self.cursors.settle(&free).await?;
        self.share.surplus.retain(|lane| !free.contains(lane));
        self.note_held();
        Ok(true)
    }

    fn note_held(&self) {
        self.standing.send_modify(|standing| {
            let held = self.share.granted.union(&self.share.surplus);
            let since = |&lane| (lane, standing.held.get(&lane).copied().unwrap_or(standing.generation));
            standing.held = held.map(since).collect();
        });
    }

    /// The coordinator does not know this member.
    fn forget(&self) {
        self.standing.send_modify(|standing| standing.member = StrBytes::new());
    }

    async fn beat(&mut self) -> Result<Outcome, Failure> {
        let Standing { member, generation, .. } = self.standing.borrow().clone();
        let request = HeartbeatRequest::default()
            .with_group_id(self.coordinator.group())
            .with_generation_id(generation)
            .with_member_id(member);
        let begun = self.clock.monotonic();
        let answer = self.coordinator.call(&request, WITHIN).await?;
        if self.must_rejoin("being a member", answer.error_code)? || self.is_forgotten().await? {
            return Ok(Outcome::Rejoin);
        }
        self.tenancy.grant(self.share.granted.clone(), begun + REJOIN);
        Ok(Outcome::Done)
    }

    /// A coordinator that has not read yet what it must know answers each heartbeat well. Whether one that may be new knows this
    /// member is found out by asking for what it has.
    async fn is_forgotten(&mut self) -> Result<bool, Failure> {
        if self.known_to == Some(self.coordinator.life()) {
            return Ok(false);
        }
        let Standing { member, generation, .. } = self.standing.borrow().clone();
        let request = self.asking_for_share(member, generation);
        let answer = self.coordinator.call(&request, REJOIN + WITHIN).await?;
        let is_forgotten = self.must_rejoin("having lanes", answer.error_code)?;
        if !is_forgotten {
            self.known_to = Some(self.coordinator.life());
        }
        Ok(is_forgotten)
    }

    fn asking_for_share(&self, member: StrBytes, generation: i32) -> SyncGroupRequest {
        SyncGroupRequest::default()
            .with_group_id(self.coordinator.group())
            .with_generation_id(generation)
            .with_member_id(member)
            .with_protocol_type(Some(PROTOCOL_TYPE))
            .with_protocol_name(Some(PROTOCOL))
    }

    /// Whether it is that the group has another generation, or does not know this member.
    fn must_rejoin(&mut self, what: &str, code: i16) -> Result<bool, Failure> {
        match ResponseError::try_from_code(code) {
            Some(ResponseError::RebalanceInProgress | ResponseError::IllegalGeneration) => Ok(true),
            Some(ResponseError::UnknownMemberId) => {
                self.forget();
                Ok(true)
            }
            _ => self.coordinator.done(what, code).map(|()| false),
        }
    }

    /// Joins the next generation with what it has, and hears what it has in that.
    async fn rejoin(&mut self) -> Result<(), Failure> {
        loop {
            let joined = self.join_once().await?;
            if joined.error_code == ResponseError::MemberIdRequired.code() {
                self.standing.send_modify(|standing| standing.member = joined.member_id);
                continue;
            }
            if self.must_rejoin("joining the group", joined.error_code)? {
                continue;
            }
            if self.agree(joined).await? {
                return Ok(());
            }
        }
    }

    async fn join_once(&mut self) -> Result<JoinGroupResponse, Failure> {
        let standing = self.standing.borrow().clone();
        let claim = Claim {
            lanes: standing.held.into_keys().collect(),
            generation: standing.generation,
        };
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(PROTOCOL)
            .with_metadata(written_claim(&self.topic, &claim)?);
        let request = JoinGroupRequest::default()
            .with_group_id(self.coordinator.group())
            .with_session_timeout_ms(millis(SESSION))
            .with_rebalance_timeout_ms(millis(REJOIN))
            .with_member_id(standing.member)
            .with_protocol_type(PROTOCOL_TYPE)
            .with_protocols(vec![protocol]);
        self.coordinator.call(&request, REJOIN + WITHIN).await
    }

    /// Whether the generation has lasted until everybody knew what it has.
    async fn agree(&mut self, joined: JoinGroupResponse) -> Result<bool, Failure> {
        let generation = joined.generation_id;
        let assignments = match joined.leader == joined.member_id {
            true => self.decided(&joined)?,
            false => Vec::new(),
        };
        let request = self
            .asking_for_share(joined.member_id.clone(), generation)
            .with_assignments(assignments);
        let begun = self.clock.monotonic();
        let answer = self.coordinator.call(&request, REJOIN + WITHIN).await?;
        if self.must_rejoin("agreeing on lanes", answer.error_code)? {
            return Ok(false);
        }
        self.known_to = Some(self.coordinator.life());
        let share = read_share(&answer.assignment)?;
        // What is not even among the surplus is somebody else's since it was away.
        let held = self.standing.borrow().held.clone();
        let taken = held.into_keys().filter(|lane| !share.granted.contains(lane));
        self.tenancy.withdraw(&taken.collect());
        self.share = share;
        self.standing.send_modify(|standing| {
            standing.member = joined.member_id;
            standing.generation = generation;
        });
        self.note_held();
        self.tenancy.grant(self.share.granted.clone(), begun + REJOIN);
        Ok(true)
    }

    /// What the leader of a generation tells the others.
    fn decided(&self, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, Failure> {
        let claims = joined.members.iter().map(|member| {
            let claim = read_claim(&member.metadata)?;
            Ok((member.member_id.clone(), claim))
        });
        let claims = claims.collect::<Result<BTreeMap<StrBytes, Claim>, Failure>>()?;
        let shares = assign(&claims, self.lanes).into_iter().map(|(member, share)| {
            let assignment = written_share(&self.topic, &share)?;
            Ok(SyncGroupRequestAssignment::default()
                .with_member_id(member)
                .with_assignment(assignment))
        });
        shares.collect()
    }

    async fn leave(&mut self) -> Result<(), BusError> {
        let mut outcome = Ok(());
        for _ in 0..LEAVE_ATTEMPTS_MAX {
            outcome = self.leave_once().await;
            if outcome.is_ok() {
                break;
            }
            self.clock.sleep(BEAT).await;
        }
        outcome
    }

    async fn leave_once(&mut self) -> Result<(), BusError> {
        let held = self.standing.borrow().held.keys().copied().collect();
        if self.cursors.settle(&held).await.is_err() {
            self.renew().await?;
            self.cursors.settle(&held).await?;
        }
        let standing = self.standing.borrow().clone();
        let member = MemberIdentity::default().with_member_id(standing.member);
        let request = LeaveGroupRequest::default()
            .with_group_id(self.coordinator.group())
            .with_members(vec![member]);
        let answer = self.coordinator.call(&request, WITHIN).await?;
        self.coordinator.done("leaving the group", answer.error_code)?;
        for member in answer.members {
            match ResponseError::try_from_code(member.error_code) {
                // It has lapsed.
                None | Some(ResponseError::UnknownMemberId) => {}
                Some(_) => done("leaving the group", member.error_code)?,
            }
        }
        Ok(())
    }
}

impl Standing {
    /// In no group yet.
    pub(crate) fn none() -> Self {
        Self {
            generation: NO_GENERATION,
            ..Self::default()
        }
    }
}
