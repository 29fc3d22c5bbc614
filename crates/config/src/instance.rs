//! What every member of a consumer group is configured by.

use heliograph_domain::Violations;
use std::time::Duration;

/// Checks `instance` and `session_timeout`.
pub(crate) fn check_member(found: &mut Violations, instance: &str, session_timeout: Duration) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if instance.len() > 200 || !instance.chars().all(plain) {
        let want = "at most 200 ASCII letters, digits or . _ -, or nothing";
        found.add("instance", format_args!("{instance:?}"), want);
    }
    // Brokers take no others, unless told to (group.min.session.timeout.ms and its fellow).
    let (least, most) = (Duration::from_secs(6), Duration::from_secs(1_800));
    found.time("session_timeout", session_timeout, least, most);
}
