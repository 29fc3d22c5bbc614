use super::*;
use heliograph_contract::v1::{IncidentClosed, IncidentOpened, SiteRecovered};
use proptest::prelude::*;

fn stale(site: &str, tenant: &str, offset: u64) -> Alert {
    Alert::WentStale(SiteWentStale {
        site_id: site.into(),
        tenant_id: tenant.into(),
        offset,
        decided_at_ms: offset as i64,
        ..Default::default()
    })
}

fn back(stale: &Alert, offset: u64, removed: bool) -> Alert {
    Alert::Recovered(SiteRecovered {
        site_id: stale.site_id().unwrap_or_default().into(),
        tenant_id: stale.tenant_id().unwrap_or_default().into(),
        stale_id: stale.id(),
        offset,
        decided_at_ms: offset as i64,
        removed,
        ..Default::default()
    })
}

fn ids(book: &Book, ask: &Ask<'_>) -> Vec<String> {
    book.list(&Ask { size: 100, ..ask.clone() }).0.into_iter().map(|alert| alert.id).collect()
}

#[test]
fn the_state_of_a_site_is_what_was_decided_last_of_it() {
    let first = stale("a", "t1", 1);
    let over = back(&first, 2, false);
    let again = stale("a", "t1", 3);
    let removed = back(&again, 4, true);
    let of_t2 = stale("a", "t2", 5);
    let rows: [(&[&Alert], State, State); 6] = [
        (&[], State::Fresh(None), State::Fresh(None)),
        (&[&first], State::Stale(inner(&first)), State::Fresh(None)),
        (&[&first, &over], State::Fresh(Some(2)), State::Fresh(None)),
        (&[&first, &over, &again], State::Stale(inner(&again)), State::Fresh(None)),
        (&[&again, &removed], State::Fresh(None), State::Fresh(None)),
        (&[&again, &removed, &of_t2], State::Fresh(None), State::Stale(inner(&of_t2))),
    ];
    for (alerts, as_t1, as_t2) in rows {
        // The alerts of two tenants come in any order, and again.
        for turn in 0..=alerts.len() {
            let mut book = Book::default();
            let turned = alerts.iter().cycle().skip(turn).take(2 * alerts.len());
            turned.for_each(|alert| book.take((*alert).clone(), 0));
            assert_eq!(
                (book.state("a", "t1"), book.state("a", "t2")),
                (as_t1.clone(), as_t2.clone())
            );
            let open =
                usize::from(matches!(as_t1, State::Stale(_)) || matches!(as_t2, State::Stale(_)));
            assert_eq!((book.stale().count(), book.open.len()), (open, open));
        }
    }
}

fn inner(alert: &Alert) -> SiteWentStale {
    match alert {
        Alert::WentStale(stale) => stale.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_oldest_are_forgotten_and_what_is_open_never_is() {
    let mut book = Book::keeping(64);
    let open = stale("open", "t1", 0);
    book.take(open.clone(), 0);
    let mut last = None;
    for n in 0..1_000 {
        let down = stale("other", "t1", 2 * n + 1);
        let up = back(&down, 2 * n + 2, false);
        last = Some(up.id());
        book.take(down, 0);
        book.take(up, 0);
    }
    assert!(book.alerts.len() <= 64 + 1 + 1, "{}", book.alerts.len());
    assert_eq!((book.of_site.len(), book.of_tenant.len()), (book.alerts.len(), book.alerts.len()));
    let kept = ids(&book, &Ask::default());
    assert_eq!((kept.first().cloned(), kept.last().cloned()), (last, Some(open.id())));
    assert_eq!(ids(&book, &Ask { open_only: true, ..Ask::default() }), [open.id()]);
}

#[test]
fn incidents_are_kept_once_and_the_newest() {
    let mut book = Book { incidents: Incidents::new(2), ..Book::default() };
    let opened = |offset: u64| {
        let decided_at_ms = offset as i64;
        Alert::IncidentOpened(IncidentOpened { offset, decided_at_ms, ..Default::default() })
    };
    for n in 1..=3 {
        // It stands in each partition.
        (0..4).for_each(|partition| book.take(opened(n), partition));
    }
    let listed = |book: &Book, open_only| {
        book.incidents.list(open_only, None, 10).0.into_iter().map(|i| i.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(&book, false), [opened(3).id(), opened(2).id()]);
    assert_eq!(book.incidents.open().map(|i| i.id.clone()), Some(opened(3).id()));
    for n in [1, 3] {
        let incident_id = opened(n).id();
        let over = IncidentClosed { incident_id, decided_at_ms: 9, ..Default::default() };
        book.take(Alert::IncidentClosed(over), 0);
    }
    assert_eq!(listed(&book, true), [opened(2).id()]);
}

proptest! {
    /// Whatever was asked for, and however large a page is, the pages are what a plain search finds.
    #[test]
    fn pages_are_what_a_plain_search_finds(
        alerts in prop::collection::vec((0..4_u8, 0..3_u8, 0..40_u64), 0..60),
        (site, tenant) in (prop::option::of(0..4_u8), prop::option::of(0..3_u8)),
        (from_ms, to_ms) in (prop::option::of(0..40_i64), prop::option::of(0..40_i64)),
        (open_only, oldest_first) in (any::<bool>(), any::<bool>()),
        size in 1..7_usize,
    ) {
        let (sites, tenants) = (["a", "b", "c", "d"], ["t1", "t2", "t3"]);
        let alerts = alerts.iter().map(|&(s, t, offset)| {
            stale(sites[usize::from(s)], tenants[usize::from(t)], offset)
        });
        let mut book = Book::default();
        let mut all = BTreeMap::new();
        for alert in alerts {
            let Some(key) = Key::of(&alert) else { panic!("{alert:?}") };
            all.entry(key).or_insert_with(|| alert.clone());
            book.take(alert, 0);
        }
        let ask = Ask {
            tenant: tenant.map(|t| tenants[usize::from(t)]),
            site: site.map(|s| sites[usize::from(s)]),
            from_ms,
            to_ms,
            open_only,
            oldest_first,
            after: None,
            size,
        };
        let is_asked = |key: &Key, alert: &Alert| {
            ask.tenant.is_none_or(|t| alert.tenant_id() == Some(t))
                && ask.site.is_none_or(|s| alert.site_id() == Some(s))
                && from_ms.is_none_or(|from| alert.decided_at().as_ms() >= from)
                && to_ms.is_none_or(|to| alert.decided_at().as_ms() < to)
                && (!open_only || book.open.contains(key))
        };
        let mut want: Vec<String> =
            all.iter().filter(|(key, alert)| is_asked(key, alert)).map(|(_, a)| a.id()).collect();
        if !oldest_first {
            want.reverse();
        }
        let (mut got, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = book.list(&Ask { after, ..ask.clone() });
            prop_assert!(page.len() <= size);
            got.extend(page.into_iter().map(|alert| alert.id));
            match next {
                Some(key) => after = Key::parse(&key.token()),
                None => break,
            }
        }
        prop_assert_eq!(got, want);
    }
}
