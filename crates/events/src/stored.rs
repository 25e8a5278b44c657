//! The stored form of the log: CloudEvents without the members that say where in the log they are.

use contracts::EventId;
use contracts::cloud_event::{ContentType, SpecVersion};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

/// A [`contracts::CloudEvent`] without `sequence`, `prev`, `epoch` and `lane`: those are known once it is committed, and
/// stand in the journal's own row. Permanent: the log holds it.
#[derive(Debug, Serialize)]
pub(crate) struct Stored<'a> {
    pub(crate) specversion: SpecVersion,
    pub(crate) id: EventId,
    pub(crate) source: &'static str,
    pub(crate) r#type: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) time: Timestamp,
    pub(crate) datacontenttype: ContentType,
    pub(crate) schemaversion: u16,
    pub(crate) partitionkey: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) streamversion: u64,
    pub(crate) actor: &'a str,
    pub(crate) correlationid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) causationid: Option<EventId>,
    pub(crate) data: &'a RawValue,
}

impl Stored<'_> {
    /// As it is written into the log.
    pub(crate) fn encode(&self) -> Result<Box<RawValue>, serde_json::Error> {
        serde_json::value::to_raw_value(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in logs already. A member may be added; none changes.
    #[test]
    fn the_stored_form_stays_as_it_is() {
        let data: Box<RawValue> = serde_json::from_str(r#"{"user_id":"usr_01h455vb4pex5vsknk084sn02q"}"#).unwrap();
        let stored = Stored {
            specversion: SpecVersion::Only,
            id: "evt_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
            source: contracts::Service::Users.source(),
            r#type: "user.erased",
            subject: "usr_01h455vb4pex5vsknk084sn02q",
            time: "2026-01-02T03:04:05.678Z".parse().unwrap(),
            datacontenttype: ContentType::Only,
            schemaversion: 1,
            partitionkey: "usr_01h455vb4pex5vsknk084sn02q",
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            streamversion: 7,
            actor: "service:users",
            correlationid: "req_1",
            causationid: Some("evt_01h455vb4pex5vsknk084sn02q".parse().unwrap()),
            data: &data,
        };
        let expected = concat!(
            r#"{"specversion":"1.0","id":"evt_01h455vb4pex5vsknk084sn02q","source":"/services/users","#,
            r#""type":"user.erased","subject":"usr_01h455vb4pex5vsknk084sn02q","time":"2026-01-02T03:04:05.678Z","#,
            r#""datacontenttype":"application/json","schemaversion":1,"partitionkey":"usr_01h455vb4pex5vsknk084sn02q","#,
            r#""traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","streamversion":7,"#,
            r#""actor":"service:users","correlationid":"req_1","causationid":"evt_01h455vb4pex5vsknk084sn02q","#,
            r#""data":{"user_id":"usr_01h455vb4pex5vsknk084sn02q"}}"#
        );
        assert_eq!(stored.encode().unwrap().get(), expected);
    }
}
