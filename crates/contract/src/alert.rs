//! Events of `heliograph.alerts`.
//!
//! An alert is decided at one record of `heliograph.uploads`; its id is a hash of its kind, its site
//! and where that record stands. Whoever decides it again writes the same bytes, and readers drop
//! what they have by its id.

use crate::{
    event::{DecodeError, Encoded, HEADER_TYPE, Header, cloud_event, header},
    v1::{self, DoorReport, IncidentClosed, IncidentOpened, SiteRecovered, SiteWentStale},
};
use bytes::Bytes;
use heliograph_domain::{Timestamp, event_id::event_id};
use prost::Message;

pub const TYPE_SITE_WENT_STALE: &str = "heliograph.v1.SiteWentStale";
pub const TYPE_SITE_RECOVERED: &str = "heliograph.v1.SiteRecovered";
pub const TYPE_INCIDENT_OPENED: &str = "heliograph.v1.IncidentOpened";
pub const TYPE_INCIDENT_CLOSED: &str = "heliograph.v1.IncidentClosed";
/// Of `heliograph.cohorts`.
pub const TYPE_DOOR_REPORT: &str = "heliograph.v1.DoorReport";

/// What a record of `heliograph.alerts` says.
#[derive(Debug, Clone, PartialEq)]
pub enum Alert {
    WentStale(SiteWentStale),
    Recovered(SiteRecovered),
    IncidentOpened(IncidentOpened),
    IncidentClosed(IncidentClosed),
}

/// What alerts of every kind have.
struct Common<'a> {
    kind: &'static str,
    site_id: &'a str,
    tenant_id: &'a str,
    partition: u32,
    offset: u64,
    decided_at_ms: i64,
}

impl Common<'static> {
    /// Of all sites and tenants, decided on the one partition of the cohorts.
    fn of_incident(kind: &'static str, offset: u64, decided_at_ms: i64) -> Self {
        Self { kind, site_id: "", tenant_id: "", partition: 0, offset, decided_at_ms }
    }
}

impl Alert {
    fn common(&self) -> Common<'_> {
        match self {
            Self::WentStale(a) => Common {
                kind: TYPE_SITE_WENT_STALE,
                site_id: &a.site_id,
                tenant_id: &a.tenant_id,
                partition: a.partition,
                offset: a.offset,
                decided_at_ms: a.decided_at_ms,
            },
            Self::Recovered(a) => Common {
                kind: TYPE_SITE_RECOVERED,
                site_id: &a.site_id,
                tenant_id: &a.tenant_id,
                partition: a.partition,
                offset: a.offset,
                decided_at_ms: a.decided_at_ms,
            },
            Self::IncidentOpened(a) => {
                Common::of_incident(TYPE_INCIDENT_OPENED, a.offset, a.decided_at_ms)
            }
            Self::IncidentClosed(a) => {
                Common::of_incident(TYPE_INCIDENT_CLOSED, a.offset, a.decided_at_ms)
            }
        }
    }

    /// The event's id: 32 characters of hex.
    pub fn id(&self) -> String {
        let Common { kind, site_id, partition, offset, .. } = self.common();
        let (partition, offset) = (partition.to_be_bytes(), offset.to_be_bytes());
        event_id(&[kind.as_bytes(), site_id.as_bytes(), &partition, &offset])
    }

    /// The site; none of an incident, which concerns many.
    pub fn site_id(&self) -> Option<&str> {
        Some(self.common().site_id).filter(|id| !id.is_empty())
    }

    /// The tenant; none of an incident, which concerns many.
    pub fn tenant_id(&self) -> Option<&str> {
        Some(self.common().tenant_id).filter(|id| !id.is_empty())
    }

    pub fn decided_at(&self) -> Timestamp {
        Timestamp::from_ms(self.common().decided_at_ms)
    }

    /// The event as subscribers get it.
    pub fn into_wire(self) -> v1::Alert {
        let id = self.id();
        let alert = match self {
            Self::WentStale(a) => v1::alert::Alert::SiteWentStale(a),
            Self::Recovered(a) => v1::alert::Alert::SiteRecovered(a),
            Self::IncidentOpened(a) => v1::alert::Alert::IncidentOpened(a),
            Self::IncidentClosed(a) => v1::alert::Alert::IncidentClosed(a),
        };
        v1::Alert { id, alert: Some(alert) }
    }

    /// The event as it stands on the log: equal alerts are equal bytes, whoever writes them.
    pub fn encode(&self) -> Encoded {
        let Common { kind, partition, .. } = self.common();
        let source = match self.tenant_id() {
            Some(_) => format!("/heliograph/detector/{partition}"),
            None => "/heliograph/judge".to_owned(),
        };
        Encoded {
            key: self.tenant_id().map(|id| Bytes::copy_from_slice(id.as_bytes())),
            headers: cloud_event(kind, self.id(), source, self.decided_at()),
            value: match self {
                Self::WentStale(a) => a.encode_to_vec().into(),
                Self::Recovered(a) => a.encode_to_vec().into(),
                Self::IncidentOpened(a) => a.encode_to_vec().into(),
                Self::IncidentClosed(a) => a.encode_to_vec().into(),
            },
        }
    }

    /// Reads a record of `heliograph.alerts`; none when this version does not know its type.
    ///
    /// # Errors
    /// [`DecodeError`] when the type is missing or the value is not what it says.
    pub fn decode(headers: &[Header], value: Option<&Bytes>) -> Result<Option<Self>, DecodeError> {
        let kind = header(headers, HEADER_TYPE).ok_or(DecodeError::NoType)?;
        let value = value.ok_or_else(|| DecodeError::NoValue(kind.to_owned()))?.clone();
        let malformed = |source| DecodeError::Malformed { kind: kind.to_owned(), source };
        let known = match kind {
            TYPE_SITE_WENT_STALE => SiteWentStale::decode(value).map(Self::WentStale),
            TYPE_SITE_RECOVERED => SiteRecovered::decode(value).map(Self::Recovered),
            TYPE_INCIDENT_OPENED => IncidentOpened::decode(value).map(Self::IncidentOpened),
            TYPE_INCIDENT_CLOSED => IncidentClosed::decode(value).map(Self::IncidentClosed),
            _ => return Ok(None),
        };
        known.map(Some).map_err(malformed)
    }
}

/// Encodes a report for `heliograph.cohorts`.
pub fn encode_report(report: &DoorReport) -> Encoded {
    let (partition, offset) = (report.partition.to_be_bytes(), report.offset.to_be_bytes());
    let id = event_id(&[TYPE_DOOR_REPORT.as_bytes(), &partition, &offset]);
    let source = format!("/heliograph/detector/{}", report.partition);
    Encoded {
        key: None,
        headers: cloud_event(TYPE_DOOR_REPORT, id, source, Timestamp::from_ms(report.at_ms)),
        value: report.encode_to_vec().into(),
    }
}

/// Reads a record of `heliograph.cohorts`; none when this version does not know its type.
///
/// # Errors
/// [`DecodeError`] when the type is missing or the value is not what it says.
pub fn decode_report(
    headers: &[Header],
    value: Option<&Bytes>,
) -> Result<Option<DoorReport>, DecodeError> {
    let kind = header(headers, HEADER_TYPE).ok_or(DecodeError::NoType)?;
    let value = value.ok_or_else(|| DecodeError::NoValue(kind.to_owned()))?.clone();
    let malformed = |source| DecodeError::Malformed { kind: kind.to_owned(), source };
    (kind == TYPE_DOOR_REPORT).then(|| DoorReport::decode(value).map_err(malformed)).transpose()
}
