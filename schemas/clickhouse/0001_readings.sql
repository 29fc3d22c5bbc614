-- Raw readings. One row per identity (site_id, device, metric, ts) after FINAL: of rows with the same
-- identity the one with the highest log_offset is the reading, so sending a block twice changes
-- nothing. All readings of a site are on one log partition, so offsets of one identity compare.
--
-- Placeholders in braces are filled in by the migration: {on_cluster}, {replacing_merge_tree} and
-- {durability}, which is fsync on a single node (an offset is committed only after the rows are as
-- safe as the log) and nothing on a cluster, where the client asks for a quorum instead.
CREATE TABLE IF NOT EXISTS readings {on_cluster}
(
    site_id LowCardinality(String)
        COMMENT 'Site (発電所 / 案件) that the reading belongs to; registry id',
    device LowCardinality(String)
        COMMENT 'Device inside the site (PCS, meter, pyranometer, string), as the logger names it',
    metric LowCardinality(String)
        COMMENT 'What was measured, by its name in the metric table: ac_power, poa_irradiance, …; fixes the unit of value',
    ts DateTime64(3, 'UTC')
        COMMENT 'When it was measured; milliseconds, UTC; finer times are truncated before they come here'
        CODEC(DoubleDelta, ZSTD(1)),
    value Float64
        COMMENT 'Measured value in the unit of its metric: W, Wh, W/m², V, A, °C, share, enum number'
        CODEC(Gorilla, ZSTD(1)),
    quality Enum8('good' = 1, 'suspect' = 2, 'bad' = 3)
        COMMENT 'Verdict of the logger; bad readings are kept here and left out of the rollups',
    log_partition UInt32
        COMMENT 'Partition of heliograph.uploads that holds the upload this came with'
        CODEC(ZSTD(1)),
    log_offset UInt64
        COMMENT 'Offset of that upload; also the version of the row: the highest wins'
        CODEC(Delta, ZSTD(1)),
    received_at DateTime64(3, 'UTC')
        COMMENT 'When the gateway had read the upload; milliseconds, UTC'
        CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = {replacing_merge_tree}(log_offset)
PARTITION BY toYYYYMM(ts)
ORDER BY (site_id, device, metric, ts)
SETTINGS {durability}
COMMENT 'Raw readings as accepted; read with FINAL';
