//! Statements to ClickHouse: over connections of our own, with a limit on everything, and what is
//! left of the call's time.

use crate::{
    config::QueryConfig, deadline::Deadline, error::store_status, metrics::Metrics, sql::Statement,
};
use clickhouse::{
    Client, RowOwned, RowRead,
    error::Error,
    query::{NativeCursor, Query},
};
use heliograph_metrics::observe_since;
use heliograph_store::{StoreConfig, blocks::Block, classify};
use std::time::{Duration, Instant};
use tonic::Status;

/// Reads, and can do nothing else.
#[derive(Clone)]
pub struct Reader {
    client: Client,
    metrics: Metrics,
}

impl Reader {
    pub fn connect(store: &StoreConfig, config: &QueryConfig, metrics: Metrics) -> Self {
        let client = heliograph_store::connect(store)
            // 2 and not 1: the settings of each statement go with it.
            .with_setting("readonly", "2")
            // A call that ends early drops its connection; the statement must end with it.
            .with_setting("cancel_http_readonly_queries_on_client_close", "1")
            .with_setting("max_threads", config.store_threads_max.to_string())
            .with_setting("max_memory_usage", config.store_memory_bytes_max.to_string())
            // An identity lies in one partition, since the partition follows from its time.
            .with_setting("do_not_merge_across_partitions_select_final", "1");
        Self { client, metrics }
    }

    /// All rows of a small result.
    pub async fn rows<T>(&self, statement: Statement, deadline: Deadline) -> Result<Vec<T>, Status>
    where
        T: RowOwned + RowRead,
    {
        let started = Instant::now();
        let rows = self.query(statement, deadline).fetch_all().await;
        self.answered(started, rows)
    }

    /// The first row of a result.
    pub async fn row<T>(
        &self,
        statement: Statement,
        deadline: Deadline,
    ) -> Result<Option<T>, Status>
    where
        T: RowOwned + RowRead,
    {
        let started = Instant::now();
        let row = self.query(statement, deadline).fetch_optional().await;
        self.answered(started, row)
    }

    /// A large result, block by block, in columns.
    pub fn blocks(&self, statement: Statement, deadline: Deadline) -> Result<Blocks, Status> {
        let cursor = self.query(statement, deadline).fetch_native();
        let cursor = cursor.map_err(|error| self.failed(&error))?;
        Ok(Blocks { cursor, reader: self.clone(), started: Some(Instant::now()) })
    }

    fn answered<T>(&self, started: Instant, outcome: Result<T, Error>) -> Result<T, Status> {
        match outcome {
            Ok(answer) => {
                observe_since(&self.metrics.statement, started);
                Ok(answer)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &Error) -> Status {
        self.metrics.statement_failed(classify(error));
        store_status(error)
    }

    fn query(&self, statement: Statement, deadline: Deadline) -> Query {
        // 0 would be no limit at all.
        let left = deadline.left().max(Duration::from_millis(1));
        let query = self
            .client
            .query_raw(&statement.text)
            .with_setting("max_execution_time", format!("{:.3}", left.as_secs_f64()));
        statement.params.iter().fold(query, |query, (name, value)| query.param(name, value))
    }
}

/// The blocks of a large result.
pub struct Blocks {
    cursor: NativeCursor,
    reader: Reader,
    /// Until the first has come.
    started: Option<Instant>,
}

impl Blocks {
    /// The next block; none behind the last.
    pub async fn next(&mut self) -> Result<Option<Block>, Status> {
        let block = self.cursor.next().await.map_err(|error| self.reader.failed(&error))?;
        if let Some(started) = self.started.take() {
            observe_since(&self.reader.metrics.statement, started);
        }
        Ok(block)
    }
}
