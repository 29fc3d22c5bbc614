//! A block in the traces of its uploads: what is told of it, and by which name ClickHouse knows it.
//!
//! A block holds uploads of many traces, so it begins one of its own, sampled when one of its
//! uploads is. ClickHouse gets it with the insert and writes it to `system.opentelemetry_span_log`;
//! the block's line says which uploads that were. Invariant: however many uploads a block holds,
//! its line stays short. What it is not: kept; the log's records say where they come from.

use heliograph_contract::event::trace_of;
use heliograph_domain::trace::{TraceContext, TraceId};
use heliograph_log::Record;
use heliograph_service::trace;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

/// Traces that a line names.
const NAMED_MAX: usize = 16;

/// A block's own step, and what it is made of.
#[derive(Debug)]
pub struct BlockTrace {
    pub context: TraceContext,
    records: usize,
    /// Partition → first and last offset.
    offsets: BTreeMap<u32, (u64, u64)>,
    named: BTreeSet<TraceId>,
    /// Sampled uploads whose trace is not named.
    more: usize,
}

impl BlockTrace {
    /// Of the block that holds what `records` say.
    pub fn begin<'a>(records: impl Iterator<Item = &'a Record>) -> Self {
        let mut block = Self {
            context: trace::root(false),
            records: 0,
            offsets: BTreeMap::new(),
            named: BTreeSet::new(),
            more: 0,
        };
        for record in records {
            block.records += 1;
            let at = record.offset;
            let (first, last) = block.offsets.entry(record.at.partition).or_insert((at, at));
            (*first, *last) = ((*first).min(at), (*last).max(at));
            let Some(upload) = trace_of(&record.headers).filter(|t| t.is_sampled()) else {
                continue;
            };
            block.context = TraceContext::root(block.context.trace_id, block.context.span_id, true);
            match block.named.len() < NAMED_MAX || block.named.contains(&upload.trace_id) {
                true => drop(block.named.insert(upload.trace_id)),
                false => block.more += 1,
            }
        }
        block
    }

    /// One line per stored block: for who looks closely, or for everybody when it is sampled.
    pub fn tell_stored(&self, table: &str, rows: usize, took: Duration) {
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    trace_id = %self.context.trace_id,
                    span_id = %self.context.span_id,
                    table,
                    rows,
                    records = self.records,
                    offsets = self.offsets(),
                    took_ms = took.as_millis() as u64,
                    sampled_uploads = self.sampled(),
                    sampled_uploads_more = self.more,
                    "block stored"
                )
            };
        }
        match self.context.is_sampled() {
            true => tell!(info),
            false => tell!(debug),
        }
    }

    /// `3:17-29 5:4-4`: partition, first and last offset.
    fn offsets(&self) -> String {
        let mut text = String::new();
        for (partition, (first, last)) in &self.offsets {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}{partition}:{first}-{last}");
        }
        text
    }

    fn sampled(&self) -> String {
        let ids: Vec<String> = self.named.iter().map(TraceId::to_string).collect();
        ids.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_contract::event::trace_header;
    use heliograph_domain::Timestamp;
    use heliograph_log::TopicPartition;

    fn record(partition: u32, offset: u64, trace: Option<(u32, bool)>) -> Record {
        let header = |(id, sampled)| {
            let text = format!("00-{id:032x}-00f067aa0ba902b7-{:02x}", u8::from(sampled));
            trace_header(TraceContext::parse(text.as_bytes()).unwrap())
        };
        Record {
            at: TopicPartition::new("t", partition),
            offset,
            append_time: Timestamp::from_ms(0),
            key: None,
            headers: trace.map(header).into_iter().collect(),
            value: None,
        }
    }

    #[test]
    fn a_block_is_sampled_when_an_upload_is_and_names_it() {
        let plain = [record(3, 17, None), record(3, 18, Some((1, false))), record(5, 4, None)];
        let block = BlockTrace::begin(plain.iter());
        assert_eq!(
            (block.context.is_sampled(), block.sampled(), block.more),
            (false, "".into(), 0)
        );
        assert_eq!((block.offsets().as_str(), block.records), ("3:17-18 5:4-4", 3));
        let block = BlockTrace::begin(plain.iter().chain([&record(3, 2, Some((255, true)))]));
        assert!(block.context.is_sampled());
        assert_eq!((block.sampled(), block.more), (format!("{:032x}", 255), 0));
        assert_eq!(block.offsets(), "3:2-18 5:4-4");
    }

    #[test]
    fn a_line_names_so_many_traces_and_counts_the_others() {
        let records: Vec<Record> =
            (0..50).map(|i| record(0, u64::from(i), Some((1 + i % 20, true)))).collect();
        let block = BlockTrace::begin(records.iter());
        assert_eq!(block.sampled().split(' ').count(), NAMED_MAX);
        // Of 20 traces in turn, four are not named: 17 to 20, twice; the last ten begin again.
        assert_eq!(block.more, 8);
    }

    #[test]
    fn each_block_is_a_trace_of_its_own() {
        let [one, two] = [(); 2].map(|()| BlockTrace::begin([].into_iter()).context);
        assert_ne!(one.trace_id, two.trace_id);
    }
}
