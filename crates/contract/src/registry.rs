//! Registry entries on the wire.

use crate::event::{CONTENT_TYPE, DecodeError, Encoded, HEADER_TYPE, TYPE_REGISTRY_ENTRY};
use crate::v1;
use bytes::Bytes;
use heliograph_domain::{
    SiteId, TenantId, Timestamp, Violation,
    registry::{ApiToken, Entry, RemovedSite, Role, Site, Tenant},
};
use prost::Message;
use std::borrow::Cow;

/// Encodes an entry under its key.
pub fn encode(entry: &Entry) -> Encoded {
    let header =
        |name, value: &'static str| (Cow::Borrowed(name), Bytes::from_static(value.as_bytes()));
    Encoded {
        key: Some(entry.key().into()),
        headers: vec![
            header(HEADER_TYPE, TYPE_REGISTRY_ENTRY),
            header("content-type", CONTENT_TYPE),
        ],
        value: to_wire(entry).encode_to_vec().into(),
    }
}

/// Reads the value of a registry record.
///
/// # Errors
/// [`DecodeError`] when the value is not a `RegistryEntry` or breaks a rule of the domain.
pub fn decode(value: &Bytes) -> Result<Entry, DecodeError> {
    let malformed =
        |source| DecodeError::Malformed { kind: TYPE_REGISTRY_ENTRY.to_owned(), source };
    let wire = v1::RegistryEntry::decode(value.clone()).map_err(malformed)?;
    let entry = wire
        .entry
        .ok_or_else(|| Violation::new("entry", "nothing", "one of tenant, site, api_token"))?;
    Ok(from_wire(entry)?)
}

fn to_wire(entry: &Entry) -> v1::RegistryEntry {
    use v1::registry_entry::Entry as Wire;
    let entry = match entry {
        Entry::Tenant(t) => Wire::Tenant(v1::Tenant { id: t.id.to_string(), name: t.name.clone() }),
        Entry::Site(s) => Wire::Site(site_to_wire(s, None)),
        Entry::RemovedSite(s) => Wire::Site(site_to_wire(&s.site, Some(s.at))),
        Entry::ApiToken(t) => Wire::ApiToken(v1::ApiToken {
            hash: t.hash.clone(),
            tenant_id: t.tenant.to_string(),
            role: role_to_wire(t.role).into(),
            name: t.name.clone(),
            created_at_ms: t.created_at.map(Timestamp::as_ms),
        }),
    };
    v1::RegistryEntry { entry: Some(entry) }
}

fn site_to_wire(s: &Site, removed_at: Option<Timestamp>) -> v1::Site {
    v1::Site {
        id: s.id.to_string(),
        tenant_id: s.tenant.to_string(),
        name: s.name.clone(),
        zone: s.zone.clone(),
        upload_interval_s: s.upload_interval_s,
        reading_interval_s: s.reading_interval_s,
        rated_power_w: s.rated_power_w,
        stale_after_s: s.stale_after_s.unwrap_or(0),
        token_hash: s.token_hash.clone(),
        removed_at_ms: removed_at.map(Timestamp::as_ms),
    }
}

fn from_wire(entry: v1::registry_entry::Entry) -> Result<Entry, Violation> {
    use v1::registry_entry::Entry as Wire;
    Ok(match entry {
        Wire::Tenant(t) => Entry::Tenant(tenant(t)?),
        Wire::Site(s) => match s.removed_at_ms {
            None => Entry::Site(site(s)?),
            Some(ms) => {
                let site = Site { token_hash: String::new(), ..site(s)? };
                Entry::RemovedSite(RemovedSite { site, at: Timestamp::from_ms(ms) })
            }
        },
        Wire::ApiToken(t) => Entry::ApiToken(api_token(t)?),
    })
}

pub fn role_to_wire(role: Role) -> v1::Role {
    match role {
        Role::Viewer => v1::Role::Viewer,
        Role::Operator => v1::Role::Operator,
    }
}

/// The longest name that people are shown.
const NAME_CHARS_MAX: usize = 200;

/// Checks a name, which stands in tables on people's screens. What is on the log already is not
/// held against it.
///
/// # Errors
/// A [`Violation`] of `field`.
pub fn check_name(field: &str, name: &str) -> Result<(), Violation> {
    if name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let want = format!("at most {NAME_CHARS_MAX} characters without control characters");
    Err(Violation::new(field, format_args!("{name:?}"), want))
}

/// Checks a tenant as it came over the wire.
///
/// # Errors
/// A [`Violation`] of the broken field.
pub fn tenant(t: v1::Tenant) -> Result<Tenant, Violation> {
    Ok(Tenant { id: TenantId::parse(&t.id)?, name: t.name })
}

