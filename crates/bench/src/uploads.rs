//! The uploads that are sent: those of a fleet of plants that measure ten series a minute and upload
//! every five minutes, 50 readings at a time, unless they are told otherwise.
//!
//! Invariant: the n-th upload is a function of n alone, no two hold the same reading, and all sites
//! send minute by minute, side by side. What it is not: it opens no connection.

use bytes::Bytes;
use heliograph_contract::event::{Encoded, encode_upload};
use heliograph_domain::{
    DeviceId, MetricName, Quality, Reading, SiteId, TenantId, Timestamp, UploadId, Violation,
    partition::partition_for, upload::Upload,
};
use serde::Serialize;

pub const SERIES: [(&str, &str); 10] = [
    ("inv1", "ac_power"),
    ("inv1", "dc_power"),
    ("inv1", "dc_voltage"),
    ("inv1", "dc_current"),
    ("inv1", "module_temp"),
    ("inv2", "ac_power"),
    ("inv2", "dc_power"),
    ("inv2", "dc_voltage"),
    ("inv2", "dc_current"),
    ("weather", "poa_irradiance"),
];
const MINUTES: u64 = 5;
/// Readings in one upload.
pub const READINGS: u64 = SERIES.len() as u64 * MINUTES;
/// The tenant of all sites.
pub const TENANT: &str = "bench";
/// What all ids of uploads begin with.
pub const RUN: &str = "bench";
/// 2026-01-01T00:00:00Z, a Thursday in winter.
pub const START_MS: i64 = 1_767_225_600_000;

/// A fleet.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    pub sites: u64,
    /// In one upload.
    pub minutes: u64,
    pub start_ms: i64,
}

#[derive(Serialize)]
struct Body<'a> {
    site: &'a str,
    upload_id: &'a str,
    readings: Vec<Sent>,
}

#[derive(Serialize)]
struct Sent {
    device: &'static str,
    metric: &'static str,
    ts: String,
    value: f64,
}

impl Fleet {
    pub fn new(sites: u64) -> Self {
        Self { sites, minutes: MINUTES, start_ms: START_MS }
    }

    pub fn site(site: u64) -> String {
        format!("bench-{site:04}")
    }

    /// Which site sends the n-th upload.
    pub fn site_of(&self, n: u64) -> u64 {
        n % self.sites
    }

    /// The readings of the n-th upload: series, time in ms, value.
    pub fn readings(&self, n: u64) -> impl Iterator<Item = (usize, i64, f64)> + use<> {
        let (site, first) = (self.site_of(n), n / self.sites * self.minutes);
        let start_ms = self.start_ms;
        (first..first + self.minutes).flat_map(move |minute| {
            (0..SERIES.len()).map(move |series| {
                let ts_ms = start_ms + i64::try_from(minute).unwrap_or(0) * 60_000;
                (series, ts_ms, value(site, series as u64, minute))
            })
        })
    }

    /// How its logger calls the n-th upload: by its own count.
    fn upload_id(&self, n: u64) -> String {
        format!("{RUN}-{}", n / self.sites)
    }

    /// The n-th upload as a logger sends it.
    ///
    /// # Errors
    /// Never, as JSON of numbers and names goes.
    pub fn json(&self, n: u64) -> anyhow::Result<Vec<u8>> {
        let (site, upload_id) = (Self::site(self.site_of(n)), self.upload_id(n));
        let sent = self.readings(n).map(|(series, ts_ms, value)| {
            let (device, metric) = SERIES[series];
            Sent { device, metric, ts: Timestamp::from_ms(ts_ms).to_string(), value }
        });
        let body = Body { site: &site, upload_id: &upload_id, readings: sent.collect() };
        Ok(serde_json::to_vec(&body)?)
    }

    /// The n-th upload as the gateway puts it on the log.
    ///
    /// # Errors
    /// When a name of this file is none.
    pub fn event(&self, n: u64, received_at: Timestamp) -> Result<Encoded, Violation> {
        let readings = self.readings(n).map(|(series, ts_ms, value)| {
            let (device, metric) = SERIES[series];
            Ok(Reading {
                device: DeviceId::parse(device)?,
                metric: MetricName::parse(metric)?,
                ts: Timestamp::from_ms(ts_ms),
                value,
                quality: Quality::Good,
            })
        });
        let upload = Upload {
            site: SiteId::parse(&Self::site(self.site_of(n)))?,
            tenant: TenantId::parse(TENANT)?,
            upload_id: UploadId::parse(&self.upload_id(n))?,
            received_at,
            sent_at: None,
            replayed: false,
            readings: readings.collect::<Result<_, Violation>>()?,
        };
        Ok(encode_upload(&upload, "bench"))
    }

    /// Where the n-th upload lies.
    pub fn partition(&self, n: u64, partitions: u32) -> u32 {
        partition_for(Self::site(self.site_of(n)).as_bytes(), partitions)
    }
}

/// Whole requests of HTTP/1.1 to `addr`.
pub fn request(addr: &str, path: &str, token: &str, body: &[u8]) -> Bytes {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

/// With one digit behind the point, as loggers measure; never the same for long.
fn value(site: u64, series: u64, minute: u64) -> f64 {
    let daylight = ((minute % 1_440) as f64 / 1_440.0 * std::f64::consts::PI).sin();
    let noise = (site * 31 + series * 17 + minute * 7) % 97;
    ((daylight * 5_000.0 / (series + 1) as f64 + noise as f64) * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_contract::event::{UploadsEvent, decode_uploads};
    use heliograph_formats::{Format, decode};
    use std::collections::BTreeSet;

    #[test]
    fn the_gateway_takes_all_of_it_and_the_log_holds_the_same() {
        let (fleet, now) = (Fleet::new(3), Timestamp::from_ms(START_MS + 86_400_000));
        for n in [0, 7] {
            let body = Bytes::from(fleet.json(n).unwrap());
            let site = SiteId::parse(&Fleet::site(fleet.site_of(n))).unwrap();
            let decoded = decode(Format::Json, &body, &site, now, 100).unwrap();
            assert!(decoded.checked.rejected.is_empty());
            let Encoded { headers, value, .. } = fleet.event(n, now).unwrap();
            let event = decode_uploads(&headers, Some(&value)).unwrap();
            let UploadsEvent::Upload(upload) = event else { panic!("{event:?}") };
            assert_eq!((upload.readings, upload.site), (decoded.checked.readings, site));
        }
    }

    #[test]
    fn no_reading_comes_twice() {
        let fleet = Fleet::new(4);
        let all: BTreeSet<(u64, usize, i64)> = (0..40)
            .flat_map(|n| fleet.readings(n).map(move |(s, ts, _)| (fleet.site_of(n), s, ts)))
            .collect();
        assert_eq!(all.len() as u64, 40 * READINGS);
    }
}
