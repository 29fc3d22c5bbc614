//! Which known name was meant by one that nobody knows.
//!
//! What it is not: it changes nothing by itself. A likeness is offered, never taken.

/// A name this much like a known one was meant to be it (Jaro-Winkler, 1 is equal).
const LIKENESS_MIN: f64 = 0.85;

/// The known name that is most like `name`, if one is; case does not count.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let likeness = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &name);
    let all = known.into_iter().map(|known| (likeness(known), known));
    let (most, nearest) = all.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (most >= LIKENESS_MIN).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_if_it_is_near() {
        let known = ["ac_power", "dc_power", "module_temp"];
        let rows = [
            ("ac_powr", Some("ac_power")),
            ("AC_Power", Some("ac_power")),
            ("modul_temp", Some("module_temp")),
            ("wind", None),
        ];
        for (name, want) in rows {
            assert_eq!(nearest(name, known), want, "{name}");
        }
        assert_eq!(nearest("ac_power", []), None);
    }
}