/// A site of which nothing comes for a week is stale, whatever it was made for.
const STALE_AFTER_MAX_S: u32 = 7 * 86_400;

/// Checks a site as it came over the wire.
///
/// # Errors
/// A [`Violation`] of the broken field.
pub fn site(s: v1::Site) -> Result<Site, Violation> {
    for (field, secs) in
        [("upload_interval_s", s.upload_interval_s), ("reading_interval_s", s.reading_interval_s)]
    {
        if secs == 0 || secs > 86_400 {
            return Err(Violation::new(field, secs, "1 to 86400 seconds"));
        }
    }
    if !(s.rated_power_w.is_finite() && s.rated_power_w >= 0.0) {
        return Err(Violation::new("rated_power_w", s.rated_power_w, "W, 0 when unknown"));
    }
    let stale_after_s = (s.stale_after_s != 0).then_some(s.stale_after_s);
    if stale_after_s.is_some_and(|secs| secs < s.upload_interval_s || secs > STALE_AFTER_MAX_S) {
        let (interval, most) = (s.upload_interval_s, STALE_AFTER_MAX_S);
        let want = format!("0, or the upload interval ({interval}) to {most} seconds");
        return Err(Violation::new("stale_after_s", s.stale_after_s, want));
    }
    heliograph_domain::rollup::zone(&s.zone)?;
    Ok(Site {
        id: SiteId::parse(&s.id)?,
        tenant: TenantId::parse(&s.tenant_id)?,
        name: s.name,
        zone: s.zone,
        upload_interval_s: s.upload_interval_s,
        reading_interval_s: s.reading_interval_s,
        rated_power_w: s.rated_power_w,
        stale_after_s,
        token_hash: s.token_hash,
    })
}

/// Checks an API token as it came over the wire.
///
/// # Errors
/// A [`Violation`] of the broken field.
pub fn api_token(t: v1::ApiToken) -> Result<ApiToken, Violation> {
    let role = match t.role() {
        v1::Role::Viewer => Role::Viewer,
        v1::Role::Operator => Role::Operator,
        v1::Role::Unspecified => {
            return Err(Violation::new("role", "none", "ROLE_VIEWER or ROLE_OPERATOR"));
        }
    };
    Ok(ApiToken {
        hash: t.hash,
        tenant: TenantId::parse(&t.tenant_id)?,
        role,
        name: t.name,
        created_at: t.created_at_ms.map(Timestamp::from_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_as_it_was() {
        let entries = [
            Entry::Tenant(Tenant { id: TenantId::parse("t1").unwrap(), name: "緑".into() }),
            Entry::Site(Site {
                id: SiteId::parse("s1").unwrap(),
                tenant: TenantId::parse("t1").unwrap(),
                name: "Site 1".into(),
                zone: "Asia/Tokyo".into(),
                upload_interval_s: 60,
                reading_interval_s: 60,
                rated_power_w: 49_500.0,
                stale_after_s: Some(900),
                token_hash: "00".into(),
            }),
            Entry::ApiToken(ApiToken {
                hash: "00".into(),
                tenant: TenantId::parse("t1").unwrap(),
                role: Role::Viewer,
                name: "wall screen".into(),
                created_at: Some(Timestamp::from_secs(1_700_000_000)),
            }),
        ];
        for entry in entries {
            assert_eq!(decode(&encode(&entry).value), Ok(entry));
        }
    }

    #[test]
    fn an_empty_entry_is_an_error() {
        assert!(decode(&Bytes::new()).is_err());
    }

    #[test]
    fn a_site_says_which_field_is_wrong() {
        let good = v1::Site {
            id: "s1".into(),
            tenant_id: "t1".into(),
            zone: "Asia/Tokyo".into(),
            upload_interval_s: 60,
            reading_interval_s: 60,
            ..Default::default()
        };
        let rows = [
            ("a zone is IANA's", v1::Site { zone: "JST+9".into(), ..good.clone() }, "zone"),
            ("no interval", v1::Site { upload_interval_s: 0, ..good.clone() }, "upload_interval_s"),
            ("an id has a form", v1::Site { id: "a b".into(), ..good.clone() }, "site"),
            (
                "power is a number",
                v1::Site { rated_power_w: -1.0, ..good.clone() },
                "rated_power_w",
            ),
            (
                "stale before the next upload is due",
                v1::Site { stale_after_s: 59, ..good.clone() },
                "stale_after_s",
            ),
            (
                "stale after more than a week",
                v1::Site { stale_after_s: 604_801, ..good.clone() },
                "stale_after_s",
            ),
        ];
        for (name, bad, field) in rows {
            assert_eq!(site(bad).unwrap_err().field, field, "{name}");
        }
        assert!(site(good).is_ok());
    }
}
