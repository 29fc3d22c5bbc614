//! What the log says about one site: every reading, and of each the one that counts.
//!
//! Invariant: of records with the same (device, metric, ts) the one with the highest offset is the
//! reading. 32 bytes for each reading on the log: one partition is held in memory at a time.

use heliograph_contract::v1;
use std::collections::HashMap;

/// One reading as one record of the log has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fact {
    pub ts_ms: i64,
    pub offset: u64,
    pub value: f64,
    /// Index into the site's series.
    pub series: u32,
    /// The summary that was promised this reading, counted from 1; 0: none.
    pub run: u16,
    /// 1 good, 2 suspect, 3 bad.
    pub quality: u8,
    /// Its record is among the dead letters: whether it is stored is not certain.
    pub dead: bool,
}

/// (device, metric)
pub type Series = (String, String);

/// The facts of one site while its partition is read.
#[derive(Debug, Default)]
pub struct SiteFacts {
    index: HashMap<String, HashMap<String, u32>>,
    series: Vec<Series>,
    facts: Vec<Fact>,
}

impl SiteFacts {
    /// Takes a reading of the record at `offset`.
    pub fn add(&mut self, r: &v1::Reading, offset: u64, run: u16, dead: bool) {
        let series = self.series(&r.device, &r.metric);
        let quality = super::decode::quality(r);
        self.facts.push(Fact {
            ts_ms: r.ts_ms,
            offset,
            value: r.value,
            series,
            run,
            quality,
            dead,
        });
    }

    fn series(&mut self, device: &str, metric: &str) -> u32 {
        if let Some(known) = self.index.get(device).and_then(|metrics| metrics.get(metric)) {
            return *known;
        }
        let next = self.series.len() as u32;
        self.series.push((device.to_owned(), metric.to_owned()));
        self.index.entry(device.to_owned()).or_default().insert(metric.to_owned(), next);
        next
    }

    /// Leaves of each reading the one that counts, in the order (device, metric, ts). `promised`
    /// is told for each reading and run the value that the run was promised last.
    pub fn resolve(mut self, mut promised: impl FnMut(u16, &Series, &Fact)) -> SiteLog {
        self.number_series_in_order();
        let Self { series, mut facts, .. } = self;
        facts.sort_unstable_by_key(|f| (f.series, f.ts_ms, f.offset));
        let (mut kept, mut start) = (0, 0);
        while start < facts.len() {
            let key = (facts[start].series, facts[start].ts_ms);
            let len = facts[start..].iter().take_while(|f| (f.series, f.ts_ms) == key).count();
            let same = &facts[start..start + len];
            for (i, fact) in same.iter().enumerate() {
                let last_of_run = same[i + 1..].iter().all(|later| later.run != fact.run);
                if fact.run != 0 && last_of_run {
                    promised(fact.run, &series[fact.series as usize], fact);
                }
            }
            let mut counts = *same.iter().rfind(|f| !f.dead).unwrap_or(&same[len - 1]);
            counts.run = same.iter().map(|f| f.run).find(|run| *run != 0).unwrap_or(0);
            facts[kept] = counts;
            kept += 1;
            start += len;
        }
        facts.truncate(kept);
        SiteLog { series, facts }
    }

    fn number_series_in_order(&mut self) {
        let mut order: Vec<u32> = (0..self.series.len() as u32).collect();
        order.sort_by(|a, b| self.series[*a as usize].cmp(&self.series[*b as usize]));
        let mut new_number = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            new_number[*old as usize] = new as u32;
        }
        for fact in &mut self.facts {
            fact.series = new_number[fact.series as usize];
        }
        self.series.sort();
    }
}

/// What the log says about one site: each reading once, in the order (device, metric, ts). The
/// `run` of a fact is then any run that was promised it.
#[derive(Debug, Default)]
pub struct SiteLog {
    pub series: Vec<Series>,
    pub facts: Vec<Fact>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn reading(device: &str, ts_ms: i64, value: f64) -> v1::Reading {
        v1::Reading { device: device.into(), metric: "m".into(), ts_ms, value, quality: 0 }
    }

    #[test]
    fn a_fact_stays_small() {
        assert_eq!(size_of::<Fact>(), 32);
    }

    #[test]
    fn a_dead_letter_counts_only_where_there_is_nothing_else() {
        let mut site = SiteFacts::default();
        site.add(&reading("a", 1, 1.0), 1, 0, false);
        site.add(&reading("a", 1, 2.0), 2, 7, true);
        site.add(&reading("a", 2, 3.0), 2, 0, true);
        let log = site.resolve(|_, _, _| {});
        let got: Vec<_> = log.facts.iter().map(|f| (f.value, f.dead, f.run)).collect();
        assert_eq!(got, [(1.0, false, 7), (3.0, true, 0)]);
    }

    proptest! {
        #[test]
        fn of_each_reading_the_last_counts_for_all_and_for_each_run(
            sent in proptest::collection::vec((0u8..3, 0i64..4, 0u16..3), 0..40)
        ) {
            let (mut site, mut all, mut by_run) =
                (SiteFacts::default(), BTreeMap::new(), BTreeMap::new());
            for (offset, (device, ts_ms, run)) in sent.iter().enumerate() {
                // Devices come in an order that is not theirs.
                let device = ["zz", "aa", "mm"][usize::from(*device)];
                site.add(&reading(device, *ts_ms, offset as f64), offset as u64, *run, false);
                all.insert((device.to_owned(), *ts_ms), offset as f64);
                if *run != 0 {
                    by_run.insert((*run, device.to_owned(), *ts_ms), offset as f64);
                }
            }
            let mut promised = BTreeMap::new();
            let log = site.resolve(|run, (device, _), fact| {
                promised.insert((run, device.clone(), fact.ts_ms), fact.value);
            });
            let got: Vec<_> = log.facts.iter()
                .map(|f| ((log.series[f.series as usize].0.clone(), f.ts_ms), f.value)).collect();
            prop_assert_eq!(got, all.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(promised, by_run);
        }
    }
}
