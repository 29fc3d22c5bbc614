//! Statements to ClickHouse: over connections of our own, with a limit on everything, and what is
//! left of the call's time.

use crate::{config::QueryConfig, deadline::Deadline, error::store_status, sql::Statement};
use clickhouse::{Client, RowOwned, RowRead, query::NativeCursor, query::Query};
use heliograph_store::StoreConfig;
use std::time::Duration;
use tonic::Status;

/// Reads, and can do nothing else.
#[derive(Clone)]
pub struct Reader {
    client: Client,
}

impl Reader {
    pub fn connect(store: &StoreConfig, config: &QueryConfig) -> Self {
        let client = heliograph_store::connect(store)
            // 2 and not 1: the settings of each statement go with it.
            .with_setting("readonly", "2")
            // A call that ends early drops its connection; the statement must end with it.
            .with_setting("cancel_http_readonly_queries_on_client_close", "1")
            .with_setting("max_threads", config.store_threads_max.to_string())
            .with_setting("max_memory_usage", config.store_memory_bytes_max.to_string())
            // An identity lies in one partition, since the partition follows from its time.
            .with_setting("do_not_merge_across_partitions_select_final", "1");
        Self { client }
    }

    /// All rows of a small result.
    pub async fn rows<T>(&self, statement: Statement, deadline: Deadline) -> Result<Vec<T>, Status>
    where
        T: RowOwned + RowRead,
    {
        self.query(statement, deadline).fetch_all().await.map_err(|e| store_status(&e))
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
        self.query(statement, deadline).fetch_optional().await.map_err(|e| store_status(&e))
    }

    /// A large result, block by block, in columns.
    pub fn blocks(&self, statement: Statement, deadline: Deadline) -> Result<NativeCursor, Status> {
        self.query(statement, deadline).fetch_native().map_err(|e| store_status(&e))
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
