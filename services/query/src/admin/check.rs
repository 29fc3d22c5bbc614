//! What every change of the registry is held against before it is made.

use crate::error::violation;
use heliograph_contract::{
    error::{ErrorClass, invalid_argument},
    registry::check_name,
    v1::PutMode,
};
use heliograph_domain::{
    Violation,
    registry::{Registry, Site},
};
use tonic::Status;

pub fn given<T>(field: &str, value: Option<T>) -> Result<T, Status> {
    value.ok_or_else(|| violation(Violation::new(field, "nothing", format!("a {field}"))))
}

pub fn name(field: &str, name: &str) -> Result<(), Status> {
    check_name(field, name).map_err(violation)
}

/// Holds what is there against what the caller demands.
pub fn mode(mode: i32, what: &str, id: &str, is_there: bool) -> Result<(), Status> {
    match (PutMode::try_from(mode), is_there) {
        (Ok(PutMode::Add), true) => {
            let words = format!("there is a {what} {id:?} already; it was left as it is");
            Err(ErrorClass::AlreadyExists.status(words))
        }
        (Ok(PutMode::Change), false) => Err(unknown(what, id)),
        (Ok(_), _) => Ok(()),
        (Err(_), _) => {
            let want = "PUT_MODE_ADD, PUT_MODE_CHANGE or nothing";
            Err(violation(Violation::new("mode", mode, want)))
        }
    }
}

pub fn unknown(what: &str, id: &str) -> Status {
    ErrorClass::NotFound.status(format!("there is no {what} {id:?}"))
}

/// Holds a site against the others, those that are gone among them.
pub fn site(registry: &Registry, site: &Site) -> Result<(), Status> {
    let mut violations = Vec::new();
    violations.extend(tenant("site.tenant_id", registry, site.tenant.as_str()).err());
    let id = site.id.as_str();
    if let Some(zone) = registry.zone(id).filter(|zone| *zone != site.zone) {
        // The local days of what is stored were cut by the old zone.
        let want = format!("{zone:?}: the zone of a site is fixed, also of one that was removed");
        violations.push(Violation::new("site.zone", format_args!("{:?}", site.zone), want));
    }
    if let Some(gone) = registry.removed_site(id).filter(|r| r.site.tenant != site.tenant) {
        // Whoever has the id sees what was sent under it.
        let want = format!(
            "an id that no other tenant has used: what the removed site sent is tenant {}'s; add \
             it for that one first, then give it another tenant",
            gone.site.tenant
        );
        violations.push(Violation::new("site.id", format_args!("{id:?}"), want));
    }
    match violations.is_empty() {
        true => Ok(()),
        false => Err(invalid_argument(&violations)),
    }
}

pub fn tenant(field: &str, registry: &Registry, id: &str) -> Result<(), Violation> {
    match registry.tenant(id) {
        Some(_) => Ok(()),
        None => {
            let want = "a tenant that is registered; PutTenant adds one";
            Err(Violation::new(field, format_args!("{id:?}"), want))
        }
    }
}

/// The domain names a field by what it is; the caller by where it stands.
pub fn within(message: &str, v: Violation) -> Violation {
    let field = match (message, v.field.as_str()) {
        ("tenant", "tenant") | ("site", "site") => "id",
        (_, "tenant") => "tenant_id",
        (_, other) => other,
    };
    Violation { field: format!("{message}.{field}"), ..v }
}
