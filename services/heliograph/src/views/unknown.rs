//! Names that were asked for and that nobody knows: what was meant, or what there is.

use super::Client;
use heliograph_contract::v1;
use heliograph_service::meant::nearest;
use std::collections::BTreeSet;
use tonic::{Code, Status};

/// Names that are listed where none is near.
const LISTED_MAX: usize = 8;

/// Of a site that is not there, the one that was meant.
pub async fn site(client: &mut Client, asked: &str, status: &Status) -> Option<String> {
    if status.code() != Code::NotFound {
        return None;
    }
    let request = v1::ListSitesRequest::default();
    let sites = client.list_sites(request).await.ok()?.into_inner().sites;
    nearest(asked, sites.iter().map(|site| &*site.site_id)).map(str::to_owned)
}

/// What is said of each device and metric that no series of the answer has. Asks once more, for
/// all series of the range, where there is one.
pub async fn series(
    client: &mut Client,
    asked: &v1::QueryReadingsRequest,
    found: &[v1::Series],
) -> Vec<String> {
    if missing(asked, found).is_empty() {
        return Vec::new();
    }
    let request = v1::QueryReadingsRequest {
        devices: Vec::new(),
        metrics: Vec::new(),
        step: v1::Step::Day.into(),
        aggregate: v1::Aggregate::Count.into(),
        // A day belongs to a range when it begins there.
        start_ms: asked.start_ms.saturating_sub(2 * 86_400_000),
        ..asked.clone()
    };
    // Without it there is nothing to liken to; what was asked for has been answered.
    let Ok(answer) = client.query_readings(request).await else { return Vec::new() };
    said(asked, found, &answer.into_inner().series)
}

/// (`device` or `metric`, name)
fn missing<'a>(
    asked: &'a v1::QueryReadingsRequest,
    found: &[v1::Series],
) -> Vec<(&'static str, &'a str)> {
    let devices = asked.devices.iter().filter(|name| found.iter().all(|s| s.device != **name));
    let metrics = asked.metrics.iter().filter(|name| found.iter().all(|s| s.metric != **name));
    let devices = devices.map(|name| ("device", &**name));
    devices.chain(metrics.map(|name| ("metric", &**name))).collect()
}

fn said(asked: &v1::QueryReadingsRequest, found: &[v1::Series], all: &[v1::Series]) -> Vec<String> {
    let mut said = Vec::new();
    for (what, name) in missing(asked, found) {
        let known: BTreeSet<&str> = match what {
            "device" => all.iter().map(|s| &*s.device).collect(),
            _ => all.iter().map(|s| &*s.metric).collect(),
        };
        // It is there, only not in this range or not with the other names.
        if known.is_empty() || known.contains(name) {
            continue;
        }
        let meant = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => {
                let listed: Vec<&str> = known.iter().copied().take(LISTED_MAX).collect();
                let more = known.len().saturating_sub(LISTED_MAX);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("there are {}{more}", listed.join(", "))
            }
        };
        said.push(format!("--{what} {name}: the site has none in these days; {meant}"));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_series_has_is_likened_to_those_that_are_there() {
        let one = |device: &str, metric: &str| v1::Series {
            device: device.into(),
            metric: metric.into(),
            ..Default::default()
        };
        let all = [one("inv1", "ac_power"), one("met", "ghi")];
        type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [v1::Series], &'a [&'a str]);
        let rows: [Row; 6] = [
            ("nothing asked", &[], &[], &[], &[]),
            ("found", &["inv1"], &["ac_power"], &all[..1], &[]),
            (
                "nearly a metric",
                &[],
                &["ac_powr"],
                &[],
                &["--metric ac_powr: the site has none in these days; did you mean ac_power?"],
            ),
            (
                "no device at all",
                &["roof"],
                &[],
                &[],
                &["--device roof: the site has none in these days; there are inv1, met"],
            ),
            ("both there, not together", &["met"], &["ac_power"], &[], &[]),
            (
                "one of two",
                &["inv1", "inv11"],
                &[],
                &all[..1],
                &["--device inv11: the site has none in these days; did you mean inv1?"],
            ),
        ];
        for (name, devices, metrics, found, want) in rows {
            let owned = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
            let asked = v1::QueryReadingsRequest {
                devices: owned(devices),
                metrics: owned(metrics),
                ..Default::default()
            };
            assert_eq!(said(&asked, found, &all), want, "{name}");
        }
    }
}
