//! Names: site, device, metric, tenant, upload.
//!
//! Invariant: a value of one of these types has the form its `parse` demands, wherever it came
//! from (HTTP, gRPC, the log, a registry file), so nothing behind the parser checks it again.

use crate::Violation;
use std::{borrow::Borrow, fmt, sync::Arc};

/// The longest name, in bytes. ClickHouse keys and Kafka keys stay short.
pub const NAME_BYTES_MAX: usize = 64;
/// The longest upload id, in bytes.
pub const UPLOAD_ID_BYTES_MAX: usize = 128;

fn check(field: &str, text: &str, bytes_max: usize, extra: &[u8]) -> Result<(), Violation> {
    let want = || {
        let extra: Vec<String> = extra.iter().map(|b| (*b as char).to_string()).collect();
        format!(
            "1 to {bytes_max} ASCII letters, digits or {}, beginning with a letter or digit",
            extra.join(" ")
        )
    };
    let bytes = text.as_bytes();
    let body = |b: &u8| b.is_ascii_alphanumeric() || extra.contains(b);
    match bytes.first() {
        Some(first)
            if first.is_ascii_alphanumeric()
                && bytes.len() <= bytes_max
                && bytes.iter().all(body) =>
        {
            Ok(())
        }
        Some(_) => Err(Violation::new(field, format_args!("{text:?}"), want())),
        None => Err(Violation::new(field, "an empty string", want())),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:expr, $extra:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the form and takes the name.
            ///
            /// # Errors
            /// A [`Violation`] that names the field, when the form is not as the type demands.
            pub fn parse(text: &str) -> Result<Self, Violation> {
                check($field, text, $max, $extra)?;
                Ok(Self(Arc::from(text)))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Violation;
            fn from_str(text: &str) -> Result<Self, Violation> {
                Self::parse(text)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(
    /// A site (発電所): the Kafka key of everything that happens to it.
    SiteId, "site", NAME_BYTES_MAX, b"._-"
);
name_type!(
    /// A customer of the platform: owns sites, recipients and API tokens.
    TenantId, "tenant", NAME_BYTES_MAX, b"._-"
);
name_type!(
    /// A device inside a site: inverter (PCS), meter, pyranometer, string.
    DeviceId, "device", NAME_BYTES_MAX, b"._-:/"
);
name_type!(
    /// What is measured, for example `ac_power`. Unknown names are kept; only the form is checked.
    MetricName, "metric", NAME_BYTES_MAX, b"._-"
);
name_type!(
    /// The logger's own name for an upload, or a hash of its content.
    UploadId, "upload_id", UPLOAD_ID_BYTES_MAX, b"._-:"
);

impl SiteId {
    /// The gateway's own pseudo site, which its self-uploads use. Its leading underscore keeps it
    /// apart from every site that can be registered.
    pub fn gateway_self(instance: &str) -> Self {
        Self(Arc::from(format!("_gateway.{instance}")))
    }

    /// Whether this is a pseudo site of the platform, never a customer's.
    pub fn is_platform(&self) -> bool {
        self.0.starts_with('_')
    }

    /// Takes a site id read back from the log: a registered site's, or the platform's own.
    ///
    /// # Errors
    /// A [`Violation`] as [`SiteId::parse`] gives it.
    pub fn parse_from_log(text: &str) -> Result<Self, Violation> {
        match text.strip_prefix('_') {
            Some(rest) => check("site", rest, NAME_BYTES_MAX, b"._-").map(|()| Self(text.into())),
            None => Self::parse(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_form() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        let rows: &[(&str, &str, bool)] = &[
            ("a plain name is taken", "nrel-rsf.2", true),
            ("capitals are kept: Telegraf hosts have them", "Plant_1", true),
            ("an empty name is refused", "", false),
            ("a leading dot is refused", ".hidden", false),
            ("an underscore in front belongs to the platform", "_gateway.a", false),
            ("a space is refused", "a b", false),
            ("a slash is no part of a site", "a/b", false),
            ("a letter outside ASCII is refused", "発電所", false),
            ("a name over the limit is refused", &long, false),
        ];
        for (name, text, ok) in rows {
            assert_eq!(SiteId::parse(text).is_ok(), *ok, "{name}");
        }
        assert!(DeviceId::parse("bus1/inv:2").is_ok());
    }

    #[test]
    fn a_platform_site_comes_back_from_the_log_only() {
        let own = SiteId::gateway_self("g1");
        assert!(own.is_platform());
        assert_eq!(SiteId::parse_from_log(own.as_str()), Ok(own.clone()));
        assert!(SiteId::parse(own.as_str()).is_err());
    }
}
