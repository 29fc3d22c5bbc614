-- Rollups. A row is always a recompute of its whole bucket, never an increment: 15 minutes from
-- readings FINAL, hour and local day from readings_15m FINAL. Read with FINAL and count > 0.
CREATE TABLE IF NOT EXISTS readings_15m {on_cluster}
(
    site_id LowCardinality(String)
        COMMENT 'Site (発電所 / 案件); registry id',
    device LowCardinality(String)
        COMMENT 'Device inside the site',
    metric LowCardinality(String)
        COMMENT 'What was measured; fixes the unit of sum, min, max, first and last',
    bucket DateTime('UTC')
        COMMENT 'Start of the 15 minutes [bucket, bucket + 15 min); seconds, UTC'
        CODEC(DoubleDelta, ZSTD(1)),
    count UInt64
        COMMENT 'Readings in the bucket that are not bad; 0: none is left, the bucket is missing'
        CODEC(ZSTD(1)),
    sum Float64
        COMMENT 'Sum of their values, added in the order of ts so that a rebuild gives the same bits; unit of the metric'
        CODEC(ZSTD(1)),
    min Float64
        COMMENT 'Smallest value; unit of the metric'
        CODEC(ZSTD(1)),
    max Float64
        COMMENT 'Largest value; unit of the metric'
        CODEC(ZSTD(1)),
    first Float64
        COMMENT 'Value of the earliest reading; unit of the metric'
        CODEC(ZSTD(1)),
    last Float64
        COMMENT 'Value of the latest reading; unit of the metric'
        CODEC(ZSTD(1)),
    first_ts DateTime64(3, 'UTC')
        COMMENT 'When the earliest reading was measured; milliseconds, UTC'
        CODEC(DoubleDelta, ZSTD(1)),
    last_ts DateTime64(3, 'UTC')
        COMMENT 'When the latest reading was measured; milliseconds, UTC'
        CODEC(DoubleDelta, ZSTD(1)),
    version UInt64
        COMMENT 'Highest log_offset of the readings inside; the row with the highest version wins'
        CODEC(Delta, ZSTD(1))
)
ENGINE = {replacing_merge_tree}(version)
PARTITION BY toYYYYMM(bucket)
ORDER BY (site_id, device, metric, bucket)
SETTINGS {durability}
COMMENT 'Readings by 15 minutes; read with FINAL';

CREATE TABLE IF NOT EXISTS readings_1h {on_cluster}
(
    site_id LowCardinality(String)
        COMMENT 'Site (発電所 / 案件); registry id',
    device LowCardinality(String)
        COMMENT 'Device inside the site',
    metric LowCardinality(String)
        COMMENT 'What was measured; fixes the unit of sum, min, max, first and last',
    bucket DateTime('UTC')
        COMMENT 'Start of the UTC hour [bucket, bucket + 1 h); seconds, UTC'
        CODEC(DoubleDelta, ZSTD(1)),
    count UInt64
        COMMENT 'Readings in the bucket that are not bad; 0: none is left, the bucket is missing'
        CODEC(ZSTD(1)),
    sum Float64
        COMMENT 'Sum of their values, added in the order of ts so that a rebuild gives the same bits; unit of the metric'
        CODEC(ZSTD(1)),
    min Float64
        COMMENT 'Smallest value; unit of the metric'
        CODEC(ZSTD(1)),
    max Float64
        COMMENT 'Largest value; unit of the metric'
        CODEC(ZSTD(1)),
    first Float64
        COMMENT 'Value of the earliest reading; unit of the metric'
        CODEC(ZSTD(1)),
    last Float64
        COMMENT 'Value of the latest reading; unit of the metric'
        CODEC(ZSTD(1)),
    first_ts DateTime64(3, 'UTC')
        COMMENT 'When the earliest reading was measured; milliseconds, UTC'
        CODEC(DoubleDelta, ZSTD(1)),
    last_ts DateTime64(3, 'UTC')
        COMMENT 'When the latest reading was measured; milliseconds, UTC'
        CODEC(DoubleDelta, ZSTD(1)),
    version UInt64
        COMMENT 'Highest log_offset of the readings inside; the row with the highest version wins'
        CODEC(Delta, ZSTD(1))
)
ENGINE = {replacing_merge_tree}(version)
PARTITION BY toYYYYMM(bucket)
ORDER BY (site_id, device, metric, bucket)
SETTINGS {durability}
COMMENT 'Readings by UTC hour; read with FINAL';

CREATE TABLE IF NOT EXISTS readings_1d {on_cluster}
(
    site_id LowCardinality(String)
        COMMENT 'Site (発電所 / 案件); registry id',
    device LowCardinality(String)
        COMMENT 'Device inside the site',
    metric LowCardinality(String)
        COMMENT 'What was measured; fixes the unit of sum, min, max, first and last',
    bucket Date
        COMMENT 'Local day of the site [00:00, 24:00) in its own time zone; calendar date'
        CODEC(Delta, ZSTD(1)),
    count UInt64
        COMMENT 'Readings in the bucket that are not bad; 0: none is left, the bucket is missing'
        CODEC(ZSTD(1)),
    sum Float64
        COMMENT 'Sum of their values, added in the order of ts so that a rebuild gives the same bits; unit of the metric'
        CODEC(ZSTD(1)),
    min Float64
        COMMENT 'Smallest value; unit of the metric'
        CODEC(ZSTD(1)),
    max Float64
        COMMENT 'Largest value; unit of the metric'
        CODEC(ZSTD(1)),
    first Float64
        COMMENT 'Value of the earliest reading; unit of the metric'
        CODEC(ZSTD(1)),
    last Float64
        COMMENT 'Value of the latest reading; unit of the metric'
        CODEC(ZSTD(1)),
    first_ts DateTime64(3, 'UTC')
        COMMENT 'When the earliest reading was measured; milliseconds, UTC'
        CODEC(DoubleDelta, ZSTD(1)),
    last_ts DateTime64(3, 'UTC')
        COMMENT 'When the latest reading was measured; milliseconds, UTC'
        CODEC(DoubleDelta, ZSTD(1)),
    version UInt64
        COMMENT 'Highest log_offset of the readings inside; the row with the highest version wins'
        CODEC(Delta, ZSTD(1))
)
ENGINE = {replacing_merge_tree}(version)
PARTITION BY toYear(bucket)
ORDER BY (site_id, device, metric, bucket)
SETTINGS {durability}
COMMENT 'Readings by local day of the site; read with FINAL';
