//! What is said to a broker, each in one version, which Kafka knows from 3.1 on.

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, FetchRequest, FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    HeartbeatRequest, HeartbeatResponse, InitProducerIdRequest, InitProducerIdResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
    MetadataResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    ProduceRequest, ProduceResponse, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

/// A request.
pub(crate) trait Call: Encodable + HeaderVersion + Send + Sync {
    const KEY: ApiKey;
    const VERSION: i16;
    type Answer: Decodable + HeaderVersion + Send;
}

macro_rules! calls {
    ($($key:ident $version:literal: $request:ident -> $answer:ident;)+) => {
        $(impl Call for $request {
            const KEY: ApiKey = ApiKey::$key;
            const VERSION: i16 = $version;
            type Answer = $answer;
        })+

        const ALL: &[(ApiKey, i16)] = &[$((ApiKey::$key, $version)),+];
    };
}

calls! {
    ApiVersions 3: ApiVersionsRequest -> ApiVersionsResponse;
    SaslHandshake 1: SaslHandshakeRequest -> SaslHandshakeResponse;
    SaslAuthenticate 2: SaslAuthenticateRequest -> SaslAuthenticateResponse;
    // From 12 on a topic has an id in it: in another one of its name offsets mean something else.
    Metadata 12: MetadataRequest -> MetadataResponse;
    CreateTopics 7: CreateTopicsRequest -> CreateTopicsResponse;
    DescribeConfigs 4: DescribeConfigsRequest -> DescribeConfigsResponse;
    InitProducerId 4: InitProducerIdRequest -> InitProducerIdResponse;
    Produce 9: ProduceRequest -> ProduceResponse;
    // By the topic's id.
    Fetch 13: FetchRequest -> FetchResponse;
    ListOffsets 7: ListOffsetsRequest -> ListOffsetsResponse;
    FindCoordinator 4: FindCoordinatorRequest -> FindCoordinatorResponse;
    JoinGroup 7: JoinGroupRequest -> JoinGroupResponse;
    SyncGroup 5: SyncGroupRequest -> SyncGroupResponse;
    Heartbeat 4: HeartbeatRequest -> HeartbeatResponse;
    LeaveGroup 4: LeaveGroupRequest -> LeaveGroupResponse;
    OffsetCommit 8: OffsetCommitRequest -> OffsetCommitResponse;
    OffsetFetch 7: OffsetFetchRequest -> OffsetFetchResponse;
}

/// The first request that a broker which answered so would not understand.
pub(crate) fn unknown_to(answer: &[ApiVersion]) -> Option<String> {
    let knows = |key: ApiKey, version: i16| {
        let mut of_key = answer.iter().filter(|it| it.api_key == key as i16);
        of_key.any(|it| (it.min_version..=it.max_version).contains(&version))
    };
    // A broker without logins does not speak of them.
    let is_login = |key| matches!(key, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
    let mut unknown = ALL
        .iter()
        .filter(|(key, version)| !is_login(*key) && !knows(*key, *version));
    unknown.next().map(|(key, version)| format!("{key:?} {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(change: impl Fn(&mut ApiVersion)) -> Vec<ApiVersion> {
        let all = ALL.iter().map(|&(key, version)| {
            let mut known = ApiVersion::default();
            (known.api_key, known.min_version, known.max_version) = (key as i16, 0, version);
            if key == ApiKey::Fetch {
                change(&mut known);
            }
            known
        });
        all.collect()
    }

    #[test]
    fn a_broker_that_is_older_or_far_newer_is_told_apart() {
        assert_eq!(unknown_to(&known(|_| {})), None);
        assert_eq!(
            unknown_to(&known(|fetch| fetch.max_version = 12)).as_deref(),
            Some("Fetch 13")
        );
        let newer = known(|fetch| (fetch.min_version, fetch.max_version) = (14, 20));
        assert_eq!(unknown_to(&newer).as_deref(), Some("Fetch 13"));
    }
}
